package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// dpnLayer is one layer of a dual path network: of the grouped convolutions' channels, of the residual path, and of those that each block
// adds to the dense path.
type dpnLayer struct{ mid, residual, dense int64 }

var dpnLayers = []dpnLayer{{96, 256, 16}, {192, 512, 32}, {384, 1024, 24}, {768, 2048, 128}}

// dpn is a dual path network of four layers of so many blocks (Chen et al., arXiv 1707.01629).
func dpn(blocks ...int) maker {
	return func(s *torch.Session, sp Spec) nn.Module {
		n := &parts{s: s}
		stem := conv(s, sp.Input[0], 64, 3, 1)
		steps := []step{n.convNorm("conv1", "bn1", stem, true)}
		var all []*parts
		in := int64(64)
		for i, l := range dpnLayers {
			var layer sequence
			for j := range blocks[i] {
				b := dualPath(s, in, l, strideOf(i, j), j == 0)
				layer, all = append(layer, b), append(all, b)
				in = l.residual + int64(j+2)*l.dense
			}
			steps = append(steps, n.add("layer"+strconv.Itoa(i+1), layer))
		}
		linear, classes := n.linear("linear", in, sp.Classes)
		n.wires = func(w *wiring) { w.body(stem, all, linear) }
		n.forward = inOrder(append(steps, globalPool, classes)...)
		return n
	}
}

func dualPath(s *torch.Session, in int64, l dpnLayer, stride int64, first bool) *parts {
	p := &parts{s: s}
	out := l.residual + l.dense
	c1, c2, c3 := conv(s, in, l.mid, 1, 1), grouped(s, l.mid, l.mid, 3, stride, 32), conv(s, l.mid, out, 1, 1)
	body := inOrder(p.convNorm("conv1", "bn1", c1, true), p.convNorm("conv2", "bn2", c2, true), p.convNorm("conv3", "bn3", c3, false))
	short, c := same, (*nn.Conv2dModule)(nil)
	if first {
		short, c = p.shortcut(in, out, stride)
	}
	p.wires = func(w *wiring) { // the sums of parts are not followed
		before := w.open
		w.through(c1, c2, c3)
		w.lose()
		if w.open = before; c != nil {
			w.through(c)
		}
		w.lose()
	}
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor {
		y := body(x, m)
		x = short(x, m)
		sum := channels(x, 0, l.residual).Add(channels(y, 0, l.residual))
		return concat(sum, channels(x, l.residual, x.Size(1)), channels(y, l.residual, out)).Relu()
	}
	return p
}
