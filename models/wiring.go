package models

import "rapt/cgo/nn"

// Wire is channels on their way: those that some layers make and others read. Where From has several, a channel is theirs together: they
// are added, channel by channel, or the later is a depthwise convolution, which passes each channel on alone. It can be taken out where
// all of them drop it.
type Wire struct {
	From []string // convolutions and linear layers, by their names
	To   []string // empty: the network's output
}

// wired is a network that may know how its layers hang together.
type wired interface{ wiring() []wire }

type wire struct{ from, to []nn.Module }

// Wiring lists the wires in the network's order; each convolution and linear layer is in one From. Batch norms, pooling and
// activations lie on wires. It is empty for a network whose channels are shuffled, joined or read by other ways, which wires cannot tell.
func Wiring(m *Model) []Wire {
	names := m.layerNames()
	name := func(layers []nn.Module) (out []string) {
		for _, l := range layers {
			out = append(out, names[l])
		}
		return out
	}
	var out []Wire
	if w, ok := m.Module.(wired); ok {
		for _, one := range w.wiring() {
			out = append(out, Wire{From: name(one.from), To: name(one.to)})
		}
	}
	return out
}

// wiring follows a network from its input to its output.
type wiring struct {
	done []wire
	open wire // of the channels that come next; without from it is the image
}

func (p *parts) wiring() []wire {
	if p.wires == nil {
		return nil
	}
	var w wiring
	p.wires(&w)
	return append(w.done, w.open)
}

// through is one layer after the other.
func (w *wiring) through(l nn.Module) {
	if depthwise(l) && len(w.open.from) > 0 {
		w.open.from = append(w.open.from, l)
		return
	}
	w.open.to = append(w.open.to, l)
	if len(w.open.from) > 0 {
		w.done = append(w.done, w.open)
	}
	w.open = wire{from: []nn.Module{l}}
}

// residual is a block that adds its convolutions' output to its input, or to what shortcut makes of that where it is not nil. Without one all
// convolutions before it that reach it by shortcuts alone are added together.
func (w *wiring) residual(body []*nn.Conv2dModule, shortcut *nn.Conv2dModule) {
	sum := w.open
	sum.to = append(sum.to, body[0])
	inner := wiring{open: wire{from: []nn.Module{body[0]}}}
	for _, c := range body[1:] {
		inner.through(c)
	}
	if shortcut == nil {
		w.done = append(w.done, inner.done...)
		w.open = wire{from: append(sum.from, inner.open.from...), to: sum.to}
		return
	}
	sum.to = append(sum.to, shortcut)
	w.done = append(append(w.done, sum), inner.done...)
	w.open = wire{from: append(inner.open.from, shortcut)}
}

func depthwise(l nn.Module) bool {
	c, ok := l.(*nn.Conv2dModule)
	return ok && c.Depthwise()
}

func (n *leNet) wiring() []wire {
	var w wiring
	for _, l := range []nn.Module{n.conv1, n.conv2, n.fc1, n.fc2} {
		w.through(l)
	}
	return append(w.done, w.open)
}
