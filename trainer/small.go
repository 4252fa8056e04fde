package trainer

import (
	"cmp"
	"context"
	"io"

	"go.uber.org/zap"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// compactName is the stage that takes channels out and trains what is left.
const compactName = "compact"

// smallStart is what the first stage of the smaller network begins with.
type smallStart struct {
	file      *checkpoint.File
	logits    []float32 // the whole network's, of the validation images
	reduction *metrics.Reduction
}

// onSmall does those of the stages that are the smaller network's and to be done, which has a team of its own. The whole network's waits meanwhile.
func (p *pipeline) onSmall(ctx context.Context, stages []*stage) error {
	small, err := p.smaller(ctx, stages[0])
	if err != nil {
		return err
	}
	if p.team.members[0].s.Device().IsCUDA() { // what libtorch keeps for the streams of the one that waits is of no use to the other
		if err := torch.EmptyCUDACache(); err != nil {
			return err
		}
	}
	ended := make(chan error)
	go func() { // a thread has one session at a time
		ended <- caught(func() error {
			return gather(p.team.devices(), len(p.team.members), small.buildSmall(p.plan), func(t *team) error {
				small.team = t
				return small.itsStages(ctx, stages)
			})
		})
	}()
	return <-ended
}

// smaller is the run with the network that is left in the place of the whole one. What stage compact begins with is made of the whole one's.
func (p *pipeline) smaller(ctx context.Context, st *stage) (*pipeline, error) {
	if prunes(p.cfg) {
		if err := p.settle(ctx, st); err != nil {
			return nil, err
		}
	}
	small := *p
	small.settled = true
	for _, e := range p.plan.entries {
		small.wholeWeights += e.Tensor.Numel()
	}
	which := "last"
	if st.name != compactName {
		which = "best"
		if err := p.ended(st); err != nil {
			return nil, err
		}
	}
	if st.name != compactName || p.run.HasCheckpoint(compactName, which) {
		begun, _, _, err := p.run.LoadCheckpoint(compactName, which)
		if err != nil {
			return nil, err
		}
		small.spec.Channels, err = readChannels(begun.Metadata["channels"])
		return &small, err
	}
	if err := p.startModel(st, false); err != nil {
		return nil, err
	}
	var err error
	small.start = &smallStart{reduction: &metrics.Reduction{}}
	lead := p.team.members[0]
	lead.s.Do(func() { small.start.file, small.spec, err = takeOut(lead.model, p.metadata(st), small.start.reduction) })
	if err != nil {
		return nil, err
	}
	small.start.logits, err = p.logits(ctx)
	return &small, err
}

// logits are the model's, of the validation images.
func (p *pipeline) logits(ctx context.Context) (out []float32, err error) {
	if err := forJudging(); err != nil {
		return nil, err
	}
	err = p.inFloat32(func() error {
		out, err = p.team.logits(ctx, p.val, p.evalBatch(), metrics.NewProgress(io.Discard, false))
		return err
	})
	return out, cmp.Or(err, p.searching(p.team.members[0].s.Device()))
}

// buildSmall is build for the smaller network, in which no more is pruned: what is zero of the layers that the whole one's plan prunes stays zero.
func (p *pipeline) buildSmall(whole *pruning) func(*torch.Session) (*models.Model, error) {
	return func(s *torch.Session) (*models.Model, error) {
		model, err := p.network(s)
		if err != nil {
			return nil, err
		}
		p.plan = whole.of(model)
		p.plans = []*pruning{p.plan}
		p.quant, err = newQuantisation(p.cfg, model)
		return model, err
	}
}

// of is the pruning of the same layers of another model. Their ratios are those of the first.
func (pr *pruning) of(model *models.Model) *pruning {
	all := prunable(model)
	out := &pruning{kind: pr.kind, entries: weights(model, pr.kind), follow: all.followers(pr.kind)}
	out.choose(all, pr.ratiosOf(all), func(last float64) float64 { return last })
	return out
}

// itsStages does those of the whole run's. The smaller network that begins must have the whole one's logits.
func (p *pipeline) itsStages(ctx context.Context, stages []*stage) error {
	if err := p.upload(); err != nil {
		return err
	}
	if p.start != nil {
		if err := p.compare(ctx); err != nil {
			return err
		}
	}
	for _, st := range stages {
		if !st.small || !st.chosen || st.saved.Done {
			continue
		}
		own := *st
		own.plan = p.plan
		if st.quant != nil {
			q := *st.quant
			q.held, q.drawn = p.quant.same(q.held), p.quant.same(q.drawn)
			own.quant = &q
		}
		if _, err := p.stage(ctx, &own); err != nil {
			return err
		}
		st.saved, p.start = own.saved, nil
	}
	return nil
}

// compare proves that the smaller network is the whole one's function, and says what it is.
func (p *pipeline) compare(ctx context.Context) error {
	if err := p.team.load("what is left of the network", p.start.file); err != nil {
		return err
	}
	logits, err := p.logits(ctx)
	if err != nil {
		return err
	}
	r := p.start.reduction
	if err := equalLogits(r, smallerNetwork, roundingOn(p.team.members[0].s.Device()), p.start.logits, logits, p.parts.Validation.Labels); err != nil {
		return err
	}
	if !shrank(r) {
		p.log.Warn("the network has " + nothingToTakeOut)
	}
	p.log.Info("compacted", zap.Int64("parameters", r.Parameters.After), zap.String("smaller", r.Parameters.Rate()), zap.Int64("macs", r.MACs.After), zap.String("fewer", r.MACs.Rate()),
		zap.Int("images", r.Images), zap.Int("same_class", r.SameClass), zap.String("largest_difference", short(r.LargestDifference)))
	return nil
}

// same are the layers as this quantisation's model has them.
func (q *quantisation) same(layers []quantLayer) (out []quantLayer) {
	for _, l := range layers {
		for _, own := range q.layers {
			if own.name == l.name {
				out = append(out, own)
			}
		}
	}
	return out
}

// smallMask is what the smaller network of a stage's model holds: of coupled filters, no zero is left; of a loaded model, any may be of its pruning.
func (p *pipeline) smallMask(from string) masking {
	if p.plan.kind == admm.CoupledFilter && !p.cfg.Prune.HoldZeros && from != "" {
		return masking{}
	}
	return masking{from: itsZeros, all: from == ""}
}
