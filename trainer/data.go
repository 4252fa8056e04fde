package trainer

import (
	torch "rapt/cgo"
	"rapt/datasets"
)

// images is a data set on the device; batches are index selections there.
type images struct {
	pixels torch.Tensor // uint8 [N, C, H, W]
	labels torch.Tensor // int64 [N]
	n      int
}

// upload puts a set on the team's device and shows it to every member, for the team's life.
func (t *team) upload(set *datasets.Set) (*images, error) {
	labels := make([]int64, len(set.Labels))
	for i, l := range set.Labels {
		labels[i] = int64(l)
	}
	lead := t.members[0]
	d := &images{
		pixels: lead.s.FromUint8(set.Pixels, int64(set.N), int64(set.C), int64(set.H), int64(set.W)),
		labels: lead.s.FromInt64(labels, int64(set.N)),
		n:      set.N,
	}
	lead.s.Keep(d.pixels, d.labels)
	lead.sets[d] = *d
	for _, m := range t.members[1:] {
		if err := onOwn(m, func() error {
			v := images{m.s.Borrow(d.pixels), m.s.Borrow(d.labels), d.n}
			m.s.Keep(v.pixels, v.labels)
			m.sets[d] = v
			return m.s.Err()
		}); err != nil {
			return nil, err
		}
	}
	return d, lead.s.Err()
}

// useOrder puts an epoch's order on a GPU, once: sending each batch's part there would wait for it at every step.
func (m *member) useOrder(order []int64) {
	if !m.s.Device().IsCUDA() {
		return
	}
	m.s.Free(m.uploaded)
	m.order, m.uploaded = order, m.s.FromInt64(order, int64(len(order)))
	m.s.Keep(m.uploaded)
}

// indices is index on the device, as a part of the epoch's order where it is one.
func (m *member) indices(index []int64) torch.Tensor {
	n := int64(len(index))
	at := cap(m.order) - cap(index) // where index begins, if it was sliced from order
	if n > 0 && at >= 0 && at+len(index) <= len(m.order) && &m.order[at] == &index[0] {
		return m.uploaded.Narrow(0, int64(at), n)
	}
	return m.s.FromInt64(index, n)
}

// pixels turns bytes into what networks take.
func (m *member) pixels(bytes torch.Tensor) torch.Tensor {
	x := bytes.To(torch.Float32).DivScalar(255)
	if m.model.ChannelsLast {
		x = x.ChannelsLast()
	}
	return x
}

// batch selects images, as float32 in [0, 1], and their labels.
func (m *member) batch(d *images, index []int64) (x, y torch.Tensor) {
	v := m.sets[d]
	ids := m.indices(index)
	return m.pixels(v.pixels.IndexSelect(0, ids)), v.labels.IndexSelect(0, ids)
}

// slice is the part [from, to) of a set, in order.
func (m *member) slice(d *images, from, to int) (x, y torch.Tensor) {
	v := m.sets[d]
	n := int64(to - from)
	return m.pixels(v.pixels.Narrow(0, int64(from), n)), v.labels.Narrow(0, int64(from), n)
}
