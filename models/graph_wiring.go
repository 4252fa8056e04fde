package models

import (
	"slices"

	"rapt/cgo/nn"
)

// strung is a wire while the graph is followed: what it became, where a sum has made it one with another.
type strung struct {
	wire
	into *strung
	at   int // the node of its first layer
}

func (w *strung) now() *strung {
	for w.into != nil {
		w = w.into
	}
	return w
}

// carried is what a node's result is: channels of a wire, or of the images where that is nil, and the batch norm that they have come through
// since the last layer or sum, where there is one that none of the layers is followed by.
type carried struct {
	wire *strung
	norm *nn.BatchNormModule
}

// wiring implements wired. It is nil for a graph that does anything with channels but to add them, or to work on each alone.
func (m *graphed) wiring() []wire {
	made := make([]carried, len(m.Nodes))
	var all []*strung
	for i, n := range m.Nodes {
		var in []carried
		for _, from := range n.From {
			if from == Images {
				in = append(in, carried{})
			} else {
				in = append(in, made[from])
			}
		}
		out, ok := m.follow(i, in)
		if !ok {
			return nil
		}
		if made[i] = out; out.wire != nil && !slices.Contains(all, out.wire) {
			all = append(all, out.wire)
		}
	}
	if last := made[len(made)-1].wire; last != nil && (len(last.now().to) > 0 || made[len(made)-1].norm != nil) {
		return nil
	}
	var out []wire
	for _, w := range all {
		if w.into == nil {
			out = append(out, w.wire)
		}
	}
	return out
}

// follow is what node i makes of what it works on.
func (m *graphed) follow(i int, in []carried) (out carried, ok bool) {
	n, x := m.Nodes[i], in[0]
	switch n.Op {
	case "conv", "linear":
		return m.through(i, x)
	case "norm":
		if m.makerOf(i) >= 0 {
			return x, true
		}
		if x.wire == nil || x.norm != nil || m.flat(n.From[0]) {
			return x, false
		}
		return carried{x.wire, m.layers[i].(*nn.BatchNormModule)}, true
	case "add":
		y := in[1]
		if x.wire == nil || y.wire == nil || x.norm != nil || y.norm != nil || m.flat(n.From[0]) || m.flat(n.From[1]) || !slices.Equal(m.shapes[n.From[0]], m.shapes[n.From[1]]) {
			return x, false
		}
		w, ok := join(x.wire.now(), y.wire.now())
		return carried{wire: w}, ok
	case "avgpool":
		return x, n.Ints[2] == 0 // else a channel is not the same at the borders
	case "relu", "relu6", "dropout", "maxpool", "globalpool", "flatten":
		return x, true
	case "logsoftmax":
		return x, i == len(m.Nodes)-1
	}
	return x, false
}

// through is layer i, which reads a wire and begins another; a depthwise one goes on with it.
func (m *graphed) through(i int, x carried) (carried, bool) {
	l := m.layers[i]
	if x.wire != nil {
		w := x.wire.now()
		if depthwise(l) {
			w.from = append(w.from, l)
			return carried{wire: w}, x.norm == nil && m.uses[m.Nodes[i].From[0]] == 1 && len(w.to) == 0
		}
		if c, ok := l.(*nn.Conv2dModule); ok && c.Options.Groups > 1 {
			return x, false
		}
		w.to = append(w.to, l)
		if x.norm != nil {
			at := slices.IndexFunc(w.norms, func(r reading) bool { return r.norm == x.norm })
			if at < 0 {
				at = len(w.norms)
				w.norms = append(w.norms, reading{norm: x.norm})
			}
			w.norms[at].to = append(w.norms[at].to, l)
		}
	} else if c, ok := l.(*nn.Conv2dModule); ok && c.Options.Groups > 1 {
		return x, false
	}
	return carried{wire: &strung{wire: wire{from: []nn.Module{l}}, at: i}}, true
}

// flat tells whether a node's result has no maps any more, so that a channel may be many numbers of it.
func (m *graphed) flat(i int) bool {
	for ; i != Images; i = m.Nodes[i].From[0] {
		switch m.Nodes[i].Op {
		case "flatten":
			from := m.Nodes[i].From[0]
			if from == Images || len(m.shapes[from]) == 3 && m.shapes[from][1]*m.shapes[from][2] > 1 {
				return true
			}
		case "conv", "linear", "add":
			return false
		}
	}
	return false
}

// join makes two wires one, whose layers are in the network's order. Compact lets a channel that always has the same value be 1 in the first
// layer, and in depthwise ones, and 0 in the others: so ok is false for what sees such a channel otherwise, which are a sum of a wire with itself,
// readers of the later wire alone, and depthwise layers beside others.
func join(a, b *strung) (w *strung, ok bool) {
	if a == b {
		return a, false
	}
	if b.at < a.at {
		a, b = b, a
	}
	if len(b.to) > 0 || slices.ContainsFunc(slices.Concat(a.from, b.from), depthwise) {
		return a, false
	}
	a.from, a.to, a.norms = append(a.from, b.from...), append(a.to, b.to...), append(a.norms, b.norms...)
	b.into = a
	return a, true
}
