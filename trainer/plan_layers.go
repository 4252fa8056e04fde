package trainer

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/models"
	"rapt/trainer/metrics"
)

// describe fills in all that needs no measuring.
func (p *pipeline) describe(all everyWeight) (*metrics.Plan, error) {
	c, model, kind := p.cfg, p.team.members[0].model, p.plan.kind
	out := &metrics.Plan{Schema: 1, Name: c.Run.Name, Dataset: c.Data.Dataset, Arch: c.Model.Arch, Width: c.Model.Width, Channels: p.spec.Channels, Method: c.Training.Method,
		Type: string(kind), Resolved: true, Coupled: [][]string{}, Whole: append([]string{}, models.Whole(model)...)}
	cost, err := models.Cost(model)
	if err != nil {
		return nil, err
	}
	macs, _, err := all.macs(kind, model)
	if err != nil {
		return nil, err
	}
	out.Parameters = metrics.PlanCount{Before: model.Parameters(), After: model.Parameters()}
	out.MACs = metrics.PlanCount{Before: cost.MACs, After: cost.MACs}
	wiring := all.wires
	out.Wired = models.Wired(model)
	for _, w := range wiring {
		if together := slices.Concat(w.From, w.Gates); len(together) > 1 && !w.Whole {
			out.Coupled = append(out.Coupled, together)
		}
	}
	left, indices := p.describeLayers(all, macs, wiring, out)
	p.leaves = shrunk(model.Spec, wiring, left)
	if out.Parameters.Shrunk, out.MACs.Shrunk, err = size(p.leaves); err != nil {
		return nil, err
	}
	out.Bytes = metrics.PlanBytes{Dense: 4 * out.Parameters.Before, SparseValues: 4 * out.Parameters.After,
		SparseIndexed: 4*out.Parameters.After + indices, Shrunk: 4 * out.Parameters.Shrunk}
	p.describeBudget(all, out)
	if out.Memory, err = p.memory(cost); err != nil {
		return nil, err
	}
	out.Disk, err = p.disk(cost)
	return out, err
}

// describeLayers adds the layers that are pruned to out, and takes what they lose from its sums. left are the rows of those that shrink; indices
// are the bytes that say which weights are kept.
func (p *pipeline) describeLayers(all everyWeight, macs []int64, wiring []models.Wire, out *metrics.Plan) (left map[string]int64, indices int64) {
	kind := p.plan.kind
	ratios := p.plan.ratiosOf(all)
	left = map[string]int64{}
	for i, info := range all.infos {
		if !kind.Prunes(info.Kind) {
			continue
		}
		l := layerPlan(kind, info, ratios[i], macs[i])
		if l.WeightsKept < l.Weights {
			maker := info.Layer
			if kind == admm.BNFilter {
				maker = all.makers[info.Layer]
			}
			if l.Shrinks, l.Why = shrinks(kind, maker, info.Layer, wiring); l.Shrinks {
				left[maker] = l.FiltersKept
			}
			indices += indexBytes(kind, l)
		}
		out.Parameters.After -= l.Weights - l.WeightsKept + (l.Filters-l.FiltersKept)*p.plan.following(info.Name)
		out.MACs.After -= l.MACs - l.MACsKept
		out.Layers = append(out.Layers, l)
	}
	return left, indices
}

// describeBudget says where the ratios of a budget come from and what they keep.
func (p *pipeline) describeBudget(all everyWeight, out *metrics.Plan) {
	given := p.cfg.Prune.Budget
	if !given.Given() || !prunes(p.cfg) {
		return
	}
	b, layers, err := budgetOf(p.cfg, p.plan.kind, p.team.members[0].model, all)
	if err != nil {
		return // build has found it good
	}
	kept, whole := admm.Kept(p.plan.kind, layers, p.plan.ratiosOf(all), b.Rest)
	out.Budget = &metrics.PlanBudget{Of: "keep", Wanted: b.Keep, Reached: float64(kept) / float64(whole), Method: given.Method}
	if given.MACs != 0 {
		out.Budget.Of = "macs"
	}
	switch {
	case !given.NeedsWeights():
	case p.cfg.Model.Load == "":
		out.Resolved, out.Budget.Method = false, string(admm.Uniform)
		out.Note = fmt.Sprintf("the method %s needs trained weights: the ratios are decided when the first pruning stage begins; those of uniform are shown", given.Method)
	case p.cfg.Pretrain.Epochs > 0:
		out.Resolved = false
		out.Note = fmt.Sprintf("the ratios are those of %s by the weights of model.load; the run decides them after pretraining", given.Method)
	}
}

