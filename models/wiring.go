package models

import "rapt/cgo/nn"

// Wire is channels on their way: those that some layers make and others read. Where From has several, a channel is theirs together: they
// are added, channel by channel, and it can be taken out where all of them drop it; or the later is a depthwise convolution, which passes
// each channel on alone.
type Wire struct {
	From  []string // convolutions and linear layers, by their names
	To    []string // empty: the network's output
	Norms []string // batch norms behind the sums, each before some of the readers
	Last  bool     // the last of From is a depthwise convolution: the readers see what it makes, and what it drops is gone
}

// wired is a network that may know how its layers hang together.
type wired interface{ wiring() []wire }

type wire struct {
	from, to []nn.Module
	norms    []reading
}

// reading is a batch norm on a wire that some of its readers read by.
type reading struct {
	norm *nn.BatchNormModule
	to   []nn.Module
}

// Wiring lists the wires in the network's order; each convolution and linear layer is in one From. Batch norms, pooling and
// activations lie on wires. It is empty for a network whose channels are shuffled, joined or read by other ways, which wires cannot tell.
func Wiring(m *Model) []Wire {
	names := m.partNames()
	name := func(layers []nn.Module) (out []string) {
		for _, l := range layers {
			out = append(out, names[l])
		}
		return out
	}
	norms := func(all []reading) (out []string) {
		for _, r := range all {
			out = append(out, names[r.norm])
		}
		return out
	}
	var out []Wire
	if w, ok := m.Module.(wired); ok {
		for _, one := range w.wiring() {
			out = append(out, Wire{From: name(one.from), To: name(one.to), Norms: norms(one.norms), Last: len(one.from) > 1 && depthwise(one.from[len(one.from)-1])})
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

// by says that the layers read what comes next by a batch norm. That they read it is for through or residual to say.
func (w *wiring) by(n *nn.BatchNormModule, to ...nn.Module) {
	w.open.norms = append(w.open.norms, reading{n, to})
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
		w.open = wire{from: append(sum.from, inner.open.from...), to: sum.to, norms: sum.norms}
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
