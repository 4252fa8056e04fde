package nn

import torch "rapt/cgo"

// Folded holds, for each convolution of a network that batch norm follows, weights with that batch norm's running statistics in
// them: in evaluation the two are one convolution. An attack calls a network many times with the same weights, so it folds once.
// The weights are outside any graph: gradients reach the images only.
type Folded map[*Conv2dModule]folded

type folded struct {
	norm         *BatchNormModule
	weight, bias torch.Tensor
}

// Fold folds root as it is now, in the innermost scope. A convolution belongs to the batch norm that is listed right after it, as in
// PyTorch's state dicts; whether the two are one is for the network's Forward to say, by ConvNorm.
func Fold(root Module) Folded {
	f := Folded{}
	f.walk(root)
	return f
}

func (f Folded) walk(m Module) {
	var before *Conv2dModule
	for _, c := range m.Children() {
		norm, ok := c.Module.(*BatchNormModule)
		if ok && before != nil && before.Weight.Size(0) == norm.Weight.Numel() {
			f[before] = fold(before, norm)
		}
		before, _ = c.Module.(*Conv2dModule)
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
		out.weight, out.bias = c.Weight.Mul(scale.Reshape(-1, 1, 1, 1)), shift
	})
	return out
}

// ConvNorm is convolution c of x followed by batch norm n and, where relu says so, ReLU.
func ConvNorm(x torch.Tensor, c *Conv2dModule, n *BatchNormModule, m Mode, relu bool) torch.Tensor {
	if f, ok := m.Folded[c]; ok && f.norm == n && !m.Train {
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
