package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// step is what a part makes of a batch [N, C, H, W], or [N, C] behind the pooling.
type step func(x torch.Tensor, m nn.Mode) torch.Tensor

// parts is a module as its named parts, added in the order of PyTorch's state dict, and what Forward does with them.
type parts struct {
	s        *torch.Session
	children []nn.Child
	forward  step
	wires    func(w *wiring) // nil where it is not known how the channels hang together
}

// Forward implements nn.Module.
func (p *parts) Forward(x torch.Tensor, m nn.Mode) torch.Tensor { return p.forward(x, m) }

// Children implements nn.Module.
func (p *parts) Children() []nn.Child { return p.children }

// add takes a part in under its name.
func (p *parts) add(name string, m nn.Module) step {
	p.children = append(p.children, nn.Child{Name: name, Module: m})
	return m.Forward
}

// convNorm is a convolution, the batch norm that is listed after it and, where relu says so, ReLU.
func (p *parts) convNorm(conv, norm string, c *nn.Conv2dModule, relu bool) step {
	n := nn.BatchNorm2d(p.s, c.Weight.Size(0))
	p.add(conv, c)
	p.add(norm, n)
	return func(x torch.Tensor, m nn.Mode) torch.Tensor { return nn.ConvNorm(x, c, n, m, relu) }
}

// normRelu is batch norm and ReLU, with no convolution before them.
func (p *parts) normRelu(name string, channels int64) step {
	n := nn.BatchNorm2d(p.s, channels)
	p.add(name, n)
	return func(x torch.Tensor, m nn.Mode) torch.Tensor { return n.Forward(x, m).Relu() }
}

// linear is the layer of the classes.
func (p *parts) linear(name string, in int64, classes int) (*nn.LinearModule, step) {
	l := nn.Linear(p.s, in, int64(classes), true)
	return l, p.add(name, l)
}

// conv is a convolution without bias that keeps the size of the map, divided by stride.
func conv(s *torch.Session, in, out, k, stride int64) *nn.Conv2dModule {
	return grouped(s, in, out, k, stride, 1)
}

// grouped is conv in so many groups; as many as channels make a depthwise one.
func grouped(s *torch.Session, in, out, k, stride, groups int64) *nn.Conv2dModule {
	return nn.Conv2d(s, in, out, k, torch.ConvOptions{Stride: stride, Padding: k / 2, Groups: groups}, false)
}

// inOrder runs steps one after the other.
func inOrder(steps ...step) step {
	return func(x torch.Tensor, m nn.Mode) torch.Tensor {
		for _, f := range steps {
			x = f(x, m)
		}
		return x
	}
}

func same(x torch.Tensor, _ nn.Mode) torch.Tensor { return x }

// globalPool averages each channel's map: [N, C, H, W] to [N, C].
func globalPool(x torch.Tensor, _ nn.Mode) torch.Tensor { return x.AdaptiveAvgPool2d(1).Flatten() }

// maxPool3 takes the maximum of 3x3 windows around every stride-th pixel.
func maxPool3(stride int64) step {
	return func(x torch.Tensor, _ nn.Mode) torch.Tensor { return x.MaxPool2d(3, stride, 1) }
}

// shuffle mixes the channels of groups: of each the first, of each the second, ..
func shuffle(x torch.Tensor, groups int64) torch.Tensor {
	n, c, h, w := x.Size(0), x.Size(1), x.Size(2), x.Size(3)
	return x.Reshape(n, groups, c/groups, h, w).Permute(0, 2, 1, 3, 4).Reshape(n, c, h, w)
}

// channels is the part [from, to) of a batch's channels.
func channels(x torch.Tensor, from, to int64) torch.Tensor { return x.Narrow(1, from, to-from) }

// concat puts batches' channels one after the other.
func concat(xs ...torch.Tensor) torch.Tensor { return xs[0].Session().Cat(1, xs...) }

// sequence runs modules one after the other, by the names 0, 1, ...
type sequence []nn.Module

// Forward implements nn.Module.
func (q sequence) Forward(x torch.Tensor, m nn.Mode) torch.Tensor {
	for _, part := range q {
		x = part.Forward(x, m)
	}
	return x
}

// Children implements nn.Module.
func (q sequence) Children() []nn.Child {
	var out []nn.Child
	for i, part := range q {
		out = append(out, nn.Child{Name: strconv.Itoa(i), Module: part})
	}
	return out
}
