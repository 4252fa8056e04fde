package torch

// #cgo noescape ct_reduce
// #cgo nocallback ct_reduce
// #include "cgotorch.h"
import "C"

func (t Tensor) reduce(op string, code C.int, keep bool, dims []int64) Tensor {
	return t.one(op, func(s *Session, p C.ct_tensor) *C.char {
		return C.ct_reduce(code, p, cShape(dims), C.int64_t(len(dims)), flag(keep), &s.out)
	})
}

// Reductions over the given dimensions, which vanish; over all of them where none is given.

func (t Tensor) Sum(dims ...int64) Tensor  { return t.reduce("Sum", C.CT_SUM, false, dims) }
func (t Tensor) Mean(dims ...int64) Tensor { return t.reduce("Mean", C.CT_MEAN, false, dims) }
func (t Tensor) Max(dims ...int64) Tensor  { return t.reduce("Max", C.CT_AMAX, false, dims) }
func (t Tensor) Min(dims ...int64) Tensor  { return t.reduce("Min", C.CT_AMIN, false, dims) }

// Norm is the l2 norm.
func (t Tensor) Norm(dims ...int64) Tensor { return t.reduce("Norm", C.CT_NORM2, false, dims) }

// NormKeep is the l2 norm over dims, which stay with size 1.
func (t Tensor) NormKeep(dims ...int64) Tensor { return t.reduce("NormKeep", C.CT_NORM2, true, dims) }

// SumKeep is the sum over dims, which stay with size 1.
func (t Tensor) SumKeep(dims ...int64) Tensor { return t.reduce("SumKeep", C.CT_SUM, true, dims) }

// CountNonzero counts the elements that are not zero, as int64.
func (t Tensor) CountNonzero(dims ...int64) Tensor {
	return t.reduce("CountNonzero", C.CT_COUNT_NONZERO, false, dims)
}

// All is whether every element is true (not zero), as a bool of no dimension.
func (t Tensor) All() Tensor { return t.reduce("All", C.CT_ALL, false, nil) }

// Any is whether some element is true (not zero), as a bool of no dimension.
func (t Tensor) Any() Tensor { return t.reduce("Any", C.CT_ANY, false, nil) }

// Argmax is the index (int64) of the largest element along dim.
func (t Tensor) Argmax(dim int) Tensor {
	return t.one("Argmax", func(s *Session, p C.ct_tensor) *C.char { return C.ct_argmax(p, C.int64_t(dim), &s.out) })
}

// Softmax normalises exponentials along dim.
func (t Tensor) Softmax(dim int) Tensor {
	return t.one("Softmax", func(s *Session, p C.ct_tensor) *C.char { return C.ct_softmax(p, C.int64_t(dim), 0, &s.out) })
}

// LogSoftmax is the logarithm of Softmax.
func (t Tensor) LogSoftmax(dim int) Tensor {
	out := t.one("LogSoftmax", func(s *Session, p C.ct_tensor) *C.char { return C.ct_softmax(p, C.int64_t(dim), 1, &s.out) })
	return t.noted("LogSoftmax", out, int64(dim))
}

// two runs a C function that makes two tensors from t.
func (t Tensor) two(op string, f func(p C.ct_tensor, a, b *C.ct_tensor) *C.char) (Tensor, Tensor) {
	s, p, ok := t.use(op)
	if !ok {
		return Tensor{}, Tensor{}
	}
	var both [2]C.ct_tensor
	if e := f(p, &both[0], &both[1]); e != nil {
		return s.take(op, e), Tensor{}
	}
	return s.record(both[0]), s.record(both[1])
}

// KthValue is the k-th smallest element (k from 1) along dim and its index.
func (t Tensor) KthValue(k int64, dim int) (values, indices Tensor) {
	return t.two("KthValue", func(p C.ct_tensor, a, b *C.ct_tensor) *C.char {
		return C.ct_kthvalue(p, C.int64_t(k), C.int64_t(dim), a, b)
	})
}

// MaskSmallest is float32 of t's shape: 0 for the k elements of least magnitude, of equals those that come first, else 1. It is outside
// any graph. k goes from 0 to t's number of elements; a NaN counts as the largest.
func (t Tensor) MaskSmallest(k int64) Tensor {
	return t.one("MaskSmallest", func(s *Session, p C.ct_tensor) *C.char { return C.ct_mask_smallest(p, C.int64_t(k), &s.out) })
}

// TopK is the k largest (or smallest) elements along dim, sorted, and their indices.
func (t Tensor) TopK(k int64, dim int, largest bool) (values, indices Tensor) {
	return t.two("TopK", func(p C.ct_tensor, a, b *C.ct_tensor) *C.char {
		return C.ct_topk(p, C.int64_t(k), C.int64_t(dim), flag(largest), a, b)
	})
}

// Sort orders along dim, equal elements in their old order, and gives their old indices.
func (t Tensor) Sort(dim int, descending bool) (values, indices Tensor) {
	return t.two("Sort", func(p C.ct_tensor, a, b *C.ct_tensor) *C.char {
		return C.ct_sort(p, C.int64_t(dim), flag(descending), a, b)
	})
}
