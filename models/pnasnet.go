package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	F "rapt/cgo/nn/functional"
)

// pnasNet has three layers of six cells, of c, 2c and 4c channels, and a cell that halves the map between them (Liu et al., arXiv
// 1712.00559).
func pnasNet(c int64, cell residualBlock) maker {
	return func(s *torch.Session, sp Spec) nn.Module {
		n := &parts{s: s}
		steps := []step{n.convNorm("conv1", "bn1", conv(s, sp.Input[0], c, 3, 1), true)}
		for i, out := range doubling(c, 3) {
			if i > 0 {
				steps = append(steps, n.add("layer"+strconv.Itoa(2*i), cell(s, out/2, out, 2)))
			}
			var layer sequence
			for range 6 {
				layer = append(layer, cell(s, out, out, 1))
			}
			steps = append(steps, n.add("layer"+strconv.Itoa(2*i+1), layer))
		}
		_, classes := n.linear("linear", 4*c, sp.Classes)
		n.forward = inOrder(append(steps, globalPool, classes)...)
		return n
	}
}

// separable adds a k x k convolution in as many groups as there are channels, with batch norm.
func (p *parts) separable(name string, in, out, k, stride int64) step {
	sep := &parts{s: p.s}
	sep.forward = sep.convNorm("conv1", "bn1", grouped(p.s, in, out, k, stride, in), false)
	return p.add(name, sep)
}

// pooled is 3x3 max-pooling, and a 1x1 convolution where the map is halved.
func (p *parts) pooled(in, out, stride int64) step {
	if stride == 1 {
		return maxPool3(1)
	}
	return inOrder(maxPool3(stride), p.convNorm("conv1", "bn1", conv(p.s, in, out, 1, 1), false))
}

func pnasCellA(s *torch.Session, in, out, stride int64) *parts {
	p := &parts{s: s}
	left := p.separable("sep_conv1", in, out, 7, stride)
	right := p.pooled(in, out, stride)
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor { return F.AddRelu(left(x, m), right(x, m)) }
	return p
}

func pnasCellB(s *torch.Session, in, out, stride int64) *parts {
	p := &parts{s: s}
	one := p.separable("sep_conv1", in, out, 7, stride)
	two := p.separable("sep_conv2", in, out, 3, stride)
	three := p.separable("sep_conv3", in, out, 5, stride)
	four := p.pooled(in, out, stride)
	join := p.convNorm("conv2", "bn2", conv(s, 2*out, out, 1, 1), true)
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor {
		left := F.AddRelu(one(x, m), two(x, m))
		return join(concat(left, F.AddRelu(four(x, m), three(x, m))), m)
	}
	return p
}
