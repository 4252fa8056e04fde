package torch

// #cgo noescape ct_reshape
// #cgo nocallback ct_reshape
// #cgo noescape ct_pad
// #cgo nocallback ct_pad
// #include "cgotorch.h"
import "C"

import (
	"fmt"
	"slices"
)

// one runs a C function that makes one tensor from t.
func (t Tensor) one(op string, f func(s *Session, p C.ct_tensor) *C.char) Tensor {
	s, p, ok := t.use(op)
	if !ok {
		return Tensor{}
	}
	return s.take(op, f(s, p))
}

// To converts the elements' type.
func (t Tensor) To(d DType) Tensor {
	if d.Size() == 0 && t.s != nil {
		t.s.Fail(fmt.Errorf("torch: To: unknown element type %d", int(d)))
	}
	return t.one("To", func(s *Session, p C.ct_tensor) *C.char { return C.ct_to(p, C.int(d), -1, 0, &s.out) })
}

// ToDevice copies to another device, or gives t again where it is there already.
func (t Tensor) ToDevice(d Device) Tensor {
	kind, index := d.c()
	return t.one("ToDevice", func(s *Session, p C.ct_tensor) *C.char { return C.ct_to(p, -1, kind, index, &s.out) })
}

// Detach is the same storage outside the graph.
func (t Tensor) Detach() Tensor {
	return t.one("Detach", func(s *Session, p C.ct_tensor) *C.char { return C.ct_alias(p, &s.out) })
}

// Alias is one more handle of the same tensor, graph and all, in the innermost scope.
func (t Tensor) Alias() Tensor {
	return t.one("Alias", func(s *Session, p C.ct_tensor) *C.char { return C.ct_share(p, &s.out) })
}

// Clone copies the elements.
func (t Tensor) Clone() Tensor {
	return t.one("Clone", func(s *Session, p C.ct_tensor) *C.char { return C.ct_clone(p, &s.out) })
}

// Contiguous lays the elements out in row-major order.
func (t Tensor) Contiguous() Tensor {
	return t.one("Contiguous", func(s *Session, p C.ct_tensor) *C.char { return C.ct_contiguous(p, 0, &s.out) })
}

// ChannelsLast lays a [N, C, H, W] tensor out with its channels innermost; the shape stays.
func (t Tensor) ChannelsLast() Tensor {
	return t.one("ChannelsLast", func(s *Session, p C.ct_tensor) *C.char { return C.ct_contiguous(p, 1, &s.out) })
}

// RequiresGrad_ makes t a leaf that gradients are recorded for, or no longer.
func (t Tensor) RequiresGrad_(on bool) Tensor {
	if s, p, ok := t.use("RequiresGrad_"); ok {
		s.Fail(failure("RequiresGrad_", C.ct_requires_grad_(p, flag(on))))
	}
	return t
}

// Reshape gives the elements another shape; one size may be -1.
func (t Tensor) Reshape(shape ...int64) Tensor {
	out := t.one("Reshape", func(s *Session, p C.ct_tensor) *C.char {
		return C.ct_reshape(p, cShape(shape), C.int64_t(len(shape)), &s.out)
	})
	return t.noted("Reshape", out, shape...)
}

// Flatten joins all dimensions from the second on: [N, ...] to [N, -1].
func (t Tensor) Flatten() Tensor {
	s, p, ok := t.use("Flatten")
	if !ok {
		return Tensor{}
	}
	return t.noted("Flatten", s.take("Flatten", C.ct_flatten(p, &s.out)))
}

// Permute reorders the dimensions.
func (t Tensor) Permute(dims ...int64) Tensor {
	out := t.one("Permute", func(s *Session, p C.ct_tensor) *C.char {
		return C.ct_permute(p, cShape(dims), C.int64_t(len(dims)), &s.out)
	})
	return t.noted("Permute", out, dims...)
}

// Expand repeats dimensions of size 1 without copying.
func (t Tensor) Expand(shape ...int64) Tensor {
	return t.one("Expand", func(s *Session, p C.ct_tensor) *C.char {
		return C.ct_expand(p, cShape(shape), C.int64_t(len(shape)), &s.out)
	})
}

// Narrow is the part [start, start+length) of dimension dim, without copying.
func (t Tensor) Narrow(dim int, start, length int64) Tensor {
	out := t.one("Narrow", func(s *Session, p C.ct_tensor) *C.char {
		return C.ct_narrow(p, C.int64_t(dim), C.int64_t(start), C.int64_t(length), &s.out)
	})
	return t.noted("Narrow", out, int64(dim), start, length)
}

// Pad surrounds t with v; pad holds (before, after) pairs from the last dimension on.
func (t Tensor) Pad(v float64, pad ...int64) Tensor {
	out := t.one("Pad", func(s *Session, p C.ct_tensor) *C.char {
		return C.ct_pad(p, cShape(pad), C.int64_t(len(pad)), C.double(v), &s.out)
	})
	if t.s != nil && t.s.tape != nil {
		t.s.note(Step{Op: "Pad", In: []Tensor{t}, Out: out, Ints: slices.Clone(pad), Floats: []float64{v}})
	}
	return out
}

// Cat joins tensors along dim.
func (s *Session) Cat(dim int, ts ...Tensor) Tensor {
	if s == nil { // that of a tensor which there is not, after an error
		return Tensor{}
	}
	p, ok := s.list("Cat", &s.buf2, ts)
	if !ok {
		return Tensor{}
	}
	out := s.take("Cat", C.ct_cat(p, C.int64_t(len(ts)), C.int64_t(dim), &s.out))
	if s.tape != nil {
		s.note(Step{Op: "Cat", In: slices.Clone(ts), Out: out, Ints: []int64{int64(dim)}})
	}
	return out
}

// IndexSelect picks the slices of dimension dim that idx (int64, 1-D) names.
func (t Tensor) IndexSelect(dim int, idx Tensor) Tensor {
	s, a, b, ok := pair("IndexSelect", t, idx)
	if !ok {
		return Tensor{}
	}
	return s.take("IndexSelect", C.ct_index_select(a, C.int64_t(dim), b, &s.out))
}

// Gather picks along dim the elements that idx (int64) names.
func (t Tensor) Gather(dim int, idx Tensor) Tensor {
	s, a, b, ok := pair("Gather", t, idx)
	if !ok {
		return Tensor{}
	}
	return s.take("Gather", C.ct_gather(a, C.int64_t(dim), b, &s.out))
}

// Scatter is t with v written along dim wherever idx (int64) points.
func (t Tensor) Scatter(dim int, idx Tensor, v float64) Tensor {
	s, a, b, ok := pair("Scatter", t, idx)
	if !ok {
		return Tensor{}
	}
	return s.take("Scatter", C.ct_scatter_value(a, C.int64_t(dim), b, C.double(v), &s.out))
}

// Where takes a where t (bool) is true, else b.
func (t Tensor) Where(a, b Tensor) Tensor {
	s, cond, pa, ok := pair("Where", t, a)
	if !ok {
		return Tensor{}
	}
	pb, ok := s.ptr("Where", b)
	if !ok {
		return Tensor{}
	}
	return s.take("Where", C.ct_where(cond, pa, pb, &s.out))
}
