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
	if err == nil {
		t.alias(n, x)
	}
	return err
}

// alias gives a value the name of the operation's result, too. What reads it by either name reads it by both.
func (t *translation) alias(n onnx.Node, x int) {
	all := t.read[n.In[0]] - 1 + t.read[n.Out[0]]
	t.at[n.Out[0]], t.read[n.Out[0]], t.read[n.In[0]] = x, all, all
}

func (t *translation) flatten(n onnx.Node) error {
	if axis := setting(n, "axis", 1); axis != 1 {
		return fmt.Errorf("its axis is %d, and 1 is needed: all but the batch", axis)
	}
	return plain("flatten")(t, n)
}

// reshape takes a shape whose first number is the batch's, and at most one other that is to be found.
func (t *translation) reshape(n onnx.Node) error {
	if t.isSizes(n) {
		if done, err := t.paired(n); done {
			return err
		}
		return t.same(n)
	}
	to, err := t.sizesOf(n, 1)
	if err != nil {
		return err
	}
	if done, err := t.reshapeNumbers(n, func([]int64) []int64 { return to }); done {
		return err
	}
	x, err := t.input(n, 0)
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
	return t.shaped(n.Out[0], x, shape)
}

// shaped is a value with other dimensions.
func (t *translation) shaped(value string, x int, shape []int64) error {
	if len(shape) == 1 {
		return t.add(value, models.Node{Op: "flatten", From: []int{x}})
	}
	return t.add(value, models.Node{Op: "reshape", From: []int{x}, Ints: shape})
}

// squeeze takes dimensions of 1 away.
func (t *translation) squeeze(n onnx.Node) error {
	if t.isSizes(n) {
		return t.same(n)
	}
	x, err := t.input(n, 0)
	axes, e := t.list(n, "axes", 1)
	if err := firstOf(err, e); err != nil {
		return err
	}
	from := t.shapeOf(x)
	gone := map[int]bool{}
	for _, a := range axes {
		if a < 0 {
			a += int64(len(from)) + 1
		}
		if a < 1 || int(a) > len(from) || from[a-1] != 1 {
			return fmt.Errorf("it takes away the dimensions %v of the shape %v for an image, and only such of 1 after the batch's can be", axes, from)
		}
		gone[int(a)-1] = true
	}
	var to []int64
	for i, d := range from {
		if !gone[i] {
			to = append(to, d)
		}
	}
	if len(axes) == 0 || len(to) == 0 {
		return fmt.Errorf("it takes away all dimensions of 1, the batch's too where that has one image: axes after that are needed, as of flatten(1)")
	}
	return t.shaped(n.Out[0], x, to)
}

// transpose is of a value, or turns a linear layer's weight round before it is multiplied by.
func (t *translation) transpose(n onnx.Node) error {
	if len(n.In) > 0 && t.pairs[n.In[0]] != nil {
		return t.firstsThenSeconds(n)
	}
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
	var starts, ends, axes, steps []int64
	var err error
	for i, to := range []*[]int64{&starts, &ends, &axes, &steps} {
		if *to, err = t.list(n, []string{"starts", "ends", "axes", "steps"}[i], i+1); err != nil {
			return err
		}
	}
	if len(steps) == 0 {
		steps = []int64{1}
	}
	if len(n.In) > 0 && t.pairs[n.In[0]] != nil {
		return t.lastFirst(n, starts, ends, axes, steps)
	}
	if len(n.In) > 0 {
		if before, ok := t.strides[n.In[0]]; ok {
			return t.everyNth(n, before.of, before, starts, ends, axes, steps)
		}
	}
	x, err := t.input(n, 0)
	if err != nil {
		return err
	}
	if steps[0] > 1 {
		return t.everyNth(n, x, strided{}, starts, ends, axes, steps)
	}
	shape := t.shapeOf(x)
	if len(starts) != 1 || len(ends) != 1 || len(axes) != 1 || !slices.Equal(steps, []int64{1}) || axes[0] < 1 || int(axes[0]) > len(shape) {
		return fmt.Errorf("it takes from %v to %v of the dimensions %v by steps of %v, and only one dimension after the batch's, by steps of 1, is taken", starts, ends, axes, steps)
	}
	end := min(ends[0], shape[axes[0]-1])
	if end < 0 {
		end += shape[axes[0]-1]
	}
	start := starts[0]
	if start < 0 {
		start = max(0, start+shape[axes[0]-1])
	}
	return t.add(n.Out[0], models.Node{Op: "slice", From: []int{x}, Ints: []int64{axes[0], start, end - start}})
}

