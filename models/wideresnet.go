package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// wideResNet has depth layers and widen times ResNet's channels (Zagoruyko and Komodakis, arXiv 1605.07146), as the literature on
// robustness has it: a block whose shape changes adds to its input behind the first batch norm.
func wideResNet(depth, widen int64) maker {
	return func(s *torch.Session, sp Spec) nn.Module {
		n := &parts{s: s}
		first := conv(s, sp.Input[0], 16, 3, 1)
		steps := []step{n.add("conv1", first)}
		in := int64(16)
		var all []*parts
		for i, out := range doubling(16*widen, 3) {
			var layer sequence
			for j := range int((depth - 4) / 6) {
				b := wideBlock(s, in, out, strideOf(i, j))
				layer, all, in = append(layer, b), append(all, b), out
			}
			block := &parts{s: s}
			block.forward = block.add("layer", layer)
			steps = append(steps, n.add("block"+strconv.Itoa(i+1), block))
		}
		steps = append(steps, n.normRelu("bn1", in), globalPool)
		last := n.children[len(n.children)-1].Module.(*nn.BatchNormModule)
		fc, classes := n.linear("fc", in, sp.Classes)
		n.forward = inOrder(append(steps, classes)...)
		n.wires = func(w *wiring) {
			w.through(first)
			w.parts(all)
			w.by(last, fc)
			w.through(fc)
		}
		return n
	}
}

func wideBlock(s *torch.Session, in, out, stride int64) *parts {
	b := &parts{s: s}
	convs := []*nn.Conv2dModule{conv(s, in, out, 3, stride), conv(s, out, out, 3, 1)}
	first, body := b.preActBody(in, convs)
	var short step
	var c *nn.Conv2dModule
	if in != out {
		c = conv(s, in, out, 1, stride)
		short = b.add("convShortcut", c)
	}
	b.forward = preActSum(first, body, short)
	b.preActWires(convs, c)
	return b
}
