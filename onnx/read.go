package onnx

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// Graph is an ONNX model as it was read: what is needed of a network in inference.
type Graph struct {
	Input   string // the one that is no tensor of the file
	Shape   []int64
	Output  string
	Nodes   []Node
	Tensors map[string]Tensor // by name; those of Constant nodes too
}

// Node is an operation.
type Node struct {
	Name, Op string
	In, Out  []string
	Ints     map[string][]int64 // attributes; a single number is a list of one
	Floats   map[string]float64
	Texts    map[string]string
	Value    *Tensor // the attribute that is a tensor
}

// Tensor holds Floats or Ints.
type Tensor struct {
	Shape  []int64 // 0 stands for a dimension that is left open
	Floats []float32
	Ints   []int64
	why    error // it cannot be read
}

// Err says why a tensor cannot be read; a model may hold such ones where nothing uses them.
func (t Tensor) Err() error { return t.why }

// wireField is one of a protocol buffer's message.
type wireField struct {
	number protowire.Number
	v      uint64 // of numbers
	bytes  []byte
}

func wire(b []byte, f func(wireField) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		out := wireField{number: number}
		switch kind {
		case protowire.VarintType:
			out.v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			out.v = uint64(v)
		case protowire.Fixed64Type:
			out.v, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			out.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := f(out); err != nil {
			return err
		}
	}
	return nil
}

// integers are a repeated field's, packed or not.
func (f wireField) integers(to *[]int64) error {
	if f.bytes == nil {
		*to = append(*to, int64(f.v))
		return nil
	}
	for b := f.bytes; len(b) > 0; {
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		*to = append(*to, int64(v))
		b = b[n:]
	}
	return nil
}

