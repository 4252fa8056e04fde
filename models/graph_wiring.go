package models

import (
	"fmt"
	"slices"

	"rapt/cgo/nn"
)

// strung is a wire while the graph is followed: what it became, where a sum has made it one with another.
type strung struct {
	wire
	into    *strung
	at      int  // the node of its first layer
	gate    bool // it weighs the wire that it has become one with
	version int  // how many depthwise layers it has come through
}

func (w *strung) now() *strung {
	for w.into != nil {
		w = w.into
	}
	return w
}

// moment is a wire as it was when a node's result was made of it.
type moment struct {
	*strung
	version int
}

func (w *strung) present() moment { return moment{w, w.version} }

// use notes on the wire that something works on what it was, and tells whether that can be beside what it has become. Behind a depthwise layer a channel is another
// one; a gate's is no channel of the wire that it weighs. Where a sum has made the wire one with an earlier one, a channel that the earlier one makes 1
// is 0 for what uses the later alone.
func (s moment) use() bool {
	if s.into == nil {
		return s.version == s.strung.version
	}
	for w := s.strung; w != nil; w = w.into {
		if w.gate || w.version > 0 {
			return false
		}
	}
	s.now().bent = true
	return true
}

// carried is what a node's result is: channels of wires, one after the other, or where there is none those of the images or of what is not followed, and the batch norm that they
// have come through since the last layer or sum, where there is one that none of the layers is followed by.
type carried struct {
	wires []moment
	norm  *nn.BatchNormModule
	odd   bool // a channel of zeros is not zero any more
}

// sole is the wire of a result that is one wire's alone and has come through no batch norm of its own since; nil for any other.
func (c carried) sole() *strung {
	if len(c.wires) != 1 || c.norm != nil {
		return nil
	}
	return c.wires[0].now()
}

func (c carried) bend() {
	for _, w := range c.wires {
		w.now().bent = true
	}
}

// wiring implements wired.
func (m *graphed) wiring() []*wire {
	out, _ := m.followed()
	return out
}

// followed are the graph's wires, and the first node at which some go on in a way that is not followed, -1 where none does.
func (m *graphed) followed() (out []*wire, stop int) {
	made := make([]carried, len(m.Nodes))
	var all []*strung
	stop = -1
	lose := func(at int, what ...carried) {
		for _, c := range what {
			for _, w := range c.wires {
				w.now().whole = true
				if stop < 0 {
					stop = at
				}
			}
		}
	}
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
			lose(m.cause(i, made), in...)
			if out = (carried{}); n.Op == "conv" || n.Op == "linear" {
				w := &strung{wire: wire{from: []nn.Module{m.layers[i]}}, at: i}
				if out.wires = []moment{w.present()}; inGroups(m.layers[i]) {
					lose(i, out)
				}
			}
		}
		made[i] = out
		for _, w := range out.wires {
			if !slices.Contains(all, w.strung) {
				all = append(all, w.strung)
			}
		}
	}
	for i, c := range made { // a batch norm that no layer reads by goes with no wire
		read := func(s moment) bool {
			return slices.ContainsFunc(s.now().norms, func(r reading) bool { return r.norm == c.norm })
		}
		if c.norm != nil && c.norm == m.layers[i] && !slices.ContainsFunc(c.wires, read) {
			lose(i, c)
		}
	}
	if last := made[len(made)-1]; len(last.wires) > 0 && (last.sole() == nil || len(last.sole().to) > 0 || last.odd) {
		lose(len(made)-1, last)
	}
	for _, w := range all {
		if w.into == nil {
			out = append(out, &w.wire)
		}
	}
	return out, stop
}

// cause is the node because of which node i cannot be followed: a sigmoid that leads to it, or itself.
func (m *graphed) cause(i int, made []carried) int {
	n := m.Nodes[i]
	for _, at := range n.From {
		for ; n.Op != "mul" && at != Images && made[at].odd; at = m.Nodes[at].From[0] {
			i = at
		}
	}
	return i
}

