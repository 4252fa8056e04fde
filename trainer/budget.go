package trainer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.uber.org/zap"

	"rapt/admm"
	"rapt/adversarial"
	"rapt/models"
	"rapt/trainer/config"
)

// strategyName is the file of a run's folder that holds what is removed of each layer.
const strategyName = "strategy.yaml"

// The ratios at which the sensitivity search prunes each layer, and the most held-out images that it judges the model on.
var sensitivityRatios = []float64{0.5, 0.75, 0.9, 0.95, 0.99}

const sensitivityImages = 500

// budgetOf is the config's budget and the layers with their costs, aligned with all.
func budgetOf(cfg *config.Config, kind admm.Type, model *models.Model, all everyWeight) (admm.Budget, []admm.BudgetLayer, error) {
	given := cfg.Prune.Budget
	b := admm.Budget{Keep: given.Fraction(), Method: admm.Method(given.Method), MinKeep: float64(given.MinKeep), MaxRatio: float64(given.MaxRatio), RoundTo: int64(cfg.Prune.RoundTo)}
	layers := make([]admm.BudgetLayer, len(all.infos))
	for i, info := range all.infos {
		layers[i].Info = info
	}
	if err := admm.Fix(kind, ratiosOf(cfg.Prune.Ratios), given.Exclude, layers); err != nil {
		return b, nil, cfg.Errorf(budgetKey(cfg, err), "%v", err)
	}
	costs := all.numels()
	if given.MACs != 0 {
		var err error
		if costs, b.Rest, err = all.macs(kind, model); err != nil {
			return b, nil, err
		}
	}
	for i := range layers {
		layers[i].Cost = max(1, costs[i]/admm.Groups(kind, layers[i].Shape))
	}
	return b, layers, nil
}

// budgetKey is the config key that a complaint of admm.Fix is about.
func budgetKey(cfg *config.Config, err error) string {
	if key := badKey(cfg, err); key != "prune.ratio" {
		return key
	}
	return "prune.budget.exclude"
}

func allocate(cfg *config.Config, kind admm.Type, b admm.Budget, layers []admm.BudgetLayer) ([]float64, error) {
	ratios, err := admm.Allocate(kind, b, layers)
	if err != nil {
		return nil, cfg.Errorf(cfg.Prune.Budget.Key(), "%s: %v", cfg.Prune.Budget.Key(), err)
	}
	return ratios, nil
}

// numels are the weights' sizes.
func (all everyWeight) numels() []int64 {
	out := make([]int64, len(all.infos))
	for i, e := range all.entries {
		out[i] = e.Tensor.Numel()
	}
	return out
}

// macs are an image's multiply-accumulates by weight, and those of layers that the type is not for and that stay. A batch norm's are
// those of the layer before it, whose channels it can switch off.
func (all everyWeight) macs(kind admm.Type, model *models.Model) (of []int64, rest int64, err error) {
	cost, err := models.Cost(model)
	if err != nil {
		return nil, 0, err
	}
	byName := map[string]int64{}
	for _, l := range cost.Layers {
		byName[l.Name] += l.MACs
	}
	of = make([]int64, len(all.infos))
	switchable := int64(0)
	for i, info := range all.infos {
		of[i] = byName[info.Layer]
		if info.Kind == admm.Norm && all.makers[info.Layer] != "" {
			of[i] = of[i-1]
			switchable += of[i]
		}
	}
	if kind == admm.BNFilter {
		rest = cost.MACs - switchable
	}
	return of, rest, nil
}

// settle decides what is removed of each layer where that depends on the weights: from the model that the first stage that prunes
// starts from. From then on it stands in the run's folder, and stays.
func (p *pipeline) settle(ctx context.Context, st *stage) error {
	if p.settled || !p.cfg.Prune.Budget.NeedsWeights() || st.quant != nil || !st.admm && st.mask.from == nothing {
		return nil
	}
	path := p.run.Path(strategyName)
	lead := p.team.members[0]
	all := prunable(lead.model)
	stored, err := config.ReadStrategy(path)
	switch _, missing := os.Stat(path); {
	case err == nil:
		ratios, err := admm.Resolve(p.plan.kind, admm.Selection{Ratios: ratiosOf(stored)}, all.infos)
		if err != nil {
			return &InputError{fmt.Errorf("%s: %w", path, err)}
		}
		p.adopt(all, ratios)
		return nil
	case !errors.Is(missing, fs.ErrNotExist):
		return err
	case st.saved.Stage != "":
		return &InputError{fmt.Errorf("%s is missing: what stage %s removes of each layer stands there", path, st.name)}
	}
	if err := p.startModel(st, false); err != nil {
		return err
	}
	ratios, err := p.allocate(ctx, all)
	if err != nil {
		return err
	}
	p.adopt(all, ratios)
	return p.writeStrategy()
}

