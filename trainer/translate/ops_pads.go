package translate

import (
	"fmt"
	"slices"

	"rapt/models"
	"rapt/onnx"
)

// Every s-th pixel, and channels of zeros: shortcuts of residual networks for small images are made of them (He et al., arXiv 1512.03385, option A), in
// PyTorch F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, c, c)).

// strided is a value of whose rows, or columns, each step-th is to be taken, and of the others too: alone rapt has no such operation.
type strided struct {
	of         int
	axis, step int64
}

// everyNth takes every step-th pixel, both ways, as pooling of windows of one pixel does.
func (t *translation) everyNth(n onnx.Node, x int, before strided, starts, ends, axes, steps []int64) error {
	shape := t.shapeOf(x)
	if len(starts) != len(axes) || len(ends) != len(axes) || len(steps) != len(axes) {
		return fmt.Errorf("it lacks some of its starts, ends and steps")
	}
	ways := []int64{before.axis}
	for i, axis := range axes {
		if len(shape) != 3 || axis != 2 && axis != 3 || starts[i] != 0 || ends[i] < shape[axis-1] || steps[i] != steps[0] || before.step != 0 && before.step != steps[0] {
			return fmt.Errorf("it takes from %v to %v of the dimensions %v by steps of %v, and steps are taken only over whole maps, of height and width alike", starts, ends, axes, steps)
		}
		ways = append(ways, axis)
	}
	if !slices.Contains(ways, 2) || !slices.Contains(ways, 3) {
		t.strides[n.Out[0]] = strided{x, axes[0], steps[0]}
		return nil
	}
	return t.add(n.Out[0], models.Node{Op: "maxpool", From: []int{x}, Ints: []int64{1, steps[0], 0}})
}

// pad is of zeros, or nothing where it adds nothing, as PyTorch has it before pooling.
func (t *translation) pad(n onnx.Node) error {
	x, err := t.input(n, 0)
	pads, e := t.list(n, "pads", 1)
	value, given, e2 := t.numbers(n, 2)
	if err := firstOf(err, e, e2); err != nil {
		return err
	}
	rank := len(t.shapeOf(x)) + 1
	if !slices.ContainsFunc(pads, func(v int64) bool { return v != 0 }) {
		t.alias(n, x)
		return nil
	}
	mode := n.Texts["mode"]
	if mode != "" && mode != "constant" || given && (len(value.Floats) != 1 || value.Floats[0] != 0) || len(n.In) > 3 && n.In[3] != "" || len(pads) != 2*rank || pads[0] != 0 || pads[rank] != 0 ||
		slices.ContainsFunc(pads, func(v int64) bool { return v < 0 }) {
		return fmt.Errorf("it pads by %v (mode %q), and only zeros round each image are taken", pads, mode)
	}
	for d := 1; d < rank; d++ {
		if pads[d] == 0 && pads[rank+d] == 0 {
			continue
		}
		if err := t.add(n.Out[0], models.Node{Op: "pad", From: []int{x}, Ints: []int64{int64(d), pads[d], pads[rank+d]}}); err != nil {
			return err
		}
		x = t.at[n.Out[0]]
	}
	return nil
}

// PyTorch's exporter turns the numbers of F.pad round on the way: it makes pairs of them, takes the last first, and puts all firsts before all seconds.

// paired makes pairs of the numbers of a shape.
func (t *translation) paired(n onnx.Node) (done bool, err error) {
	to, ok, err := t.numbers(n, 1)
	if err != nil || !ok || !slices.Equal(to.Ints, []int64{-1, 2}) {
		return false, nil
	}
	all, err := t.sizesOf(n, 0)
	if err != nil || len(all)%2 != 0 {
		return true, firstOf(err, fmt.Errorf("it makes pairs of %d numbers", len(all)))
	}
	pairs := [][2]int64{}
	for i := 0; i < len(all); i += 2 {
		pairs = append(pairs, [2]int64{all[i], all[i+1]})
	}
	t.pairs[n.Out[0]] = pairs
	return true, nil
}

// lastFirst is the slice [::-1] of pairs.
func (t *translation) lastFirst(n onnx.Node, starts, ends, axes, steps []int64) error {
	if !slices.Equal(starts, []int64{-1}) || len(ends) != 1 || ends[0] > -1<<30 || !slices.Equal(axes, []int64{0}) || !slices.Equal(steps, []int64{-1}) {
		return fmt.Errorf("of pairs of numbers only [::-1] is taken")
	}
	pairs := slices.Clone(t.pairs[n.In[0]])
	slices.Reverse(pairs)
	t.pairs[n.Out[0]] = pairs
	return nil
}

// firstsThenSeconds is the transpose of pairs, which is read as a list.
func (t *translation) firstsThenSeconds(n onnx.Node) error {
	if !slices.Equal(n.Ints["perm"], []int64{1, 0}) {
		return fmt.Errorf("pairs of numbers are turned round by %v", n.Ints["perm"])
	}
	var all []int64
	for side := range 2 {
		for _, p := range t.pairs[n.In[0]] {
			all = append(all, p[side])
		}
	}
	t.sizes[n.Out[0]] = all
	return nil
}

// zeros are numbers of a shape that are 0.
func (t *translation) constantOfShape(n onnx.Node) error {
	size, err := t.sizesOf(n, 0)
	if err != nil || len(size) != 1 || size[0] < 0 || size[0] > 64 || n.Value != nil && (len(n.Value.Ints) != 1 || n.Value.Ints[0] != 0) {
		return firstOf(err, fmt.Errorf("it is taken only where it makes some zeros for a shape"))
	}
	t.sizes[n.Out[0]] = make([]int64, size[0])
	return nil
}
