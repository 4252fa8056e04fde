package nn

import torch "rapt/cgo"

// Conv2dModule convolves [N, in, H, W] to [N, out, H', W'].
type Conv2dModule struct {
	Weight  torch.Tensor // [out, in/groups, k, k]
	Bias    torch.Tensor // [out], or absent
	Options torch.ConvOptions
}

// Conv2d makes a convolution with a k x k kernel. Its weights are zero until Init.
func Conv2d(s *torch.Session, in, out, k int64, o torch.ConvOptions, bias bool) *Conv2dModule {
	m := &Conv2dModule{Weight: parameter(s, out, in/max(o.Groups, 1), k, k), Options: o}
	if bias {
		m.Bias = parameter(s, out)
	}
	return m
}

// Forward implements Module.
func (c *Conv2dModule) Forward(x torch.Tensor, m Mode) torch.Tensor {
	if m.Trace != nil {
		return m.Trace.note(c.Weight, x, x.Size(0), c.Weight.Size(0), c.reach(x.Size(2)), c.reach(x.Size(3)))
	}
	return x.Conv2d(c.Weight, c.Bias, c.Options)
}

// Children implements Module.
func (c *Conv2dModule) Children() []Child { return nil }

func (c *Conv2dModule) kind() Kind       { return Conv }
func (c *Conv2dModule) entries() []Entry { return weightAndBias(&c.Weight, &c.Bias) }

// LinearModule maps [N, in] to [N, out].
type LinearModule struct {
	Weight torch.Tensor // [out, in]
	Bias   torch.Tensor // [out], or absent
}

// Linear makes a fully connected layer. Its weights are zero until Init.
func Linear(s *torch.Session, in, out int64, bias bool) *LinearModule {
	m := &LinearModule{Weight: parameter(s, out, in)}
	if bias {
		m.Bias = parameter(s, out)
	}
	return m
}

// Forward implements Module.
func (l *LinearModule) Forward(x torch.Tensor, m Mode) torch.Tensor {
	if packed, ok := m.Folded.linears[l]; ok && !m.Train {
		return x.LinearPacked(packed, l.Weight, l.Bias, false)
	}
	if m.Trace != nil {
		return m.Trace.note(l.Weight, x, x.Size(0), l.Weight.Size(0))
	}
	return x.Linear(l.Weight, l.Bias)
}

// Children implements Module.
func (l *LinearModule) Children() []Child { return nil }

func (l *LinearModule) kind() Kind       { return Dense }
func (l *LinearModule) entries() []Entry { return weightAndBias(&l.Weight, &l.Bias) }

func weightAndBias(w, b *torch.Tensor) []Entry {
	out := []Entry{{Name: "weight", Tensor: w}}
	if *b != (torch.Tensor{}) {
		out = append(out, Entry{Name: "bias", Tensor: b})
	}
	return out
}

// BatchNormModule normalises channels: the second dimension of [N, C] or [N, C, H, W].
type BatchNormModule struct {
	Weight, Bias            torch.Tensor // [C]: scale and shift
	RunningMean, RunningVar torch.Tensor // [C]
	NumBatchesTracked       torch.Tensor // int64, no dimension; PyTorch's state dict has it
	Momentum, Eps           float64
}

func batchNorm(s *torch.Session, channels int64) *BatchNormModule {
	return &BatchNormModule{
		Weight: parameter(s, channels), Bias: parameter(s, channels),
		RunningMean: buffer(s, 0, torch.Float32, channels), RunningVar: buffer(s, 1, torch.Float32, channels),
		NumBatchesTracked: buffer(s, 0, torch.Int64), Momentum: 0.1, Eps: 1e-5,
	}
}

// BatchNorm2d makes batch normalisation for [N, C, H, W]. Its scale is zero until Init.
func BatchNorm2d(s *torch.Session, channels int64) *BatchNormModule { return batchNorm(s, channels) }

// BatchNorm1d makes batch normalisation for [N, C]. Its scale is zero until Init.
func BatchNorm1d(s *torch.Session, channels int64) *BatchNormModule { return batchNorm(s, channels) }

// Forward implements Module.
func (b *BatchNormModule) Forward(x torch.Tensor, m Mode) torch.Tensor {
	if m.Trace != nil {
		return x
	}
	if m.Train {
		b.NumBatchesTracked.Shift_(1)
	}
	return x.BatchNorm(b.Weight, b.Bias, b.RunningMean, b.RunningVar, m.Train, b.Momentum, b.Eps)
}

// Children implements Module.
func (b *BatchNormModule) Children() []Child { return nil }

func (b *BatchNormModule) kind() Kind { return Norm }
func (b *BatchNormModule) entries() []Entry {
	return []Entry{
		{Name: "weight", Tensor: &b.Weight},
		{Name: "bias", Tensor: &b.Bias},
		{Name: "running_mean", Tensor: &b.RunningMean, Buffer: true},
		{Name: "running_var", Tensor: &b.RunningVar, Buffer: true},
		{Name: "num_batches_tracked", Tensor: &b.NumBatchesTracked, Buffer: true},
	}
}
