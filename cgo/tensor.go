package torch

// #include "cgotorch.h"
import "C"

import (
	"fmt"
	"unsafe"
)

// Tensor is a checked handle of an array on its session's device. The zero Tensor means "absent": optional
// arguments (a convolution's bias) take it, operations on it are errors.
type Tensor struct {
	s   *Session
	idx uint32
	gen uint32
}

// DType is the type of a tensor's elements.
type DType int

// The element types, named as in PyTorch.
const (
	Float32 DType = iota
	Float64
	Int64
	Int32
	Uint8
	Bool
	BFloat16
	Float16
)

func (d DType) String() string {
	if d < Float32 || d > Float16 {
		return "unknown"
	}
	return [...]string{"float32", "float64", "int64", "int32", "uint8", "bool", "bfloat16", "float16"}[d]
}

// Size is the number of bytes of one element, 0 for an unknown type.
func (d DType) Size() int {
	if d < Float32 || d > Float16 {
		return 0
	}
	return [...]int{4, 8, 8, 4, 1, 1, 2, 2}[d]
}

// Defined reports whether the handle is alive.
func (t Tensor) Defined() bool {
	return t.s != nil && int(t.idx) < len(t.s.slots) && t.s.slots[t.idx].gen == t.gen
}

// Session is the tensor's owner, nil for an absent tensor.
func (t Tensor) Session() *Session { return t.s }

// use returns the C handle for an operation on t.
func (t Tensor) use(op string) (*Session, C.ct_tensor, bool) {
	if t.s == nil {
		return nil, nil, false
	}
	p, ok := t.s.ptr(op, t)
	return t.s, p, ok
}

// Dim is the number of dimensions, -1 for a dead handle.
func (t Tensor) Dim() int {
	_, p, ok := t.use("Dim")
	if !ok {
		return -1
	}
	return int(C.ct_dim(p))
}

// Numel is the number of elements, 0 for a dead handle.
func (t Tensor) Numel() int64 {
	_, p, ok := t.use("Numel")
	if !ok {
		return 0
	}
	return int64(C.ct_numel(p))
}

// Shape is the size of each dimension, nil for a dead handle.
func (t Tensor) Shape() []int64 {
	_, p, ok := t.use("Shape")
	if !ok {
		return nil
	}
	shape := make([]int64, C.ct_dim(p))
	C.ct_shape(p, (*C.int64_t)(unsafe.SliceData(shape)))
	return shape
}

// Size is the size of dimension d (negative: from the end), 0 where there is none.
func (t Tensor) Size(d int) int64 {
	shape := t.Shape()
	if d < 0 {
		d += len(shape)
	}
	if d < 0 || d >= len(shape) {
		return 0
	}
	return shape[d]
}

// DType is the elements' type; -1 for a dead handle or a type this package has no name for.
func (t Tensor) DType() DType {
	_, p, ok := t.use("DType")
	if !ok {
		return -1
	}
	return DType(C.ct_dtype(p))
}

// Device is where the tensor lives.
func (t Tensor) Device() Device {
	_, p, ok := t.use("Device")
	if !ok {
		return CPU
	}
	var kind, index C.int
	C.ct_device(p, &kind, &index)
	return Device{kind == C.CT_CUDA, int(index)}
}

// RequiresGrad reports whether gradients are recorded for t.
func (t Tensor) RequiresGrad() bool {
	_, p, ok := t.use("RequiresGrad")
	return ok && C.ct_requires_grad(p) != 0
}

// IsContiguous reports whether the elements lie in row-major order without gaps.
func (t Tensor) IsContiguous() bool {
	_, p, ok := t.use("IsContiguous")
	return ok && C.ct_is_contiguous(p) != 0
}

// Err is the error that made t absent, or nil.
func (t Tensor) Err() error {
	if t.s == nil {
		return fmt.Errorf("torch: %w", ErrClosed)
	}
	return t.s.err
}

// Item reads the one element of t. It waits for the device.
func (t Tensor) Item() (float64, error) {
	s, p, ok := t.use("Item")
	if !ok || !s.still("Item") {
		return 0, t.Err()
	}
	var v C.double
	if err := failure("Item", C.ct_item(p, &v)); err != nil {
		s.Fail(err)
		return 0, err
	}
	return float64(v), nil
}

// Bytes copies t to the host as raw little-endian elements in row-major order.
func (t Tensor) Bytes() ([]byte, error) {
	s, p, ok := t.use("Bytes")
	if !ok || !s.still("Bytes") {
		return nil, t.Err()
	}
	d := t.DType()
	if d < 0 {
		return nil, fmt.Errorf("torch: Bytes: a tensor of unknown type")
	}
	data := make([]byte, int(t.Numel())*d.Size())
	if err := failure("Bytes", C.ct_to_host(p, unsafe.Pointer(unsafe.SliceData(data)), C.int64_t(len(data)))); err != nil {
		s.Fail(err)
		return nil, err
	}
	return data, nil
}

// element is what host slices can hold.
type element interface {
	~float32 | ~float64 | ~int64 | ~int32 | ~uint8 | ~bool
}

func hostType[E element]() DType {
	var e E
	switch any(e).(type) {
	case float32:
		return Float32
	case float64:
		return Float64
	case int64:
		return Int64
	case int32:
		return Int32
	case bool:
		return Bool
	}
	return Uint8
}

// toHost copies t, which must have element type E, to a new slice in row-major order.
func toHost[E element](t Tensor, op string) ([]E, error) {
	want := hostType[E]()
	s, p, ok := t.use(op)
	if !ok || !s.still(op) {
		return nil, t.Err()
	}
	if got := t.DType(); got != want {
		return nil, fmt.Errorf("torch: %s: the tensor holds %v, convert it first", op, got)
	}
	out := make([]E, t.Numel())
	bytes := C.int64_t(len(out) * want.Size())
	if err := failure(op, C.ct_to_host(p, unsafe.Pointer(unsafe.SliceData(out)), bytes)); err != nil {
		s.Fail(err)
		return nil, err
	}
	return out, nil
}

// Float32s copies a float32 tensor to the host in row-major order.
func (t Tensor) Float32s() ([]float32, error) { return toHost[float32](t, "Float32s") }

// Float64s copies a float64 tensor to the host in row-major order.
func (t Tensor) Float64s() ([]float64, error) { return toHost[float64](t, "Float64s") }

// Int64s copies an int64 tensor to the host in row-major order.
func (t Tensor) Int64s() ([]int64, error) { return toHost[int64](t, "Int64s") }

// Uint8s copies a uint8 tensor to the host in row-major order.
func (t Tensor) Uint8s() ([]uint8, error) { return toHost[uint8](t, "Uint8s") }

// Bools copies a bool tensor to the host in row-major order.
func (t Tensor) Bools() ([]bool, error) { return toHost[bool](t, "Bools") }
