package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// denseNet has four blocks of layers that each add growth channels to all that came before them, and halves channels and map between the
// blocks (Huang et al., arXiv 1608.06993, the BC form).
func denseNet(growth int64, blocks ...int) maker {
	return func(s *torch.Session, sp Spec) nn.Module {
		n := &parts{s: s}
		c := 2 * growth
		stem := conv(s, sp.Input[0], c, 3, 1)
		steps, all := []step{n.add("conv1", stem)}, []*parts(nil)
		for i, count := range blocks {
			var layers sequence
			for range count {
				l := denseLayer(s, c, growth)
				layers, all = append(layers, l), append(all, l)
				c += growth
			}
			number := strconv.Itoa(i + 1)
			if steps = append(steps, n.add("dense"+number, layers)); i < len(blocks)-1 {
				t := transition(s, c, c/2)
				steps, all = append(steps, n.add("trans"+number, t)), append(all, t)
				c /= 2
			}
		}
		steps = append(steps, n.normRelu("bn", c), globalPool)
		last := n.children[len(n.children)-1].Module.(*nn.BatchNormModule)
		linear, classes := n.linear("linear", c, sp.Classes)
		n.forward = inOrder(append(steps, classes)...)
		n.wires = func(w *wiring) {
			w.through(stem)
			w.parts(all)
			w.by(last, linear)
			w.through(linear)
		}
		return n
	}
}

func denseLayer(s *torch.Session, in, growth int64) *parts {
	p := &parts{s: s}
	convs := []*nn.Conv2dModule{conv(s, in, 4*growth, 1, 1), conv(s, 4*growth, growth, 3, 1)}
	first, rest := p.preActBody(in, convs)
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor { return concat(rest(first(x, m), m), x) }
	p.wires = func(w *wiring) {
		w.by(p.children[0].Module.(*nn.BatchNormModule), convs[0])
		w.joined(func() { w.through(modules(convs)...) }, func() {})
	}
	return p
}

func transition(s *torch.Session, in, out int64) *parts {
	p := &parts{s: s}
	c := conv(s, in, out, 1, 1)
	body := inOrder(p.normRelu("bn", in), p.add("conv", c))
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor { return body(x, m).AvgPool2d(2, 2, 0) }
	p.wires = func(w *wiring) {
		w.by(p.children[0].Module.(*nn.BatchNormModule), c)
		w.through(c)
	}
	return p
}
