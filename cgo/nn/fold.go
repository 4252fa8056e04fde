package nn

import torch "rapt/cgo"

// Folded is a network made ready for many calls with the same weights in evaluation mode, as an attack makes them: each convolution that
// batch norm follows has that one's running statistics in its weights, and linear layers' weights are laid out once. Folded inside of
// Autocast it is for that region. The weights are outside any graph: gradients reach the images only.
type Folded struct {
	convs   map[*Conv2dModule]folded
	linears map[*LinearModule]torch.Tensor
}

type folded struct {
	norm         *BatchNormModule
	weight, bias torch.Tensor
}

// Fold folds root as it is now, in the innermost scope. A convolution belongs to the batch norm that is listed right after it, as in
// PyTorch's state dicts; whether the two are one is for the network's Forward to say, by ConvNorm.
func Fold(root Module) Folded {
	f := Folded{convs: map[*Conv2dModule]folded{}, linears: map[*LinearModule]torch.Tensor{}}
	f.walk(root)
	return f
}

func (f Folded) walk(m Module) {
	var before *Conv2dModule
	for _, c := range m.Children() {
		norm, ok := c.Module.(*BatchNormModule)
		if ok && before != nil && before.Weight.Size(0) == norm.Weight.Numel() {
			f.convs[before] = fold(before, norm)
		}
		before, _ = c.Module.(*Conv2dModule)
		if l, ok := c.Module.(*LinearModule); ok {
			f.linears[l] = l.Weight.PackLinear()
		}
		f.walk(c.Module)
	}
}

func fold(c *Conv2dModule, n *BatchNormModule) folded {
	out := folded{norm: n}
	c.Weight.Session().NoGrad(func() {
		scale := n.Weight.Div(n.RunningVar.AddScalar(n.Eps).Sqrt())
		shift := n.Bias.Sub(n.RunningMean.Mul(scale))
		if c.Bias != (torch.Tensor{}) {
			shift = shift.Add(c.Bias.Mul(scale))
		}
		out.weight, out.bias = c.Weight.Mul(scale.Reshape(-1, 1, 1, 1)).CastOnce(), shift.CastOnce()
	})
	return out
}

// ConvNorm is convolution c of x followed by batch norm n and, where relu says so, ReLU.
func ConvNorm(x torch.Tensor, c *Conv2dModule, n *BatchNormModule, m Mode, relu bool) torch.Tensor {
	if f, ok := m.Folded.convs[c]; ok && f.norm == n && !m.Train {
		o := c.Options
		o.ReLU = relu
		return x.Conv2d(f.weight, f.bias, o)
	}
	y := n.Forward(c.Forward(x, m), m)
	if relu {
		return y.Relu()
	}
	return y
}

// LinearRelu is linear layer l of x followed by ReLU.
func LinearRelu(x torch.Tensor, l *LinearModule, m Mode) torch.Tensor {
	if packed, ok := m.Folded.linears[l]; ok && !m.Train {
		return x.LinearPacked(packed, l.Weight, l.Bias, true)
	}
	return l.Forward(x, m).Relu()
}
