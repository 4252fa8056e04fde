package models

import (
	"cmp"
	"errors"
	"math"
	"slices"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// ErrNotWired is of a network that has no channels that could be taken out: they hang together in ways that wires cannot tell.
var ErrNotWired = errors.New("its channels hang together in ways that rapt does not follow")

// Compact makes, in m's session, the same function of fewer channels: without those that nothing reads, and without those that hold one
// number whatever the image, as layers whose weights are zero make them. What such channels still add goes into their readers' biases or
// batch norms or, behind zero padding, where it is not the same everywhere, into one constant channel for all of them, which holds 1. Without
// merge there is no such channel, and every weight that is left is as it was. Outputs are equal but for rounding; m stays as it is. The result's
// Spec.Channels say what is left, of every layer at least one channel. The error is ErrNotWired for networks that it is not for.
func Compact(m *Model, merge bool) (*Model, error) {
	s := m.State[0].Tensor.Session()
	c := &compactor{model: m, merge: merge}
	var err error
	if c.work, err = New(s, m.Spec, nil); err != nil {
		return nil, err
	}
	defer c.work.free()
	if err := c.layOut(); err != nil {
		return nil, err
	}
	if len(c.wires) == 0 {
		return nil, ErrNotWired
	}
	for changed := true; changed; {
		if changed, err = c.fold(); err != nil {
			return nil, err
		}
		changed = c.cut() || changed
	}
	return c.small()
}

// compactor changes a network's numbers, and not what it computes, until all channels that can go are read by nothing.
type compactor struct {
	model, work *Model
	merge       bool
	values      map[string][]float32 // of the state dict
	units       map[nn.Module]*unit  // of work
	wires       []bundle
}

// bundle is a strand of units.
type bundle struct {
	from, gates []*unit
	to          []tap
	channels    int
	bent        bool
}

// tap is a unit that reads a bundle, and how many channels it reads before the bundle's.
type tap struct {
	*unit
	at int
}

// makers are all units that have a row for each channel.
func (b bundle) makers() []*unit { return slices.Concat(b.from, b.gates) }

// takeNumbers takes the model's numbers, which its own tensors keep.
func (c *compactor) takeNumbers() (err error) {
	c.values = map[string][]float32{}
	c.work.State[0].Tensor.Session().Do(func() {
		for _, e := range c.model.State {
			if err == nil && e.Tensor.DType() == torch.Float32 {
				c.values[e.Name], err = e.Tensor.Detach().Float32s()
			}
		}
	})
	return err
}

// layOut sorts the numbers by the layers and wires that they are of.
func (c *compactor) layOut() error {
	if err := c.takeNumbers(); err != nil {
		return err
	}
	names, behind := c.work.partNames(), norms(c.work.Module)
	all := map[*nn.BatchNormModule]*statistics{nil: nil}
	for l, n := range names {
		if norm, ok := l.(*nn.BatchNormModule); ok {
			all[norm] = &statistics{n, c.values[n+".weight"], c.values[n+".bias"], c.values[n+".running_mean"], c.values[n+".running_var"]}
		}
	}
	c.units = map[nn.Module]*unit{}
	for _, l := range c.work.layers() {
		name := names[l]
		u := &unit{name: name, out: int(rows(l)), in: int(columns(l)), weight: c.values[name+".weight"], bias: c.values[name+".bias"], behind: all[behind[l]]}
		u.area = len(u.weight) / (u.out * u.in)
		if conv, ok := l.(*nn.Conv2dModule); ok {
			u.padded, u.depthwise = conv.Options.Padding > 0, conv.Depthwise()
		}
		if c.merge {
			u.unshown()
		}
		c.units[l] = u
	}
	for _, s := range c.work.strands() {
		b := bundle{channels: int(s.channels), bent: s.bent}
		for _, l := range s.from {
			if b.from = append(b.from, c.units[l]); c.units[l].depthwise {
				c.units[l].channels = b.channels
			}
		}
		for _, l := range s.gates {
			b.gates = append(b.gates, c.units[l])
		}
		for _, r := range s.to {
			u := c.units[r.layer]
			b.to = append(b.to, tap{u, int(r.at)})
			u.channels += b.channels
		}
		for _, r := range s.wire.norms {
			for _, l := range r.to {
				c.units[l].before = all[r.norm]
			}
		}
		if c.merge {
			b.unpassed()
		}
		c.wires = append(c.wires, b)
	}
	return nil
}

// unpassed clears the weights that make channels which a depthwise layer behind does not pass on.
func (b bundle) unpassed() {
	for k, u := range b.from {
		for ch := 0; k > 0 && u.depthwise && ch < b.channels; ch++ {
			if zero(u.row(ch)) {
				for _, before := range b.from[:k] {
					clear(before.row(ch))
				}
			}
		}
	}
}

// still tells whether channel ch is the same for every image: where layers are added all of them have to be; behind a depthwise one, that,
// or what it sees is 0. Where channels are weighed it has to be 0: what weighs them may have been the same by chance.
func (b bundle) still(ch int, seen map[*unit][]float64) bool {
	if len(b.gates) > 0 && slices.ContainsFunc(b.to, func(t tap) bool { return seen[t.unit][t.at+ch] != 0 }) {
		return false
	}
	all := func(units []*unit) bool {
		return !slices.ContainsFunc(units, func(u *unit) bool { return !u.still(ch) })
	}
	n := len(b.from)
	for n > 1 && b.from[n-1].depthwise {
		n--
	}
	still := all(b.from[:n])
	for _, u := range b.from[n:] { // one after the other
		still = u.still(ch) || still && seen[u][ch] == 0
	}
	return still
}

func (b bundle) isRead(ch int) bool {
	return slices.ContainsFunc(b.to, func(t tap) bool { return t.reads(t.at + ch) })
}

// cut empties the channels that nothing reads but what is not read itself.
func (c *compactor) cut() (changed bool) {
	live := c.live()
	for i, b := range c.wires {
		for ch := range b.channels {
			if live[i][ch] {
				continue
			}
			for _, u := range b.makers() {
				changed = u.hold(ch, 0) || changed
			}
		}
	}
	return changed
}

// live are the channels of each wire that the classes depend on, found from their layer backwards: channels that only add to themselves, round
// a residual block, are not among them.
func (c *compactor) live() [][]bool {
	live := make([][]bool, len(c.wires))
	made := map[*unit][]bool{} // by the layer that makes them; the classes' layer is not in it
	for i, b := range c.wires {
		live[i] = make([]bool, b.channels)
		for _, u := range b.makers() {
			made[u] = live[i]
		}
	}
	for changed := true; changed; {
		changed = false
		for i, b := range slices.Backward(c.wires) {
			for ch := range b.channels {
				if !live[i][ch] && slices.ContainsFunc(b.to, func(t tap) bool { return t.needs(t.at+ch, made[t.unit]) }) {
					live[i][ch], changed = true, true
				}
			}
		}
	}
	return live
}

// fold has no layer read a channel that is the same for every image, as far as that can be.
func (c *compactor) fold() (changed bool, err error) {
	seen, err := c.look()
	if err != nil {
		return false, err
	}
	for _, b := range c.wires {
		var rest []int // channels that only one for all of them can stand for
		for ch := range b.channels {
			var takers []tap
			still, left := b.still(ch, seen), false
			for _, t := range b.to {
				v := seen[t.unit][t.at+ch]
				switch {
				case !t.reads(t.at + ch):
				case math.IsNaN(v) || !still && !t.blind(t.at+ch):
					still, left = false, true
				case v == 0 || t.takes():
					takers = append(takers, t)
				default:
					left = true
				}
			}
			if left && !c.merge {
				continue // the channel stays, and so do all weights that read it
			}
			for _, t := range takers {
				t.take(t.at+ch, seen[t.unit][t.at+ch])
				changed = true
			}
			if still && left && b.canHold(ch) {
				rest = append(rest, ch)
			}
		}
		if len(rest) > 1 {
			b.join(rest, seen)
			changed = true
		}
	}
	return changed, nil
}

// canHold tells whether a channel can be made 1: by the first of the layers that are added, or all along a chain to a depthwise one; or by
// the batch norms that those that read it do so by.
func (b bundle) canHold(ch int) bool {
	if b.bent {
		return false
	}
	maker := b.from[0]
	if last := b.from[len(b.from)-1]; last.depthwise {
		maker = last
	}
	return maker.bias != nil || maker.behind != nil || !slices.ContainsFunc(b.to, func(t tap) bool { return t.before == nil && t.reads(t.at+ch) })
}

// makes tells whether the n-th layer makes what a channel holds that is made 1, or passes it on; the others add 0.
func (b bundle) makes(n int) bool { return n == 0 || b.from[n].depthwise }

// join has the first of some channels, which are the same for every image, hold 1 and stand for all of them.
func (b bundle) join(channels []int, seen map[*unit][]float64) {
	slices.Sort(channels)
	first := channels[0]
	for i, u := range b.from {
		v := float32(0)
		if b.makes(i) {
			v = 1
		}
		u.hold(first, v)
	}
	for _, t := range b.to {
		if t.before != nil {
			t.before.hold(t.at+first, 1)
		}
		for o := range t.out {
			sum := make([]float64, len(t.column(o, t.at+first)))
			for _, ch := range channels {
				w := t.column(o, t.at+ch)
				for i, x := range w {
					if x != 0 { // or what the layer sees of the channel does not matter
						sum[i] += float64(x) * seen[t.unit][t.at+ch]
					}
				}
				clear(w)
			}
			w := t.column(o, t.at+first)
			for i, x := range sum {
				w[i] = float32(x)
			}
		}
	}
}

// look finds what each layer reads of each channel on two images of noise; NaN where that is not one number.
func (c *compactor) look() (map[*unit][]float64, error) {
	if err := write(c.work, c.values); err != nil {
		return nil, err
	}
	byWeight := map[torch.Tensor]*unit{}
	for l, u := range c.units {
		switch l := l.(type) {
		case *nn.Conv2dModule:
			byWeight[l.Weight] = u
		case *nn.LinearModule:
			byWeight[l.Weight] = u
		}
	}
	out := map[*unit][]float64{}
	var err error
	s, in := c.work.State[0].Tensor.Session(), c.work.Input
	s.NoGrad(func() {
		s.Do(func() {
			steps := s.Tape(func() { c.work.Forward(s.Rand(s.NewGenerator(1), 2, in[0], in[1], in[2]), nn.Eval) })
			for _, step := range steps {
				if err == nil && s.Err() == nil && (step.Op == "Conv2d" || step.Op == "Linear") {
					x, u := step.In[0], byWeight[step.In[1]]
					err = see(out, u, x)
				}
			}
		})
	})
	return out, cmp.Or(err, s.Err())
}

// see notes what unit u reads of each channel; of the image nothing.
func see(seen map[*unit][]float64, u *unit, x torch.Tensor) error {
	if u.channels == 0 {
		return nil
	}
	v, err := x.Float32s()
	if err == nil {
		seen[u] = numbers(v, int(x.Size(0)), u.channels)
	}
	return err
}

// numbers are what a batch [n, channels, all else] holds in each channel; NaN where that is not the same but for rounding.
func numbers(v []float32, n, channels int) []float64 {
	out := make([]float64, channels)
	size := len(v) / n / channels
	for ch := range out {
		first := float64(v[ch*size])
		out[ch] = first
		for i := range n {
			for _, x := range v[(i*channels+ch)*size:][:size] {
				if !(math.Abs(float64(x)-first) <= 1e-5*(1+math.Abs(first))) {
					out[ch] = math.NaN()
				}
			}
		}
	}
	return out
}

// write puts numbers into a model.
func write(m *Model, values map[string][]float32) error {
	s := m.State[0].Tensor.Session()
	s.NoGrad(func() {
		s.Do(func() {
			for _, e := range m.State {
				if v, ok := values[e.Name]; ok {
					e.Tensor.Copy_(s.FromFloat32(v, e.Tensor.Shape()...))
				}
			}
		})
	})
	return s.Err()
}