// place says which node i is.
func (m *graphed) place(i int) string {
	n := m.Nodes[i]
	if n.Layer != "" {
		return fmt.Sprintf("%s %s", n.Op, n.Layer)
	}
	for at := n.From[0]; at != Images; at = m.Nodes[at].From[0] {
		if layer := m.Nodes[at].Layer; layer != "" {
			return fmt.Sprintf("%s behind %s", n.Op, layer)
		}
	}
	return n.Op + " of the images"
}

// follow is what node i makes of what it works on.
func (m *graphed) follow(i int, in []carried) (out carried, ok bool) {
	n, x := m.Nodes[i], in[0]
	odd := slices.ContainsFunc(in, func(c carried) bool { return c.odd })
	for _, c := range in {
		if slices.ContainsFunc(c.wires, func(s moment) bool { return !s.use() }) {
			return x, false
		}
	}
	switch n.Op {
	case "flatten", "dropout":
		return x, true
	case "reshape": // a list of numbers as maps of one pixel
		from := m.shape(n.From[0])
		return x, slices.Equal(n.Ints, from) || !m.flat(n.From[0]) && n.Ints[0] == from[0] && count(n.Ints) == from[0]
	case "mul":
		return m.product(i, in[0], in[1])
	case "sigmoid", "hardsigmoid":
		x.odd = true
		return x, !odd
	}
	if odd {
		return x, false
	}
	switch n.Op {
	case "conv", "linear":
		return m.through(i, x)
	case "norm":
		if m.makerOf(i) >= 0 {
			return x, true
		}
		x.norm = m.layers[i].(*nn.BatchNormModule)
		return x, in[0].norm == nil && len(x.wires) > 0 && !m.flat(n.From[0])
	case "add":
		a, b := x.sole(), in[1].sole()
		if a == nil || b == nil || m.flat(n.From[0]) || m.flat(n.From[1]) || !slices.Equal(m.shape(n.From[0]), m.shape(n.From[1])) {
			return x, false
		}
		w, ok := join(a, b)
		return carried{wires: []moment{w.present()}}, ok
	case "cat":
		return m.joined(i, in)
	case "avgpool":
		return x, n.Ints[2] == 0 // else a channel is not the same at the borders
	case "tanh", "hardswish": // of 0 they make 0, and of 1 something else
		x.bend()
		return x, true
	case "relu", "relu6", "maxpool", "globalpool":
		return x, true
	case "logsoftmax":
		return x, i == len(m.Nodes)-1
	}
	return x, false
}

// shape is that of what node i makes for one image.
func (m *graphed) shape(i int) []int64 {
	if i == Images {
		return m.Input[:]
	}
	return m.shapes[i]
}

// through is layer i, which reads wires and begins another; a depthwise one goes on with its own.
func (m *graphed) through(i int, x carried) (carried, bool) {
	l := m.layers[i]
	if depthwise(l) && len(x.wires) > 0 {
		w := x.sole()
		if w == nil || len(w.to) > 0 || len(w.gates) > 0 || m.uses[m.Nodes[i].From[0]] != 1 {
			return x, false
		}
		w.from = append(w.from, l)
		w.version++
		return carried{wires: []moment{w.present()}}, true
	}
	if inGroups(l) {
		return x, false
	}
	next := int64(0)
	for _, one := range x.wires {
		w, at := one.now(), next
		next += rows(w.from[0])
		w.to = append(w.to, reader{l, at})
		if x.norm == nil {
			continue
		}
		r := slices.IndexFunc(w.norms, func(r reading) bool { return r.norm == x.norm && r.at == at })
		if r < 0 {
			r = len(w.norms)
			w.norms = append(w.norms, reading{norm: x.norm, at: at})
		}
		w.norms[r].to = append(w.norms[r].to, l)
	}
	w := &strung{wire: wire{from: []nn.Module{l}}, at: i}
	return carried{wires: []moment{w.present()}}, true
}

