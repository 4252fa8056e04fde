package models

import (
	"slices"

	"rapt/cgo/nn"
)

// Wire is channels on their way: those that some layers make and others read. Where From has several, a channel is theirs together: they
// are added, channel by channel, and it can be taken out where all of them drop it; or the later is a depthwise convolution, which passes
// each channel on alone.
type Wire struct {
	From  []string // convolutions and linear layers, by their names
	Gates []string // layers whose outputs weigh the channels, one by one, as in squeeze and excitation: what they make goes with the channels
	To    []string // empty: nothing can be taken out; they are the network's output, or Whole
	At    []int64  // for each of To: how many channels of other wires it reads before these, where channels are joined
	Norms []Norm   // batch norms behind sums and joined channels, each before some of the readers
	Last  bool     // the last of From is a depthwise convolution: the readers see what it makes, and what it drops is gone
	Whole bool     // channels that go on in a way that is not followed
	Bent  bool     // a channel that has the same value whatever the image can go if that is 0, or if its readers can add what it adds in another way
}

// Norm is a batch norm, and how many channels it has before the wire's.
type Norm struct {
	Name string
	At   int64
}

// wired is a network that may know how its layers hang together.
type wired interface{ wiring() []*wire }

type wire struct {
	from, gates []nn.Module
	to          []reader
	norms       []reading
	bent        bool // a channel that the first of from makes 1, and others 0, is not 1 for every reader
	whole       bool // its channels go on in a way that is not followed as well: none can be taken out
}

// reader is a layer that reads a wire, and how many channels it reads before the wire's.
type reader struct {
	layer nn.Module
	at    int64
}

// reading is a batch norm on a wire that some of its readers read by, and how many channels it has before the wire's.
type reading struct {
	norm *nn.BatchNormModule
	at   int64
	to   []nn.Module
}

// makers are all layers that have a row for each channel.
func (w *wire) makers() []nn.Module { return slices.Concat(w.from, w.gates) }

// Wiring lists the wires in the network's order; each convolution and linear layer is in one From or Gates. Batch norms, pooling and
// activations lie on wires. Where channels are shuffled, split or grouped, their layers are Whole. It is empty for a network that does not tell.
func Wiring(m *Model) []Wire {
	names := m.partNames()
	name := func(layers []nn.Module) (out []string) {
		for _, l := range layers {
			out = append(out, names[l])
		}
		return out
	}
	var out []Wire
	for _, one := range m.wires() {
		w := Wire{From: name(one.from), Gates: name(one.gates), Bent: one.bent, Last: len(one.from) > 1 && depthwise(one.from[len(one.from)-1])}
		if w.Whole = one.whole; !w.Whole {
			for _, r := range one.to {
				w.To, w.At = append(w.To, names[r.layer]), append(w.At, r.at)
			}
			for _, r := range one.norms {
				w.Norms = append(w.Norms, Norm{names[r.norm], r.at})
			}
		}
		out = append(out, w)
	}
	return out
}

// Wired tells whether a network has channels that can be taken out.
func Wired(m *Model) bool { return len(m.strands()) > 0 }

// Whole are the convolutions and linear layers whose channels go on in a way that is not followed.
func Whole(m *Model) (out []string) {
	for _, w := range Wiring(m) {
		if w.Whole {
			out = append(append(out, w.From...), w.Gates...)
		}
	}
	return out
}

// Unfollowed says what channels do that cannot be taken out, as the rest of a sentence, and in a network of the user's own where first.
func Unfollowed(m *Model) string {
	if all := m.wires(); len(all) > 0 && !slices.ContainsFunc(all, func(w *wire) bool { return w.whole }) {
		return "the classes alone"
	}
	text := "shuffled, split or grouped, or go ways that rapt does not follow"
	if g, ok := m.Module.(*graphed); ok {
		if _, stop := g.followed(); stop >= 0 {
			text += " (at " + g.place(stop) + ")"
		}
	}
	return text
}

// wires are the network's, none where it does not know. Those that a layer reads side by side with a whole one are whole, too.
func (m *Model) wires() []*wire {
	w, ok := m.Module.(wired)
	if !ok {
		return nil
	}
	all := w.wiring()
	for changed := true; changed; {
		changed = false
		beside := map[nn.Module]bool{} // layers that read a whole wire
		for _, one := range all {
			for _, r := range one.to {
				beside[r.layer] = beside[r.layer] || one.whole
			}
		}
		for _, one := range all {
			if !one.whole && slices.ContainsFunc(one.to, func(r reader) bool { return beside[r.layer] }) {
				one.whole, changed = true, true
			}
		}
	}
	return all
}

