package trainer

import (
	"cmp"
	"context"
	"math"

	torch "rapt/cgo"
	"rapt/trainer/metrics"
)

// judgeTest judges the model in hand on the test set, as Evaluate would. It is that of the checkpoint at path; an interrupted test of it goes
// on where it was. look, where it is not nil, is for signs that the attacks failed.
func (p *pipeline) judgeTest(ctx context.Context, path string, look *suspicion) (acc accuracies, err error) {
	if err := forJudging(); err != nil {
		return acc, err
	}
	err = p.inFloat32(func() (err error) {
		acc, err = p.judgeAll(ctx, path, look)
		return err
	})
	return acc, cmp.Or(err, p.searching(p.team.members[0].s.Device()))
}

// forJudging has cuDNN neither search, since attacks go on with what still stands, a batch of another size at each step, and it would search
// anew for each, nor take what gives other results the next time.
func forJudging() error { return torch.SetCuDNN(false, true) }

// evalBatch is how many images are judged together: a CPU's cache holds few.
func (p *pipeline) evalBatch() int {
	if p.team.members[0].s.Device().IsCUDA() {
		return p.cfg.Data.EvalBatchSize
	}
	return chunkSize
}

func (p *pipeline) judgeAll(ctx context.Context, path string, look *suspicion) (acc accuracies, err error) {
	var groups []group
	for _, j := range p.judges {
		groups = append(groups, j.group())
	}
	if look != nil {
		more, err := look.groups()
		if err != nil {
			return acc, err
		}
		groups = append(groups, more...)
	}
	e := newEvaluation(groups, p.parts.Test.Labels, p.spec.Classes, p.evalBatch(), key(p.cfg.Run.Seed, "test"))
	e.progress, e.say = p.progress, func(line string) { p.log.Info("test: " + line) }
	if err := p.openState(e, path); err != nil {
		return acc, err
	}
	defer func() { e.state.close() }()
	var checks []metrics.Check
	err = p.team.crewed(p.test, func(c *crew) (err error) {
		if err := e.run(ctx, c); err != nil || look == nil {
			return err
		}
		checks, err = look.checks(ctx, c, e)
		return err
	})
	if err != nil {
		return acc, err
	}
	acc = e.accuracies()
	acc.checks = checks
	if math.IsNaN(acc.loss) {
		return acc, errNotFinite
	}
	e.state.remove()
	return acc, nil
}

// openState reads what an interrupted test of the checkpoint at path left.
func (p *pipeline) openState(e *evaluation, path string) error {
	sum, err := p.run.ModelSHA256(path)
	if err != nil {
		return err
	}
	print := fingerprint("test", sum, p.parts.SHA256, reports(p.judges), e.asks(), e.seed, e.chunk, p.team.members[0].s.Device().IsCUDA(), p.options.Version)
	e.state, err = openState(defaultState(path, print), false, print, p.parts.Test.C*p.parts.Test.H*p.parts.Test.W, e)
	return err
}

// suspects says that the stage's model is looked at for signs that the attacks failed: the one that the run's report ends on.
func (p *pipeline) suspects(st *stage) bool {
	last := ""
	for _, s := range p.all {
		if !s.baseline {
			last = s.name
		}
	}
	return p.cfg.Evaluate.Suspicion && len(p.judges) > 0 && st.name == last
}

// suspicion is that look, nil where there is none.
func (p *pipeline) suspicion(st *stage) (*suspicion, error) {
	if !p.suspects(st) {
		return nil, nil
	}
	d, err := describe(p.run.CheckpointPath(st.name, "best"), p.metadata(st))
	test := p.parts.Test
	return &suspicion{of: d, attacks: p.judges, pixels: test.C * test.H * test.W}, err
}