// layerPlan counts what a ratio keeps of a layer.
func layerPlan(kind admm.Type, info admm.Info, ratio float64, macs int64) metrics.PlanLayer {
	rows, numel := info.Shape[0], admm.Groups(admm.Irregular, info.Shape)
	g := admm.Groups(kind, info.Shape)
	kept := g - admm.Pruned(g, ratio)
	part := func(n int64) int64 { return int64(math.Round(float64(n) * float64(kept) / float64(g))) } // blocks at edges are smaller
	l := metrics.PlanLayer{Name: info.Name, Shape: info.Shape, Ratio: ratio, Weights: numel, WeightsKept: part(numel),
		Filters: rows, FiltersKept: rows, Columns: numel / rows, ColumnsKept: numel / rows, MACs: macs, MACsKept: part(macs)}
	switch {
	case kind.ByRow(), kind == admm.BNFilter:
		l.FiltersKept = kept
	case kind == admm.Column:
		l.ColumnsKept = kept
	}
	return l
}

func indexBytes(kind admm.Type, l metrics.PlanLayer) int64 {
	switch {
	case kind.ByRow(), kind == admm.BNFilter:
		return 4 * l.FiltersKept
	case kind == admm.Column:
		return 4 * l.ColumnsKept
	}
	width := int64(2)
	if l.Columns > 1<<16 {
		width = 4
	}
	return width*l.WeightsKept + 4*(l.Filters+1)
}

// shrinks tells whether the channels that pruning switches off in a layer can be taken out of it and of its readers, or why not. Of a batch
// norm maker is the layer before it, empty where it scales a sum.
func shrinks(kind admm.Type, maker, layer string, wiring []models.Wire) (bool, string) {
	if !kind.ByRow() && kind != admm.BNFilter {
		return false, ""
	}
	for _, w := range wiring {
		switch {
		case slices.ContainsFunc(w.Norms, func(n models.Norm) bool { return n.Name == layer }):
			return false, "it hides channels from the layers that read by it, and others may read them"
		case slices.Contains(w.Gates, maker) && kind == admm.CoupledFilter:
			return true, ""
		case slices.Contains(w.Gates, maker):
			return false, "it weighs channels, which are gone where the layers that make them drop them"
		case !slices.Contains(w.From, maker):
		case w.Whole:
			return false, "its channels go on in a way that rapt does not follow, so that none can be taken out"
		case len(w.To) == 0:
			return false, "its outputs are the classes, so that none can be taken out"
		case kind == admm.CoupledFilter:
			return true, ""
		case w.Bent && kind == admm.Filter:
			return false, "its channels are weighed, or go through what a sum cannot stand for: a filter's bias and shift may keep them in use (coupled_filter prunes these, too)"
		case w.Last && maker == w.From[len(w.From)-1]:
			return true, ""
		case w.Last:
			return false, "its channels go through a depthwise layer: those that are 0 before it are gone too, which the trained weights tell"
		case len(w.From) > 1:
			return false, "its channels are added to other layers': one is gone only where all of them drop it, and each layer is pruned independently (coupled_filter prunes them together)"
		default:
			return true, ""
		}
	}
	return false, ""
}

// shrunk is the network with the channels taken out: left are the rows of the layers that shrink.
func shrunk(spec models.Spec, wiring []models.Wire, left map[string]int64) models.Spec {
	whole := spec.Channels
	spec.Channels = map[string]int64{}
	maps.Copy(spec.Channels, whole)
	for _, w := range wiring {
		if n, ok := left[w.From[len(w.From)-1]]; ok && len(w.To) > 0 {
			for _, layer := range slices.Concat(w.From, w.Gates) {
				spec.Channels[layer] = max(1, n)
			}
		}
	}
	return spec
}

// size counts a network.
func size(spec models.Spec) (parameters, macs int64, err error) {
	err = torch.Run(torch.CPU, torch.Options{Threads: 1, ShapesOnly: true}, func(s *torch.Session) error {
		m, err := models.New(s, spec, nil)
		if err != nil {
			return err
		}
		cost, err := models.Cost(m)
		parameters, macs = m.Parameters(), cost.MACs
		return err
	})
	return parameters, macs, err
}
