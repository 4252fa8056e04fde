package nn

import torch "rapt/cgo"

// Trace is what the convolutions and linear layers did in a forward pass, in their order.
type Trace struct{ Layers []Traced }

// Traced is one layer's part of a pass.
type Traced struct {
	Weight  torch.Tensor // the layer's own, which tells it from the others
	In, Out []int64      // shapes
	MACs    int64        // multiplications, each with an addition; the bias not counted
}

// note adds a layer that made y of x, and returns y. On nil it does only that.
func (t *Trace) note(weight, x, y torch.Tensor) torch.Tensor {
	if t != nil && y != (torch.Tensor{}) {
		// Each number of y is a sum over one row of the weight as a matrix [out, all else].
		t.Layers = append(t.Layers, Traced{weight, x.Shape(), y.Shape(), y.Numel() * (weight.Numel() / weight.Size(0))})
	}
	return y
}
