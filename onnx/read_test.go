package onnx_test

import (
	"encoding/binary"
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	torch "rapt/cgo"
)

// fields are a message's by their numbers: uint64 or []byte.
type fields map[protowire.Number][]any

func parse(t *testing.T, b []byte) fields {
	t.Helper()
	out := fields{}
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		require.NoError(t, protowire.ParseError(n))
		b = b[n:]
		var v any
		switch kind {
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		case protowire.Fixed32Type:
			var u uint32
			u, n = protowire.ConsumeFixed32(b)
			v = uint64(u)
		case protowire.BytesType:
			v, n = protowire.ConsumeBytes(b)
		default:
			require.Fail(t, "a field of an unexpected kind")
		}
		require.NoError(t, protowire.ParseError(n))
		out[number] = append(out[number], v)
		b = b[n:]
	}
	return out
}

func (f fields) text(n protowire.Number) string { return string(f[n][0].([]byte)) }

func (f fields) ints(n protowire.Number) (out []int64) {
	for _, v := range f[n] {
		out = append(out, int64(v.(uint64)))
	}
	return out
}

// inner are the messages in a field.
func (f fields) inner(t *testing.T, n protowire.Number) (out []fields) {
	for _, v := range f[n] {
		out = append(out, parse(t, v.([]byte)))
	}
	return out
}

// graph runs an ONNX model by package torch, by what onnx.ai's Operators.md says of each operation.
type graph struct {
	t      *testing.T
	s      *torch.Session
	values map[string]torch.Tensor
	sizes  map[string][]int64
	bytes  map[string]torch.Tensor // int8 and uint8, as numbers
}

func runModel(t *testing.T, s *torch.Session, file []byte, images torch.Tensor) torch.Tensor {
	g := &graph{t, s, map[string]torch.Tensor{"images": images}, map[string][]int64{}, map[string]torch.Tensor{}}
	all := parse(t, file).inner(t, 7)[0]
	for _, v := range all.inner(t, 5) {
		data := v[9][0].([]byte)
		switch name := v.text(8); v.ints(2)[0] {
		case 1:
			require.NotContains(t, g.values, name)
			g.values[name] = s.FromBytes(data, torch.Float32, v.ints(1)...)
		case 2, 3:
			var numbers []float32
			for _, b := range data {
				if v.ints(2)[0] == 3 {
					numbers = append(numbers, float32(int8(b)))
				} else {
					numbers = append(numbers, float32(b))
				}
			}
			g.bytes[name] = s.FromFloat32(numbers, v.ints(1)...)
		case 7:
			for at := 0; at < len(data); at += 8 {
				g.sizes[name] = append(g.sizes[name], int64(binary.LittleEndian.Uint64(data[at:])))
			}
			require.Equal(t, v.ints(1), []int64{int64(len(g.sizes[name]))})
		}
	}
	for _, n := range all.inner(t, 1) {
		out := n.text(2)
		require.NotContains(t, g.values, out, "each value is made once")
		g.values[out] = g.node(n)
	}
	return g.values["logits"]
}

// attributes are a node's lists of whole numbers, of one for a single one, and its numbers.
func (g *graph) attributes(n fields) (map[string][]int64, map[string]float64) {
	ints, floats := map[string][]int64{}, map[string]float64{}
	for _, a := range n.inner(g.t, 5) {
		switch name := a.text(1); a.ints(20)[0] {
		case 1:
			floats[name] = float64(math.Float32frombits(uint32(a[2][0].(uint64))))
		case 2:
			ints[name] = a.ints(3)
		case 7:
			ints[name] = a.ints(8)
		}
	}
	return ints, floats
}

func (g *graph) node(n fields) torch.Tensor {
	ints, floats := g.attributes(n)
	var in []torch.Tensor
	var sizes [][]int64
	for _, name := range n[1] {
		if v, ok := g.values[string(name.([]byte))]; ok {
			in = append(in, v)
		} else if v, ok := g.bytes[string(name.([]byte))]; ok {
			in = append(in, v)
		} else {
			require.Contains(g.t, g.sizes, string(name.([]byte)), "values are made before they are used")
			sizes = append(sizes, g.sizes[string(name.([]byte))])
		}
	}
	in = append(in, torch.Tensor{}, torch.Tensor{}) // inputs that may be absent
	x := in[0]
	square := func(name string) int64 {
		for _, v := range ints[name] {
			require.Equal(g.t, ints[name][0], v, name)
		}
		return ints[name][0]
	}
	switch op := n.text(4); op {
	case "Conv":
		require.Equal(g.t, in[1].Shape()[2:], ints["kernel_shape"])
		require.Len(g.t, ints["pads"], 4)
		return x.Conv2d(in[1], in[2], torch.ConvOptions{Stride: square("strides"), Padding: square("pads"), Dilation: square("dilations"), Groups: square("group")})
	case "Gemm":
		require.Equal(g.t, []int64{1}, ints["transB"])
		return x.Linear(in[1], in[2])
	case "BatchNormalization":
		return x.BatchNorm(in[1], in[2], in[3], in[4], false, 0, floats["epsilon"])
	case "MaxPool":
		return x.MaxPool2d(square("kernel_shape"), square("strides"), square("pads"))
	case "AveragePool":
		require.Equal(g.t, []int64{1}, ints["count_include_pad"])
		return x.AvgPool2d(square("kernel_shape"), square("strides"), square("pads"))
	case "GlobalAveragePool":
		return x.AdaptiveAvgPool2d(1)
	case "Flatten":
		require.Equal(g.t, []int64{1}, ints["axis"])
		return x.Flatten()
	case "Relu":
		return x.Relu()
	case "Sigmoid":
		return x.Sigmoid()
	case "Add":
		return x.Add(in[1])
	case "Sub":
		return x.Sub(in[1])
	case "Mul":
		return x.Mul(in[1])
	case "Div":
		return x.Div(in[1])
	case "Reshape":
		require.Zero(g.t, sizes[0][0], "the batch stays")
		return x.Reshape(append([]int64{x.Size(0)}, sizes[0][1:]...)...)
	case "Transpose":
		return x.Permute(ints["perm"]...)
	case "Slice":
		return x.Narrow(int(sizes[2][0]), sizes[0][0], sizes[1][0]-sizes[0][0])
	case "Concat":
		return g.s.Cat(int(ints["axis"][0]), in[:len(in)-2]...)
	case "DequantizeLinear":
		require.Empty(g.t, in[1].Shape(), "a scale of its own")
		return x.Sub(in[2]).Mul(in[1])
	case "Cast":
		require.Equal(g.t, []int64{6}, ints["to"])
		return x.To(torch.Int64)
	case "Gather":
		require.Equal(g.t, []int64{0}, ints["axis"])
		return x.IndexSelect(0, in[1].Reshape(-1)).Reshape(in[1].Shape()...)
	case "LogSoftmax":
		return x.LogSoftmax(int(ints["axis"][0]))
	default:
		require.Fail(g.t, fmt.Sprintf("no operation %s", op))
		return torch.Tensor{}
	}
}