// mostJoined is more wires than any network joins: each is looked at for each reader.
const mostJoined = 1 << 12

// joined are channels put one after the other.
func (m *graphed) joined(i int, in []carried) (out carried, ok bool) {
	for k, x := range in {
		if from := m.Nodes[i].From[k]; len(x.wires) == 0 || x.norm != nil || m.flat(from) || m.Nodes[i].Ints[0] != 1 {
			return out, false
		}
		out.wires = append(out.wires, x.wires...)
	}
	if len(out.wires) > mostJoined {
		return carried{}, false
	}
	return out, true
}

// product are channels by themselves, as x sigmoid(x) is, or each by a number that is made of all of them.
func (m *graphed) product(i int, x, y carried) (out carried, ok bool) {
	n := m.Nodes[i]
	same := slices.EqualFunc(x.wires, y.wires, func(a, b moment) bool { return a.now() == b.now() })
	if same && len(x.wires) > 0 && x.norm == y.norm && slices.Equal(m.shape(n.From[0]), m.shape(n.From[1])) {
		x.bend()
		x.odd = x.odd && y.odd
		return x, true
	}
	weighed, gate := n.From[0], n.From[1]
	if x.odd {
		x, y, weighed, gate = y, x, gate, weighed
	}
	w, g := x.sole(), y.sole()
	if w == nil || g == nil || w == g || x.odd || !y.odd || !m.tells(w, weighed) || len(g.to) > 0 || len(g.gates) > 0 || slices.ContainsFunc(g.from, depthwise) || m.uses[gate] != 1 ||
		m.flat(n.From[0]) || m.flat(n.From[1]) || m.shape(n.From[0])[0] != m.shape(n.From[1])[0] {
		return x, false
	}
	w.gates, w.bent, g.into, g.gate = append(w.gates, g.from...), true, w, true
	w.whole = w.whole || g.whole
	return x, true
}

// tells is whether something reads of w what tells which channels of node i are 0: what node i makes, or is made of. Behind an activation a channel may be
// 0 that is not before it.
func (m *graphed) tells(w *strung, i int) bool {
	for ok := true; ok && i != Images; i, ok = m.before(i) {
		if slices.ContainsFunc(w.to, func(r reader) bool { return m.unpooled(m.Nodes[slices.Index(m.layers, r.layer)].From[0]) == i }) {
			return true
		}
	}
	return false
}

var pooling = []string{"flatten", "reshape", "dropout", "maxpool", "avgpool", "globalpool"}

// unpooled is the node before i that has the same number in a channel that is one number.
func (m *graphed) unpooled(i int) int {
	for i != Images && slices.Contains(pooling, m.Nodes[i].Op) {
		i = m.Nodes[i].From[0]
	}
	return i
}

// before is the node that alone makes node i, which is 0 where that is.
func (m *graphed) before(i int) (before int, ok bool) {
	n := m.Nodes[i]
	switch {
	case n.Op == "add":
		return n.From[0], n.From[0] == n.From[1]
	case n.Op == "mul": // with its own sigmoid
		a, b := n.From[0], n.From[1]
		if m.Nodes[a].From[0] == b {
			a, b = b, a
		}
		return a, m.Nodes[b].From[0] == a
	}
	return n.From[0], slices.Contains(pooling, n.Op) || slices.Contains([]string{"relu", "relu6", "tanh", "hardswish"}, n.Op)
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

// join makes two wires one, whose layers are in the network's order. Where a sum is of a wire with itself, or something reads the later wire alone, a
// channel that the first layer makes 1, and others 0, is not 1 for all that read it. ok is false for depthwise layers beside others.
func join(a, b *strung) (w *strung, ok bool) {
	if a == b {
		a.bent = true
		return a, true
	}
	if b.at < a.at {
		a, b = b, a
	}
	if slices.ContainsFunc(slices.Concat(a.from, b.from), depthwise) {
		return a, false
	}
	a.bent = a.bent || len(b.to) > 0
	a.take(&b.wire)
	b.into = a
	return a, true
}
