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

// batch selects images, as float32 in [0, 1], and their labels.
func (m *member) batch(d *images, index []int64) (x, y torch.Tensor) {
	v := m.sets[d]
	ids := m.s.FromInt64(index, int64(len(index)))
	return v.pixels.IndexSelect(0, ids).To(torch.Float32).DivScalar(255), v.labels.IndexSelect(0, ids)
}

// slice is the part [from, to) of a set, in order.
func (m *member) slice(d *images, from, to int) (x, y torch.Tensor) {
	v := m.sets[d]
	n := int64(to - from)
	return v.pixels.Narrow(0, int64(from), n).To(torch.Float32).DivScalar(255), v.labels.Narrow(0, int64(from), n)
}