// Read reads an ONNX model. Tensors that lie in files beside it are read from there.
func Read(path string) (*Graph, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &reader{folder: filepath.Dir(path), g: &Graph{Tensors: map[string]Tensor{}}}
	found := false
	err = wire(data, func(f wireField) error {
		if f.number == 7 {
			found = true
			return r.graph(f.bytes)
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("it is no ONNX model, or a broken one: %w", err)
	case !found:
		return nil, fmt.Errorf("it is no ONNX model: it holds no graph")
	case len(r.outputs) != 1:
		return nil, fmt.Errorf("the model has %d outputs, and a network of one, the logits, is needed", len(r.outputs))
	}
	r.g.Output = r.outputs[0]
	for _, in := range r.inputs {
		if _, ok := r.g.Tensors[in.name]; ok {
			continue // older files list tensors among the inputs
		}
		if r.g.Input != "" {
			return nil, fmt.Errorf("the model has the inputs %q and %q, and a network of one, the images, is needed", r.g.Input, in.name)
		}
		r.g.Input, r.g.Shape = in.name, in.shape
	}
	if r.g.Input == "" {
		return nil, fmt.Errorf("the model has no input")
	}
	return r.g, nil
}

type reader struct {
	folder  string
	g       *Graph
	inputs  []input
	outputs []string
}

type input struct {
	name  string
	shape []int64
}

func (r *reader) graph(b []byte) error {
	return wire(b, func(f wireField) error {
		switch f.number {
		case 1:
			return r.node(f.bytes)
		case 5:
			name, t, err := r.tensor(f.bytes)
			r.g.Tensors[name] = t
			return err
		case 11, 12:
			in, err := readValue(f.bytes)
			if f.number == 11 {
				r.inputs = append(r.inputs, in)
			} else {
				r.outputs = append(r.outputs, in.name)
			}
			return err
		}
		return nil
	})
}

// readValue reads a ValueInfoProto.
func readValue(b []byte) (in input, err error) {
	dim := func(f wireField) error {
		n := int64(0)
		err := wire(f.bytes, func(f wireField) error {
			if f.number == 1 {
				n = int64(f.v)
			}
			return nil
		})
		in.shape = append(in.shape, n)
		return err
	}
	return in, wire(b, func(f wireField) error {
		if f.number == 1 {
			in.name = string(f.bytes)
		}
		if f.number != 2 {
			return nil
		}
		return inside(f.bytes, dim, 1, 2, 1) // tensor_type, shape, dim
	})
}

// inside calls f for the fields at the end of a path of messages.
func inside(b []byte, f func(wireField) error, path ...protowire.Number) error {
	return wire(b, func(one wireField) error {
		switch {
		case one.number != path[0]:
			return nil
		case len(path) == 1:
			return f(one)
		}
		return inside(one.bytes, f, path[1:]...)
	})
}

func (r *reader) node(b []byte) error {
	n := Node{Ints: map[string][]int64{}, Floats: map[string]float64{}, Texts: map[string]string{}}
	err := wire(b, func(f wireField) error {
		switch f.number {
		case 1:
			n.In = append(n.In, string(f.bytes))
		case 2:
			n.Out = append(n.Out, string(f.bytes))
		case 3:
			n.Name = string(f.bytes)
		case 4:
			n.Op = string(f.bytes)
		case 5:
			return r.attribute(&n, f.bytes)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if len(n.Out) == 0 {
		return fmt.Errorf("an operation %q makes nothing", n.Op)
	}
	if n.Op == "Constant" && n.Value != nil {
		r.g.Tensors[n.Out[0]] = *n.Value
		return nil
	}
	r.g.Nodes = append(r.g.Nodes, n)
	return nil
}

func (r *reader) attribute(n *Node, b []byte) error {
	var name string
	var ints []int64
	var set func()
	err := wire(b, func(f wireField) error {
		switch f.number {
		case 1:
			name = string(f.bytes)
		case 2:
			set = func() { n.Floats[name] = float64(math.Float32frombits(uint32(f.v))) }
		case 3, 8:
			set = func() { n.Ints[name] = ints }
			return f.integers(&ints)
		case 4:
			set = func() { n.Texts[name] = string(f.bytes) }
		case 5:
			_, t, err := r.tensor(f.bytes)
			n.Value = &t
			return err
		}
		return nil
	})
	if set != nil {
		set()
	}
	switch name { // Constant's other forms
	case "value_int", "value_ints":
		n.Value = &Tensor{Shape: []int64{int64(len(ints))}, Ints: ints}
	case "value_float":
		n.Value = &Tensor{Floats: []float32{float32(n.Floats[name])}}
	}
	return err
}

// tensor reads a TensorProto.
func (r *reader) tensor(b []byte) (name string, t Tensor, err error) {
	var raw []byte
	var kind int64
	outside := map[string]string{}
	err = wire(b, func(f wireField) error {
		switch f.number {
		case 1:
			return f.integers(&t.Shape)
		case 2:
			kind = int64(f.v)
		case 4:
			if f.bytes == nil {
				f.bytes = binary.LittleEndian.AppendUint32(nil, uint32(f.v))
			}
			t.Floats = append(t.Floats, floats(f.bytes)...)
		case 5, 7:
			return f.integers(&t.Ints)
		case 8:
			name = string(f.bytes)
		case 9:
			raw = f.bytes
		case 13:
			var key, value string
			err := wire(f.bytes, func(f wireField) error {
				if f.number == 1 {
					key = string(f.bytes)
				} else if f.number == 2 {
					value = string(f.bytes)
				}
				return nil
			})
			outside[key] = value
			return err
		}
		return nil
	})
	if err != nil {
		return name, t, err
	}
	if len(outside) > 0 {
		if raw, err = r.beside(outside); err != nil {
			return name, t, fmt.Errorf("%s: %w", name, err)
		}
	}
	t.take(kind, raw)
	return name, t, nil
}

// take reads a tensor's bytes, and compares how many numbers there are with its shape.
func (t *Tensor) take(kind int64, raw []byte) {
	switch {
	case kind == typeFloat && raw != nil:
		t.Floats = floats(raw)
	case kind == typeInt64 && raw != nil:
		for ; len(raw) >= 8; raw = raw[8:] {
			t.Ints = append(t.Ints, int64(binary.LittleEndian.Uint64(raw)))
		}
	case kind == typeInt32 && raw != nil:
		for ; len(raw) >= 4; raw = raw[4:] {
			t.Ints = append(t.Ints, int64(int32(binary.LittleEndian.Uint32(raw))))
		}
	case kind == typeInt8 && raw != nil:
		for _, b := range raw {
			t.Ints = append(t.Ints, int64(int8(b)))
		}
	case kind == typeUint8 && raw != nil:
		for _, b := range raw {
			t.Ints = append(t.Ints, int64(b))
		}
	case slices.Contains([]int64{typeFloat, typeInt64, typeInt32, typeInt8, typeUint8}, kind):
	default:
		t.why = fmt.Errorf("it holds numbers of the type %d, and float32 is needed", kind)
		return
	}
	n := int64(1)
	for _, d := range t.Shape {
		if d < 0 || d > math.MaxInt32 || n*d > math.MaxInt32 {
			t.why = fmt.Errorf("its shape is %v", t.Shape)
			return
		}
		n *= d
	}
	have := int64(len(t.Ints))
	if kind == typeFloat {
		have = int64(len(t.Floats))
	}
	if have != n || kind == typeFloat && len(t.Ints) > 0 || kind != typeFloat && len(t.Floats) > 0 {
		t.why = fmt.Errorf("it holds %d numbers where its shape %v wants %d", have, t.Shape, n)
	}
}

func floats(b []byte) (out []float32) {
	for ; len(b) >= 4; b = b[4:] {
		out = append(out, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return out
}

// beside reads a tensor's bytes from a file that lies beside the model.
func (r *reader) beside(where map[string]string) ([]byte, error) {
	name := where["location"]
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return nil, fmt.Errorf("its numbers are in %q, and only files beside the model are read", name)
	}
	f, err := os.Open(filepath.Join(r.folder, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	offset, _ := strconv.ParseInt(where["offset"], 10, 64) // absent: 0
	length := info.Size() - offset
	if text, ok := where["length"]; ok {
		if length, err = strconv.ParseInt(text, 10, 64); err != nil {
			return nil, fmt.Errorf("its length in %s is %q", name, text)
		}
	}
	if offset < 0 || length < 0 || length > info.Size() || offset > info.Size()-length {
		return nil, fmt.Errorf("its numbers are said to be at %d to %d of %s, which has %d bytes", offset, offset+length, name, info.Size())
	}
	out := make([]byte, length)
	_, err = f.ReadAt(out, offset)
	return out, err
}
