package torch

// #include "cgotorch.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// lists checks several lists of n tensors each into one array of C handles.
func (s *Session) lists(op string, n int, all ...[]Tensor) ([]C.ct_tensor, bool) {
	s.buf2 = s.buf2[:0]
	for _, ts := range all {
		if len(ts) != n {
			s.Fail(fmt.Errorf("torch: %s: lists of %d and %d tensors", op, n, len(ts)))
			return nil, false
		}
		for _, t := range ts {
			p, ok := s.ptr(op, t)
			if !ok {
				return nil, false
			}
			s.buf2 = append(s.buf2, p)
		}
	}
	return s.buf2, n > 0
}

// AddLists_ adds alpha*b[i] to a[i].
func (s *Session) AddLists_(a, b []Tensor, alpha float64) {
	if p, ok := s.lists("AddLists_", len(a), a, b); ok {
		s.Fail(failure("AddLists_", C.ct_list_add_(&p[0], &p[len(a)], C.int64_t(len(a)), C.double(alpha))))
	}
}

// MulLists_ multiplies a[i] by b[i].
func (s *Session) MulLists_(a, b []Tensor) {
	if p, ok := s.lists("MulLists_", len(a), a, b); ok {
		s.Fail(failure("MulLists_", C.ct_list_mul_(&p[0], &p[len(a)], C.int64_t(len(a)))))
	}
}

// ScaleList_ multiplies each of a by v.
func (s *Session) ScaleList_(a []Tensor, v float64) {
	if p, ok := s.lists("ScaleList_", len(a), a); ok {
		s.Fail(failure("ScaleList_", C.ct_list_scale_(&p[0], C.int64_t(len(a)), C.double(v))))
	}
}

// CopyLists_ overwrites dst[i] with src[i].
func (s *Session) CopyLists_(dst, src []Tensor) {
	if p, ok := s.lists("CopyLists_", len(dst), dst, src); ok {
		s.Fail(failure("CopyLists_", C.ct_list_copy_(&p[0], &p[len(dst)], C.int64_t(len(dst)))))
	}
}

// ADMMGrad_ adds rho[i] (w[i] - z[i] + u[i]) to grads[i]: the gradient of rho/2 ||W - Z + U||^2 for W
// (arXiv 1810.07378, eq. 7 in scaled form).
func (s *Session) ADMMGrad_(grads, w, z, u []Tensor, rho []float64) {
	n := len(grads)
	p, ok := s.lists("ADMMGrad_", n, grads, w, z, u)
	if !ok {
		return
	}
	if len(rho) != n {
		s.Fail(fmt.Errorf("torch: ADMMGrad_: %d values of rho for %d tensors", len(rho), n))
		return
	}
	s.Fail(failure("ADMMGrad_", C.ct_admm_grad_(&p[0], &p[n], &p[2*n], &p[3*n], (*C.double)(unsafe.SliceData(rho)), C.int64_t(n))))
}
