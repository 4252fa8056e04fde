package trainer

import (
	"fmt"
	"slices"

	"rapt/admm"
	torch "rapt/cgo"
)

// masks are the 0/1 tensors of a hard prune and the parameters they hold, aligned.
type masks struct {
	params []torch.Tensor
	masks  []torch.Tensor
	grads  []torch.Tensor
	names  []string
}

// masking says which weights a stage holds at zero.
type masking struct {
	from    maskFrom
	of      string // for maskOf: the stage whose best model has the zeros
	all     bool   // for itsZeros: also of layers that are not pruned now, as with prune.hold_zeros
	gradual int    // for pruneFirst: prune again before each of so many epochs, by and by to the plan's ratios
}

type maskFrom int

const (
	nothing    maskFrom = iota
	pruneFirst          // what the plan removes of the weights that the stage starts from
	itsZeros            // the zeros that it starts with
	maskOf              // another model's zeros
)

// masksOf makes what st holds at zero, from the model it starts with; nil where that is nothing. With prune.hold_zeros that is all that is zero
// already, too, also of layers that are not pruned now.
func (p *pipeline) masksOf(st *stage) (*masks, error) {
	k, err := p.masksFrom(st)
	if err != nil || k == nil {
		return nil, err
	}
	lead, along := p.team.members[0], &masks{}
	if st.mask.from != itsZeros {
		along = k.along(lead, st.plan.follow)
	}
	hold := (p.cfg.Prune.HoldZeros || st.mask.all) && st.mask.from != maskOf
	if hold {
		p.keepZeros(st, k)
	}
	if hold || st.mask.from == itsZeros {
		along.keepDead(lead, k, st.plan.follow)
	}
	k.join(along)
	return k, lead.s.Err()
}

// keepZeros has k, the masks of weights, hold what is zero now as well, also of layers that it is not of.
func (p *pipeline) keepZeros(st *stage, k *masks) {
	lead := p.team.members[0]
	for i, mask := range k.masks {
		now := nonzero(k.params[i])
		mask.Mul_(now)
		lead.s.Free(now)
	}
	all := prunable(lead.model)
	for i, e := range all.entries {
		if st.plan.kind.Prunes(all.infos[i].Kind) && !slices.Contains(k.names, e.Name) {
			k.add(lead, e.Name, all.at[i], nonzero(*e.Tensor))
		}
	}
}

// masksFrom are the masks of the weights alone.
func (p *pipeline) masksFrom(st *stage) (*masks, error) {
	lead := p.team.members[0]
	switch st.mask.from {
	case pruneFirst:
		return st.plan.graduallyAt(st, st.saved.Epoch).masksNow(lead), nil
	case itsZeros:
		return st.plan.masksBy(lead, func(_ string, w torch.Tensor) (torch.Tensor, error) { return nonzero(w), nil })
	case maskOf:
		if !p.run.HasCheckpoint(st.mask.of, "best") {
			return nil, &InputError{fmt.Errorf("stage %s takes its mask from %s, which %s does not hold yet: run that stage first", st.name, st.mask.of, p.run.Dir)}
		}
		model, _, _, err := p.run.LoadCheckpoint(st.mask.of, "best")
		if err != nil {
			return nil, err
		}
		return st.plan.masksBy(lead, func(name string, w torch.Tensor) (torch.Tensor, error) {
			stored, ok := model.Get(name)
			if !ok {
				return torch.Tensor{}, &InputError{fmt.Errorf("%s lacks %s", p.run.CheckpointPath(st.mask.of, "best"), name)}
			}
			its := w.ZerosLike()
			err := fill(lead.s, its, stored)
			return nonzero(its), err
		})
	}
	return nil, nil
}

// graduallyAt is the plan as gradual pruning has it in an epoch: the cubic schedule of Zhu and Gupta (arXiv 1710.01878).
func (pr *pruning) graduallyAt(st *stage, epoch int) *pruning {
	if n := st.mask.gradual; n > 0 && epoch+1 < n {
		rest := 1 - float64(epoch+1)/float64(n)
		return pr.scaled(func(r float64) float64 { return r * (1 - rest*rest*rest) })
	}
	return pr
}

func nonzero(w torch.Tensor) torch.Tensor {
	return w.Session().Scope(func() torch.Tensor { return w.ZerosLike().Copy_(w.Detach().NeScalar(0).To(torch.Float32)) })
}

// pruneNow makes the masks of the model's present weights and of what follows them, in the innermost scope.
func (pr *pruning) pruneNow(lead *member) *masks {
	k := pr.masksNow(lead)
	k.join(k.along(lead, pr.follow))
	return k
}

