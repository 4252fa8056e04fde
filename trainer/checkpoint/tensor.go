// Package checkpoint reads and writes what a run keeps on disk: safetensors
// files, and the run folder they live in. It is pure Go and knows nothing of
// libtorch; tensors are names, shapes and little-endian bytes here.
package checkpoint

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
)

// DType is a safetensors element type, spelt as in the file.
type DType string

// The element types rapt uses itself. Read accepts the others of the format too.
const (
	TypeF64  DType = "F64"
	TypeF32  DType = "F32"
	TypeF16  DType = "F16"
	TypeBF16 DType = "BF16"
	TypeI64  DType = "I64"
	TypeI32  DType = "I32"
	TypeU8   DType = "U8"
	TypeI8   DType = "I8"
	TypeBool DType = "BOOL"
)

// Size is the number of bytes of one element, 0 for an unknown type.
func (d DType) Size() int {
	switch d {
	case TypeBool, TypeU8, TypeI8, "F8_E5M2", "F8_E4M3":
		return 1
	case TypeF16, TypeBF16, "I16", "U16":
		return 2
	case TypeF32, TypeI32, "U32":
		return 4
	case TypeF64, TypeI64, "U64":
		return 8
	}
	return 0
}

// Tensor is one named array. Data is row-major and little-endian and holds
// exactly product(Shape) elements; an empty Shape is a scalar.
type Tensor struct {
	Name  string
	DType DType
	Shape []int64
	Data  []byte
}

// File is the content of one safetensors file. The order of Tensors is that of
// the file's header, so a state dict keeps its order.
type File struct {
	Tensors  []Tensor
	Metadata map[string]string // the format's __metadata__
}

// Get returns the tensor of that name.
func (f *File) Get(name string) (Tensor, bool) {
	for _, t := range f.Tensors {
		if t.Name == name {
			return t, true
		}
	}
	return Tensor{}, false
}

// F32 makes a tensor of float32. v holds product(shape) elements; Write refuses
// the tensor otherwise.
func F32(name string, shape []int64, v []float32) Tensor {
	b := make([]byte, 4*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(x))
	}
	return Tensor{Name: name, DType: TypeF32, Shape: shape, Data: b}
}

// I64 makes a tensor of int64.
func I64(name string, shape []int64, v []int64) Tensor {
	b := make([]byte, 8*len(v))
	for i, x := range v {
		binary.LittleEndian.PutUint64(b[8*i:], uint64(x))
	}
	return Tensor{Name: name, DType: TypeI64, Shape: shape, Data: b}
}

// U8 makes a tensor of bytes, such as a generator's state. It keeps v.
func U8(name string, shape []int64, v []byte) Tensor {
	return Tensor{Name: name, DType: TypeU8, Shape: shape, Data: v}
}

// I8 makes a tensor of int8, such as a quantised weight's codes.
func I8(name string, shape []int64, v []int8) Tensor {
	b := make([]byte, len(v))
	for i, x := range v {
		b[i] = byte(x)
	}
	return Tensor{Name: name, DType: TypeI8, Shape: shape, Data: b}
}

// Bool makes a tensor of booleans, such as a mask.
func Bool(name string, shape []int64, v []bool) Tensor {
	b := make([]byte, len(v))
	for i, x := range v {
		if x {
			b[i] = 1
		}
	}
	return Tensor{Name: name, DType: TypeBool, Shape: shape, Data: b}
}

// Float32s returns a copy of the elements of an F32 tensor.
func (t Tensor) Float32s() ([]float32, error) {
	if err := t.want(TypeF32); err != nil {
		return nil, err
	}
	v := make([]float32, len(t.Data)/4)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(t.Data[4*i:]))
	}
	return v, nil
}

// Int64s returns a copy of the elements of an I64 tensor.
func (t Tensor) Int64s() ([]int64, error) {
	if err := t.want(TypeI64); err != nil {
		return nil, err
	}
	v := make([]int64, len(t.Data)/8)
	for i := range v {
		v[i] = int64(binary.LittleEndian.Uint64(t.Data[8*i:]))
	}
	return v, nil
}

// Int8s returns a copy of the elements of an I8 tensor.
func (t Tensor) Int8s() ([]int8, error) {
	if err := t.want(TypeI8); err != nil {
		return nil, err
	}
	v := make([]int8, len(t.Data))
	for i, b := range t.Data {
		v[i] = int8(b)
	}
	return v, nil
}

// Bytes returns the elements of a U8 tensor, not copied.
func (t Tensor) Bytes() ([]byte, error) {
	if err := t.want(TypeU8); err != nil {
		return nil, err
	}
	return t.Data, nil
}

// Bools returns the elements of a BOOL tensor; any byte but 0 is true.
func (t Tensor) Bools() ([]bool, error) {
	if err := t.want(TypeBool); err != nil {
		return nil, err
	}
	v := make([]bool, len(t.Data))
	for i, b := range t.Data {
		v[i] = b != 0
	}
	return v, nil
}

func (t Tensor) want(d DType) error {
	if t.DType != d {
		return fmt.Errorf("tensor %q holds %s, not %s", t.Name, t.DType, d)
	}
	return t.check()
}

// check compares type and shape with the number of bytes.
func (t Tensor) check() error {
	if t.DType.Size() == 0 {
		return fmt.Errorf("tensor %q has the unknown type %q", t.Name, t.DType)
	}
	n, ok := byteCount(t.DType, t.Shape)
	if !ok {
		return fmt.Errorf("tensor %q has the impossible shape %v", t.Name, t.Shape)
	}
	if n != int64(len(t.Data)) {
		return fmt.Errorf("tensor %q of type %s and shape %v needs %d bytes and has %d",
			t.Name, t.DType, t.Shape, n, len(t.Data))
	}
	return nil
}

// byteCount multiplies a shape out; ok is false where a size is negative or the
// product does not fit.
func byteCount(d DType, shape []int64) (n int64, ok bool) {
	if slices.ContainsFunc(shape, func(s int64) bool { return s < 0 }) {
		return 0, false
	}
	if slices.Contains(shape, 0) {
		return 0, true // empty, however large the other sizes are
	}
	total := uint64(d.Size())
	for _, s := range shape {
		hi, lo := bits.Mul64(total, uint64(s))
		if hi != 0 || lo > math.MaxInt64 {
			return 0, false
		}
		total = lo
	}
	return int64(total), true
}
