package torch

// #include "cgotorch.h"
import "C"

// Autocast runs f with convolutions and matrix products computed in d, which is BFloat16 (or Float16 on a GPU). Losses and
// softmax stay float32, batch norm keeps its statistics so, and gradients of float32 tensors are float32: of a weight
// that is used several times the sum of those of each use, added in float32. Regions nest.
func (s *Session) Autocast(d DType, f func()) {
	if s.err != nil {
		return
	}
	kind, _ := s.device.c()
	if err := failure("Autocast", C.ct_autocast_begin(kind, C.int(d))); err != nil {
		s.Fail(err)
		return
	}
	defer func() { s.Fail(failure("Autocast", C.ct_autocast_end())) }()
	f()
}

// CastOnce is t in the type that the GPU computes in within Autocast, for weights that are used there many times and would be cast at each
// use as they are no parameters. Elsewhere it is t.
func (t Tensor) CastOnce() Tensor {
	return t.one("CastOnce", func(s *Session, p C.ct_tensor) *C.char { return C.ct_autocast_once(p, &s.out) })
}
