package translate

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"rapt/models"
	"rapt/onnx"
)

type translator func(t *translation, n onnx.Node) error

// translators are the operations of ONNX that rapt has layers or operations for, as https://onnx.ai/onnx/operators says what they do.
var translators map[string]translator

func init() {
	translators = map[string]translator{
		"Conv": (*translation).conv, "Gemm": (*translation).gemm, "MatMul": (*translation).matMul, "BatchNormalization": (*translation).norm,
		"Relu": plain("relu"), "Sigmoid": plain("sigmoid"), "Tanh": plain("tanh"), "GlobalAveragePool": plain("globalpool"),
		"HardSwish": plain("hardswish"), "HardSigmoid": (*translation).hardSigmoid,
		"MaxPool": pool("maxpool"), "AveragePool": pool("avgpool"), "ReduceMean": (*translation).mean4D,
		"Add": two("add"), "Sub": two("sub"), "Mul": two("mul"), "Div": two("div"),
		"Clip": (*translation).clip, "Dropout": (*translation).dropout, "Identity": (*translation).identity,
		"Flatten": (*translation).flatten, "Reshape": (*translation).reshape, "Transpose": (*translation).transpose, "Slice": (*translation).slice,
		"Concat": (*translation).concat, "LogSoftmax": (*translation).logSoftmax,
		"DequantizeLinear": (*translation).dequantise,
		"Pad":              (*translation).pad, "Split": (*translation).split,
		"Shape": (*translation).shape, "Gather": (*translation).gather, "Unsqueeze": (*translation).unsqueeze, "Cast": (*translation).cast,
		"CastLike": (*translation).castLike, "Expand": (*translation).expand, "Squeeze": (*translation).squeeze,
		"SplitToSequence": (*translation).sequenceOf, "SequenceAt": (*translation).sequenceAt, "Min": (*translation).least,
		"ConstantOfShape": (*translation).constantOfShape,
	}
}

func (t *translation) node(n onnx.Node) error {
	f, ok := translators[n.Op]
	if !ok {
		hint := ""
		if n.Op == "Softmax" {
			hint = "; a network that ends in it is exported without, so that its output are the logits"
		}
		return fmt.Errorf("rapt has no such operation: it has %s%s", strings.Join(slices.Sorted(maps.Keys(translators)), ", "), hint)
	}
	return f(t, n)
}

// plain is an operation on one value without settings.
func plain(op string) translator {
	return func(t *translation, n onnx.Node) error {
		x, err := t.input(n, 0)
		if err != nil {
			return err
		}
		return t.add(n.Out[0], models.Node{Op: op, From: []int{x}})
	}
}

func (t *translation) conv(n onnx.Node) error {
	x, err := t.input(n, 0)
	w, ok, e := t.numbers(n, 1)
	if err != nil || e != nil || !ok || len(w.Shape) != 4 {
		return firstOf(err, e, fmt.Errorf("a weight of four dimensions that the file holds is needed"))
	}
	stride, e1 := alike(n, "strides", 1)
	padding, e2 := alike(n, "pads", 0)
	dilation, e3 := alike(n, "dilations", 1)
	if err := firstOf(e1, e2, e3, autoPad(n)); err != nil {
		return err
	}
	if strings.HasPrefix(n.Out[0], "getitem") { // what PyTorch's newer exporter calls a batch norm's result
		t.noteFolded()
	}
	return t.weighted(n, models.Node{Op: "conv", From: []int{x}, Ints: []int64{stride, padding, dilation, setting(n, "group", 1)}}, w)
}

// weighted adds a layer of that weight, with the bias that the operation may have.
func (t *translation) weighted(n onnx.Node, layer models.Node, w onnx.Tensor) error {
	bias, hasBias, err := t.numbers(n, 2)
	if err != nil || len(n.In) > 2 && n.In[2] != "" && !hasBias && !t.zeros[n.In[2]] {
		return firstOf(err, fmt.Errorf("a bias that the file holds is needed"))
	}
	tensors := map[string]onnx.Tensor{"weight": w}
	if hasBias {
		tensors["bias"] = bias
	}
	layer.Layer, layer.Weight, layer.Bias = t.layerName(n, n.In[1]), w.Shape, hasBias
	return t.layer(n.Out[0], layer, tensors)
}

