package importer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"

	"rapt/trainer/checkpoint"
)

// elementTypes are PyTorch's element types by the names of its dtypes.
var elementTypes = map[string]checkpoint.DType{
	"float64": checkpoint.TypeF64, "float32": checkpoint.TypeF32, "float16": checkpoint.TypeF16, "bfloat16": checkpoint.TypeBF16,
	"int64": checkpoint.TypeI64, "int32": checkpoint.TypeI32, "int16": "I16", "int8": checkpoint.TypeI8, "uint8": checkpoint.TypeU8, "bool": checkpoint.TypeBool,
}

// storage is a row of elements that tensors are views of.
type storage struct {
	key   string
	dtype checkpoint.DType // empty for one of bytes, whose tensors say what they are
	numel int64            // elements; bytes where dtype is empty
	load  func() ([]byte, error)
	big   bool // high byte first
	data  []byte
}

// bytes loads the storage once.
func (s *storage) bytes() ([]byte, error) {
	if s.data == nil && s.numel > 0 {
		data, err := s.load()
		if err != nil {
			return nil, fmt.Errorf("storage %.40q: %w", s.key, err)
		}
		s.data = data
	}
	return s.data, nil
}

// size is the storage's length in bytes.
func (s *storage) size() int64 { return s.numel * int64(max(1, s.dtype.Size())) }

// Tensor is a view of a storage in a checkpoint; its elements are read when they are asked for.
type Tensor struct {
	Name   string
	Shape  []int64
	dtype  checkpoint.DType
	stride []int64
	offset int64 // elements
	from   *storage
}

// maxRank is the largest number of dimensions accepted; libtorch stops at 64.
const maxRank = 64

// newTensor checks that every element of the view lies in the storage, and that no two are one.
func newTensor(s *storage, dtype checkpoint.DType, offset int64, shape, stride []int64) (*Tensor, error) {
	if len(shape) != len(stride) || len(shape) > maxRank || offset < 0 {
		return nil, fmt.Errorf("a tensor has the impossible shape %v, strides %v and offset %d", shape, stride, offset)
	}
	numel, last := uint64(1), uint64(offset)
	empty := false
	for i, n := range shape {
		if n < 0 || stride[i] < 0 {
			return nil, fmt.Errorf("a tensor has the impossible shape %v and strides %v", shape, stride)
		}
		empty = empty || n == 0
	}
	t := &Tensor{Shape: shape, dtype: dtype, stride: stride, offset: offset, from: s}
	if empty {
		return t, nil
	}
	room := uint64(s.size() / int64(dtype.Size()))
	for i, n := range shape {
		hi, lo := bits.Mul64(numel, uint64(n))
		hi2, reach := bits.Mul64(uint64(n-1), uint64(stride[i]))
		if numel, last = lo, last+reach; hi != 0 || hi2 != 0 || numel > room || reach > room || last > room {
			return nil, fmt.Errorf("a tensor of shape %v, strides %v and offset %d reaches beyond its storage of %d elements", shape, stride, offset, room)
		}
	}
	if last >= room {
		return nil, fmt.Errorf("a tensor of shape %v, strides %v and offset %d reaches beyond its storage of %d elements", shape, stride, offset, room)
	}
	return t, nil
}

// Numel is the number of elements.
func (t *Tensor) Numel() int64 {
	n := int64(1)
	for _, s := range t.Shape {
		n *= s
	}
	return n
}

// Convert returns the tensor as float32 or int64 (TypeF32 or TypeI64), row-major. It refuses what these cannot hold: a number that is
// not finite, and for int64 one that is not whole.
func (t *Tensor) Convert(to checkpoint.DType) (checkpoint.Tensor, error) {
	raw, err := t.from.bytes()
	if err != nil {
		return checkpoint.Tensor{}, err
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if t.from.big {
		order = binary.BigEndian
	}
	n := t.Numel()
	size := int64(to.Size())
	out := checkpoint.Tensor{Name: t.Name, DType: to, Shape: t.Shape, Data: make([]byte, n*size)}
	width := int64(t.dtype.Size())
	index := make([]int64, len(t.Shape))
	at := t.offset
	for i := range n {
		b := raw[at*width : (at+1)*width]
		if to == checkpoint.TypeI64 {
			v, err := wholeOf(t.dtype, b, order)
			if err != nil {
				return out, fmt.Errorf("%s: %w", t.Name, err)
			}
			binary.LittleEndian.PutUint64(out.Data[i*size:], uint64(v))
		} else {
			v := float32(realOf(t.dtype, b, order))
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return out, fmt.Errorf("%s holds a value that is not finite as a float32", t.Name)
			}
			binary.LittleEndian.PutUint32(out.Data[i*size:], math.Float32bits(v))
		}
		for d := len(index) - 1; d >= 0; d-- { // the next index, row-major
			at += t.stride[d]
			if index[d]++; index[d] < t.Shape[d] {
				break
			}
			at -= index[d] * t.stride[d]
			index[d] = 0
		}
	}
	return out, nil
}

// realOf reads one element as a float64.
func realOf(d checkpoint.DType, b []byte, order binary.ByteOrder) float64 {
	switch d {
	case checkpoint.TypeF64:
		return math.Float64frombits(order.Uint64(b))
	case checkpoint.TypeF32:
		return float64(math.Float32frombits(order.Uint32(b)))
	case checkpoint.TypeF16:
		return halfOf(order.Uint16(b))
	case checkpoint.TypeBF16:
		return float64(math.Float32frombits(uint32(order.Uint16(b)) << 16))
	}
	return float64(integerOf(d, b, order))
}

// integerOf reads one element of an integer type.
func integerOf(d checkpoint.DType, b []byte, order binary.ByteOrder) int64 {
	switch d {
	case checkpoint.TypeI64:
		return int64(order.Uint64(b))
	case checkpoint.TypeI32:
		return int64(int32(order.Uint32(b)))
	case "I16":
		return int64(int16(order.Uint16(b)))
	case checkpoint.TypeI8:
		return int64(int8(b[0]))
	case checkpoint.TypeBool:
		return int64(min(b[0], 1))
	}
	return int64(b[0]) // U8
}

// wholeOf reads one element as an int64, which must be exact.
func wholeOf(d checkpoint.DType, b []byte, order binary.ByteOrder) (int64, error) {
	switch d {
	case checkpoint.TypeF64, checkpoint.TypeF32, checkpoint.TypeF16, checkpoint.TypeBF16:
		v := realOf(d, b, order)
		if v != math.Trunc(v) || math.Abs(v) > 1<<53 {
			return 0, errors.New("holds a value that is no whole number, and one is needed")
		}
		return int64(v), nil
	}
	return integerOf(d, b, order), nil
}

// halfOf is the value of an IEEE 754 binary16.
func halfOf(h uint16) float64 {
	exponent, fraction := int(h>>10&0x1f), float64(h&0x3ff)
	v := 0.0
	switch exponent {
	case 0:
		v = math.Ldexp(fraction, -24)
	case 31:
		v = math.Inf(1)
		if fraction != 0 {
			v = math.NaN()
		}
	default:
		v = math.Ldexp(fraction+1024, exponent-25)
	}
	if h>>15 == 1 {
		v = -v
	}
	return v
}
