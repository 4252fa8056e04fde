package trainer

import (
	"context"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// PlanOptions of Plan.
type PlanOptions struct {
	Measure bool // take a few training steps of each stage, to estimate the time

	Described   func(*metrics.Plan) // is called with all but the time, before any step is taken
	StrategyOut string              // write each layer's ratio to this file
}

// Plan says what Run would do with cfg, and trains nothing. Where a budget needs weights, those of model.load are taken; without, the
// ratios are those of an even budget, and the plan says so.
func Plan(ctx context.Context, cfg *config.Config, o PlanOptions) (plan *metrics.Plan, err error) {
	defer lost(&err)
	p := &pipeline{cfg: cfg, log: zap.NewNop(), progress: metrics.NewProgress(io.Discard, false)}
	devices, err := p.prepare(ctx)
	if err != nil {
		return nil, err
	}
	var out *metrics.Plan
	err = gather(devices, cfg.Run.Threads(), p.build, func(t *team) error {
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
		if out, err = p.describe(all); err == nil && cfg.Compact.Epochs > 0 && cfg.Pretrain.Epochs+cfg.ADMM.Epochs+cfg.Retrain.Epochs == 0 {
			err = p.describeLoaded(out)
		}
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
	if o.Described != nil {
		o.Described(out)
	}
	if o.Measure {
		out.Time, err = p.estimate(ctx)
	}
	return out, err
}

// describeLoaded has the plan say what stage compact takes out of the loaded model, which stands in its weights already.
func (p *pipeline) describeLoaded(out *metrics.Plan) (err error) {
	var r metrics.Reduction
	lead := p.team.members[0]
	lead.s.Do(func() { _, p.leaves, err = takeOut(lead.model, map[string]string{}, &r) })
	out.Parameters.Shrunk, out.MACs.Shrunk, out.Bytes.Shrunk = r.Parameters.After, r.MACs.After, 4*r.Parameters.After
	return err
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

// memory estimates the stage that takes most.
func (p *pipeline) memory(cost models.Costs) (most metrics.PlanMemory, err error) {
	stages, err := p.stages()
	if err != nil {
		return most, err
	}
	for _, st := range stages {
		if m := p.stageMemory(st, cost); m.Total > most.Total && (!st.small || most.Stage == "") {
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
	measured := map[timed]timing{}
	var other timing // for a stage that only prunes and is tested, where nothing else has its section
	for _, st := range stages {
		as := timedAs(st)
		if _, ok := measured[as]; !ok && st.conf.Epochs > 0 {
			if other, err = p.time(ctx, as); err != nil {
				return nil, err
			}
			measured[as] = other
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
		tested := 0.0 // passes
		for _, j := range p.judges {
			tested += j.passes() * float64(p.parts.Test.N)
		}
		if p.suspects(st) {
			tested += (suspicion{attacks: p.judges}).passes() * float64(min(suspectImages, p.parts.Test.N))
		}
		s := metrics.StageTime{Stage: st.name, Epochs: st.conf.Epochs, Steps: steps, StepMS: 1e3 * t.step,
			Seconds: t.step*float64(steps) + t.image*(float64(validations*p.parts.Validation.N)+tested/float64(p.attack.Steps))}
		out.Stages = append(out.Stages, s)
		out.Seconds += s.Seconds
		out.Device = t.device
	}
	return out, nil
}

// timed is what steps of a stage are measured by.
type timed struct {
	section string
	small   bool // the smaller network's
}

// timedAs has the section whose steps stand for the stage's: what quantising adds to one is little.
func timedAs(st *stage) timed {
	if st.quant != nil {
		return timed{"pretrain", st.small}
	}
	return timed{st.section, st.small}
}

// timing is in seconds: a training step, and an image clean and under the config's attack.
type timing struct {
	step, image float64
	device      string
}

// time measures a section of the config, as if it were the whole of it.
func (p *pipeline) time(ctx context.Context, as timed) (t timing, err error) {
	alone := *p.cfg
	alone.Data.BatchSize = p.largestBatch()
	if as.section == "pretrain" { // also where it stands for other stages alone
		alone.Pretrain.Epochs = max(1, alone.Pretrain.Epochs)
	}
	last := alone.Prune.Step(alone.Prune.Steps.N() - 1)
	alone.Prune.Ratio, alone.Prune.Ratios, alone.Prune.Steps = last.Ratio, last.Ratios, config.Steps{}
	options := ProbeOptions{Stage: as.section, Input: p.spec.Input}
	if as.small { // nothing more is pruned of it
		alone.Prune, alone.Quantize = config.Prune{SparsityType: alone.Prune.SparsityType, RoundTo: 1}, config.Quantize{}
		options.Channels = p.leaves.Channels
	}
	err = WithProbe(&alone, options, func(b *Probe) error {
		t.device = NamesOf(b.p.team.devices())
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
