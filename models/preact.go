package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// preActResNet is a residual network with batch norm and ReLU before each convolution (He et al., arXiv 1603.05027), as the original has
// it: without a last batch norm.
func preActResNet(channels int64, block residualBlock, blocks ...int) maker {
	return func(s *torch.Session, sp Spec) nn.Module {
		n := &parts{s: s}
		first := conv(s, sp.Input[0], 64, 3, 1)
		all, linear := n.layered(sp, n.add("conv1", first), 64, doubling(channels, 4), blocks, block)
		n.wires = func(w *wiring) { w.body(first, all, linear) }
		return n
	}
}

func preActBlock(s *torch.Session, in, out, stride int64) *parts {
	return preAct(s, in, out, stride, conv(s, in, out, 3, stride), conv(s, out, out, 3, 1))
}

func preActBottleneck(s *torch.Session, in, out, stride int64) *parts {
	mid := out / 4
	return preAct(s, in, out, stride, conv(s, in, mid, 1, 1), conv(s, mid, mid, 3, stride), conv(s, mid, out, 1, 1))
}

// preAct is a block of convolutions, each after a batch norm. A shortcut with a convolution begins behind the first batch norm.
func preAct(s *torch.Session, in, out, stride int64, convs ...*nn.Conv2dModule) *parts {
	b := &parts{s: s}
	first, body := b.preActBody(in, convs)
	short, c := b.bareShortcut(in, out, stride)
	b.forward = preActSum(first, body, short)
	b.preActWires(convs, c)
	return b
}

// preActWires are those of a block whose first convolution, and the shortcut's where it is not nil, read by its first batch norm. more is
// what comes behind the convolutions.
func (p *parts) preActWires(convs []*nn.Conv2dModule, shortcut *nn.Conv2dModule, more ...func(w *wiring)) {
	norm := p.children[0].Module.(*nn.BatchNormModule)
	p.wires = func(w *wiring) {
		readers := []nn.Module{convs[0]}
		if shortcut != nil {
			readers = append(readers, shortcut)
		}
		w.by(norm, readers...)
		w.residual(shortcut, func() {
			w.through(modules(convs)...)
			for _, f := range more {
				f(w)
			}
		})
	}
}

// preActSum adds body behind first to the input, or where short is not nil to short behind first.
func preActSum(first, body, short step) step {
	return func(x torch.Tensor, m nn.Mode) torch.Tensor {
		y := first(x, m)
		if short != nil {
			x = short(y, m)
		}
		return body(y, m).Add(x)
	}
}

// preActBody adds bn1, conv1, bn2, conv2, ..: the first batch norm with ReLU, and the rest.
func (p *parts) preActBody(in int64, convs []*nn.Conv2dModule) (first, rest step) {
	first = p.normRelu("bn1", in)
	var steps []step
	for i, c := range convs {
		name := "conv" + strconv.Itoa(i+1)
		if i < len(convs)-1 { // the next one's batch norm is listed right after, and can be folded in
			steps = append(steps, p.convNorm(name, "bn"+strconv.Itoa(i+2), c, true))
		} else {
			steps = append(steps, p.add(name, c))
		}
	}
	return first, inOrder(steps...)
}

// bareShortcut is a 1x1 convolution where the shape changes, else nil.
func (p *parts) bareShortcut(in, out, stride int64) (step, *nn.Conv2dModule) {
	if in == out && stride == 1 {
		return nil, nil
	}
	c := conv(p.s, in, out, 1, stride)
	return p.add("shortcut", sequence{c}), c
}

// newSENet18 weighs each channel of a block by what a small network makes of all channels' means (Hu et al., arXiv 1709.01507).
func newSENet18(s *torch.Session, sp Spec) nn.Module {
	return resNet(s, sp, 64, doubling(64, 4), []int{2, 2, 2, 2}, squeezeExcite)
}

func squeezeExcite(s *torch.Session, in, out, stride int64) *parts {
	b := &parts{s: s}
	convs := []*nn.Conv2dModule{conv(s, in, out, 3, stride), conv(s, out, out, 3, 1)}
	first, body := b.preActBody(in, convs)
	short, c := b.bareShortcut(in, out, stride)
	fc1, fc2 := nn.Conv2d(s, out, out/16, 1, torch.ConvOptions{}, true), nn.Conv2d(s, out/16, out, 1, torch.ConvOptions{}, true)
	squeeze, excite := b.add("fc1", fc1), b.add("fc2", fc2)
	weighed := func(x torch.Tensor, m nn.Mode) torch.Tensor {
		y := body(x, m)
		return y.Mul(excite(squeeze(y.AdaptiveAvgPool2d(1), m).Relu(), m).Sigmoid())
	}
	b.forward = preActSum(first, weighed, short)
	b.preActWires(convs, c, func(w *wiring) { w.weighed(fc1, fc2) })
	return b
}
