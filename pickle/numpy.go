package pickle

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
)

// DType is a NumPy element type of a fixed size.
type DType struct {
	Kind      byte // 'b' bool, 'i' and 'u' integers, 'f' float, 'c' complex, 'S' bytes, 'U' UCS-4
	Size      int  // bytes of one element
	BigEndian bool
}

// NDArray is a NumPy array, or with an empty Shape a NumPy scalar. Data holds product(Shape) elements.
type NDArray struct {
	Shape   []int64
	DType   DType
	Fortran bool // the first index varies fastest
	Data    []byte
}

// NumPy is for Options.Allow: what pickled NumPy arrays, scalars and dtypes need, of NumPy 1 and 2, as *NDArray and *DType; and the
// bytes that Python 3 writes in protocol 2. Arrays of objects are refused.
func NumPy() map[string]func(Tuple) (any, error) {
	allow := map[string]func(Tuple) (any, error){
		"numpy.ndarray": nil, "numpy.dtype": newDType, "_codecs.encode": latin1, "__builtin__.bytes": noBytes, "collections.OrderedDict": OrderedDict,
	}
	for _, core := range []string{"numpy.core.", "numpy._core."} {
		allow[core+"multiarray._reconstruct"] = func(Tuple) (any, error) { return &NDArray{}, nil }
		allow[core+"multiarray.scalar"] = newScalar
		allow[core+"numeric._frombuffer"] = fromBuffer
	}
	return allow
}

// newDType reads numpy.dtype("u1", align, copy).
func newDType(args Tuple) (any, error) {
	name := ""
	if len(args) > 0 {
		name, _ = Text(args[0])
	}
	if len(name) < 2 {
		return nil, fmt.Errorf("numpy.dtype is not given the name of a type")
	}
	size, err := strconv.Atoi(name[1:])
	d := &DType{Kind: name[0], Size: size}
	if d.Kind == 'U' {
		d.Size *= 4
	}
	if err != nil || size < 1 || size > 1<<20 || !map[byte]bool{'b': true, 'i': true, 'u': true, 'f': true, 'c': true, 'S': true, 'U': true}[d.Kind] {
		return nil, fmt.Errorf("the NumPy type %.20q is not allowed here: only numbers and strings of a fixed size are", name)
	}
	return d, nil
}

// Build takes the state (version, byte order, subarray, names, fields, size, ...): the byte order is all that a plain type has.
func (d *DType) Build(state any) error {
	t, _ := state.(Tuple)
	if len(t) < 5 {
		return fmt.Errorf("the state of a numpy.dtype is not the tuple that NumPy writes")
	}
	for _, part := range t[2:5] {
		if part != nil {
			return fmt.Errorf("a NumPy type with fields or subarrays is not allowed here")
		}
	}
	order, _ := Text(t[1])
	switch order {
	case "<", "|", "=", ">":
		d.BigEndian = order == ">"
		return nil
	}
	return fmt.Errorf("a numpy.dtype has the byte order %.20q, which is none", order)
}

// Build takes the state (version, shape, dtype, Fortran order, data).
func (a *NDArray) Build(state any) error {
	t, _ := state.(Tuple)
	if len(t) == 5 {
		t = t[1:]
	}
	if len(t) != 4 {
		return fmt.Errorf("the state of a numpy.ndarray is not the tuple that NumPy writes")
	}
	fortran, ok := t[2].(bool)
	if i, isInt := t[2].(int64); isInt {
		fortran, ok = i != 0, true
	}
	if !ok {
		return fmt.Errorf("the state of a numpy.ndarray is not the tuple that NumPy writes")
	}
	made, err := newArray(t[0], t[1], fortran, t[3])
	if err == nil {
		*a = *made
	}
	return err
}

// newArray checks that the data is as long as shape and type say.
func newArray(shape, dtype any, fortran bool, data any) (*NDArray, error) {
	sizes, ok := shape.(Tuple)
	d, ok2 := dtype.(*DType)
	raw, ok3 := data.(Bytes)
	if !ok || !ok2 || !ok3 {
		return nil, fmt.Errorf("a NumPy array is made of a %s, a %s and a %s, and a shape, a numpy.dtype and bytes are due", kind(shape), kind(dtype), kind(data))
	}
	a := &NDArray{DType: *d, Fortran: fortran, Data: raw}
	need := uint64(d.Size)
	for _, s := range sizes {
		n, ok := s.(int64)
		if !ok || n < 0 || len(sizes) > 32 {
			return nil, fmt.Errorf("a NumPy array has an impossible shape")
		}
		hi, lo := bits.Mul64(need, uint64(n))
		if hi != 0 || lo > math.MaxInt64 {
			return nil, fmt.Errorf("a NumPy array has an impossible shape")
		}
		need = lo
		a.Shape = append(a.Shape, n)
	}
	if need != uint64(len(raw)) {
		return nil, fmt.Errorf("a NumPy array of shape %v and type %c%d needs %d bytes and has %d", a.Shape, d.Kind, d.Size, need, len(raw))
	}
	return a, nil
}

// newScalar reads scalar(dtype, bytes).
func newScalar(args Tuple) (any, error) {
	if len(args) != 2 {
		return nil, fmt.Errorf("a NumPy scalar is not made of a type and bytes")
	}
	return newArray(Tuple{}, args[0], false, args[1])
}

// fromBuffer reads _frombuffer(bytes, dtype, shape, order), as protocol 5 writes arrays.
func fromBuffer(args Tuple) (any, error) {
	if len(args) != 4 {
		return nil, fmt.Errorf("a NumPy array is not made of bytes, a type, a shape and an order")
	}
	order, _ := Text(args[3])
	if order != "C" && order != "F" {
		return nil, fmt.Errorf("a NumPy array has the order %.20q, which is none", order)
	}
	return newArray(args[2], args[1], order == "F", args[0])
}

// noBytes reads bytes(), as which Python 3 writes empty bytes for Python 2.
func noBytes(args Tuple) (any, error) {
	if len(args) > 0 {
		return nil, fmt.Errorf("__builtin__.bytes is allowed without arguments alone")
	}
	return Bytes{}, nil
}

// latin1 reads _codecs.encode(str, "latin1"), as which Python 3 writes bytes for Python 2.
func latin1(args Tuple) (any, error) {
	s, ok := "", len(args) == 2
	if ok {
		s, ok = args[0].(string)
		name, _ := Text(args[1])
		ok = ok && name == "latin1"
	}
	if !ok {
		return nil, fmt.Errorf("_codecs.encode is allowed for a str and latin1 alone")
	}
	out := make(Bytes, 0, len(s))
	for _, c := range s {
		if c > 255 {
			return nil, fmt.Errorf("_codecs.encode is given a character that latin1 lacks")
		}
		out = append(out, byte(c))
	}
	return out, nil
}
