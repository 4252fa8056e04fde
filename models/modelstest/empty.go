package modelstest

import (
	"slices"

	torch "rapt/cgo"
	"rapt/models"
)

// Drop makes 0 for every image, as coupled filters are pruned, all channels that can be taken out and whose number drop says: the filters with
// their biases, and the batch norms that see them.
func Drop(s *torch.Session, m *models.Model, drop func(channel int64) bool) error {
	tensors := map[string]torch.Tensor{}
	for _, e := range m.State {
		tensors[e.Name] = e.Tensor.Detach()
	}
	zero := func(layer string, at, channels int64) {
		for _, name := range []string{layer + ".weight", layer + ".bias"} {
			for ch := range channels {
				if t, ok := tensors[name]; ok && drop(ch) {
					t.Narrow(0, at+ch, 1).Fill_(0)
				}
			}
		}
	}
	s.Do(func() {
		makers := models.Makers(m)
		for _, w := range models.Wiring(m) {
			if len(w.To) == 0 {
				continue
			}
			n := tensors[w.From[0]+".weight"].Size(0)
			for _, layer := range slices.Concat(w.From, w.Gates) {
				zero(layer, 0, n)
				for norm, maker := range makers {
					if maker == layer {
						zero(norm, 0, n)
					}
				}
			}
			for _, norm := range w.Norms {
				zero(norm.Name, norm.At, n)
			}
		}
	})
	return s.Err()
}
