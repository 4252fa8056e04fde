package trainer

import (
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
	kind    admm.Type
	layers  []admm.Layer // those with a ratio above 0, in the state dict's order
	index   []int        // of each layer in the model's parameters
	shifts  []int        // for bn_filter, the index of each scale's shift: a dead channel has neither; else nil
	entries []nn.Entry   // the weights that reports list: all that the type could prune
}

// newPruning resolves the config's ratios against a model. Its handles belong to the model's session.
func newPruning(cfg *config.Config, model *models.Model) (*pruning, error) {
	kind, err := admm.ParseType(cfg.Prune.SparsityType)
	if err != nil {
		return nil, cfg.Errorf("prune.sparsity_type", "%v", err)
	}
	pr := &pruning{kind: kind, entries: weights(model, kind)}
	var infos []admm.Info
	var all []nn.Entry // every weight
	var at []int       // its place among the parameters
	place := 0
	for _, e := range model.State {
		if e.Buffer {
			continue
		}
		if strings.HasSuffix(e.Name, "weight") {
			infos = append(infos, admm.Info{Name: e.Name, Layer: e.Layer, Kind: kinds[e.Kind], Shape: e.Tensor.Shape()})
			all, at = append(all, e), append(at, place)
		}
		place++
	}
	if cfg.ADMM.Epochs == 0 && cfg.Retrain.Epochs == 0 && !slices.Contains(cfg.Evaluate.Baselines, "one_shot") {
		return pr, nil // nothing is pruned
	}
	sel := admm.Selection{Ratio: float64(cfg.Prune.Ratio)}
	for _, r := range cfg.Prune.Ratios {
		sel.Ratios = append(sel.Ratios, admm.LayerRatio{Layer: r.Layer, Ratio: float64(r.Ratio)})
	}
	ratios, err := admm.Resolve(kind, sel, infos)
	if err != nil {
		return nil, cfg.Errorf(badKey(cfg, err), "%v", err)
	}
	for i, r := range ratios {
		if r > 0 {
			pr.layers = append(pr.layers, admm.Layer{Name: all[i].Name, Weight: *all[i].Tensor, Ratio: r})
			pr.index = append(pr.index, at[i])
			if kind == admm.BNFilter {
				pr.shifts = append(pr.shifts, at[i]+1)
			}
		}
	}
	return pr, nil
}

// weights are the entries that a sparsity type could prune: batch-norm scales, or all other weights.
func weights(model *models.Model, kind admm.Type) []nn.Entry {
	var out []nn.Entry
	for _, e := range model.State {
		if !e.Buffer && strings.HasSuffix(e.Name, "weight") && (e.Kind == nn.Norm) == (kind == admm.BNFilter) {
			out = append(out, e)
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
	return "prune.ratio"
}

// masks are the 0/1 tensors of a hard prune and the parameters they hold, aligned.
type masks struct {
	params []torch.Tensor
	masks  []torch.Tensor
	grads  []torch.Tensor
	names  []string
}

// pruneNow makes the masks of the model's present weights, in the innermost scope.
func (pr *pruning) pruneNow(lead *member) *masks {
	k := &masks{}
	for i, l := range pr.layers {
		mask := admm.Mask(l.Weight, pr.kind, l.Ratio)
		k.add(lead, l.Name, pr.index[i], mask)
		if pr.shifts != nil {
			k.add(lead, strings.TrimSuffix(l.Name, "weight")+"bias", pr.shifts[i], mask)
		}
	}
	return k
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