// adopt makes the ratios those of every step of pruning.
func (p *pipeline) adopt(all everyWeight, ratios []float64) {
	for i, plan := range p.plans {
		plan.choose(all, ratios, func(last float64) float64 { return p.cfg.Prune.Steps.At(i, last) })
	}
	p.settled = true
}

// allocate divides a budget that needs the weights by those of the model in hand.
func (p *pipeline) allocate(ctx context.Context, all everyWeight) ([]float64, error) {
	b, layers, err := budgetOf(p.cfg, p.plan.kind, p.team.members[0].model, all)
	if err != nil {
		return nil, err
	}
	if b.Method == admm.Sensitivity {
		if err := p.curves(ctx, all, layers); err != nil {
			return nil, err
		}
	} else {
		for i := range layers {
			if layers[i].Fixed {
				continue
			}
			data, err := all.entries[i].Tensor.Detach().Float32s()
			if err != nil {
				return nil, err
			}
			layers[i].Magnitudes = admm.Magnitudes(p.plan.kind, layers[i].Shape, data)
		}
	}
	return allocate(p.cfg, p.plan.kind, b, layers)
}

// curves measures what pruning each layer alone costs in accuracy on held-out images: under the attack that is trained against, or
// where training is natural on the images as they are.
func (p *pipeline) curves(ctx context.Context, all everyWeight, layers []admm.BudgetLayer) error {
	first := make([]int, min(sensitivityImages, p.parts.Validation.N))
	for i := range first {
		first[i] = i
	}
	d, err := p.team.upload(p.parts.Validation.Subset(first))
	if err != nil {
		return err
	}
	var attacks []adversarial.PGD
	if p.cfg.Training.Method != "natural" {
		attacks = []adversarial.PGD{p.attack}
	}
	accuracy := func(plan *pruning) (float64, error) {
		acc, err := p.accuracyPruned(ctx, plan, d, attacks)
		if attacks == nil {
			return acc.clean, err
		}
		return acc.robust[p.attack.Name()], err
	}
	whole, err := accuracy(&pruning{kind: p.plan.kind})
	if err != nil {
		return err
	}
	for i := range layers {
		l := &layers[i]
		coupled := func(other admm.BudgetLayer) bool { return p.plan.kind.Couples(other.Group, l.Group) }
		if l.Fixed || slices.ContainsFunc(layers[:i], coupled) { // a group's first layer stands for all
			continue
		}
		var shown []string
		for _, r := range sensitivityRatios {
			alone := &pruning{kind: p.plan.kind, follow: p.plan.follow}
			ratios := make([]float64, len(layers))
			for j := range layers {
				if j == i || coupled(layers[j]) {
					ratios[j] = r
				}
			}
			alone.choose(all, ratios, func(last float64) float64 { return last })
			acc, err := accuracy(alone)
			if err != nil {
				return err
			}
			l.Curve = append(l.Curve, admm.Point{Ratio: r, Loss: whole - acc})
			shown = append(shown, fmt.Sprintf("%g: %s", r, percent(acc)))
		}
		l.Curve = append(l.Curve, admm.Point{Ratio: 1, Loss: whole}) // without the layer nothing is right
		p.log.Info("sensitivity", zap.String("layer", l.Layer), zap.String("whole", percent(whole)), zap.String("pruned_alone", strings.Join(shown, ", ")))
	}
	return nil
}

// writeKnown writes the strategy where it does not wait for the weights.
func (p *pipeline) writeKnown() error {
	if !prunes(p.cfg) || p.cfg.Prune.Budget.NeedsWeights() {
		return nil
	}
	return p.writeStrategy()
}

// writeStrategy writes what is removed of each layer to the run's folder.
func (p *pipeline) writeStrategy() error {
	data, err := p.plan.strategy(p.cfg)
	if err != nil {
		return err
	}
	var shown []string
	for _, r := range p.plan.ratios {
		shown = append(shown, fmt.Sprintf("%s %s", strings.TrimSuffix(r.Layer, ".weight"), percent(r.Ratio)))
	}
	p.log.Info("removes", zap.String("of", strings.Join(shown, ", ")))
	return p.run.WriteFile(strategyName, data)
}

// strategy is the plan as a strategy file.
func (pr *pruning) strategy(cfg *config.Config) ([]byte, error) {
	from := "prune.ratio and prune.ratios"
	switch b := cfg.Prune.Budget; {
	case b.Given():
		from = fmt.Sprintf("%s %g, %s", b.Key(), b.Fraction(), b.Method)
	case cfg.Prune.Strategy != "":
		from = cfg.Prune.Strategy
	case len(cfg.Prune.Steps.List) > 0:
		from = "the last of prune.steps"
	}
	out := make([]config.LayerRatio, len(pr.ratios))
	for i, r := range pr.ratios {
		out[i] = config.LayerRatio{Layer: r.Layer, Ratio: config.Number(r.Ratio)}
	}
	return config.StrategyYAML(fmt.Sprintf("The fraction removed of each layer (%s): from %s.", pr.kind, from), out)
}
