package translate

import (
	"fmt"
	"maps"
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
		"MaxPool": pool("maxpool"), "AveragePool": pool("avgpool"), "ReduceMean": (*translation).mean4D,
		"Add": two("add"), "Sub": two("sub"), "Mul": two("mul"), "Div": two("div"),
		"Clip": (*translation).clip, "Dropout": (*translation).dropout, "Identity": (*translation).identity,
		"Flatten": (*translation).flatten, "Reshape": (*translation).reshape, "Transpose": (*translation).transpose, "Slice": (*translation).slice,
		"Concat": (*translation).concat, "LogSoftmax": (*translation).logSoftmax,
		"DequantizeLinear": (*translation).dequantise,
		"Pad":              (*translation).pad, "Split": (*translation).split,
		"Shape": (*translation).shape, "Gather": (*translation).gather, "Unsqueeze": (*translation).same, "Cast": (*translation).same,
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
	bias, hasBias, err := t.numbers(n, 2)
	if err != nil || len(n.In) > 2 && n.In[2] != "" && !hasBias {
		return firstOf(err, fmt.Errorf("a bias that the file holds is needed"))
	}
	tensors := map[string]onnx.Tensor{"weight": w}
	if hasBias {
		tensors["bias"] = bias
	}
	return t.layer(n.Out[0], models.Node{Op: "conv", From: []int{x}, Layer: t.layerName(n, n.In[1]), Weight: w.Shape, Bias: hasBias,
		Ints: []int64{stride, padding, dilation, setting(n, "group", 1)}}, tensors)
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
	bias, hasBias, err := t.numbers(n, 2)
	if err != nil || len(n.In) > 2 && n.In[2] != "" && !hasBias {
		return firstOf(err, fmt.Errorf("a bias that the file holds is needed"))
	}
	tensors := map[string]onnx.Tensor{"weight": w}
	if hasBias {
		tensors["bias"] = bias
	}
	return t.layer(n.Out[0], models.Node{Op: "linear", From: []int{x}, Layer: t.layerName(n, n.In[1]), Weight: w.Shape, Bias: hasBias}, tensors)
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
	return t.layer(n.Out[0], models.Node{Op: "norm", From: []int{x}, Layer: t.layerName(n, n.In[1]), Number: epsilon}, tensors)
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
		if setting(n, "ceil_mode", 0) != 0 || dilation != 1 || op == "avgpool" && padding > 0 && setting(n, "count_include_pad", 0) == 0 {
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
	axes := n.Ints["axes"]
	if len(n.In) > 1 {
		v, _, err := t.numbers(n, 1)
		if err != nil {
			return err
		}
		axes = v.Ints
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
	perChannel := len(v.Floats) == 1 || len(v.Floats) == channels && len(v.Shape) >= 3 && v.Shape[len(v.Shape)-3] == int64(channels)
	switch {
	case x == models.Images && op == "sub" && value == 0 && perChannel && t.Mean == nil && t.Std == nil:
		t.Mean, t.at[n.Out[0]] = all, x
	case x == models.Images && op == "div" && value == 0 && perChannel && t.Std == nil:
		t.Std, t.at[n.Out[0]] = all, x
	case op == "add" && t.linear[x] && len(v.Shape) == 1 && int64(len(v.Floats)) == t.Graph.Nodes[x].Weight[0] && x == len(t.Graph.Nodes)-1:
		t.Graph.Nodes[x].Bias, t.at[n.Out[0]], t.linear[x] = true, x, false
		return t.bias(t.Graph.Nodes[x].Layer, v)
	default:
		return fmt.Errorf("numbers of the file, of the shape %v, are taken only to normalise the images, (pixels - mean) / std, at the network's beginning", v.Shape)
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
	bound := [2]float64{n.Floats["min"], n.Floats["max"]}
	for i := range bound {
		v, ok, err := t.numbers(n, i+1)
		if err != nil {
			return err
		}
		if ok && len(v.Floats) == 1 {
			bound[i] = float64(v.Floats[0])
		}
	}
	if bound != [2]float64{0, 6} {
		return fmt.Errorf("it bounds numbers to %v, and only 0 to 6 (ReLU6) is taken", bound)
	}
	return t.add(n.Out[0], models.Node{Op: "relu6", From: []int{x}})
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

// identity is another name of a value, or of a tensor.
func (t *translation) identity(n onnx.Node) error {
	if v, ok, err := t.numbers(n, 0); ok || err != nil {
		t.from.Tensors[n.Out[0]] = v
		return err
	}
	x, err := t.input(n, 0)
	t.at[n.Out[0]] = x
	return err
}

func (t *translation) flatten(n onnx.Node) error {
	if axis := setting(n, "axis", 1); axis != 1 {
		return fmt.Errorf("its axis is %d, and 1 is needed: all but the batch", axis)
	}
	return plain("flatten")(t, n)
}

// reshape takes a shape whose first number is the batch's, and at most one other that is to be found.
func (t *translation) reshape(n onnx.Node) error {
	x, err := t.input(n, 0)
	if err != nil {
		return err
	}
	to, err := t.sizesOf(n, 1)
	if err != nil {
		return err
	}
	if len(to) < 2 || to[0] > 1 {
		return fmt.Errorf("its shape is %v, and one that leaves the batch's dimension as it is is needed", to)
	}
	from := t.shapeOf(x)
	size, known, open := int64(1), int64(1), -1
	for _, d := range from {
		size *= d
	}
	shape := slices.Clone(to[1:])
	for i, d := range shape {
		switch {
		case d == 0 && i < len(from) && setting(n, "allowzero", 0) == 0:
			shape[i] = from[i]
		case d == -1 && open < 0 && to[0] != -1:
			open = i
		case d < 1:
			return fmt.Errorf("its shape is %v, which rapt cannot tell for an image", to)
		}
		if i != open {
			known *= shape[i]
		}
	}
	if open >= 0 {
		shape[open] = size / known
	}
	if len(shape) == 1 && shape[0] == size {
		return t.add(n.Out[0], models.Node{Op: "flatten", From: []int{x}})
	}
	return t.add(n.Out[0], models.Node{Op: "reshape", From: []int{x}, Ints: shape})
}

// transpose is of a value, or turns a linear layer's weight round before it is multiplied by.
func (t *translation) transpose(n onnx.Node) error {
	if v, ok, err := t.numbers(n, 0); err != nil || ok && len(v.Shape) == 2 && len(v.Floats) > 0 {
		if err == nil {
			t.from.Tensors[n.Out[0]], t.turned[n.Out[0]] = transposed(v), n.In[0]
		}
		return err
	}
	x, err := t.input(n, 0)
	if err != nil {
		return err
	}
	return t.add(n.Out[0], models.Node{Op: "transpose", From: []int{x}, Ints: n.Ints["perm"]})
}

func (t *translation) slice(n onnx.Node) error {
	x, err := t.input(n, 0)
	if err != nil {
		return err
	}
	var starts, ends, axes []int64
	for i, to := range []*[]int64{&starts, &ends, &axes} {
		if *to, err = t.sizesOf(n, i+1); err != nil {
			return err
		}
	}
	steps := []int64{1}
	if len(n.In) > 4 {
		if steps, err = t.sizesOf(n, 4); err != nil {
			return err
		}
	}
	shape := t.shapeOf(x)
	if len(starts) != 1 || len(ends) != 1 || len(axes) != 1 || !slices.Equal(steps, []int64{1}) || axes[0] < 1 || int(axes[0]) > len(shape) || starts[0] < 0 {
		return fmt.Errorf("it takes from %v to %v of the dimensions %v by steps of %v, and only one dimension after the batch's, by steps of 1, is taken", starts, ends, axes, steps)
	}
	end := min(ends[0], shape[axes[0]-1])
	if end < 0 {
		end += shape[axes[0]-1]
	}
	return t.add(n.Out[0], models.Node{Op: "slice", From: []int{x}, Ints: []int64{axes[0], starts[0], end - starts[0]}})
}

// concat joins values, or numbers that say a shape.
func (t *translation) concat(n onnx.Node) error {
	if len(n.In) > 0 {
		if _, ok := t.at[n.In[0]]; !ok {
			var all []int64
			for i := range n.In {
				v, err := t.sizesOf(n, i)
				if err != nil {
					return err
				}
				all = append(all, v...)
			}
			t.sizes[n.Out[0]] = all
			return nil
		}
	}
	var from []int
	for i := range n.In {
		x, err := t.input(n, i)
		if err != nil {
			return err
		}
		from = append(from, x)
	}
	axis := setting(n, "axis", 1)
	if axis < 0 && len(from) > 0 {
		axis += int64(len(t.shapeOf(from[0]))) + 1
	}
	return t.add(n.Out[0], models.Node{Op: "cat", From: from, Ints: []int64{axis}})
}

func (t *translation) logSoftmax(n onnx.Node) error {
	if axis := setting(n, "axis", -1); axis != 1 && axis != -1 {
		return fmt.Errorf("its axis is %d, and 1, the classes, is needed", axis)
	}
	return plain("logsoftmax")(t, n)
}

// shape, gather and same follow the numbers that x.view(x.size(0), -1) becomes.
func (t *translation) shape(n onnx.Node) error {
	x, err := t.input(n, 0)
	t.sizes[n.Out[0]] = append([]int64{0}, t.shapeOf(x)...)
	return err
}

func (t *translation) gather(n onnx.Node) error {
	from, err := t.sizesOf(n, 0)
	if err != nil {
		return err
	}
	at, ok, err := t.numbers(n, 1)
	if err != nil || !ok || len(at.Ints) != 1 || at.Ints[0] < -int64(len(from)) || at.Ints[0] >= int64(len(from)) {
		return firstOf(err, fmt.Errorf("it is taken only where it picks a number of a shape"))
	}
	i := (int(at.Ints[0]) + len(from)) % len(from)
	t.sizes[n.Out[0]] = from[i : i+1]
	return nil
}

// arithmetic is an operation on numbers of shapes.
func (t *translation) arithmetic(op string, n onnx.Node) (done bool, err error) {
	if len(n.In) != 2 {
		return false, nil
	}
	a, errA := t.sizesOf(n, 0)
	b, errB := t.sizesOf(n, 1)
	if errA != nil || errB != nil || len(a) != 1 || len(b) != 1 {
		return false, nil
	}
	v := map[string]int64{"add": a[0] + b[0], "sub": a[0] - b[0], "mul": a[0] * b[0]}[op]
	if op == "div" {
		if b[0] == 0 {
			return true, fmt.Errorf("it divides a number of a shape by 0")
		}
		v = a[0] / b[0]
	}
	t.sizes[n.Out[0]] = []int64{v}
	return true, nil
}

// dequantise is a tensor's numbers from a byte each; what they are trained as is float32.
func (t *translation) dequantise(n onnx.Node) error {
	v, ok, e1 := t.numbers(n, 0)
	scale, given, e2 := t.numbers(n, 1)
	zero, _, e3 := t.numbers(n, 2)
	if err := firstOf(e1, e2, e3); err != nil || !ok || !given || len(scale.Floats) != 1 || len(zero.Ints) > 1 || len(v.Ints) == 0 {
		return firstOf(err, fmt.Errorf("it is taken only of whole numbers that the file holds, with one scale for all"))
	}
	var from int64
	if len(zero.Ints) == 1 {
		from = zero.Ints[0]
	}
	out := onnx.Tensor{Shape: v.Shape, Floats: make([]float32, len(v.Ints))}
	for i, x := range v.Ints {
		out.Floats[i] = float32(x-from) * scale.Floats[0]
	}
	t.from.Tensors[n.Out[0]] = out
	return nil
}

// pad is nothing where it adds nothing, as PyTorch has it before pooling.
func (t *translation) pad(n onnx.Node) error {
	x, err := t.input(n, 0)
	pads := n.Ints["pads"]
	if len(n.In) > 1 && err == nil {
		pads, err = t.sizesOf(n, 1)
	}
	if err != nil || slices.ContainsFunc(pads, func(v int64) bool { return v != 0 }) {
		return firstOf(err, fmt.Errorf("it pads by %v, and only a convolution's or a pooling's own padding is taken", pads))
	}
	t.at[n.Out[0]] = x
	return nil
}

// split is a slice for each of its results.
func (t *translation) split(n onnx.Node) error {
	x, err := t.input(n, 0)
	sizes := n.Ints["split"]
	if len(n.In) > 1 && err == nil {
		sizes, err = t.sizesOf(n, 1)
	}
	if err != nil {
		return err
	}
	shape, axis := t.shapeOf(x), setting(n, "axis", 0)
	if axis < 1 || int(axis) > len(shape) {
		return fmt.Errorf("its axis is %d, and one after the batch's is needed", axis)
	}
	if len(sizes) == 0 {
		sizes = slices.Repeat([]int64{shape[axis-1] / int64(len(n.Out))}, len(n.Out))
	}
	start := int64(0)
	for i, out := range n.Out[:min(len(n.Out), len(sizes))] {
		if err := t.add(out, models.Node{Op: "slice", From: []int{x}, Ints: []int64{axis, start, sizes[i]}}); err != nil {
			return err
		}
		start += sizes[i]
	}
	return nil
}

func (t *translation) same(n onnx.Node) error {
	v, err := t.sizesOf(n, 0)
	t.sizes[n.Out[0]] = v
	return err
}

// sizesOf are the whole numbers of an input: a tensor's, or those of a shape.
func (t *translation) sizesOf(n onnx.Node, i int) ([]int64, error) {
	v, ok, err := t.numbers(n, i)
	if err != nil {
		return nil, err
	}
	if ok {
		return v.Ints, nil
	}
	if i < len(n.In) {
		if sizes, ok := t.sizes[n.In[i]]; ok {
			return sizes, nil
		}
	}
	return nil, fmt.Errorf("input %d must be whole numbers that the file holds, or that come from a shape", i)
}
