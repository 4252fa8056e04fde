package models

import (
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// resNeXt29 is a residual network whose 3x3 convolutions have so many groups of width channels, doubled from layer to layer (Xie et al.,
// arXiv 1611.05431), as the original has it: with a 1x1 stem.
func resNeXt29(groups, width int64) maker {
	return func(s *torch.Session, sp Spec) nn.Module {
		n := &parts{s: s}
		block := func(s *torch.Session, in, out, stride int64) *parts {
			mid := out / 2
			return bottom(s, in, out, stride, conv(s, in, mid, 1, 1), grouped(s, mid, mid, 3, stride, groups), conv(s, mid, out, 1, 1))
		}
		stem := conv(s, sp.Input[0], 64, 1, 1)
		all, linear := n.layered(sp, n.convNorm("conv1", "bn1", stem, true), 64, doubling(2*groups*width, 3), []int{3, 3, 3}, block)
		n.wires = func(w *wiring) { w.body(stem, all, linear) }
		return n
	}
}
