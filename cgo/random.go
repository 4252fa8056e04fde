package torch

// #include "cgotorch.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Generator is a stream of random numbers on a session's device, apart from libtorch's process-wide one.
// It is freed with its session.
type Generator struct {
	s *Session
	g C.ct_generator
}

// NewGenerator starts a stream at seed.
func (s *Session) NewGenerator(seed uint64) *Generator {
	g := &Generator{s: s}
	if s.err != nil {
		return g
	}
	kind, index := s.device.c()
	if s.err = failure("NewGenerator", C.ct_generator_new(kind, index, &g.g)); s.err == nil {
		s.gens = append(s.gens, g)
		g.Seed(seed)
	}
	return g
}

func (g *Generator) close() {
	C.ct_generator_close(g.g)
	g.g = nil
}

func (g *Generator) ok(op string) bool {
	if g == nil || g.s == nil {
		return false
	}
	if g.s.err == nil && g.g == nil {
		g.s.err = fmt.Errorf("torch: %s: the generator was never made", op)
	}
	return g.s.still(op) // a recording would draw the same numbers for ever
}

// err is why ok said no.
func (g *Generator) err(op string) error {
	if g == nil || g.s == nil {
		return fmt.Errorf("torch: %s: an absent generator", op)
	}
	return g.s.err
}

// Seed starts the stream anew at seed.
func (g *Generator) Seed(seed uint64) {
	if g.ok("Seed") {
		g.s.Fail(failure("Seed", C.ct_generator_seed(g.g, C.uint64_t(seed))))
	}
}

// State is the position in the stream, to be given to SetState.
func (g *Generator) State() ([]byte, error) {
	if !g.ok("State") {
		return nil, g.err("State")
	}
	t := g.s.take("State", C.ct_generator_state(g.g, &g.s.out))
	defer g.s.Free(t)
	return t.Uint8s()
}

// SetState goes to a position that State gave.
func (g *Generator) SetState(state []byte) error {
	if !g.ok("SetState") {
		return g.err("SetState")
	}
	if len(state) == 0 {
		return fmt.Errorf("torch: SetState: an empty state")
	}
	shape := []int64{int64(len(state))}
	// Generators take their state on the host, whatever their device.
	e := C.ct_from_host(unsafe.Pointer(unsafe.SliceData(state)), C.CT_U8, cShape(shape), 1, C.CT_CPU, 0, &g.s.out)
	t := g.s.take("SetState", e)
	defer g.s.Free(t)
	p, ok := g.s.ptr("SetState", t)
	if !ok {
		return g.s.err
	}
	return failure("SetState", C.ct_generator_set_state(g.g, p))
}

func (t Tensor) random(op string, code C.int, a, b float64, g *Generator) Tensor {
	s, p, ok := t.use(op)
	if !ok {
		return t
	}
	if !g.ok(op) || g.s != s {
		s.Fail(fmt.Errorf("torch: %s: a generator of the tensor's own session is needed", op))
		return t
	}
	s.Fail(failure(op, C.ct_random_(code, p, C.double(a), C.double(b), g.g)))
	return t
}

// Uniform_ fills t from [lo, hi).
func (t Tensor) Uniform_(g *Generator, lo, hi float64) Tensor {
	return t.random("Uniform_", C.CT_UNIFORM_, lo, hi, g)
}

// Normal_ fills t from the normal distribution.
func (t Tensor) Normal_(g *Generator, mean, std float64) Tensor {
	return t.random("Normal_", C.CT_NORMAL_, mean, std, g)
}

// Bernoulli_ fills t with 1 at probability p, else 0.
func (t Tensor) Bernoulli_(g *Generator, p float64) Tensor {
	return t.random("Bernoulli_", C.CT_BERNOULLI_, p, 0, g)
}

// Rand is a float32 tensor from [0, 1).
func (s *Session) Rand(g *Generator, shape ...int64) Tensor {
	return s.Empty(Float32, shape...).Uniform_(g, 0, 1)
}

// RandN is a float32 tensor from the standard normal distribution.
func (s *Session) RandN(g *Generator, shape ...int64) Tensor {
	return s.Empty(Float32, shape...).Normal_(g, 0, 1)
}
