package torch

// #cgo noescape ct_full
// #cgo nocallback ct_full
// #cgo noescape ct_empty
// #cgo nocallback ct_empty
// #include "cgotorch.h"
import "C"

import (
	"fmt"
	"math"
	"unsafe"
)

// fills reports whether n elements are what shape asks for.
func fills(shape []int64, n int64) bool {
	product, empty := int64(1), false
	for _, d := range shape {
		switch {
		case d < 0:
			return false
		case d == 0:
			empty = true
		case product > n/d: // more than n, were it not for a size of 0; and never an overflow
			product = math.MaxInt64
		default:
			product *= d
		}
	}
	return n == 0 && empty || n == product && !empty
}

// fromHost copies data to the session's device. data must hold exactly the elements of shape.
func fromHost[E element](s *Session, op string, data []E, shape []int64) Tensor {
	return s.fromMemory(op, unsafe.Pointer(unsafe.SliceData(data)), int64(len(data)), hostType[E](), shape)
}

func (s *Session) fromMemory(op string, data unsafe.Pointer, n int64, d DType, shape []int64) Tensor {
	if !s.still(op) {
		return Tensor{}
	}
	if !fills(shape, n) {
		s.Fail(fmt.Errorf("torch: %s: %d elements do not fill the shape %v", op, n, shape))
		return Tensor{}
	}
	kind, index := s.device.c()
	e := C.ct_from_host(data, C.int(d), cShape(shape), C.int64_t(len(shape)), kind, index, &s.out)
	return s.take(op, e)
}

func cShape(shape []int64) *C.int64_t { return (*C.int64_t)(unsafe.SliceData(shape)) }

// FromFloat32 copies row-major data to a float32 tensor on the session's device.
func (s *Session) FromFloat32(data []float32, shape ...int64) Tensor {
	return fromHost(s, "FromFloat32", data, shape)
}

// Constant is a float32 tensor [len(values)] that the session keeps and gives again for the same values. Sending them waits for a GPU, and so is done once;
// nothing may write to it.
func (s *Session) Constant(values ...float32) Tensor {
	bits := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(values))), 4*len(values))
	if t, ok := s.constants[string(bits)]; ok {
		return t
	}
	t := s.FromFloat32(values, int64(len(values)))
	if s.err != nil {
		return Tensor{}
	}
	s.Keep(t)
	if s.constants == nil {
		s.constants = map[string]Tensor{}
	}
	s.constants[string(bits)] = t
	return t
}

// FromFloat64 copies row-major data to a float64 tensor on the session's device.
func (s *Session) FromFloat64(data []float64, shape ...int64) Tensor {
	return fromHost(s, "FromFloat64", data, shape)
}

// FromInt64 copies row-major data to an int64 tensor on the session's device.
func (s *Session) FromInt64(data []int64, shape ...int64) Tensor {
	return fromHost(s, "FromInt64", data, shape)
}

// FromUint8 copies row-major data to a uint8 tensor on the session's device.
func (s *Session) FromUint8(data []uint8, shape ...int64) Tensor {
	return fromHost(s, "FromUint8", data, shape)
}

// FromBool copies row-major data to a bool tensor on the session's device.
func (s *Session) FromBool(data []bool, shape ...int64) Tensor {
	return fromHost(s, "FromBool", data, shape)
}

// FromBytes copies raw little-endian elements of type d, as Tensor.Bytes gives them. A Bool is true for any byte but 0.
func (s *Session) FromBytes(data []byte, d DType, shape ...int64) Tensor {
	if d.Size() == 0 || len(data)%d.Size() != 0 {
		s.Fail(fmt.Errorf("torch: FromBytes: %d bytes are no whole number of %v", len(data), d))
		return Tensor{}
	}
	return s.fromMemory("FromBytes", unsafe.Pointer(unsafe.SliceData(data)), int64(len(data)/d.Size()), d, shape)
}

// Full is a tensor of type d with every element v.
func (s *Session) Full(v float64, d DType, shape ...int64) Tensor {
	if s.err != nil {
		return Tensor{}
	}
	kind, index := s.device.c()
	e := C.ct_full(C.double(v), C.int(d), cShape(shape), C.int64_t(len(shape)), kind, index, &s.out)
	return s.take("Full", e)
}

// Zeros is a float32 tensor of zeros.
func (s *Session) Zeros(shape ...int64) Tensor { return s.Full(0, Float32, shape...) }

// Ones is a float32 tensor of ones.
func (s *Session) Ones(shape ...int64) Tensor { return s.Full(1, Float32, shape...) }

// Empty is a tensor of type d whose elements are not set.
func (s *Session) Empty(d DType, shape ...int64) Tensor {
	if s.err != nil {
		return Tensor{}
	}
	kind, index := s.device.c()
	return s.take("Empty", C.ct_empty(C.int(d), cShape(shape), C.int64_t(len(shape)), kind, index, &s.out))
}

// ZerosLike is a tensor of zeros with t's shape and type, laid out as t is.
func (t Tensor) ZerosLike() Tensor {
	if t.s == nil {
		return Tensor{}
	}
	return t.s.Scope(func() Tensor { return t.Detach().Clone().Fill_(0) })
}

// Arange is the int64 tensor 0, 1, ..., n-1.
func (s *Session) Arange(n int64) Tensor {
	if s.err != nil {
		return Tensor{}
	}
	kind, index := s.device.c()
	return s.take("Arange", C.ct_arange(C.int64_t(n), kind, index, &s.out))
}

// Borrow gives this session a handle of another session's tensor: the same storage, outside any graph. Both may
// live on devices of their own; then the borrower can do no more than copy from and to the tensor. The owner must do nothing during the call and
// outlive the borrower's use of the tensor, and the caller keeps writers and readers apart.
func (s *Session) Borrow(t Tensor) Tensor {
	if s.err != nil {
		return Tensor{}
	}
	if !t.Defined() {
		s.Fail(fmt.Errorf("torch: Borrow: %w", ErrClosed))
		return Tensor{}
	}
	return s.take("Borrow", C.ct_alias(t.s.slots[t.idx].p, &s.out))
}
