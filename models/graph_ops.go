package models

import (
	"fmt"
	"slices"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// operation is what a Node can be.
type operation struct {
	inputs int // how many it works on; 0: one or more
	ints   int // how many settings it has at least
	shape  func(n Node, in [][]int64) ([]int64, error)
	run    func(n Node, in []torch.Tensor, m nn.Mode) torch.Tensor // nil for layers
}

// ops are the operations, with their settings: what Ints and Number hold.
var ops = map[string]operation{
	"conv":   {1, 4, convShape, nil},   // stride, padding, dilation, groups
	"linear": {1, 0, linearShape, nil}, //
	"norm":   {1, 0, normShape, nil},   // Number: what is added to the variance

	"relu":        each(func(x torch.Tensor, _ Node) torch.Tensor { return x.Relu() }),
	"relu6":       each(func(x torch.Tensor, _ Node) torch.Tensor { return x.Clamp(0, 6) }),
	"sigmoid":     each(func(x torch.Tensor, _ Node) torch.Tensor { return x.Sigmoid() }),
	"tanh":        each(func(x torch.Tensor, _ Node) torch.Tensor { return x.Tanh() }),
	"hardsigmoid": each(func(x torch.Tensor, _ Node) torch.Tensor { return x.Hardsigmoid() }),
	"hardswish":   each(func(x torch.Tensor, _ Node) torch.Tensor { return x.Hardswish() }),
	"logsoftmax":  {1, 0, vector, func(_ Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { return in[0].LogSoftmax(1) }},
	"dropout": {1, 0, dropoutShape, func(n Node, in []torch.Tensor, m nn.Mode) torch.Tensor { // Number: the share that is dropped
		if !m.Train || m.Trace != nil {
			return in[0]
		}
		return in[0].Dropout(n.Number, m.Generator)
	}},

	"maxpool": {1, 3, poolShape, func(n Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { // window, stride, padding
		return in[0].MaxPool2d(n.Ints[0], n.Ints[1], n.Ints[2])
	}},
	"avgpool": {1, 3, poolShape, func(n Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { // the same; zeros of the padding count
		return in[0].AvgPool2d(n.Ints[0], n.Ints[1], n.Ints[2])
	}},
	"globalpool": {1, 0, globalShape, func(_ Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { return in[0].AdaptiveAvgPool2d(1) }},

	"flatten": {1, 0, flatShape, func(_ Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { return in[0].Flatten() }},
	"reshape": {1, 1, reshapeShape, func(n Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { // an image's shape; its channels may be fewer since
		batch := in[0].Size(0)
		return in[0].Reshape(append([]int64{batch, in[0].Numel() / batch / count(n.Ints[1:])}, n.Ints[1:]...)...)
	}},
	"transpose": {1, 1, transposeShape, func(n Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { return in[0].Permute(n.Ints...) }}, // all dimensions, the batch's first
	"slice": {1, 3, sliceShape, func(n Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { // dimension, start, length
		return in[0].Narrow(int(n.Ints[0]), n.Ints[1], n.Ints[2])
	}},
	"pad": {1, 3, padShape, func(n Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { // dimension, zeros before, zeros behind
		pairs := make([]int64, 2*(int64(len(in[0].Shape()))-n.Ints[0])) // from the last dimension on
		copy(pairs[len(pairs)-2:], n.Ints[1:])
		return in[0].Pad(0, pairs...)
	}},
	"cat": {0, 1, catShape, func(n Node, in []torch.Tensor, _ nn.Mode) torch.Tensor {
		return in[0].Session().Cat(int(n.Ints[0]), in...)
	}}, // dimension

	"add": pairs(torch.Tensor.Add), "sub": pairs(torch.Tensor.Sub), "mul": pairs(torch.Tensor.Mul), "div": pairs(torch.Tensor.Div),
}

// each are operations on single numbers.
func each(f func(torch.Tensor, Node) torch.Tensor) operation {
	return operation{1, 0, sameShape, func(n Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { return f(in[0], n) }}
}

func pairs(f func(a, b torch.Tensor) torch.Tensor) operation {
	return operation{2, 0, pairShape, func(_ Node, in []torch.Tensor, _ nn.Mode) torch.Tensor { return f(in[0], in[1]) }}
}

func sameShape(_ Node, in [][]int64) ([]int64, error) { return in[0], nil }

func dropoutShape(n Node, in [][]int64) ([]int64, error) {
	if !(n.Number >= 0 && n.Number < 1) {
		return nil, fmt.Errorf("it drops the share %g, and one from 0 to below 1 is needed", n.Number)
	}
	return in[0], nil
}

func vector(_ Node, in [][]int64) ([]int64, error) {
	if len(in[0]) != 1 {
		return nil, fmt.Errorf("it is for a list of numbers, and gets the shape %v for an image", in[0])
	}
	return in[0], nil
}

// planes are an image's channels, height and width.
func planes(in [][]int64) (c, h, w int64, err error) {
	if len(in[0]) != 3 {
		return 0, 0, 0, fmt.Errorf("it is for channels of maps, and gets the shape %v for an image", in[0])
	}
	return in[0][0], in[0][1], in[0][2], nil
}

func convShape(n Node, in [][]int64) ([]int64, error) {
	c, h, w, err := planes(in)
	if err != nil {
		return nil, err
	}
	stride, padding, dilation, groups := n.Ints[0], n.Ints[1], n.Ints[2], n.Ints[3]
	if n.Layer == "" || len(n.Weight) != 4 || n.Weight[2] != n.Weight[3] || !within(1, n.Weight...) || !within(1, stride, dilation, groups) || !within(0, padding) {
		return nil, fmt.Errorf("a convolution needs a name, a square kernel and settings that are no less than 1")
	}
	if n.Weight[1] > mostSize/groups || n.Weight[1]*groups != c || n.Weight[0]%groups != 0 {
		return nil, fmt.Errorf("a weight of %v in %d groups does not fit %d channels", n.Weight, groups, c)
	}
	reach := func(size int64) int64 { return (size+2*padding-dilation*(n.Weight[2]-1)-1)/stride + 1 }
	return []int64{n.Weight[0], reach(h), reach(w)}, fitsWindow(h, w, padding, dilation*(n.Weight[2]-1)+1)
}

// within tells whether numbers are from least on, and not so large that their products could overflow.
func within(least int64, numbers ...int64) bool {
	return !slices.ContainsFunc(numbers, func(v int64) bool { return v < least || v > 1<<24 })
}

func fitsWindow(h, w, padding, window int64) error {
	if h+2*padding < window || w+2*padding < window {
		return fmt.Errorf("a window of %d pixels is larger than maps of %d x %d with their padding", window, h, w)
	}
	return nil
}

func linearShape(n Node, in [][]int64) ([]int64, error) {
	if n.Layer == "" || len(n.Weight) != 2 || !within(1, n.Weight...) {
		return nil, fmt.Errorf("a linear layer needs a name and a weight of two dimensions")
	}
	if len(in[0]) != 1 || in[0][0] != n.Weight[1] {
		return nil, fmt.Errorf("a weight of %v does not fit numbers of the shape %v for an image", n.Weight, in[0])
	}
	return n.Weight[:1], nil
}

func normShape(n Node, in [][]int64) ([]int64, error) {
	if n.Layer == "" || len(in[0]) != 1 && len(in[0]) != 3 || !(n.Number >= 0 && n.Number < 1) || !(n.Momentum >= 0 && n.Momentum <= 1) {
		return nil, fmt.Errorf("a batch norm needs a name, channels, a small number and a momentum of 1 at most")
	}
	return in[0], nil
}

func poolShape(n Node, in [][]int64) ([]int64, error) {
	c, h, w, err := planes(in)
	if err != nil {
		return nil, err
	}
	k, stride, padding := n.Ints[0], n.Ints[1], n.Ints[2]
	if !within(1, k, stride) || !within(0, padding) || 2*padding > k {
		return nil, fmt.Errorf("pooling needs a window and a stride from 1 on, and a padding of half the window at most")
	}
	return []int64{c, (h+2*padding-k)/stride + 1, (w+2*padding-k)/stride + 1}, fitsWindow(h, w, padding, k)
}

func globalShape(_ Node, in [][]int64) ([]int64, error) {
	c, _, _, err := planes(in)
	return []int64{c, 1, 1}, err
}

func flatShape(_ Node, in [][]int64) ([]int64, error) { return []int64{count(in[0])}, nil }

func reshapeShape(n Node, in [][]int64) ([]int64, error) {
	if fits(n.Ints) != nil || count(n.Ints) != count(in[0]) {
		return nil, fmt.Errorf("the shape %v for an image cannot become %v", in[0], n.Ints)
	}
	return n.Ints, nil
}

func transposeShape(n Node, in [][]int64) ([]int64, error) {
	sorted := slices.Sorted(slices.Values(n.Ints))
	for i, d := range sorted {
		if int64(i) != d || n.Ints[0] != 0 || len(n.Ints) != len(in[0])+1 {
			return nil, fmt.Errorf("the dimensions of %v, after the batch's, cannot be put in the order %v", in[0], n.Ints)
		}
	}
	var out []int64
	for _, d := range n.Ints[1:] {
		out = append(out, in[0][d-1])
	}
	return out, nil
}

func sliceShape(n Node, in [][]int64) ([]int64, error) {
	dim, start, length := n.Ints[0], n.Ints[1], n.Ints[2]
	if dim < 1 || dim > int64(len(in[0])) || start < 0 || length < 1 || start > in[0][dim-1] || length > in[0][dim-1]-start {
		return nil, fmt.Errorf("there are no %d numbers from %d on in dimension %d of %v, after the batch's", length, start, dim, in[0])
	}
	out := slices.Clone(in[0])
	out[dim-1] = length
	return out, nil
}

func padShape(n Node, in [][]int64) ([]int64, error) {
	dim, before, behind := n.Ints[0], n.Ints[1], n.Ints[2]
	if dim < 1 || dim > int64(len(in[0])) || !within(0, before, behind) {
		return nil, fmt.Errorf("dimension %d of %v, after the batch's, cannot be padded by %d and %d", dim, in[0], before, behind)
	}
	out := slices.Clone(in[0])
	out[dim-1] += before + behind
	return out, nil
}

func catShape(n Node, in [][]int64) ([]int64, error) {
	dim := n.Ints[0]
	if dim < 1 || dim > int64(len(in[0])) {
		return nil, fmt.Errorf("the shape %v for an image has no dimension %d", in[0], dim)
	}
	out := slices.Clone(in[0])
	for _, other := range in[1:] {
		want := slices.Clone(other)
		if len(other) == len(out) {
			want[dim-1] = out[dim-1]
		}
		if !slices.Equal(want, out) {
			return nil, fmt.Errorf("the shapes %v and %v for an image cannot be joined", in[0], other)
		}
		out[dim-1] += other[dim-1]
	}
	return out, nil
}

// pairShape is that of two tensors of one shape, but that dimensions of 1 are as large as the other's.
func pairShape(_ Node, in [][]int64) ([]int64, error) {
	if len(in[0]) != len(in[1]) {
		return nil, fmt.Errorf("the shapes %v and %v for an image do not go together", in[0], in[1])
	}
	out := slices.Clone(in[0])
	for i, d := range in[1] {
		if d != out[i] && d != 1 && out[i] != 1 {
			return nil, fmt.Errorf("the shapes %v and %v for an image do not go together", in[0], in[1])
		}
		out[i] = max(d, out[i])
	}
	return out, nil
}
