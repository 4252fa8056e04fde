package trainer

import (
	"slices"

	torch "rapt/cgo"
)

// exchange is how a member with a device of its own, and so with its own copy of the weights, works with member 0: each way all goes in one
// copy from device to device. Member 0 asks for the copies, and a copy knows nothing of what another thread has asked of the device: so each
// side waits for its own device before the other goes on.
type exchange struct {
	takes, gives []torch.Tensor // the member's weights and statistics; its gradients and statistics
	down, up     parcel         // of them, on the member's device
	to, from     torch.Tensor   // member 0's handles of the parcels
	landed       parcel         // up, once it is on member 0's device
	noise        torch.Tensor   // member 0's handle of the member's copy of free's noise
	moved        rows           // of the noise, in the last batch
}

// rows are n of a tensor's first dimension.
type rows struct{ from, n int64 }

// parcel is tensors that lie one after another in one.
type parcel struct {
	whole torch.Tensor
	parts []torch.Tensor
}

// newParcel has room for tensors like ts, each laid out as it is there. It lives as long as s.
func newParcel(s *torch.Session, ts []torch.Tensor) (p parcel) {
	n := int64(0)
	for _, t := range ts {
		n += t.Numel()
	}
	p.whole = s.Zeros(n)
	s.Keep(p.whole)
	at := int64(0)
	for _, t := range ts {
		part := s.Scope(func() torch.Tensor {
			part, shape := p.whole.Narrow(0, at, t.Numel()), t.Shape()
			if len(shape) == 4 && !t.IsContiguous() { // channels last
				return part.Reshape(shape[0], shape[2], shape[3], shape[1]).Permute(0, 3, 1, 2)
			}
			return part.Reshape(shape...)
		})
		s.Keep(part)
		p.parts = append(p.parts, part)
		at += t.Numel()
	}
	return p
}

// exchanges prepares the member's side.
func (m *member) exchanges() {
	state := statistics(m.model)
	x := &exchange{takes: slices.Concat(m.params, state), gives: slices.Concat(m.grads, state)}
	x.down, x.up = newParcel(m.s, x.takes), newParcel(m.s, x.gives)
	m.own = x
	m.s.Synchronize() // before member 0 writes there
}

// around is f between the member's taking of what came, or of the weights in it alone, and its laying out of what goes.
func (x *exchange) around(f func(*member) error, weights bool) func(*member) error {
	if x == nil {
		return f
	}
	return func(m *member) error {
		n := len(x.takes)
		if weights {
			n = len(m.params)
		}
		m.s.CopyLists_(x.takes[:n], x.down.parts[:n])
		if err := f(m); err != nil {
			return err
		}
		m.s.CopyLists_(x.up.parts, x.gives)
		return m.s.Synchronize()
	}
}

// reach gives member 0 its side of the exchange with m.
func (t *team) reach(m *member) {
	lead, x := t.members[0], m.own
	x.to, x.from = lead.s.Borrow(x.down.whole), lead.s.Borrow(x.up.whole)
	lead.s.Keep(x.to, x.from)
	x.landed = newParcel(lead.s, slices.Concat(lead.grads, t.mine))
	t.others = append(t.others, x.landed.parts[:len(lead.grads)])
	t.buffers = append(t.buffers, x.landed.parts[len(lead.grads):])
}

// send brings member 0's weights, statistics and noise to the members that have their own.
func (t *team) send() {
	if !t.apart {
		return
	}
	lead := t.members[0]
	lead.s.CopyLists_(t.sent.parts, slices.Concat(lead.params, t.mine))
	for _, m := range t.members[1:] {
		m.own.to.Copy_(t.sent.whole)
		if m.own.noise.Defined() {
			m.own.noise.Copy_(lead.noise)
		}
	}
	lead.s.Synchronize()
}

// collect brings those members' gradients, statistics and noise to member 0's device.
func (t *team) collect() {
	if !t.apart {
		return
	}
	lead := t.members[0]
	for _, m := range t.members[1:] {
		x := m.own
		x.landed.whole.Copy_(x.from)
		if x.noise.Defined() && x.moved.n > 0 {
			lead.s.Do(func() { x.moved.of(lead.noise).Copy_(x.moved.of(x.noise)) })
		}
	}
}

func (r rows) of(t torch.Tensor) torch.Tensor { return t.Narrow(0, r.from, r.n) }
