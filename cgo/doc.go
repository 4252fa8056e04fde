// Package torch drives libtorch from Go through a small C++ shim.
//
// A Session is one goroutine's share of libtorch: one locked OS thread, one device, one stream.
// Every result of an operation belongs to the session's innermost open scope, and is freed when
// that scope closes, not when the garbage collector comes by:
//
//	err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
//		x := s.RandN(g, 64, 784)
//		y := s.Scope(func() torch.Tensor { return x.MatMul(w).Relu().Sum() }) // keeps the sum, frees the rest
//		v, err := y.Item()
//		...
//	})
//
// Errors stick: after the first one every operation of the session does nothing and returns an absent
// tensor, and Session.Err tells what went wrong. A loop needs one check a step. Using a tensor after its
// scope closed, or in another session, is such an error (ErrClosed), never a crash.
//
// Names follow gotorch (torch.Tensor, torch.NewDevice, nn.Conv2d, F.Relu), so that its users feel at home.
// It is not a dependency: no version of it can be had from the Go module proxy, it stopped in 2020 at
// libtorch 1.6, and it frees device memory by finalizers, which do not see how full a GPU is.
//
// Only libcgotorch.so links libtorch, so one Go binary runs with a shim built against any libtorch from 1.13 on.
package torch

/*
#cgo LDFLAGS: -L${SRCDIR}/lib -lcgotorch -Wl,-rpath,${SRCDIR}/lib -Wl,-rpath,$ORIGIN/lib -Wl,-rpath,$ORIGIN/../cgo/lib
#cgo LDFLAGS: -Wl,--enable-new-dtags -Wl,--allow-shlib-undefined
#include "cgotorch.h"
*/
import "C"
