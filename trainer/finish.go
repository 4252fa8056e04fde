package trainer

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"rapt/trainer/metrics"
)

// finish takes the stage's best model to the test set.
func (p *pipeline) finish(ctx context.Context, st *stage) (*metrics.StageResult, error) {
	if st.conf.Epochs == 0 { // a baseline that only prunes
		if err := p.save(st, "best"); err != nil {
			return nil, err
		}
	}
	last, err := p.testLast(ctx, st)
	if err != nil {
		return nil, err
	}
	if err := p.useModel(st.name); err != nil {
		return nil, err
	}
	look, err := p.suspicion(st)
	if err != nil {
		return nil, err
	}
	acc, err := p.judgeTest(ctx, p.run.CheckpointPath(st.name, "best"), look)
	if err != nil {
		return nil, err
	}
	spars, err := p.sparsityOf(st.name)
	if err != nil {
		return nil, err
	}
	st.saved.Seconds = st.spent()
	pruned, compression := spars.Sparsity, spars.Compression
	if st.small {
		pruned, compression = spars.Of(p.wholeWeights)
	}
	r := &metrics.StageResult{Stage: st.name, Epochs: st.saved.Epoch, BestEpoch: st.saved.BestEpoch, Last: last, Collapses: st.saved.Collapses,
		Seconds: st.saved.Seconds, CleanAccuracy: acc.clean, RobustAccuracy: acc.robust,
		WorstCase: &acc.worst, Loss: acc.loss, Sparsity: pruned, Compression: compression, ADMM: st.saved.ADMM,
		Reduction: st.saved.Reduction, Suspicion: acc.checks}
	if st.small {
		r.Parameters = p.team.members[0].model.Parameters()
	}
	if st.saved.Training > 0 {
		r.ImagesPerSecond = float64(st.saved.Images) / st.saved.Training
	}
	if st.saved.BestEpoch > 0 && last == nil { // the best model is the last
		r.Last = &metrics.Accuracies{CleanAccuracy: acc.clean, RobustAccuracy: acc.robust}
	}
	fields := []zap.Field{zap.String("stage", st.name), zap.String("clean", percent(acc.clean))}
	for _, j := range p.judges {
		fields = append(fields, zap.String(j.name, percent(acc.robust[j.name])))
	}
	p.log.Info("test", append(fields, zap.String("pruned", percent(pruned)))...)
	for _, c := range acc.checks {
		if !c.Fine {
			p.log.Warn("the robust accuracy may be too high: "+c.Why, zap.String("stage", st.name), zap.String("check", c.Check))
		}
	}
	st.saved.Done, st.saved.Result = true, r
	return r, p.saveDone(st)
}

// testLast measures the stage's last model on the test set, where that is not its best one: how far below it comes out is robust overfitting
// (Rice et al., arXiv 2002.11569). nil where the two are one.
func (p *pipeline) testLast(ctx context.Context, st *stage) (*metrics.Accuracies, error) {
	if st.saved.BestEpoch == 0 || st.saved.BestEpoch == st.saved.Epoch {
		return nil, nil
	}
	model, state, _, err := p.run.LoadCheckpoint(st.name, "last")
	if err != nil {
		return nil, err
	}
	path := p.run.CheckpointPath(st.name, "last")
	if err := p.team.load(path, withAverage(model, state)); err != nil {
		return nil, err
	}
	acc, err := p.judgeTest(ctx, path, nil)
	if err != nil {
		return nil, err
	}
	fields := []zap.Field{zap.String("stage", st.name), zap.Int("epoch", st.saved.Epoch), zap.Int("best_epoch", st.saved.BestEpoch), zap.String("clean", percent(acc.clean))}
	for _, j := range p.judges {
		fields = append(fields, zap.String(j.name, percent(acc.robust[j.name])))
	}
	p.log.Info("test of the last epoch's model", fields...)
	return &metrics.Accuracies{CleanAccuracy: acc.clean, RobustAccuracy: acc.robust}, nil
}

// saveDone notes a stage's end beside its last model, which is not the chosen one that is in hand now.
func (p *pipeline) saveDone(st *stage) error {
	if !p.run.HasCheckpoint(st.name, "last") { // nothing was trained
		if err := p.save(st, "last"); err != nil {
			return err
		}
		return p.run.Wait()
	}
	model, state, _, err := p.run.LoadCheckpoint(st.name, "last")
	if err != nil {
		return err
	}
	return p.run.SaveCheckpoint(st.name, "last", model, st.saved, state)
}

func (p *pipeline) newReport() *metrics.Report {
	c := p.cfg
	return &metrics.Report{Schema: 1, Name: c.Run.Name, Dataset: c.Data.Dataset, Arch: c.Model.Arch, Width: c.Model.Width, Method: c.Training.Method,
		Channels: p.spec.Channels, Parameters: p.team.members[0].model.Parameters(), Seed: c.Run.Seed, Version: p.options.Version,
		DataNote: p.parts.Note, Attacks: reports(p.judges)}
}

// reportModel has the report describe a stage's chosen model.
func (p *pipeline) reportModel(report *metrics.Report, name string) error {
	model, _, _, err := p.run.LoadCheckpoint(name, "best")
	if err != nil {
		return err
	}
	if n := report.Stages[len(report.Stages)-1].Parameters; n > 0 {
		report.Parameters = n
		if report.Channels, err = readChannels(model.Metadata["channels"]); err != nil {
			return err
		}
	}
	if report.Sparsity, err = p.sparsityIn(model); err != nil {
		return err
	}
	report.Quantization, err = quantizationIn(model, report.Parameters)
	return err
}

// seal writes the report and closes the metric files. A run whose metrics may be lost is not done.
func (p *pipeline) seal(report *metrics.Report) error {
	if err := p.run.WriteJSON("report.json", report); err != nil {
		return err
	}
	if err := p.metrics.Close(); err != nil {
		return fmt.Errorf("cannot write the metrics: %w", err)
	}
	if p.options.Stages != nil {
		return nil
	}
	return p.run.MarkDone()
}
