package models

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// strand is a wire between layers with readers, with what its layers are called.
type strand struct {
	*wire
	names    []string // of from and gates
	channels int64
}

// strands are the wires whose channels can be taken out: all but whole ones and the one of the classes.
func (m *Model) strands() (out []strand) {
	names := m.partNames()
	for _, one := range m.wires() {
		if len(one.to) == 0 || one.whole {
			continue
		}
		s := strand{wire: one, channels: rows(one.from[0])}
		for _, l := range one.makers() {
			s.names = append(s.names, names[l])
		}
		out = append(out, s)
	}
	return out
}

// partNames are the names of layers: convolutions, linear ones and batch norms.
func (m *Model) partNames() map[nn.Module]string {
	names := map[nn.Module]string{}
	nn.Walk(m.Module, func(name string, l nn.Module) {
		switch l.(type) {
		case *nn.Conv2dModule, *nn.LinearModule, *nn.BatchNormModule:
			names[l] = name
		}
	})
	return names
}

// layers are the convolutions and linear layers.
func (m *Model) layers() (out []nn.Module) {
	nn.Walk(m.Module, func(_ string, l nn.Module) {
		switch l.(type) {
		case *nn.Conv2dModule, *nn.LinearModule:
			out = append(out, l)
		}
	})
	return out
}

func rows(l nn.Module) int64 {
	if c, ok := l.(*nn.Conv2dModule); ok {
		return c.Weight.Size(0)
	}
	return l.(*nn.LinearModule).Weight.Size(0)
}

// Makers are the layers that batch norms scale the channels of, by the norms' names. One that scales a sum or joined channels is not among them.
func Makers(m *Model) map[string]string {
	names, out := m.partNames(), map[string]string{}
	for layer, norm := range norms(m.Module) {
		out[names[norm]] = names[layer]
	}
	return out
}

// norms are the batch norms that follow a layer, which are listed right after it, as in PyTorch's state dicts.
func norms(root nn.Module) map[nn.Module]*nn.BatchNormModule {
	out := map[nn.Module]*nn.BatchNormModule{}
	nn.Walk(root, func(_ string, parent nn.Module) {
		var before nn.Module
		for _, c := range parent.Children() {
			if n, ok := c.Module.(*nn.BatchNormModule); ok && before != nil {
				out[before] = n
			}
			before = nil
			switch c.Module.(type) {
			case *nn.Conv2dModule, *nn.LinearModule:
				before = c.Module
			}
		}
	})
	return out
}

// narrow makes the network of the channels that its spec says. The whole one takes no memory.
func (m *Model) narrow(s *torch.Session, whole maker) (err error) {
	s.Sketch(func() {
		m.Module = whole(s, m.Spec)
		err = m.drop()
	})
	if err != nil || s.ShapesOnly() {
		return err
	}
	for _, e := range nn.StateDict(m.Module) {
		old := *e.Tensor
		*e.Tensor = s.Scope(func() torch.Tensor { return old.Detach().Clone() }).RequiresGrad_(!e.Buffer)
		s.Keep(*e.Tensor)
		s.Free(old)
	}
	return s.Err()
}

// drop takes the channels out that are not in the spec.
func (m *Model) drop() error {
	left := maps.Clone(m.Spec.Channels)
	norms := norms(m.Module)
	type size struct{ out, in, read, kept int64 } // rows, columns, channels that are read, and how many of them are left
	sizes := map[nn.Module]*size{}
	for _, l := range m.layers() {
		sizes[l] = &size{out: rows(l), in: columns(l)}
	}
	channels := map[*nn.BatchNormModule]int64{}
	for _, s := range m.strands() {
		n, makers := cmp.Or(left[s.names[0]], s.channels), s.makers()
		for i, name := range s.names {
			if given, ok := left[name]; ok && (given < 1 || given > s.channels) {
				return fmt.Errorf("%s of %s has 1 to %d channels, not %d", name, m.Spec.Arch, s.channels, given)
			} else if cmp.Or(given, s.channels) != n {
				return fmt.Errorf("%s and %s of %s share their channels: they have %d and %d", s.names[0], name, m.Spec.Arch, n, cmp.Or(given, s.channels))
			}
			delete(left, name)
			sizes[makers[i]].out = n
		}
		for _, r := range s.to {
			sizes[r.layer].read += s.channels
			sizes[r.layer].kept += n
		}
		for _, r := range s.wire.norms {
			channels[r.norm] += n
		}
	}
	for _, name := range slices.Sorted(maps.Keys(left)) {
		return fmt.Errorf("%s has no layer %.80q whose channels can be taken out", m.Spec.Arch, name)
	}
	for norm, n := range channels {
		norm.Resize(n)
	}
	for l, n := range sizes {
		if n.read > 0 {
			n.in = n.in / n.read * n.kept
		}
		switch l := l.(type) {
		case *nn.Conv2dModule:
			l.Resize(n.out, n.in)
		case *nn.LinearModule:
			l.Resize(n.out, n.in)
		}
		if norm := norms[l]; norm != nil {
			norm.Resize(n.out)
		}
	}
	return nil
}

// columns are the numbers or channels that a layer reads; of a depthwise one 1.
func columns(l nn.Module) int64 {
	if c, ok := l.(*nn.Conv2dModule); ok {
		return c.Weight.Size(1)
	}
	return l.(*nn.LinearModule).Weight.Size(1)
}
