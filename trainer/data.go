package trainer

import (
	"slices"

	"go.uber.org/zap"

	torch "rapt/cgo"
	"rapt/datasets"
	"rapt/trainer/limits"
)

// images is a data set. Its pixels lie on the device, where batches are index selections; where they do not fit there they stay in the
// host's memory, or in the file that is mapped into it, and each batch is sent while the device works on the one before.
type images struct {
	pixels torch.Tensor  // uint8 [N, C, H, W]; absent where the set streams
	host   *datasets.Set // where it streams
	labels torch.Tensor  // int64 [N]
	n      int
}

// upload puts a set on the team's device, or on each of its devices, and shows it to every member, for the team's life.
func (t *team) upload(set *datasets.Set) (*images, error) {
	labels := make([]int64, len(set.Labels))
	for i, l := range set.Labels {
		labels[i] = int64(l)
	}
	lead := t.members[0]
	d := lead.put(set, labels)
	lead.sets[d] = *d
	for _, m := range t.members[1:] {
		if err := onOwn(m, func() error {
			if t.apart {
				m.sets[d] = *m.put(set, labels)
				return m.s.Err()
			}
			v := images{labels: m.s.Borrow(d.labels), host: d.host, n: d.n}
			m.s.Keep(v.labels)
			if d.host == nil {
				v.pixels = m.s.Borrow(d.pixels)
				m.s.Keep(v.pixels)
			}
			m.sets[d] = v
			return m.s.Err()
		}); err != nil {
			return nil, err
		}
	}
	return d, lead.s.Err()
}

// put puts a set on the member's device, as far as it fits there.
func (m *member) put(set *datasets.Set, labels []int64) *images {
	d := &images{labels: m.s.FromInt64(labels, int64(set.N)), n: set.N}
	m.s.Keep(d.labels)
	if int64(set.N*set.Size()) <= roomFor(m.s.Device()) {
		d.pixels = m.s.FromUint8(set.Bytes(), int64(set.N), int64(set.C), int64(set.H), int64(set.W))
		m.s.Keep(d.pixels)
	} else {
		d.host = set
	}
	return d
}

// roomFor is how many bytes of images a device takes in: half of what is free there, since the training needs the rest. Where that is
// not known there is no limit. A variable, so that tests can make it small.
var roomFor = func(dev torch.Device) int64 {
	free := limits.Memory(machine) - Resident()
	if dev.IsCUDA() {
		var err error
		if free, _, err = torch.CUDARoom(dev.Index()); err != nil {
			return 1 << 62
		}
	}
	if free <= 0 {
		return 1 << 62
	}
	return free / 2
}

// logStreams says which sets stay in the host's memory.
func (p *pipeline) logStreams() {
	for name, d := range map[string]*images{"training": p.train, "validation": p.val, "test": p.test} {
		if slices.ContainsFunc(p.team.members, func(m *member) bool { return m.sets[d].host != nil }) {
			p.log.Info("the "+name+" images do not fit the device's memory: they stay with the host and are sent batch by batch",
				zap.Int("images", d.n))
		}
	}
}

// ahead is a batch on its way to a member: its bytes are gathered while the member does something else.
type ahead struct {
	host   *datasets.Set
	index  []int64
	block  torch.Tensor
	filled chan struct{}
}

// fetch begins to gather images of a set that streams. A fetch that has begun and is for other images is left.
func (m *member) fetch(d *images, index []int64) {
	host := m.sets[d].host
	if host == nil || len(index) == 0 || m.coming.is(host, index) {
		return
	}
	m.drop()
	size := host.Size()
	a := &ahead{host: host, index: index, filled: make(chan struct{})}
	block, data := m.s.Staging(int64(len(index) * size))
	m.s.Keep(block)
	a.block, m.coming = block, a
	go func() {
		defer close(a.filled)
		if data == nil {
			return // the session has failed
		}
		for i, id := range index {
			copy(data[i*size:(i+1)*size], host.Image(int(id)))
		}
	}()
}

func (a *ahead) is(host *datasets.Set, index []int64) bool {
	return a != nil && a.host == host && len(a.index) == len(index) && &a.index[0] == &index[0]
}

// drop waits for a fetch that nobody asks for any more, and frees it.
func (m *member) drop() {
	if m.coming != nil {
		<-m.coming.filled
		m.s.Free(m.coming.block)
		m.coming = nil
	}
}

// streamed is images of a set that streams, on the device.
func (m *member) streamed(d *images, index []int64) torch.Tensor {
	m.fetch(d, index)
	a := m.coming
	<-a.filled
	pixels := a.block.Upload(torch.Uint8, int64(len(index)), int64(a.host.C), int64(a.host.H), int64(a.host.W))
	m.drop()
	return pixels
}

// useOrder puts an epoch's order on each GPU.
func (t *team) useOrder(order []int64) error {
	for _, m := range t.members {
		if err := onOwn(m, func() error { m.useOrder(order); return m.s.Err() }); err != nil {
			return err
		}
	}
	return nil
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

// bytes selects images, as they are stored, and their labels.
func (m *member) bytes(d *images, index []int64) (pixels, y torch.Tensor) {
	v := m.sets[d]
	ids := m.indices(index)
	if v.host != nil {
		return m.streamed(d, index), v.labels.IndexSelect(0, ids)
	}
	return v.pixels.IndexSelect(0, ids), v.labels.IndexSelect(0, ids)
}

// batch selects images, as float32 in [0, 1], and their labels.
func (m *member) batch(d *images, index []int64) (x, y torch.Tensor) {
	bytes, y := m.bytes(d, index)
	return m.pixels(bytes), y
}

// slice is the part [from, to) of a set, in order.
func (m *member) slice(d *images, from, to int) (x, y torch.Tensor) {
	v := m.sets[d]
	n := int64(to - from)
	y = v.labels.Narrow(0, int64(from), n)
	if v.host == nil {
		return m.pixels(v.pixels.Narrow(0, int64(from), n)), y
	}
	index := make([]int64, n)
	for i := range index {
		index[i] = int64(from + i)
	}
	return m.pixels(m.streamed(d, index)), y
}
