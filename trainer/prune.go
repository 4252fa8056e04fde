package trainer

import (
	"fmt"
	"slices"
	"strings"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/trainer/config"
)

// pruning says which parameters are pruned, how, and by how much.
type pruning struct {
	kind     admm.Type
	patterns torch.Tensor // for pattern, what the present stage's kernels share
	layers   []admm.Layer // those with a ratio above 0, in the state dict's order
	index    []int        // of each layer in the model's parameters
	shifts   []int        // for bn_filter, the index of each scale's shift: a dead channel has neither; else nil
	entries  []nn.Entry   // the weights that reports list: all that the type could prune

	ratios []admm.LayerRatio // of entries, in their order: what the last step removes
}

// newPrunings resolves the config's ratios against a model, for each step of pruning. Handles belong to the model's session.
func newPrunings(cfg *config.Config, model *models.Model) ([]*pruning, error) {
	kind, err := admm.ParseType(cfg.Prune.SparsityType)
	if err != nil {
		return nil, cfg.Errorf("prune.sparsity_type", "%v", err)
	}
	all := prunable(model)
	var out []*pruning
	for i := range cfg.Prune.Steps.N() {
		pr := &pruning{kind: kind, entries: weights(model, kind)}
		if prunes(cfg) {
			ratios, err := known(cfg, kind, model, all, i)
			if err != nil {
				return nil, err
			}
			pr.choose(all, ratios, func(last float64) float64 { return cfg.Prune.Steps.At(i, last) })
		}
		if i > 0 {
			if err := rises(out[i-1], pr); err != nil {
				return nil, cfg.Errorf("prune.steps", "has a step %d that %v: the zeros of step %d are held, so no layer's ratio may fall", i+1, err, i)
			}
		}
		out = append(out, pr)
	}
	return out, nil
}

// rises refuses a step of pruning that removes less of a layer than the one before it.
func rises(before, pr *pruning) error {
	now := map[string]float64{}
	for _, l := range pr.layers {
		now[l.Name] = l.Ratio
	}
	for _, l := range before.layers {
		if ratio := now[l.Name]; ratio < l.Ratio-1e-9 {
			return fmt.Errorf("removes %.4g of %s after %.4g", ratio, l.Name, l.Ratio)
		}
	}
	return nil
}

// known are the ratios of step i as far as the config and the network's shapes say them. A budget that needs the weights gives those
// of an even one meanwhile, which tells whether it can be met.
func known(cfg *config.Config, kind admm.Type, model *models.Model, all everyWeight, i int) ([]float64, error) {
	sel := selection(cfg, i)
	if cfg.Prune.Budget.Given() {
		b, layers, err := budgetOf(cfg, kind, model, all)
		if err != nil {
			return nil, err
		}
		if cfg.Prune.Budget.NeedsWeights() {
			b.Method = admm.Uniform
		}
		return allocate(cfg, kind, b, layers)
	}
	if path := cfg.Prune.Strategy; path != "" {
		ratios, err := config.ReadStrategy(path)
		if err != nil {
			return nil, err
		}
		sel.Ratios = ratiosOf(ratios)
		out, err := admm.Resolve(kind, sel, all.infos)
		if err != nil {
			return nil, &InputError{fmt.Errorf("%s: %w", path, err)}
		}
		return out, nil
	}
	out, err := admm.Resolve(kind, sel, all.infos)
	if err != nil {
		return nil, cfg.Errorf(badKey(cfg, err), "%v", err)
	}
	return out, nil
}

// prunes tells whether any stage removes weights.
func prunes(cfg *config.Config) bool {
	return cfg.ADMM.Epochs > 0 || cfg.Retrain.Epochs > 0 || slices.Contains(cfg.Evaluate.Baselines, "one_shot") || slices.Contains(cfg.Evaluate.Baselines, "scratch")
}

// selection is what step i of pruning is given.
func selection(cfg *config.Config, i int) admm.Selection {
	step := cfg.Prune.Step(i)
	return admm.Selection{Ratio: float64(step.Ratio), Ratios: ratiosOf(step.Ratios)}
}

func ratiosOf(given []config.LayerRatio) []admm.LayerRatio {
	var out []admm.LayerRatio
	for _, r := range given {
		out = append(out, admm.LayerRatio{Layer: r.Layer, Ratio: float64(r.Ratio)})
	}
	return out
}

// choose takes the layers with a ratio above 0, and of each the part that this step removes.
func (pr *pruning) choose(all everyWeight, ratios []float64, part func(last float64) float64) {
	pr.layers, pr.index, pr.shifts, pr.ratios = nil, nil, nil, nil
	for i, r := range ratios {
		if pr.kind.Prunes(all.infos[i].Kind) {
			pr.ratios = append(pr.ratios, admm.LayerRatio{Layer: all.infos[i].Name, Ratio: r})
		}
		if r > 0 {
			pr.layers = append(pr.layers, admm.Layer{Name: all.entries[i].Name, Weight: *all.entries[i].Tensor, Ratio: part(r)})
			pr.index = append(pr.index, all.at[i])
			if pr.kind == admm.BNFilter {
				pr.shifts = append(pr.shifts, all.at[i]+1)
			}
		}
	}
}

