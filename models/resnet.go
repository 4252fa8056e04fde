package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	F "rapt/cgo/nn/functional"
)

// residualBlock makes one block of a residual network, of in channels to out.
type residualBlock func(s *torch.Session, in, out, stride int64) *parts

// layered makes the network a stem of in channels, layers of so many blocks each, global pooling and the layer of the classes. Every layer but the
// first halves the map.
func (p *parts) layered(sp Spec, stem step, in int64, channels []int64, blocks []int, block residualBlock) (all []*parts, linear *nn.LinearModule) {
	steps := []step{stem}
	for i, out := range channels {
		var layer sequence
		for j := range blocks[i] {
			b := block(p.s, in, out, strideOf(i, j))
			layer, all, in = append(layer, b), append(all, b), out
		}
		steps = append(steps, p.add("layer"+strconv.Itoa(i+1), layer))
	}
	linear, classes := p.linear("linear", in, sp.Classes)
	p.forward = inOrder(append(steps, globalPool, classes)...)
	return all, linear
}

// resNet is a residual network for small images (He et al., arXiv 1512.03385, with CIFAR's 3x3 stem).
func resNet(s *torch.Session, sp Spec, stem int64, channels []int64, blocks []int, block residualBlock) nn.Module {
	n := &parts{s: s}
	first := conv(s, sp.Input[0], stem, 3, 1)
	all, linear := n.layered(sp, n.convNorm("conv1", "bn1", first, true), stem, channels, blocks, block)
	n.wires = func(w *wiring) { w.body(first, all, linear) }
	return n
}

// strideOf block j of layer i: each layer but the first begins with a step of two.
func strideOf(i, j int) int64 {
	if i > 0 && j == 0 {
		return 2
	}
	return 1
}

// basicBlock is two 3x3 convolutions and a shortcut round them.
func basicBlock(s *torch.Session, in, out, stride int64) *parts {
	return bottom(s, in, out, stride, conv(s, in, out, 3, stride), conv(s, out, out, 3, 1))
}

// bottleneck is a 3x3 convolution of a quarter of the channels between two 1x1 ones.
func bottleneck(s *torch.Session, in, out, stride int64) *parts {
	mid := out / 4
	return bottom(s, in, out, stride, conv(s, in, mid, 1, 1), conv(s, mid, mid, 3, stride), conv(s, mid, out, 1, 1))
}

// bottom is a block of convolutions conv1, conv2, .. with a shortcut, which is a 1x1 convolution where the shape changes.
func bottom(s *torch.Session, in, out, stride int64, convs ...*nn.Conv2dModule) *parts {
	b := &parts{s: s}
	var steps []step
	for i, c := range convs {
		n := strconv.Itoa(i + 1)
		steps = append(steps, b.convNorm("conv"+n, "bn"+n, c, i < len(convs)-1))
	}
	body := inOrder(steps...)
	short, c := b.shortcut(in, out, stride)
	b.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor { return F.AddRelu(body(x, m), short(x, m)) }
	b.wires = func(w *wiring) { w.residual(c, func() { w.through(modules(convs)...) }) }
	return b
}

// shortcut is a 1x1 convolution with batch norm where the shape changes, and nothing (nil) where not.
func (p *parts) shortcut(in, out, stride int64) (step, *nn.Conv2dModule) {
	if in == out && stride == 1 {
		return same, nil
	}
	short := &parts{s: p.s}
	c := conv(p.s, in, out, 1, stride)
	short.forward = short.convNorm("0", "1", c, false)
	return p.add("shortcut", short), c
}

func doubling(c int64, n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = c << i
	}
	return out
}

func basicResNet(c int64, blocks ...int) maker {
	return func(s *torch.Session, sp Spec) nn.Module { return resNet(s, sp, c, doubling(c, 4), blocks, basicBlock) }
}

func bottleneckResNet(blocks ...int) maker {
	return func(s *torch.Session, sp Spec) nn.Module {
		return resNet(s, sp, 64, doubling(256, 4), blocks, bottleneck)
	}
}

// newResNet18Adv has 4w, 8w, 16w and 32w channels (arXiv 1903.12561, Table 1): at w = 16 it is ResNet-18 itself.
func newResNet18Adv(s *torch.Session, sp Spec) nn.Module {
	return basicResNet(4*int64(sp.Width), 2, 2, 2, 2)(s, sp)
}

// newResNet18AdvWide is the original's: wide and of three layers.
func newResNet18AdvWide(s *torch.Session, sp Spec) nn.Module {
	return resNet(s, sp, 16, doubling(160, 3), []int{4, 3, 3}, basicBlock)
}
