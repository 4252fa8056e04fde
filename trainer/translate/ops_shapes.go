package translate

import (
	"fmt"
	"slices"

	"rapt/models"
	"rapt/onnx"
)

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
		if i == open {
			continue
		}
		if shape[i] > size || size%(known*shape[i]) != 0 { // known divides size, and so neither is large
			return fmt.Errorf("its shape is %v, and it gets the shape %v for an image", to, from)
		}
		known *= shape[i]
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
	var starts, ends, axes, steps []int64
	for i, to := range []*[]int64{&starts, &ends, &axes, &steps} {
		if *to, err = t.list(n, []string{"starts", "ends", "axes", "steps"}[i], i+1); err != nil {
			return err
		}
	}
	if len(steps) == 0 {
		steps = []int64{1}
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
				if all = append(all, v...); len(all) > 64 {
					return fmt.Errorf("it joins more numbers than a shape has")
				}
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
	if v, ok, err := t.numbers(n, 0); ok || err != nil {
		t.sizes[n.Out[0]] = v.Shape
		return err
	}
	x, err := t.input(n, 0)
	if err == nil {
		t.sizes[n.Out[0]] = append([]int64{0}, t.shapeOf(x)...)
	}
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
	pads, e := t.list(n, "pads", 1)
	if err = firstOf(err, e); err != nil || slices.ContainsFunc(pads, func(v int64) bool { return v != 0 }) {
		return firstOf(err, fmt.Errorf("it pads by %v, and only a convolution's or a pooling's own padding is taken", pads))
	}
	t.at[n.Out[0]] = x
	return nil
}

// split is a slice for each of its results.
func (t *translation) split(n onnx.Node) error {
	x, err := t.input(n, 0)
	sizes, e := t.list(n, "split", 1)
	if err := firstOf(err, e); err != nil {
		return err
	}
	shape, axis := t.shapeOf(x), setting(n, "axis", 0)
	if axis < 1 || int(axis) > len(shape) {
		return fmt.Errorf("its axis is %d, and one after the batch's is needed", axis)
	}
	if parts, left := int64(len(n.Out)), shape[axis-1]; len(sizes) == 0 { // alike, and where that cannot be the last one smaller
		for range parts {
			sizes = append(sizes, min(left, (shape[axis-1]+parts-1)/parts))
			left -= sizes[len(sizes)-1]
		}
	}
	if len(sizes) != len(n.Out) {
		return fmt.Errorf("it has %d results of the sizes %v", len(n.Out), sizes)
	}
	start := int64(0)
	for i, out := range n.Out {
		if err := t.add(out, models.Node{Op: "slice", From: []int{x}, Ints: []int64{axis, start, sizes[i]}}); err != nil {
			return err
		}
		start += sizes[i]
	}
	return nil
}

// cast is of numbers of the file, which are of the type that they are needed in, or of a shape.
func (t *translation) cast(n onnx.Node) error {
	if v, ok, err := t.numbers(n, 0); err != nil || ok && len(v.Floats) > 0 && setting(n, "to", 1) == 1 {
		t.from.Tensors[n.Out[0]] = v
		return err
	}
	return t.same(n)
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

// list is a setting that is an attribute in older files, and an input in newer ones.
func (t *translation) list(n onnx.Node, name string, i int) ([]int64, error) {
	if i < len(n.In) && n.In[i] != "" {
		return t.sizesOf(n, i)
	}
	return n.Ints[name], nil
}
