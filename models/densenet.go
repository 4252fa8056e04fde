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
		steps := []step{n.add("conv1", conv(s, sp.Input[0], c, 3, 1))}
		for i, count := range blocks {
			var layers sequence
			for range count {
				layers = append(layers, denseLayer(s, c, growth))
				c += growth
			}
			number := strconv.Itoa(i + 1)
			if steps = append(steps, n.add("dense"+number, layers)); i < len(blocks)-1 {
				steps = append(steps, n.add("trans"+number, transition(s, c, c/2)))
				c /= 2
			}
		}
		steps = append(steps, n.normRelu("bn", c), globalPool)
		_, classes := n.linear("linear", c, sp.Classes)
		n.forward = inOrder(append(steps, classes)...)
		return n
	}
}

func denseLayer(s *torch.Session, in, growth int64) *parts {
	p := &parts{s: s}
	first, rest := p.preActBody(in, []*nn.Conv2dModule{conv(s, in, 4*growth, 1, 1), conv(s, 4*growth, growth, 3, 1)})
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor { return concat(rest(first(x, m), m), x) }
	return p
}

func transition(s *torch.Session, in, out int64) *parts {
	p := &parts{s: s}
	body := inOrder(p.normRelu("bn", in), p.add("conv", conv(s, in, out, 1, 1)))
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor { return body(x, m).AvgPool2d(2, 2, 0) }
	return p
}
