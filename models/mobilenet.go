package models

import (
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// newMobileNet is thirteen pairs of a depthwise and a 1x1 convolution (Howard et al., arXiv 1704.04861).
func newMobileNet(s *torch.Session, sp Spec) nn.Module {
	n := &parts{s: s}
	stem := conv(s, sp.Input[0], 32, 3, 1)
	first := n.convNorm("conv1", "bn1", stem, true)
	all := []*nn.Conv2dModule{stem}
	var layers sequence
	in := int64(32)
	for i, out := range []int64{64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024} {
		stride := int64(1)
		if i%2 == 1 && out > in { // wider maps are halved; the first pair's is not
			stride = 2
		}
		b := &parts{s: s}
		depthwise, pointwise := grouped(s, in, in, 3, stride, in), conv(s, in, out, 1, 1)
		b.forward = inOrder(b.convNorm("conv1", "bn1", depthwise, true), b.convNorm("conv2", "bn2", pointwise, true))
		layers, all, in = append(layers, b), append(all, depthwise, pointwise), out
	}
	body := n.add("layers", layers)
	linear, classes := n.linear("linear", in, sp.Classes)
	n.forward = inOrder(first, body, globalPool, classes)
	n.wires = func(w *wiring) {
		w.through(modules(all)...)
		w.through(linear)
	}
	return n
}

// mobileNetV2Layers are the blocks' expansion, channels, count and the first one's stride (Sandler et al., arXiv 1801.04381, Table 2, with
// the strides of 32x32 images).
var mobileNetV2Layers = [][4]int64{{1, 16, 1, 1}, {6, 24, 2, 1}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}}

func newMobileNetV2(s *torch.Session, sp Spec) nn.Module {
	n := &parts{s: s}
	stem := conv(s, sp.Input[0], 32, 3, 1)
	first := n.convNorm("conv1", "bn1", stem, true)
	var layers sequence
	in := int64(32)
	for _, l := range mobileNetV2Layers {
		for j := range l[2] {
			stride := int64(1)
			if j == 0 {
				stride = l[3]
			}
			layers = append(layers, invertedResidual(s, in, l[0]*in, l[1], stride))
			in = l[1]
		}
	}
	body := n.add("layers", layers)
	last := conv(s, in, 1280, 1, 1)
	head := n.convNorm("conv2", "bn2", last, true)
	linear, classes := n.linear("linear", 1280, sp.Classes)
	n.forward = inOrder(first, body, head, globalPool, classes)
	n.wires = func(w *wiring) {
		w.through(stem)
		for _, b := range layers {
			b.(*parts).wires(w)
		}
		w.through(last, linear)
	}
	return n
}

// invertedResidual widens to mid channels, convolves each alone and narrows to out. It adds to its input where it keeps the map's size.
func invertedResidual(s *torch.Session, in, mid, out, stride int64) *parts {
	b := &parts{s: s}
	convs := []*nn.Conv2dModule{conv(s, in, mid, 1, 1), grouped(s, mid, mid, 3, stride, mid), conv(s, mid, out, 1, 1)}
	body := inOrder(b.convNorm("conv1", "bn1", convs[0], true), b.convNorm("conv2", "bn2", convs[1], true), b.convNorm("conv3", "bn3", convs[2], false))
	if stride != 1 {
		b.forward = body
		b.wires = func(w *wiring) { w.through(modules(convs)...) }
		return b
	}
	short, c := b.shortcut(in, out, 1)
	b.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor { return body(x, m).Add(short(x, m)) }
	b.wires = func(w *wiring) { w.residual(c, func() { w.through(modules(convs)...) }) }
	return b
}
