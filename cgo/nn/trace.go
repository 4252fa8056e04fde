package nn

import torch "rapt/cgo"

// Trace is what the convolutions and linear layers of a forward pass would do, in their order. In such a pass they and batch norm compute
// nothing: tensors have the right shapes, and zeros.
type Trace struct{ Layers []Traced }

// Traced is one layer's part of a pass.
type Traced struct {
	Weight  torch.Tensor // the layer's own, which tells it from the others
	In, Out []int64      // shapes
	MACs    int64        // multiplications, each with an addition; the bias not counted
}

// note adds a layer that makes a tensor of shape out from x, and returns zeros of that shape.
func (t *Trace) note(weight, x torch.Tensor, out ...int64) torch.Tensor {
	y := x.Session().Zeros().Expand(out...)
	if y != (torch.Tensor{}) {
		// Each number of y is a sum over one row of the weight as a matrix [out, all else].
		t.Layers = append(t.Layers, Traced{weight, x.Shape(), out, y.Numel() * (weight.Numel() / weight.Size(0))})
	}
	return y
}

// reach is the size of a map of n pixels a side behind the convolution.
func (c *Conv2dModule) reach(n int64) int64 {
	o := c.Options
	k := max(o.Dilation, 1)*(c.Weight.Size(2)-1) + 1
	return (n+2*o.Padding-k)/max(o.Stride, 1) + 1
}