// wiring follows a network from its input to its output.
type wiring struct {
	all  []*wire
	open []*wire // whose channels come next, one after the other; none: the image, or what is not followed
}

func (p *parts) wiring() []*wire {
	if p.wires == nil {
		return nil
	}
	var w wiring
	p.wires(&w)
	return w.all
}

// by says that the layers read what comes next by a batch norm. That they read it is for through or residual to say.
func (w *wiring) by(n *nn.BatchNormModule, to ...nn.Module) {
	at := int64(0)
	for _, o := range w.open {
		o.norms = append(o.norms, reading{n, at, to})
		at += rows(o.from[0])
	}
}

func (w *wiring) read(l nn.Module) {
	at := int64(0)
	for _, o := range w.open {
		o.to = append(o.to, reader{l, at})
		at += rows(o.from[0])
	}
}

// through is one layer after the other.
func (w *wiring) through(layers ...nn.Module) {
	for _, l := range layers {
		if depthwise(l) && len(w.open) > 0 {
			w.open[0].from = append(w.open[0].from, l)
			continue
		}
		if inGroups(l) {
			w.lose()
			w.all = append(w.all, &wire{from: []nn.Module{l}, whole: true})
			continue
		}
		w.read(l)
		w.open = []*wire{{from: []nn.Module{l}}}
		w.all = append(w.all, w.open...)
	}
}

// lose has what comes next go on in a way that is not followed.
func (w *wiring) lose() {
	for _, o := range w.open {
		o.whole = true
	}
	w.open = nil
}

// alone are layers one after the other, before which and behind which channels go in a way that is not followed.
func (w *wiring) alone(layers ...nn.Module) {
	w.lose()
	w.through(layers...)
	w.lose()
}

// parts is one part after the other.
func (w *wiring) parts(all []*parts) {
	for _, p := range all {
		p.wires(w)
	}
}

// body is a stem, blocks and the layer of the classes.
func (w *wiring) body(stem *nn.Conv2dModule, blocks []*parts, classes *nn.LinearModule) {
	w.through(stem)
	w.parts(blocks)
	w.through(classes)
}

// joined are several ways from what comes next, whose channels are put one after the other.
func (w *wiring) joined(ways ...func()) {
	before := w.open
	var after []*wire
	for _, way := range ways {
		w.open = before
		way()
		after = append(after, w.open...)
	}
	w.open = after
}

// weighed has each channel that comes next multiplied by what two layers make of all of them.
func (w *wiring) weighed(squeeze, excite nn.Module) {
	one := w.open[0]
	w.through(squeeze)
	w.read(excite)
	one.gates, one.bent = append(one.gates, excite), true
	w.open = []*wire{one}
}

// residual is a block that adds what body makes to its input, or to what shortcut makes of that where it is not nil. Without one all
// convolutions before it that reach it by shortcuts alone are added together.
func (w *wiring) residual(shortcut *nn.Conv2dModule, body func()) {
	sum := w.open[0]
	body()
	inner := w.open[0]
	if shortcut != nil {
		sum.to = append(sum.to, reader{layer: shortcut})
		inner.from = append(inner.from, shortcut)
		return
	}
	w.all = slices.DeleteFunc(w.all, func(o *wire) bool { return o == inner })
	sum.take(inner)
	w.open = []*wire{sum}
}

// take adds what is on another wire.
func (w *wire) take(other *wire) {
	w.from, w.gates, w.bent = append(w.from, other.from...), append(w.gates, other.gates...), w.bent || other.bent
	w.whole = w.whole || other.whole
	w.to, w.norms = append(w.to, other.to...), append(w.norms, other.norms...)
}

func depthwise(l nn.Module) bool {
	c, ok := l.(*nn.Conv2dModule)
	return ok && c.Depthwise()
}

// inGroups tells whether a layer is a convolution in groups, a depthwise one or any other.
func inGroups(l nn.Module) bool {
	c, ok := l.(*nn.Conv2dModule)
	return ok && c.Options.Groups > 1
}

// modules are convolutions as what they are among others.
func modules(convs []*nn.Conv2dModule) (out []nn.Module) {
	for _, c := range convs {
		out = append(out, c)
	}
	return out
}

func (n *leNet) wiring() []*wire {
	var w wiring
	w.through(n.conv1, n.conv2, n.fc1, n.fc2)
	return w.all
}
