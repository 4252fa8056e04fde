package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// inceptions are the channels of GoogLeNet's modules: of the 1x1 branch, of the 3x3 branch's two layers, of the 5x5 branch's two (here
// two 3x3 layers), and of the pooled branch (Szegedy et al., arXiv 1409.4842, Table 1).
var inceptions = []struct {
	name  string
	width [6]int64
}{
	{"a3", [6]int64{64, 96, 128, 16, 32, 32}}, {"b3", [6]int64{128, 128, 192, 32, 96, 64}},
	{"a4", [6]int64{192, 96, 208, 16, 48, 64}}, {"b4", [6]int64{160, 112, 224, 24, 64, 64}}, {"c4", [6]int64{128, 128, 256, 24, 64, 64}},
	{"d4", [6]int64{112, 144, 288, 32, 64, 64}}, {"e4", [6]int64{256, 160, 320, 32, 128, 128}},
	{"a5", [6]int64{256, 160, 320, 32, 128, 128}}, {"b5", [6]int64{384, 192, 384, 48, 128, 128}},
}

func newGoogLeNet(s *torch.Session, sp Spec) nn.Module {
	n := &parts{s: s}
	stem := convs(s, 0, sp.Input[0], []int64{192}, 3)
	steps, all := []step{n.add("pre_layers", stem)}, []*parts{stem}
	in := int64(192)
	for _, i := range inceptions {
		if i.name == "a4" || i.name == "a5" {
			steps = append(steps, maxPool3(2))
		}
		p := inception(s, in, i.width)
		steps, all = append(steps, n.add(i.name, p)), append(all, p)
		in = i.width[0] + i.width[2] + i.width[4] + i.width[5]
	}
	linear, classes := n.linear("linear", in, sp.Classes)
	n.forward = inOrder(append(steps, globalPool, classes)...)
	n.wires = func(w *wiring) {
		w.parts(all)
		w.through(linear)
	}
	return n
}

func inception(s *torch.Session, in int64, w [6]int64) *parts {
	p := &parts{s: s}
	b1, b2, b3 := convs(s, 0, in, w[:1], 1), convs(s, 0, in, w[1:3], 1, 3), convs(s, 0, in, []int64{w[3], w[4], w[4]}, 1, 3, 3)
	b4 := convs(s, 1, in, w[5:], 1) // the pooling is PyTorch's 0
	branches := []step{p.add("b1", b1), p.add("b2", b2), p.add("b3", b3), inOrder(maxPool3(1), p.add("b4", b4))}
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor {
		var out []torch.Tensor
		for _, b := range branches {
			out = append(out, b(x, m))
		}
		return concat(out...)
	}
	p.wires = func(w *wiring) {
		w.joined(func() { b1.wires(w) }, func() { b2.wires(w) }, func() { b3.wires(w) }, func() { b4.wires(w) })
	}
	return p
}

// convs are convolutions of k x k with bias, batch norm and ReLU, whose names begin with the number first.
func convs(s *torch.Session, first int, in int64, widths []int64, kernels ...int64) *parts {
	p := &parts{s: s}
	var steps []step
	var all []nn.Module
	for i, k := range kernels {
		c := nn.Conv2d(s, in, widths[i], k, torch.ConvOptions{Padding: k / 2}, true)
		at := first + 3*i
		steps = append(steps, p.convNorm(strconv.Itoa(at), strconv.Itoa(at+1), c, true))
		in, all = widths[i], append(all, c)
	}
	p.forward = inOrder(steps...)
	p.wires = func(w *wiring) { w.through(all...) }
	return p
}
