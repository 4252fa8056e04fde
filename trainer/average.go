package trainer

import (
	torch "rapt/cgo"
	"rapt/trainer/checkpoint"
)

// emaPrefix is before the names of a state dict's averages in a trainer state.
const emaPrefix = "ema."

// average is the exponential moving average of a stage's weights, the model that is validated, chosen and handed on in place of the raw
// one (as in Gowal et al., arXiv 2010.03593, section 4.3). Batch norm's running means and variances are averaged with the same decay: so
// they belong to the same moments of the training as the weights, and no pass over the images is needed to find them anew.
type average struct {
	decay float64
	names []string       // of the state dict's float32 tensors
	raw   []torch.Tensor // those tensors, outside any graph
	mean  []torch.Tensor
}

// newAverage begins at the member's present model. Its tensors belong to the innermost scope.
func newAverage(m *member, decay float64) *average {
	a := &average{decay: decay}
	for _, e := range m.model.State {
		if e.Tensor.DType() == torch.Float32 {
			a.names, a.raw, a.mean = append(a.names, e.Name), append(a.raw, e.Tensor.Detach()), append(a.mean, e.Tensor.Detach().Clone())
		}
	}
	return a
}

// restart forgets what was averaged: the present model is all.
func (a *average) restart(s *torch.Session) {
	if a != nil {
		s.CopyLists_(a.mean, a.raw)
	}
}

// follow takes in the model after the stage's update number t, from 0. At first the average is a short one, of decay (1+t)/(10+t), so
// that it does not hold on to weights that know nothing yet. Where a mask has held a weight at zero since restart, its average is zero.
func (a *average) follow(s *torch.Session, t int) {
	if a == nil {
		return
	}
	d := min(a.decay, float64(1+t)/float64(10+t))
	s.ScaleList_(a.mean, d)
	s.AddLists_(a.mean, a.raw, 1-d)
}

// hold applies masks to the average that have only now come to be.
func (a *average) hold(s *torch.Session, k *masks) {
	if a == nil {
		return
	}
	at := map[string]torch.Tensor{}
	for i, name := range a.names {
		at[name] = a.mean[i]
	}
	var means []torch.Tensor
	for _, name := range k.names {
		means = append(means, at[name])
	}
	s.MulLists_(means, k.masks)
}

// averaged runs f with the average in the model's place, where the stage has one, and puts the raw model back.
func (p *pipeline) averaged(st *stage, f func() error) (err error) {
	a := st.average
	if a == nil {
		return f()
	}
	s := p.team.members[0].s
	s.Do(func() {
		var kept []torch.Tensor
		for _, t := range a.raw {
			kept = append(kept, t.Clone())
		}
		s.CopyLists_(a.raw, a.mean)
		p.team.spread()
		err = f()
		s.CopyLists_(a.raw, kept)
		p.team.spread()
	})
	return err
}

// withAverage is a stage's last model, with the averages that its trainer state holds in their places.
func withAverage(model, state *checkpoint.File) *checkpoint.File {
	out := &checkpoint.File{Metadata: model.Metadata}
	for _, raw := range model.Tensors {
		if mean, ok := get(state, emaPrefix+raw.Name); ok {
			raw.Data = mean.Data
		}
		out.Tensors = append(out.Tensors, raw)
	}
	return out
}
