package torch

// #include "cgotorch.h"
import "C"

import "unsafe"

// Grad is the gradient of the one-element tensor loss for each of inputs, and for nothing else: an attack that
// asks for its image's gradient pays for no weight's. The graph is freed. Every input must be part of it.
func (s *Session) Grad(loss Tensor, inputs ...Tensor) []Tensor {
	out := make([]Tensor, len(inputs))
	l, ok := s.ptr("Grad", loss)
	if !ok || len(inputs) == 0 {
		return out
	}
	in, ok := s.list("Grad", &s.buf2, inputs)
	if !ok {
		return out
	}
	s.buf = append(s.buf[:0], make([]C.ct_tensor, len(inputs))...)
	got := s.buf
	if e := C.ct_grad(l, in, C.int64_t(len(inputs)), unsafe.SliceData(got)); e != nil {
		s.take("Grad", e)
		return out
	}
	for i, p := range got {
		out[i] = s.record(p)
	}
	s.buf = s.buf[:0]
	return out
}

// PGDStep_ moves t one step up grad, then back into the eps-ball round origin and into [0, 1], in place.
// Linf: step*sign(grad). L2: a step of length step along grad, per sample. (Madry et al., arXiv 1706.06083.)
func (t Tensor) PGDStep_(grad, origin Tensor, step, eps float64, l2 bool) Tensor {
	s, x, g, ok := pair("PGDStep_", t, grad)
	if !ok {
		return t
	}
	if x0, ok := s.ptr("PGDStep_", origin); ok {
		s.Fail(failure("PGDStep_", C.ct_pgd_step_(x, g, x0, C.double(step), C.double(eps), flag(l2), 0, 1)))
	}
	return t
}
