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
	follow   []follower
	entries  []nn.Entry // the weights that reports list: all that the type could prune

	ratios []admm.LayerRatio // of entries, in their order: what the last step removes
}

// newPrunings resolves the config's ratios against a model, for each step of pruning. Handles belong to the model's session.
func newPrunings(cfg *config.Config, model *models.Model) ([]*pruning, error) {
	kind, err := admm.ParseType(cfg.Prune.SparsityType)
	if err != nil {
		return nil, cfg.Errorf("prune.sparsity_type", "%v", err)
	}
	all := prunable(model)
	if kind == admm.CoupledFilter && !models.Wired(model) {
		return nil, cfg.Errorf("prune.sparsity_type", "prune.sparsity_type is %s: the channels of %s are %s, and which of its layers share them cannot be told; filter prunes each layer on its own",
			kind, model.Spec.Arch, models.Unfollowed(model))
	}
	var out []*pruning
	for i := range cfg.Prune.Steps.N() {
		pr := &pruning{kind: kind, entries: weights(model, kind), follow: all.followers(kind)}
		if prunes(cfg) {
			ratios, err := known(cfg, kind, model, all, i)
			if err != nil {
				return nil, err
			}
			pr.choose(all, ratios, func(last float64) float64 { return cfg.Prune.Steps.At(i, last) })
		}
		if i > 0 {
			if err := rises(out[i-1], pr); err != nil {
				return nil, cfg.Errorf("prune.steps", "prune.steps has a step %d that %v: the zeros of step %d are held, so no layer's ratio may fall", i+1, err, i)
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
		return all.rounded(cfg, kind, out), nil
	}
	out, err := admm.Resolve(kind, sel, all.infos)
	if err != nil {
		return nil, cfg.Errorf(badKey(cfg, err), "%v", err)
	}
	return all.rounded(cfg, kind, out), nil
}

// rounded are the ratios by which each layer keeps a number of channels as prune.round_to wants it.
func (all everyWeight) rounded(cfg *config.Config, kind admm.Type, ratios []float64) []float64 {
	for i, info := range all.infos {
		ratios[i] = admm.RoundTo(admm.Groups(kind, info.Shape), ratios[i], int64(cfg.Prune.RoundTo))
	}
	return ratios
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
	pr.layers, pr.index, pr.ratios = nil, nil, nil
	for i, r := range ratios {
		if pr.kind.Prunes(all.infos[i].Kind) {
			pr.ratios = append(pr.ratios, admm.LayerRatio{Layer: all.infos[i].Name, Ratio: r})
		}
		if r > 0 {
			pr.layers = append(pr.layers, admm.Layer{Name: all.entries[i].Name, Weight: *all.entries[i].Tensor, Ratio: part(r), Group: all.infos[i].Group})
			pr.index = append(pr.index, all.at[i])
		}
	}
}

// ratiosOf are the ratios of the last step for each weight, 0 where it has none.
func (pr *pruning) ratiosOf(all everyWeight) []float64 {
	out := make([]float64, len(all.infos))
	for i, info := range all.infos {
		for _, r := range pr.ratios {
			if r.Layer == info.Name {
				out[i] = r.Ratio
			}
		}
	}
	return out
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
	places  map[string]int    // of all parameters, by their names
	makers  map[string]string // of batch norms: see models.Makers
	wires   []models.Wire
}

func prunable(model *models.Model) everyWeight {
	all := everyWeight{places: map[string]int{}, makers: models.Makers(model), wires: models.Wiring(model)}
	group := map[string]int{}
	for i, w := range all.wires {
		for _, layer := range slices.Concat(w.From, w.Gates) {
			if len(w.To) > 0 {
				group[layer] = i + 1
			}
		}
	}
	for _, e := range model.State {
		if e.Buffer {
			continue
		}
		place := len(all.places)
		if strings.HasSuffix(e.Name, "weight") {
			all.infos = append(all.infos, admm.Info{Name: e.Name, Layer: e.Layer, Kind: kinds[e.Kind], Shape: e.Tensor.Shape(), Group: group[e.Layer]})
			all.entries, all.at = append(all.entries, e), append(all.at, place)
		}
		all.places[e.Name] = place
	}
	return all
}

// follower is a parameter with one number for each row of some weights, from the first on. It is zero where all of them are pruned.
type follower struct {
	name  string
	at    int      // its place among the parameters
	of    []string // the weights
	first int64
}

// followers are what goes with rows that kind prunes, so that the rows' channels are 0 for every image: with a scale its shift, and with coupled filters
// their biases and the batch norms that see what they make.
func (all everyWeight) followers(kind admm.Type) (out []follower) {
	add := func(weights []string, first int64, names ...string) {
		for _, n := range names {
			if at, ok := all.places[n]; ok {
				out = append(out, follower{n, at, weights, first})
			}
		}
	}
	for _, info := range all.infos {
		maker := all.makers[info.Layer]
		switch {
		case kind == admm.BNFilter && info.Kind == admm.Norm:
			add([]string{info.Name}, 0, info.Layer+".bias")
		case kind != admm.CoupledFilter:
		case info.Kind != admm.Norm:
			add([]string{info.Name}, 0, info.Layer+".bias")
		case maker != "":
			add([]string{maker + ".weight"}, 0, info.Name, info.Layer+".bias")
		}
	}
	for _, w := range all.wires {
		if kind != admm.CoupledFilter || len(w.To) == 0 {
			continue
		}
		var makers []string
		for _, layer := range w.From {
			makers = append(makers, layer+".weight")
		}
		for _, norm := range w.Norms {
			add(makers, norm.At, norm.Name+".weight", norm.Name+".bias")
		}
	}
	return out
}

// following counts the followers of one weight; those of several are the first one's.
func (pr *pruning) following(weight string) (n int64) {
	for _, f := range pr.follow {
		if f.of[0] == weight {
			n++
		}
	}
	return n
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
