package models

import (
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// Wire is channels on their way: those that some layers make and others read. The layers of From are added together, channel by
// channel, where there are several: a channel is gone only where all of them drop it.
type Wire struct {
	From []string // convolutions and linear layers, by their names
	To   []string // empty: the network's output
}

// wired is a network that knows how its layers hang together.
type wired interface{ wires() []wire }

type wire struct{ from, to []nn.Module }

// Wiring lists the wires in the network's order; each convolution and linear layer is in one From. Batch norms, pooling and
// activations lie on wires.
func Wiring(m *Model) []Wire {
	names := map[*torch.Tensor]string{}
	for _, e := range m.State {
		names[e.Tensor] = e.Layer
	}
	name := func(layers []nn.Module) (out []string) {
		for _, l := range layers {
			switch l := l.(type) {
			case *nn.Conv2dModule:
				out = append(out, names[&l.Weight])
			case *nn.LinearModule:
				out = append(out, names[&l.Weight])
			}
		}
		return out
	}
	var out []Wire
	if w, ok := m.Module.(wired); ok {
		for _, one := range w.wires() {
			out = append(out, Wire{From: name(one.from), To: name(one.to)})
		}
	}
	return out
}

func (n *leNet) wires() []wire {
	layers := []nn.Module{n.conv1, n.conv2, n.fc1, n.fc2}
	var out []wire
	for i := range layers {
		out = append(out, wire{from: layers[i : i+1], to: layers[i+1 : min(i+2, len(layers))]})
	}
	return out
}

// wires of a residual network: a block without a convolution in its shortcut adds to what came in, so that all convolutions before
// it that reach it by shortcuts alone are added together.
func (n *resNet) wires() []wire {
	var out []wire
	sum := wire{from: []nn.Module{n.conv1}}
	for _, layer := range n.layers {
		for _, block := range layer {
			sum.to = append(sum.to, block.conv1)
			inner := wire{from: []nn.Module{block.conv1}, to: []nn.Module{block.conv2}}
			if block.shortcut == nil {
				out = append(out, inner)
				sum.from = append(sum.from, block.conv2)
				continue
			}
			sum.to = append(sum.to, block.shortcut.conv)
			out = append(out, sum, inner)
			sum = wire{from: []nn.Module{block.conv2, block.shortcut.conv}}
		}
	}
	sum.to = append(sum.to, n.linear)
	return append(out, sum, wire{from: []nn.Module{n.linear}})
}