func (pr *pruning) masksNow(lead *member) *masks {
	k := &masks{}
	for i, mask := range admm.Masks(pr.kind, pr.layers, pr.patterns) {
		k.add(lead, pr.layers[i].Name, pr.index[i], mask)
	}
	return k
}

// masksBy makes a mask of each pruned layer by f, in the innermost scope.
func (pr *pruning) masksBy(lead *member, f func(name string, w torch.Tensor) (torch.Tensor, error)) (*masks, error) {
	k := &masks{}
	for i, l := range pr.layers {
		mask, err := f(l.Name, l.Weight)
		if err != nil {
			return nil, err
		}
		k.add(lead, l.Name, pr.index[i], mask)
	}
	return k, nil
}

// along are the masks of what follows weights that k, the weights' masks, prunes.
func (k *masks) along(lead *member, follow []follower) *masks {
	out := &masks{}
	for _, f := range follow {
		if makers, ok := k.makers(f); ok {
			out.hold(lead, f, rowsLeft(makers...))
		}
	}
	return out
}

// keepDead has k, the masks of followers, hold what is zero now and follows rows of which the weights' masks leave nothing: dead channels. What is
// not zero there is a constant that the network may need.
func (k *masks) keepDead(lead *member, weights *masks, follow []follower) {
	for _, f := range follow {
		makers, ok := weights.makers(f)
		if !ok {
			continue
		}
		k.hold(lead, f, lead.s.Scope(func() torch.Tensor {
			return holding(lead.params[f.at].Detach().Narrow(0, f.first, makers[0].Size(0)), makers...)
		}))
	}
}

// hold adds the mask of what f is of a parameter, which may have one of other parts already.
func (k *masks) hold(lead *member, f follower, part torch.Tensor) {
	i := slices.Index(k.names, f.name)
	if i < 0 {
		i = len(k.names)
		k.add(lead, f.name, f.at, lead.s.Scope(func() torch.Tensor { return lead.params[f.at].ZerosLike().Fill_(1) }))
	}
	lead.s.Do(func() { k.masks[i].Narrow(0, f.first, part.Size(0)).Mul_(part) })
	lead.s.Free(part)
}

// makers are the masks of the weights that f follows; ok is false where one has none.
func (k *masks) makers(f follower) (of []torch.Tensor, ok bool) {
	for _, name := range f.of {
		mask := k.of(name)
		if mask == (torch.Tensor{}) {
			return nil, false
		}
		of = append(of, mask)
	}
	return of, true
}

// rowsLeft is 1 for the rows of which any of the masks leaves something.
func rowsLeft(masks ...torch.Tensor) torch.Tensor {
	return masks[0].Session().Scope(func() torch.Tensor {
		var sum torch.Tensor
		for i, mask := range masks {
			size := mask.Reshape(mask.Size(0), -1).Norm(1)
			if i > 0 {
				size = size.Add(sum)
			}
			sum = size
		}
		return sum.NeScalar(0).To(torch.Float32)
	})
}

// holding is 0 where x is zero now and belongs to a row of which none of the masks leaves anything: a dead channel's.
func holding(x torch.Tensor, masks ...torch.Tensor) torch.Tensor {
	return x.Session().Scope(func() torch.Tensor { return nonzero(rowsLeft(masks...).Add(nonzero(x))) })
}

// of is a parameter's mask, absent where it has none.
func (k *masks) of(name string) torch.Tensor {
	if k != nil {
		if i := slices.Index(k.names, name); i >= 0 {
			return k.masks[i]
		}
	}
	return torch.Tensor{}
}

func (k *masks) join(other *masks) {
	k.names, k.params = append(k.names, other.names...), append(k.params, other.params...)
	k.grads, k.masks = append(k.grads, other.grads...), append(k.masks, other.masks...)
}

func (k *masks) add(lead *member, name string, at int, mask torch.Tensor) {
	k.names = append(k.names, name)
	k.params = append(k.params, lead.params[at])
	k.grads = append(k.grads, lead.grads[at])
	k.masks = append(k.masks, mask)
}

// apply zeroes what is masked.
func (k *masks) apply(s *torch.Session) { s.MulLists_(k.params, k.masks) }

// revived counts weights that are masked and yet not zero.
func (k *masks) revived(s *torch.Session) (n float64, err error) {
	s.NoGrad(func() {
		s.Do(func() {
			sum := s.Full(0, torch.Int64)
			for i, p := range k.params {
				sum = sum.Add(p.Mul(k.masks[i].EqScalar(0)).CountNonzero())
			}
			n, err = sum.Item()
		})
	})
	return n, err
}
