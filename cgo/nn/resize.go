package nn

import (
	"slices"

	torch "rapt/cgo"
)

// Resize makes it a convolution of out channels from in, [out, in, k, k]; a depthwise one, whose groups are its channels, has as many of both,
// [out, 1, k, k]. It is not for other grouped ones. Its tensors are new where their shape is another, and zero.
func (c *Conv2dModule) Resize(out, in int64) {
	if c.Depthwise() {
		c.Options.Groups, in = out, 1
	}
	resize(&c.Weight, 0, out, in, c.Weight.Size(2), c.Weight.Size(3))
	resize(&c.Bias, 0, out)
}

// Depthwise tells whether each channel is convolved alone.
func (c *Conv2dModule) Depthwise() bool {
	return c.Options.Groups > 1 && c.Options.Groups == c.Weight.Size(0) && c.Weight.Size(1) == 1
}

// Resize makes it a layer from in numbers to out, [out, in]. Its tensors are new where their shape is another, and zero.
func (l *LinearModule) Resize(out, in int64) {
	resize(&l.Weight, 0, out, in)
	resize(&l.Bias, 0, out)
}

// Resize makes it one of so many channels. Its tensors are new where that is another number: as BatchNorm2d makes them.
func (b *BatchNormModule) Resize(channels int64) {
	for _, t := range []*torch.Tensor{&b.Weight, &b.Bias, &b.RunningMean} {
		resize(t, 0, channels)
	}
	resize(&b.RunningVar, 1, channels)
}

// resize puts a tensor of the value v in t's place where the shape is another. One that is absent stays so.
func resize(t *torch.Tensor, v float64, shape ...int64) {
	old := *t
	if old == (torch.Tensor{}) || slices.Equal(old.Shape(), shape) {
		return
	}
	s := old.Session()
	*t = filled(s, v, old.DType(), shape...).RequiresGrad_(old.RequiresGrad())
	s.Keep(*t)
	s.Free(old)
}
