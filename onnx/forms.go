package onnx

import (
	"fmt"
	"slices"

	torch "rapt/cgo"
)

// part is a node of an operation. The first one of several reads the operation's inputs, each other one what the one before it makes.
type part struct {
	op         string
	more       []string // inputs beside those
	attributes []message
}

type form func(w *writer, s torch.Step) ([]part, error)

// forms are the operations of torch.Session.Tape as ONNX has them.
var forms = map[string]form{
	"Relu":    plain("Relu"),
	"Sigmoid": plain("Sigmoid"),
	"Tanh":    plain("Tanh"),
	"Clamp": func(w *writer, s torch.Step) ([]part, error) {
		return one("Clip", []string{w.number(s.Floats[0]), w.number(s.Floats[1])}), nil
	},
	"Hardsigmoid": func(*writer, torch.Step) ([]part, error) { return []part{hardSigmoid()}, nil },
	"Hardswish": func(w *writer, s torch.Step) ([]part, error) { // an operation of its own from opset 14 on
		return []part{hardSigmoid(), {op: "Mul", more: []string{w.names[s.In[0]]}}}, nil
	},
	"Add":     plain("Add"),
	"Sub":     plain("Sub"),
	"Mul":     plain("Mul"),
	"Div":     plain("Div"),
	"AddRelu": plain("Add", "Relu"),
	"Conv2d": func(_ *writer, s torch.Step) ([]part, error) {
		stride, pad, dilation, groups := s.Ints[0], s.Ints[1], s.Ints[2], s.Ints[3]
		return one("Conv", nil, attribute("strides", twice(stride)), attribute("pads", slices.Repeat([]int64{pad}, 4)), attribute("dilations", twice(dilation)),
			attribute("group", groups), attribute("kernel_shape", s.In[1].Shape()[2:])), nil
	},
	"Linear": func(_ *writer, s torch.Step) ([]part, error) {
		return one("Gemm", nil, attribute("transB", int64(1))), nil
	},
	"BatchNorm": func(_ *writer, s torch.Step) ([]part, error) {
		return one("BatchNormalization", nil, attribute("epsilon", float32(s.Floats[0]))), nil
	},
	"MaxPool2d": func(_ *writer, s torch.Step) ([]part, error) { return []part{pooled("MaxPool", s)}, nil },
	"MaxPool2dRelu": func(_ *writer, s torch.Step) ([]part, error) {
		return []part{pooled("MaxPool", s), {op: "Relu"}}, nil
	},
	"AvgPool2d": func(_ *writer, s torch.Step) ([]part, error) {
		p := pooled("AveragePool", s)
		p.attributes = append(p.attributes, attribute("count_include_pad", int64(1)))
		return []part{p}, nil
	},
	"AdaptiveAvgPool2d": func(_ *writer, s torch.Step) ([]part, error) {
		if s.Ints[0] != 1 {
			return nil, fmt.Errorf("the network averages to maps of %d pixels a side, and only 1 can be written as ONNX", s.Ints[0])
		}
		return one("GlobalAveragePool", nil), nil
	},
	"Flatten": func(_ *writer, _ torch.Step) ([]part, error) {
		return one("Flatten", nil, attribute("axis", int64(1))), nil
	},
	"Reshape": func(w *writer, s torch.Step) ([]part, error) {
		shape := slices.Clone(s.Ints)
		shape[0] = 0 // as it is: the batch's
		return one("Reshape", []string{w.constant(shape...)}), nil
	},
	"Permute": func(_ *writer, s torch.Step) ([]part, error) {
		return one("Transpose", nil, attribute("perm", s.Ints)), nil
	},
	"Narrow": func(w *writer, s torch.Step) ([]part, error) {
		dim, start, length := s.Ints[0], s.Ints[1], s.Ints[2]
		return one("Slice", []string{w.constant(start), w.constant(start + length), w.constant(dim)}), nil
	},
	"Pad": func(w *writer, s torch.Step) ([]part, error) { // there all that comes before the dimensions, and then all that comes behind
		rank := len(s.In[0].Shape())
		pads := make([]int64, 2*rank)
		for i := 0; i < len(s.Ints); i += 2 {
			d := rank - 1 - i/2
			pads[d], pads[rank+d] = s.Ints[i], s.Ints[i+1]
		}
		return one("Pad", []string{w.constant(pads...), w.number(s.Floats[0])}), nil
	},
	"Cat": func(_ *writer, s torch.Step) ([]part, error) {
		return one("Concat", nil, attribute("axis", s.Ints[0])), nil
	},
	"LogSoftmax": func(_ *writer, s torch.Step) ([]part, error) {
		return one("LogSoftmax", nil, attribute("axis", s.Ints[0])), nil
	},
}

// plain are operations without settings.
func plain(ops ...string) form {
	return func(*writer, torch.Step) (out []part, err error) {
		for _, op := range ops {
			out = append(out, part{op: op})
		}
		return out, nil
	}
}

func one(op string, more []string, attributes ...message) []part {
	return []part{{op, more, attributes}}
}

func hardSigmoid() part {
	return part{op: "HardSigmoid", attributes: []message{attribute("alpha", float32(1.0/6)), attribute("beta", float32(0.5))}}
}

// pooled is pooling of k x k windows.
func pooled(op string, s torch.Step) part {
	return part{op: op, attributes: []message{attribute("kernel_shape", twice(s.Ints[0])), attribute("strides", twice(s.Ints[1])),
		attribute("pads", slices.Repeat([]int64{s.Ints[2]}, 4))}}
}

func twice(n int64) []int64 { return []int64{n, n} }
