package translate

import (
	"fmt"
	"slices"

	"rapt/models"
	"rapt/onnx"
)

// What becomes of numbers that the file holds, and of those that say a shape, as x.view(x.size(0), -1) has them.

// shape is that of a value or a tensor, all of it or, since opset 15, from one number to another.
func (t *translation) shape(n onnx.Node) error {
	v, ok, err := t.numbers(n, 0)
	if err != nil {
		return err
	}
	sizes := v.Shape
	if !ok {
		x, err := t.input(n, 0)
		if err != nil {
			return err
		}
		sizes = append([]int64{0}, t.shapeOf(x)...)
	}
	place := func(i int64) int64 {
		if i < 0 {
			i += int64(len(sizes))
		}
		return max(0, min(i, int64(len(sizes))))
	}
	start, end := place(setting(n, "start", 0)), place(setting(n, "end", int64(len(sizes))))
	t.sizes[n.Out[0]] = sizes[start:max(start, end)]
	return nil
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

func (t *translation) same(n onnx.Node) error {
	v, err := t.sizesOf(n, 0)
	t.sizes[n.Out[0]] = v
	return err
}

// cast is of numbers of the file, which are of the type that they are needed in, or of a shape.
func (t *translation) cast(n onnx.Node) error {
	if v, ok, err := t.numbers(n, 0); err != nil || ok && len(v.Floats) > 0 && setting(n, "to", 1) == 1 {
		t.from.Tensors[n.Out[0]] = v
		return err
	}
	return t.same(n)
}

// castLike is a number of the file in the type of what it is used with, which is float32.
func (t *translation) castLike(n onnx.Node) error {
	v, ok, err := t.numbers(n, 0)
	switch {
	case err != nil:
		return err
	case ok && len(v.Floats) == 1:
	case ok && len(v.Ints) == 1:
		v.Floats, v.Ints = []float32{float32(v.Ints[0])}, nil
	default:
		return fmt.Errorf("it is taken only of one number that the file holds")
	}
	t.from.Tensors[n.Out[0]] = v
	return nil
}

// expand repeats 0: so PyTorch writes, without its optimizer, the biases of convolutions that have none.
func (t *translation) expand(n onnx.Node) error {
	if t.isSizes(n) {
		return t.same(n)
	}
	v, ok, err := t.numbers(n, 0)
	if err != nil || !ok || len(v.Floats) != 1 || v.Floats[0] != 0 {
		return firstOf(err, fmt.Errorf("it is taken only where it repeats a 0 that the file holds, as the bias of a convolution that has none"))
	}
	t.zeros[n.Out[0]] = true
	return nil
}

// reshapeNumbers gives numbers of the file another shape, as those have that normalise images.
func (t *translation) reshapeNumbers(n onnx.Node, shape func(from []int64) []int64) (done bool, err error) {
	v, ok, err := t.numbers(n, 0)
	if err != nil || !ok {
		return err != nil, err
	}
	to := slices.Clone(shape(v.Shape))
	count, open := int64(1), -1
	for i, d := range to {
		if d == -1 && open < 0 {
			open = i
		} else if d < 1 || d > int64(len(v.Floats)) || count > int64(len(v.Floats)) {
			return true, fmt.Errorf("the shape %v of %s cannot become %v", v.Shape, n.In[0], to)
		} else {
			count *= d
		}
	}
	if open >= 0 {
		to[open] = int64(len(v.Floats)) / count
		count *= to[open]
	}
	if count != int64(len(v.Floats)) {
		return true, fmt.Errorf("the shape %v of %s cannot become %v", v.Shape, n.In[0], to)
	}
	v.Shape = to
	t.from.Tensors[n.Out[0]] = v
	return true, nil
}

// isSizes tells whether an operation is on numbers that say a shape, and not on what images lead to.
func (t *translation) isSizes(n onnx.Node) bool {
	if len(n.In) == 0 {
		return false
	}
	if _, ok := t.at[n.In[0]]; ok {
		return false
	}
	_, ok := t.sizes[n.In[0]]
	v, held := t.from.Tensors[n.In[0]]
	return ok || held && v.Err() == nil && len(v.Floats) == 0
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