func (t *translation) logSoftmax(n onnx.Node) error {
	if axis := setting(n, "axis", -1); axis != 1 && axis != -1 {
		return fmt.Errorf("its axis is %d, and 1, the classes, is needed", axis)
	}
	return plain("logsoftmax")(t, n)
}

// unsqueeze puts dimensions of 1 in.
func (t *translation) unsqueeze(n onnx.Node) error {
	if t.isSizes(n) {
		return t.same(n)
	}
	axes, err := t.list(n, "axes", 1)
	if err != nil {
		return err
	}
	if done, err := t.reshapeNumbers(n, func(from []int64) []int64 { return widened(from, axes) }); done {
		return err
	}
	x, err := t.input(n, 0)
	if err != nil {
		return err
	}
	to := widened(append([]int64{0}, t.shapeOf(x)...), axes) // 0: the batch's
	if len(to) == 0 || to[0] != 0 {
		return fmt.Errorf("it puts dimensions in at %v of the shape %v for an image, and only such after the batch's are taken", axes, t.shapeOf(x))
	}
	return t.shaped(n.Out[0], x, to[1:])
}

// widened is a shape with dimensions of 1 at these places of what comes out; nil where that is none.
func widened(from, axes []int64) []int64 {
	rank := int64(len(from) + len(axes))
	places := slices.Clone(axes)
	for i := range places {
		if places[i] < 0 {
			places[i] += rank
		}
	}
	slices.Sort(places)
	to := slices.Clone(from)
	for i, a := range places {
		if a < 0 || a >= rank || i > 0 && a == places[i-1] || rank > 8 {
			return nil
		}
		to = slices.Insert(to, int(a), 1)
	}
	return to
}

// sequence is the parts of a value, each of which becomes a slice where it is taken.
type sequence struct {
	of    int
	axis  int64
	sizes []int64
}

// sequenceOf is a split whose parts are taken by their number.
func (t *translation) sequenceOf(n onnx.Node) error {
	x, axis, whole, err := t.along(n)
	sizes, e := t.sizesOf(n, 1)
	if err := firstOf(err, e); err != nil {
		return err
	}
	if len(sizes) == 1 { // of every part, the last one perhaps smaller
		size := sizes[0]
		if size < 1 || whole/size > 1000 {
			return fmt.Errorf("it makes parts of %d of %d", size, whole)
		}
		for sizes = nil; whole > 0; whole -= size {
			sizes = append(sizes, min(size, whole))
		}
	}
	t.sequences[n.Out[0]] = sequence{x, axis, sizes}
	return nil
}

// along is the value that an operation takes apart, and the dimension along which, with its size.
func (t *translation) along(n onnx.Node) (x int, axis, whole int64, err error) {
	if x, err = t.input(n, 0); err != nil {
		return x, 0, 0, err
	}
	shape := t.shapeOf(x)
	if axis = setting(n, "axis", 0); axis < 0 {
		axis += int64(len(shape)) + 1
	}
	if axis < 1 || int(axis) > len(shape) {
		return x, axis, 0, fmt.Errorf("its axis is %d, and one after the batch's is needed", axis)
	}
	return x, axis, shape[axis-1], nil
}

func (t *translation) sequenceAt(n onnx.Node) error {
	if len(n.In) == 0 {
		return fmt.Errorf("it lacks an input")
	}
	q, ok := t.sequences[n.In[0]]
	at, err := t.sizesOf(n, 1)
	if err != nil || !ok || len(at) != 1 || at[0] < -int64(len(q.sizes)) || at[0] >= int64(len(q.sizes)) {
		return firstOf(err, fmt.Errorf("it is taken only where it picks a part of SplitToSequence's"))
	}
	i := (int(at[0]) + len(q.sizes)) % len(q.sizes)
	start := int64(0)
	for _, size := range q.sizes[:i] {
		start += size
	}
	return t.add(n.Out[0], models.Node{Op: "slice", From: []int{q.of}, Ints: []int64{q.axis, start, q.sizes[i]}})
}

// split is a slice for each of its results.
func (t *translation) split(n onnx.Node) error {
	x, axis, whole, err := t.along(n)
	sizes, e := t.list(n, "split", 1)
	if err := firstOf(err, e); err != nil {
		return err
	}
	if parts, left := int64(len(n.Out)), whole; len(sizes) == 0 { // alike, and where that cannot be the last one smaller
		for range parts {
			sizes = append(sizes, min(left, (whole+parts-1)/parts))
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
