package torchscript

import (
	"fmt"
	"strconv"
	"strings"

	torch "rapt/cgo"
)

// form is an operation's expression over its inputs.
type form func(in []string, s torch.Step) string

// forms are the operations of torch.Session.Tape as TorchScript has them.
var forms = map[string]form{
	"Relu":        call("relu"),
	"Sigmoid":     call("sigmoid"),
	"Tanh":        call("tanh"),
	"Hardsigmoid": call("hardsigmoid"),
	"Hardswish":   call("hardswish"),
	"Clamp": func(in []string, s torch.Step) string {
		return fmt.Sprintf("torch.clamp(%s, %s, %s)", in[0], number(s.Floats[0]), number(s.Floats[1]))
	},
	"Add":     infix("+"),
	"Sub":     infix("-"),
	"Mul":     infix("*"),
	"Div":     infix("/"),
	"AddRelu": func(in []string, _ torch.Step) string { return fmt.Sprintf("torch.relu(%s + %s)", in[0], in[1]) },
	"Conv2d": func(in []string, s torch.Step) string {
		return fmt.Sprintf("torch.conv2d(%s, %s, %s, %s, %d)", args(in), pair(s.Ints[0]), pair(s.Ints[1]), pair(s.Ints[2]), s.Ints[3])
	},
	"Linear": call("linear"),
	"BatchNorm": func(in []string, s torch.Step) string {
		return fmt.Sprintf("torch.batch_norm(%s, False, 0.0, %s, False)", args(in), number(s.Floats[0]))
	},
	"MaxPool2d":     maxPool,
	"MaxPool2dRelu": func(in []string, s torch.Step) string { return "torch.relu(" + maxPool(in, s) + ")" },
	"AvgPool2d": func(in []string, s torch.Step) string {
		return fmt.Sprintf("torch.avg_pool2d(%s, %s, %s, %s)", in[0], pair(s.Ints[0]), pair(s.Ints[1]), pair(s.Ints[2]))
	},
	"AdaptiveAvgPool2d": func(in []string, s torch.Step) string {
		return fmt.Sprintf("torch.adaptive_avg_pool2d(%s, %s)", in[0], pair(s.Ints[0]))
	},
	"Flatten": func(in []string, _ torch.Step) string { return fmt.Sprintf("torch.flatten(%s, 1)", in[0]) },
	"Reshape": func(in []string, s torch.Step) string { // the first size is the batch's
		return fmt.Sprintf("torch.reshape(%s, [torch.size(%s, 0), %s])", in[0], in[0], list(s.Ints[1:]))
	},
	"Permute": func(in []string, s torch.Step) string {
		return fmt.Sprintf("torch.permute(%s, [%s])", in[0], list(s.Ints))
	},
	"Narrow": func(in []string, s torch.Step) string {
		return fmt.Sprintf("torch.narrow(%s, %s)", in[0], list(s.Ints))
	},
	"Pad": func(in []string, s torch.Step) string {
		return fmt.Sprintf("torch.constant_pad_nd(%s, [%s], %g)", in[0], list(s.Ints), s.Floats[0])
	},
	"Cat": func(in []string, s torch.Step) string { return fmt.Sprintf("torch.cat([%s], %d)", args(in), s.Ints[0]) },
	"LogSoftmax": func(in []string, s torch.Step) string {
		return fmt.Sprintf("torch.log_softmax(%s, %d)", in[0], s.Ints[0])
	},
}

// call is a function of the operation's inputs alone.
func call(name string) form {
	return func(in []string, _ torch.Step) string { return fmt.Sprintf("torch.%s(%s)", name, args(in)) }
}

func infix(op string) form {
	return func(in []string, _ torch.Step) string { return fmt.Sprintf("%s %s %s", in[0], op, in[1]) }
}

func maxPool(in []string, s torch.Step) string {
	return fmt.Sprintf("torch.max_pool2d(%s, %s, %s, %s)", in[0], pair(s.Ints[0]), pair(s.Ints[1]), pair(s.Ints[2]))
}

func args(in []string) string { return strings.Join(in, ", ") }

func pair(n int64) string { return fmt.Sprintf("[%d, %d]", n, n) }

func list(ints []int64) string {
	var out []string
	for _, n := range ints {
		out = append(out, strconv.FormatInt(n, 10))
	}
	return args(out)
}

// number is a float as Python reads it, with a point or an exponent.
func number(v float64) string {
	text := strconv.FormatFloat(v, 'g', -1, 64)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}