func autoPad(n onnx.Node) error {
	if p := n.Texts["auto_pad"]; p != "" && p != "NOTSET" && p != "VALID" {
		return fmt.Errorf("its padding is %s, and pads in numbers are needed", p)
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *translation) gemm(n onnx.Node) error {
	for _, name := range []string{"alpha", "beta"} {
		if v, ok := n.Floats[name]; ok && v != 1 {
			return fmt.Errorf("its %s is %g, and 1 is needed", name, v)
		}
	}
	if setting(n, "transA", 0) != 0 {
		return fmt.Errorf("its input is transposed, and a linear layer's is not")
	}
	return t.dense(n, setting(n, "transB", 0) == 0)
}

func (t *translation) matMul(n onnx.Node) error {
	err := t.dense(n, true)
	t.linear[len(t.Graph.Nodes)-1] = err == nil
	return err
}

// dense is a linear layer. Where its weight is [in, out] it is turned round.
func (t *translation) dense(n onnx.Node, turned bool) error {
	x, err := t.input(n, 0)
	w, ok, e := t.numbers(n, 1)
	if err != nil || e != nil || !ok || len(w.Shape) != 2 {
		return firstOf(err, e, fmt.Errorf("a weight of two dimensions that the file holds is needed"))
	}
	if turned {
		w = transposed(w)
	}
	return t.weighted(n, models.Node{Op: "linear", From: []int{x}}, w)
}

func transposed(w onnx.Tensor) onnx.Tensor {
	rows, columns := int(w.Shape[0]), int(w.Shape[1])
	out := onnx.Tensor{Shape: []int64{w.Shape[1], w.Shape[0]}, Floats: make([]float32, len(w.Floats))}
	for i, v := range w.Floats {
		out.Floats[i%columns*rows+i/columns] = v
	}
	return out
}

func (t *translation) norm(n onnx.Node) error {
	x, err := t.input(n, 0)
	if err != nil {
		return err
	}
	tensors := map[string]onnx.Tensor{}
	for i, name := range []string{"weight", "bias", "running_mean", "running_var"} {
		v, ok, err := t.numbers(n, i+1)
		if err != nil || !ok {
			return firstOf(err, fmt.Errorf("a %s that the file holds is needed", name))
		}
		tensors[name] = v
	}
	epsilon, ok := n.Floats["epsilon"]
	if !ok {
		epsilon = 1e-5
	}
	momentum, ok := n.Floats["momentum"]
	if !ok {
		momentum = 0.9
	}
	if !strings.HasSuffix(n.In[1], ".weight") {
		t.note("%s has no scale and shift in PyTorch, as affine=False leaves it: here it gets them, and they are trained, so PyTorch's model needs affine=True to take them", cmp.Or(n.Name, n.Out[0]))
	}
	return t.layer(n.Out[0], models.Node{Op: "norm", From: []int{x}, Layer: t.layerName(n, n.In[1]), Number: epsilon,
		Momentum: math.Round(1e6*(1-momentum)) / 1e6}, tensors) // of the old statistics in ONNX
}

// pool is pooling of square windows.
func pool(op string) translator {
	return func(t *translation, n onnx.Node) error {
		x, err := t.input(n, 0)
		k, e1 := alike(n, "kernel_shape", 0)
		stride, e2 := alike(n, "strides", 1)
		padding, e3 := alike(n, "pads", 0)
		dilation, e4 := alike(n, "dilations", 1)
		if err := firstOf(err, e1, e2, e3, e4, autoPad(n)); err != nil {
			return err
		}
		up := false // rounds a size up that is no whole number
		for _, d := range t.shapeOf(x)[1:] {
			up = up || setting(n, "ceil_mode", 0) != 0 && stride > 0 && (d+2*padding-k)%stride != 0
		}
		if up || dilation != 1 || op == "avgpool" && padding > 0 && setting(n, "count_include_pad", 0) == 0 {
			return fmt.Errorf("rapt's pooling rounds sizes down, has no dilation and counts the zeros of a padding")
		}
		return t.add(n.Out[0], models.Node{Op: op, From: []int{x}, Ints: []int64{k, stride, padding}})
	}
}

// mean4D is the mean of each channel's map, which PyTorch writes so.
func (t *translation) mean4D(n onnx.Node) error {
	x, err := t.input(n, 0)
	if err != nil {
		return err
	}
	axes, err := t.list(n, "axes", 1)
	if err != nil {
		return err
	}
	var from0 []int64
	for _, a := range axes {
		from0 = append(from0, (a+4)%4)
	}
	if slices.Sort(from0); !slices.Equal(from0, []int64{2, 3}) || len(t.shapeOf(x)) != 3 {
		return fmt.Errorf("it is a mean over the dimensions %v, and only that of maps, over 2 and 3, is taken", axes)
	}
	keep := setting(n, "keepdims", 1) != 0
	if err := t.add(n.Out[0], models.Node{Op: "globalpool", From: []int{x}}); err != nil || keep {
		return err
	}
	return t.add(n.Out[0], models.Node{Op: "flatten", From: []int{len(t.Graph.Nodes) - 1}})
}

// two is an operation on two values. Beside them a file's numbers are taken in two places: to normalise the images, and as the bias of a MatMul.
func two(op string) translator {
	return func(t *translation, n onnx.Node) error {
		if done, err := t.arithmetic(op, n); done {
			return err
		}
		for i := range min(2, len(n.In)) {
			v, ok, err := t.numbers(n, i)
			if err != nil {
				return err
			}
			if ok {
				return t.withNumbers(op, n, 1-i, v)
			}
		}
		a, err := t.input(n, 0)
		b, e := t.input(n, 1)
		if err := firstOf(err, e); err != nil {
			return err
		}
		return t.add(n.Out[0], models.Node{Op: op, From: []int{a, b}})
	}
}

func (t *translation) withNumbers(op string, n onnx.Node, value int, v onnx.Tensor) error {
	x, err := t.input(n, value)
	if err != nil {
		return err
	}
	channels := int(t.Graph.Input[0])
	all := make([]float64, channels)
	for i := range all {
		if len(v.Floats) == 1 {
			all[i] = decimal(v.Floats[0])
		} else if len(v.Floats) == channels {
			all[i] = decimal(v.Floats[i])
		}
	}
	alone := t.read[n.In[value]] == 1 // else others would have what is meant for this operation
	perChannel := alone && len(v.Floats) == 1 || alone && len(v.Floats) == channels && len(v.Shape) >= 3 && v.Shape[len(v.Shape)-3] == int64(channels)
	switch {
	case x == models.Images && op == "sub" && value == 0 && perChannel && t.Mean == nil && t.Std == nil:
		t.Mean, t.at[n.Out[0]] = all, x
	case x == models.Images && op == "div" && value == 0 && perChannel && t.Std == nil:
		t.Std, t.at[n.Out[0]] = all, x
	case alone && op == "add" && t.linear[x] && len(v.Shape) == 1 && int64(len(v.Floats)) == t.Graph.Nodes[x].Weight[0] && x == len(t.Graph.Nodes)-1:
		t.Graph.Nodes[x].Bias, t.at[n.Out[0]], t.linear[x] = true, x, false
		return t.bias(t.Graph.Nodes[x].Layer, v)
	default:
		return fmt.Errorf("numbers of the file, of the shape %v, are taken only to normalise all that the network sees of the images, (pixels - mean) / std, and as the bias of a MatMul", v.Shape)
	}
	return nil
}

// decimal is the number that a person wrote: 0.13, not 0.12999999523162842.
func decimal(v float32) float64 {
	out, _ := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	return out
}

func (t *translation) clip(n onnx.Node) error {
	x, err := t.input(n, 0)
	if err != nil {
		return err
	}
	bound := [2]float64{math.Inf(-1), math.Inf(1)}
	for i, name := range []string{"min", "max"} {
		if v, ok := n.Floats[name]; ok {
			bound[i] = v
		}
		v, ok, err := t.numbers(n, i+1)
		if err != nil {
			return err
		}
		if ok && len(v.Floats) == 1 {
			bound[i] = float64(v.Floats[0])
		} else if i+1 < len(n.In) && n.In[i+1] != "" {
			return fmt.Errorf("its bound %s is no number that the file holds", n.In[i+1])
		}
	}
	if bound != [2]float64{0, 6} {
		return fmt.Errorf("it bounds numbers to %v, and only 0 to 6 (ReLU6) is taken", bound)
	}
	return t.add(n.Out[0], models.Node{Op: "relu6", From: []int{x}})
}

func (t *translation) hardSigmoid(n onnx.Node) error {
	alpha, ok := n.Floats["alpha"]
	if !ok {
		alpha = 0.2
	}
	beta, ok := n.Floats["beta"]
	if !ok {
		beta = 0.5
	}
	if math.Abs(alpha-1.0/6) > 1e-6 || beta != 0.5 {
		return fmt.Errorf("it is %g x + %g, and only PyTorch's, x/6 + 1/2, is taken", alpha, beta)
	}
	return plain("hardsigmoid")(t, n)
}

// least is the smaller of a value and a number: of what is above 0 and 6 it is ReLU6, which PyTorch's function is written as.
func (t *translation) least(n onnx.Node) error {
	for i := 0; i < 2 && len(n.In) == 2; i++ {
		v, ok, err := t.numbers(n, i)
		if err != nil {
			return err
		}
		x, isValue := t.at[n.In[1-i]]
		if !ok || len(v.Floats) != 1 || v.Floats[0] != 6 || !isValue || x == models.Images || t.Graph.Nodes[x].Op != "relu" {
			continue
		}
		if x == len(t.Graph.Nodes)-1 && t.read[n.In[1-i]] == 1 {
			t.Graph.Nodes[x].Op, t.at[n.Out[0]] = "relu6", x
			return nil
		}
		return t.add(n.Out[0], models.Node{Op: "relu6", From: []int{x}})
	}
	return fmt.Errorf("only the smaller of a ReLU's result and 6 (ReLU6) is taken")
}

func (t *translation) dropout(n onnx.Node) error {
	x, err := t.input(n, 0)
	ratio, ok := n.Floats["ratio"]
	if v, given, e := t.numbers(n, 1); e == nil && given && len(v.Floats) == 1 {
		ratio, ok = float64(v.Floats[0]), true
	}
	if !ok {
		ratio = 0.5
	}
	if err != nil || !(ratio >= 0 && ratio < 1) {
		return firstOf(err, fmt.Errorf("it drops the share %g, and one from 0 to below 1 is needed", ratio))
	}
	return t.add(n.Out[0], models.Node{Op: "dropout", From: []int{x}, Number: ratio})
}
