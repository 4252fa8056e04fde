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
		steps := []step{n.add("conv1", conv(s, sp.Input[0], 16, 3, 1))}
		in := int64(16)
		for i, out := range doubling(16*widen, 3) {
			var layer sequence
			for j := range int((depth - 4) / 6) {
				layer = append(layer, wideBlock(s, in, out, strideOf(i, j)))
				in = out
			}
			block := &parts{s: s}
			block.forward = block.add("layer", layer)
			steps = append(steps, n.add("block"+strconv.Itoa(i+1), block))
		}
		steps = append(steps, n.normRelu("bn1", in), globalPool)
		_, classes := n.linear("fc", in, sp.Classes)
		n.forward = inOrder(append(steps, classes)...)
		return n
	}
}

func wideBlock(s *torch.Session, in, out, stride int64) *parts {
	b := &parts{s: s}
	first, body := b.preActBody(in, []*nn.Conv2dModule{conv(s, in, out, 3, stride), conv(s, out, out, 3, 1)})
	var short step
	if in != out {
		short = b.add("convShortcut", conv(s, in, out, 1, stride))
	}
	b.forward = preActSum(first, body, short)
	return b
}
