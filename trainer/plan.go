package trainer

import (
	"context"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"rapt/admm"
	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// PlanOptions of Plan.
type PlanOptions struct {
	Measure     bool   // take a few training steps of each stage, to estimate the time
	StrategyOut string // write each layer's ratio to this file
}

// Plan says what Run would do with cfg, and trains nothing. Where a budget needs weights, those of model.load are taken; without, the
// ratios are those of an even budget, and the plan says so.
func Plan(ctx context.Context, cfg *config.Config, o PlanOptions) (plan *metrics.Plan, err error) {
	defer lost(&err)
	p := &pipeline{cfg: cfg, log: zap.NewNop(), progress: metrics.NewProgress(io.Discard, false)}
	dev, err := p.prepare(ctx)
	if err != nil {
		return nil, err
	}
	var out *metrics.Plan
	err = gather(dev, cfg.Run.Threads(), p.build, func(t *team) error {
		p.team = t
		if err := p.initial(); err != nil {
			return err
		}
		all := prunable(t.members[0].model)
		if prunes(cfg) && cfg.Prune.Budget.NeedsWeights() && cfg.Model.Load != "" {
			ratios, err := p.allocate(ctx, all)
			if err != nil {
				return err
			}
			p.adopt(all, ratios)
		}
		out, err = p.describe(all)
		return err
	})
	if err != nil {
		return nil, err
	}
	if o.StrategyOut != "" {
		if err := p.strategyOut(o.StrategyOut, out); err != nil {
			return nil, err
		}
	}
	if o.Measure {
		out.Time, err = p.estimate(ctx)
	}
	return out, err
}

func (p *pipeline) strategyOut(path string, plan *metrics.Plan) error {
	if !prunes(p.cfg) {
		return &InputError{fmt.Errorf("%s is not written: the config prunes nothing", path)}
	}
	if !plan.Resolved && p.cfg.Model.Load == "" {
		return &InputError{fmt.Errorf("%s is not written: a budget of the method %s needs trained weights, which model.load can give", path, p.cfg.Prune.Budget.Method)}
	}
	data, err := p.plan.strategy(p.cfg)
	if err != nil {
		return err
	}
	err = checkpoint.WriteAtomic(path, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
	if err != nil {
		return &InputError{err}
	}
	return nil
}

// describe fills in all that needs no measuring.
func (p *pipeline) describe(all everyWeight) (*metrics.Plan, error) {
	c, model, kind := p.cfg, p.team.members[0].model, p.plan.kind
	out := &metrics.Plan{Schema: 1, Name: c.Run.Name, Dataset: c.Data.Dataset, Arch: c.Model.Arch, Width: c.Model.Width, Method: c.Training.Method,
		Type: string(kind), Resolved: true, Coupled: [][]string{}}
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
	ratio := map[string]float64{}
	for _, r := range p.plan.ratios {
		ratio[r.Layer] = r.Ratio
	}
	wiring := models.Wiring(model)
	out.Wired = len(wiring) > 0
	for _, w := range wiring {
		if len(w.From) > 1 {
			out.Coupled = append(out.Coupled, w.From)
		}
	}
	indices := int64(0)
	left := map[string]int64{} // rows of layers that shrink
	for i, info := range all.infos {
		if !kind.Prunes(info.Kind) {
			continue
		}
		l := layerPlan(kind, info, ratio[info.Name], macs[i])
		if l.WeightsKept < l.Weights {
			maker := info.Layer
			if kind == admm.BNFilter {
				maker = all.maker(i)
			}
			if l.Shrinks, l.Why = shrinks(kind, maker, wiring); l.Shrinks {
				left[maker] = l.FiltersKept
			}
			indices += indexBytes(kind, l)
		}
		removed := l.Weights - l.WeightsKept
		if kind == admm.BNFilter {
			removed *= 2 // the shift goes with the scale
		}
		out.Parameters.After -= removed
		out.MACs.After -= l.MACs - l.MACsKept
		out.Layers = append(out.Layers, l)
	}
	out.Parameters.Shrunk, out.MACs.Shrunk = shrunk(model, all, wiring, left, cost)
	out.Bytes = metrics.PlanBytes{Dense: 4 * out.Parameters.Before, SparseValues: 4 * out.Parameters.After,
		SparseIndexed: 4*out.Parameters.After + indices, Shrunk: 4 * out.Parameters.Shrunk}
	p.describeBudget(all, out)
	if out.Memory, err = p.memory(cost); err != nil {
		return nil, err
	}
	out.Disk, err = p.disk(cost)
	return out, err
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
	ratios := make([]float64, len(layers))
	for i, info := range all.infos {
		for _, r := range p.plan.ratios {
			if r.Layer == info.Name {
				ratios[i] = r.Ratio
			}
		}
	}
	kept, whole := admm.Kept(p.plan.kind, layers, ratios, b.Rest)
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
	switch kind {
	case admm.Filter, admm.BNFilter:
		l.FiltersKept = kept
	case admm.Column:
		l.ColumnsKept = kept
	}
	return l
}

func indexBytes(kind admm.Type, l metrics.PlanLayer) int64 {
	switch kind {
	case admm.Filter, admm.BNFilter:
		return 4 * l.FiltersKept
	case admm.Column:
		return 4 * l.ColumnsKept
	}
	width := int64(2)
	if l.Columns > 1<<16 {
		width = 4
	}
	return width*l.WeightsKept + 4*(l.Filters+1)
}

// maker is the layer whose channels batch norm i scales: the one before it in the same part of the network. Empty for a norm of sums.
func (all everyWeight) maker(i int) string {
	if i == 0 || all.infos[i-1].Kind == admm.Norm || all.infos[i-1].Shape[0] != all.infos[i].Shape[0] {
		return ""
	}
	parent := func(name string) string { return name[:strings.LastIndexByte(name, '.')+1] }
	if layer := all.infos[i-1].Layer; parent(layer) == parent(all.infos[i].Layer) {
		return layer
	}
	return ""
}

// shrinks tells whether the channels that pruning switches off in a layer can be taken out of it and of its readers, or why not.
func shrinks(kind admm.Type, layer string, wiring []models.Wire) (bool, string) {
	if kind != admm.Filter && kind != admm.BNFilter {
		return false, ""
	}
	for _, w := range wiring {
		switch {
		case !slices.Contains(w.From, layer):
		case len(w.To) == 0:
			return false, "its outputs are the classes, so that none can be taken out"
		case len(w.From) > 1:
			return false, "its channels are added to other layers' or go through a depthwise one: one is gone only where all of them drop it, which each decides on its own"
		default:
			return true, ""
		}
	}
	return false, ""
}

// shrunk counts the network with the channels taken out: left are the rows of the layers that shrink.
func shrunk(model *models.Model, all everyWeight, wiring []models.Wire, left map[string]int64, cost models.Costs) (parameters, macs int64) {
	rows := map[string][2]int64{} // left of all, by the layer that has them: a norm has those of its maker
	in := map[string][2]int64{}   // of the channels that a layer reads
	for i, info := range all.infos {
		maker := info.Layer
		if info.Kind == admm.Norm {
			maker = all.maker(i)
		}
		n := [2]int64{info.Shape[0], info.Shape[0]}
		if k, ok := left[maker]; ok {
			n[0] = k
		}
		rows[info.Layer] = n
	}
	for _, w := range wiring {
		for _, reader := range w.To {
			in[reader] = rows[w.From[0]]
		}
	}
	scale := func(n int64, layer string, weight bool) int64 {
		r := rows[layer]
		n = n / r[1] * r[0]
		if c := in[layer]; weight && c[1] > 0 {
			n = n / c[1] * c[0]
		}
		return n
	}
	for _, e := range model.State {
		if !e.Buffer {
			parameters += scale(e.Tensor.Numel(), e.Layer, e.Name == e.Layer+".weight")
		}
	}
	for _, l := range cost.Layers {
		macs += scale(l.MACs, l.Name, true)
	}
	return parameters, macs
}

// memory estimates the stage that takes most.
func (p *pipeline) memory(cost models.Costs) (most metrics.PlanMemory, err error) {
	stages, err := p.stages()
	if err != nil {
		return most, err
	}
	for _, st := range stages {
		if m := p.stageMemory(st, cost); m.Total > most.Total {
			most = m
		}
	}
	return most, nil
}

// estimate measures a few steps of each of the config's sections, and a validation, and multiplies them by what each stage does.
func (p *pipeline) estimate(ctx context.Context) (*metrics.PlanTime, error) {
	stages, err := p.stages()
	if err != nil {
		return nil, err
	}
	out := &metrics.PlanTime{}
	measured := map[string]timing{}
	var other timing // for a stage that only prunes and is tested, where nothing else has its section
	for _, st := range stages {
		section := timedAs(st)
		if _, ok := measured[section]; !ok && st.conf.Epochs > 0 {
			if other, err = p.time(ctx, section); err != nil {
				return nil, err
			}
			measured[section] = other
		}
	}
	for _, st := range stages {
		t, ok := measured[timedAs(st)]
		if !ok {
			t = other
		}
		steps := st.conf.Epochs * p.stepsPerEpoch()
		if st.natural { // a step without the method's other passes
			t.step /= p.methodPasses()
		}
		validations := st.conf.Epochs
		if st.admm {
			validations += st.conf.Epochs / st.conf.UpdateEvery
		}
		tested := 0.0
		for _, j := range p.judges {
			tested += j.passes() / float64(p.attack.Steps)
		}
		s := metrics.StageTime{Stage: st.name, Epochs: st.conf.Epochs, Steps: steps, StepMS: 1e3 * t.step,
			Seconds: t.step*float64(steps) + t.image*(float64(validations*p.parts.Validation.N)+tested*float64(p.parts.Test.N))}
		out.Stages = append(out.Stages, s)
		out.Seconds += s.Seconds
		out.Device = t.device
	}
	return out, nil
}

// timedAs is the section whose steps stand for the stage's: what quantising adds to one is little.
func timedAs(st *stage) string {
	if st.quant != nil {
		return "pretrain"
	}
	return st.section
}

// timing is in seconds: a training step, and an image clean and under the config's attack.
type timing struct {
	step, image float64
	device      string
}

// time measures a section of the config, as if it were the whole of it.
func (p *pipeline) time(ctx context.Context, section string) (t timing, err error) {
	alone := *p.cfg
	if section == "pretrain" { // also where it stands for other stages alone
		alone.Pretrain.Epochs = max(1, alone.Pretrain.Epochs)
	}
	last := alone.Prune.Step(alone.Prune.Steps.N() - 1)
	alone.Prune.Ratio, alone.Prune.Ratios, alone.Prune.Steps = last.Ratio, last.Ratios, config.Steps{}
	err = WithProbe(&alone, ProbeOptions{Stage: section, Input: p.spec.Input}, func(b *Probe) error {
		t.device = b.Device().String()
		warm, timed := 1, 3
		if b.Device().IsCUDA() {
			warm = WarmSteps
		}
		var began time.Time
		for i := range warm + timed {
			if ctx.Err() != nil {
				return ErrInterrupted
			}
			if i == warm {
				began = time.Now()
			}
			if err := b.Step(); err != nil {
				return err
			}
		}
		t.step = time.Since(began).Seconds() / float64(timed)
		images := min(2*chunkSize, p.parts.Validation.N)
		began = time.Now()
		err := b.Evaluate(images)
		t.image = time.Since(began).Seconds() / float64(images)
		return err
	})
	return t, err
}
