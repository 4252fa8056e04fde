package trainer

import (
	"slices"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// weightPerturbation is AWP: the gradient is taken not at the weights but where, near them, the loss is larger (Wu et al., arXiv 2004.05884,
// section 4.2, one step). Each layer's weight w moves by gamma ||w|| along its gradient there; vectors, which are biases and batch
// norms, do not move. Afterwards w is what it was, to the bit.
type weightPerturbation struct {
	gamma   float64
	weights []torch.Tensor // outside any graph
	params  []torch.Tensor // the same as the model has them
	grads   []torch.Tensor
	kept    []torch.Tensor // what the weights are, while they are elsewhere
	masks   []torch.Tensor // 0 where a weight is pruned and so does not move; absent where none of a layer's is
}

// newWeightPerturbation is for the weights of m. Its tensors belong to the innermost scope.
func newWeightPerturbation(m *member, gamma float64) *weightPerturbation {
	a := &weightPerturbation{gamma: gamma}
	for i, w := range m.params {
		if w.Dim() > 1 {
			a.weights, a.params, a.grads = append(a.weights, w.Detach()), append(a.params, w), append(a.grads, m.grads[i])
			a.kept = append(a.kept, w.Detach().Clone())
		}
	}
	a.masks = make([]torch.Tensor, len(a.weights))
	return a
}

// hold keeps the weights that k prunes where they are.
func (a *weightPerturbation) hold(k *masks) {
	for i, w := range a.params {
		if at := slices.Index(k.params, w); at >= 0 {
			a.masks[i] = k.masks[at]
		}
	}
}

// apply moves the weights along the gradients of the whole batch.
func (a *weightPerturbation) apply(s *torch.Session) {
	s.NoGrad(func() {
		s.Do(func() {
			s.CopyLists_(a.kept, a.weights)
			for i, w := range a.weights {
				g := a.grads[i]
				if a.masks[i] != (torch.Tensor{}) {
					g = g.Mul(a.masks[i])
				}
				w.Add_(g.Mul(w.Norm().Div(g.Norm().AddScalar(1e-20))), a.gamma)
			}
		})
	})
}

func (a *weightPerturbation) restore(s *torch.Session) { s.CopyLists_(a.weights, a.kept) }

// look leaves in m.grads the gradient to perturb the weights along, and the batch-norm statistics as they are.
func (m *member) look(o *objective, in inputs, total int) (err error) {
	m.s.Do(func() {
		buffers := nn.Buffers(m.model.State)
		var kept []torch.Tensor
		for _, b := range buffers {
			kept = append(kept, b.Clone())
		}
		err = m.learn(o, in, total, false)
		for i, b := range buffers {
			b.Copy_(kept[i])
		}
	})
	return err
}

// perturbedGradient is member.gradient of every member of a team that has several, under AWP: all must be done with the weights before they
// move, and before they move back.
func (p *pipeline) perturbedGradient(o *objective, parts func(id int) part) error {
	t, lead := p.team, p.team.members[0]
	own := make([]inputs, len(t.members))
	part := func(f func(m *member, in inputs) error) func(*member) error {
		return func(m *member) error {
			if len(parts(m.id).index) == 0 {
				m.s.ScaleList_(m.grads, 0)
				return nil
			}
			return f(m, own[m.id])
		}
	}
	defer func() { // not by each, which would begin anew from member 0's statistics
		for _, m := range t.members {
			_ = onOwn(m, func() error { m.s.Free(own[m.id].list()...); return nil })
		}
	}()
	err := t.each(part(func(m *member, _ inputs) error {
		of := parts(m.id)
		in := m.prepare(o, p.train, of)
		m.fetch(p.train, of.next)
		m.s.Keep(in.list()...)
		own[m.id] = in
		m.cast(o, func() { m.perturb(o, in) })
		return m.look(o, in, of.total)
	}))
	if err != nil {
		return err
	}
	t.sumGradients()
	o.awp.apply(lead.s)
	err = t.further(part(func(m *member, in inputs) error { return m.learn(o, in, parts(m.id).total, true) }))
	o.awp.restore(lead.s)
	return err
}

// useAWP switches weight perturbation on or off for an epoch of a stage. What was recorded without it is recorded anew.
func (p *pipeline) useAWP(st *stage, epoch int) {
	on := st.awp != nil && (st.section != "pretrain" || epoch >= p.cfg.Training.AWPWarmup)
	if on == (st.target.awp != nil) {
		return
	}
	st.target.awp = nil
	if on {
		st.target.awp = st.awp
	}
	p.record()
}