// scaled is the pruning with each ratio changed by f.
func (pr *pruning) scaled(f func(ratio float64) float64) *pruning {
	out := *pr
	out.layers = slices.Clone(pr.layers)
	for i := range out.layers {
		out.layers[i].Ratio = f(out.layers[i].Ratio)
	}
	return &out
}

// everyWeight is what of a model could be pruned by any type, aligned.
type everyWeight struct {
	infos   []admm.Info
	entries []nn.Entry
	at      []int             // places among the parameters
	makers  map[string]string // of batch norms: see models.Makers
}

func prunable(model *models.Model) everyWeight {
	all := everyWeight{makers: models.Makers(model)}
	place := 0
	for _, e := range model.State {
		if e.Buffer {
			continue
		}
		if strings.HasSuffix(e.Name, "weight") {
			all.infos = append(all.infos, admm.Info{Name: e.Name, Layer: e.Layer, Kind: kinds[e.Kind], Shape: e.Tensor.Shape()})
			all.entries, all.at = append(all.entries, e), append(all.at, place)
		}
		place++
	}
	return all
}

// weights are the entries that a sparsity type could prune: batch-norm scales, or all other weights.
func weights(model *models.Model, kind admm.Type) []nn.Entry {
	var out []nn.Entry
	all := prunable(model)
	for i, info := range all.infos {
		if kind.Prunes(info.Kind) {
			out = append(out, all.entries[i])
		}
	}
	return out
}

var kinds = map[nn.Kind]admm.Kind{nn.Conv: admm.Conv, nn.Dense: admm.Linear, nn.Norm: admm.Norm}

// badKey is the config key that a complaint of admm.Resolve is about: that of the layer it names first.
func badKey(cfg *config.Config, err error) string {
	for _, word := range strings.FieldsFunc(err.Error(), func(r rune) bool { return strings.ContainsRune(" ,:", r) }) {
		for _, r := range cfg.Prune.Ratios {
			if r.Layer == word {
				return "prune.ratios." + word
			}
		}
	}
	if len(cfg.Prune.Steps.List) > 0 {
		return "prune.steps"
	}
	return "prune.ratio"
}

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
	if err != nil || k == nil || !p.cfg.Prune.HoldZeros || st.mask.from == maskOf {
		return k, err
	}
	return k, p.keepZeros(st, k)
}

// keepZeros has k hold what is zero now as well, also of layers that it is not of.
func (p *pipeline) keepZeros(st *stage, k *masks) error {
	lead := p.team.members[0]
	for i, mask := range k.masks {
		if strings.HasSuffix(k.names[i], "weight") { // a shift's mask is its scale's, and a shift may be zero
			mask.Mul_(nonzero(k.params[i]))
		}
	}
	all := prunable(lead.model)
	for i, e := range all.entries {
		if st.plan.kind.Prunes(all.infos[i].Kind) && !slices.Contains(k.names, e.Name) {
			k.add(lead, e.Name, all.at[i], nonzero(*e.Tensor))
		}
	}
	return lead.s.Err()
}

func (p *pipeline) masksFrom(st *stage) (*masks, error) {
	lead := p.team.members[0]
	switch st.mask.from {
	case pruneFirst:
		return st.plan.graduallyAt(st, 0).pruneNow(lead), nil
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
	return w.ZerosLike().Copy_(w.Detach().NeScalar(0).To(torch.Float32))
}

// pruneNow makes the masks of the model's present weights, in the innermost scope.
func (pr *pruning) pruneNow(lead *member) *masks {
	ratio := map[string]float64{}
	for _, l := range pr.layers {
		ratio[l.Name] = l.Ratio
	}
	k, _ := pr.masksBy(lead, func(name string, w torch.Tensor) (torch.Tensor, error) {
		if pr.kind == admm.Pattern {
			return admm.MaskPatterns(w, pr.patterns), nil
		}
		return admm.Mask(w, pr.kind, ratio[name]), nil
	})
	return k
}

// masksBy makes a mask of each pruned layer by f, in the innermost scope. A scale's mask is its shift's too.
func (pr *pruning) masksBy(lead *member, f func(name string, w torch.Tensor) (torch.Tensor, error)) (*masks, error) {
	k := &masks{}
	for i, l := range pr.layers {
		mask, err := f(l.Name, l.Weight)
		if err != nil {
			return nil, err
		}
		k.add(lead, l.Name, pr.index[i], mask)
		if pr.shifts != nil {
			k.add(lead, strings.TrimSuffix(l.Name, "weight")+"bias", pr.shifts[i], mask)
		}
	}
	return k, nil
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
