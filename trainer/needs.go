package trainer

import (
	"context"
	"io"

	"go.uber.org/zap"

	torch "rapt/cgo"
	"rapt/models"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// Needs is what a run takes of the machine, in bytes, estimated from its config.
type Needs struct {
	Device string             // or several
	Memory metrics.PlanMemory // the device's, in the stage that takes most; the data and libtorch come on top
	Disk   int64              // the checkpoints of all stages
}

// NeedsOf checks a config as Run does before any work, and says what its run needs.
func NeedsOf(ctx context.Context, cfg *config.Config) (n Needs, err error) {
	p := &pipeline{cfg: cfg, log: zap.NewNop(), progress: metrics.NewProgress(io.Discard, false)}
	devices, err := p.prepare(ctx)
	if err != nil {
		return n, err
	}
	n.Device = NamesOf(devices)
	err = gather(devices, cfg.Run.Threads(), p.build, func(t *team) error {
		p.team = t
		cost, err := models.Cost(t.members[0].model)
		if err != nil {
			return err
		}
		if n.Memory, err = p.memory(cost); err != nil {
			return err
		}
		n.Disk, err = p.disk(cost)
		return err
	})
	return n, err
}

// largestBatch is what a step takes: all training images at most.
func (p *pipeline) largestBatch() int { return min(p.cfg.Data.BatchSize, p.parts.Train.N) }

// stageMemory estimates what a stage holds at once.
func (p *pipeline) stageMemory(st *stage, cost models.Costs) metrics.PlanMemory {
	parameters := p.team.members[0].model.Parameters()
	pruned := int64(0)
	for _, l := range p.plan.layers {
		pruned += l.Weight.Numel()
	}
	members, batch := int64(len(p.team.members)), int64(p.largestBatch())
	m := metrics.PlanMemory{Stage: st.name, Weights: 4 * parameters * p.copies(), Gradients: 4 * parameters * members}
	if p.team.apart { // the first GPU's: its own, those that come from the others, and what goes to them
		m.Gradients = 4 * parameters * (members + 1)
		batch = (batch + members - 1) / members
	}
	m.Activations = 4 * 2 * cost.Activations * batch * p.objectiveOf(st).graphs()
	switch {
	case st.conf.Optimizer == "adam":
		m.Optimizer = 2 * 4 * parameters
	case st.conf.Momentum != 0:
		m.Optimizer = 4 * parameters
	}
	if st.quant != nil && st.admm {
		m.ADMM = 2 * 4 * parameters
	} else if st.admm {
		m.ADMM = 2 * 4 * pruned
	}
	if st.mask.from != nothing {
		m.Masks = 4 * pruned
	}
	m.Total = m.Weights + m.Gradients + m.Optimizer + m.ADMM + m.Masks + m.Activations
	return m
}

// disk is what the run's checkpoints take at most: of each stage the last run.keep_last with their trainer state and the best, and one
// more while it is being written.
func (p *pipeline) disk(cost models.Costs) (all int64, err error) {
	stages, err := p.stages()
	if err != nil {
		return 0, err
	}
	model := int64(0)
	for _, e := range p.team.members[0].model.State {
		size := int64(4)
		if e.Tensor.DType() == torch.Int64 {
			size = 8
		}
		model += size * e.Tensor.Numel()
	}
	shape := p.spec.Input
	largest := int64(0)
	for _, st := range stages { // a smaller network's as if it were the whole one
		m := p.stageMemory(st, cost)
		last := model + m.Optimizer + m.ADMM + m.Masks
		if p.cfg.Training.EMADecay > 0 {
			last += model
		}
		if p.cfg.Training.Method == "free" {
			last += 4 * shape[0] * shape[1] * shape[2] * int64(p.largestBatch())
		}
		best := model
		if st.quant != nil { // codes of one byte
			last, best = last+model, best+model/4
		}
		all += int64(p.cfg.Run.KeepLast)*last + best
		largest = max(largest, last)
	}
	return all + largest, nil
}
