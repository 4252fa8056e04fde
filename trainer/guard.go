package trainer

import (
	"context"
	"fmt"
	"maps"
	"math"

	"go.uber.org/zap"

	"rapt/adversarial"
	torch "rapt/cgo"
)

// validate measures the model that the stage would hand on now, and guards the stage against catastrophic overfitting.
func (p *pipeline) validate(ctx context.Context, st *stage) (acc accuracies, err error) {
	if robust := st.saved.Collapsed; robust != nil { // measured, and gone back, before an interruption
		return accuracies{clean: robust["clean_accuracy"], robust: robust}, nil
	}
	err = p.averaged(st, func() (err error) {
		acc, err = p.measure(ctx, p.val, []adversarial.PGD{p.attack})
		return err
	})
	if err != nil {
		return acc, err
	}
	return acc, p.guard(st, acc)
}

// guard sees catastrophic overfitting where training.guard asks for it, as it always does for fgsm_rs: within an epoch the network learns to stop the single step and nothing else, and
// accuracy under PGD falls to nothing (Wong et al., arXiv 2001.03994, section 5.4). Then the stage goes back to its best model, and on from
// there with half the step, or ends. ADMM always goes on: its verdict is at its end, and with several steps, which cannot be made fewer, it
// is not guarded.
func (p *pipeline) guard(st *stage, acc accuracies) error {
	t := p.cfg.Training
	robust := acc.robust[p.attack.Name()]
	if t.Guard == "" || st.target.natural() || st.admm && st.target.method != "fgsm_rs" || st.saved.Best < 0 || st.saved.Best-robust < float64(t.GuardDrop) {
		return nil
	}
	if err := p.useModel(st.name); err != nil {
		return err
	}
	lead := p.team.members[0]
	st.average.restart(lead.s)
	if st.masks != nil {
		st.masks.apply(lead.s)
	}
	st.opt.Reset()
	st.saved.Collapsed = maps.Clone(acc.robust)
	st.saved.Collapsed["clean_accuracy"] = acc.clean
	st.saved.Collapses++
	fields := []zap.Field{zap.String("stage", st.name), zap.Int("epoch", st.saved.Epoch+1), zap.String("val_pgd", percent(robust)),
		zap.String("best_val_pgd", percent(st.saved.Best)), zap.Int("back_to_epoch", st.saved.BestEpoch)}
	if t.Guard == "stop" && !st.admm {
		st.saved.Stopped = true
		p.log.Warn("catastrophic overfitting: the stage ends with its best model", fields...)
		return lead.s.Err()
	}
	st.target.attack.StepSize /= 2
	st.saved.AttackStep = st.target.attack.StepSize
	p.log.Warn("catastrophic overfitting: on from the best model with half the step", append(fields, zap.String("step_size", short(st.saved.AttackStep)))...)
	p.record() // the old step is in what was recorded
	return lead.s.Err()
}

// choose keeps the model as the stage's best where it is, and ends a stage that has been without a better one for training.patience epochs.
func (p *pipeline) choose(st *stage, score float64) error {
	collapsed := st.saved.Collapsed != nil // the best model is in hand
	st.saved.Collapsed = nil
	// What ADMM hands on is where it ends, not where it scored best: W nears Z with every update.
	if !collapsed && (st.admm || score >= st.saved.Best) {
		st.saved.Best, st.saved.BestEpoch = score, st.saved.Epoch
		return p.averaged(st, func() error { return p.save(st, "best") })
	}
	if n := p.cfg.Training.Patience; n > 0 && !st.admm && st.saved.Epoch-st.saved.BestEpoch >= n && st.saved.Epoch < st.conf.Epochs {
		st.saved.Stopped = true
		p.log.Info("ends early", zap.String("stage", st.name), zap.Int("epoch", st.saved.Epoch), zap.Int("best_epoch", st.saved.BestEpoch), zap.Int("patience", n))
	}
	return nil
}

// notFinite says where training left the numbers, and what is kept.
func (p *pipeline) notFinite(st *stage, epoch, i int) error {
	kept := "no checkpoint had been saved yet"
	if p.run != nil && p.run.HasCheckpoint(st.name, "last") { // a probe has no run
		kept = "the last good checkpoint is " + p.run.CheckpointPath(st.name, "last")
	}
	return fmt.Errorf("the loss is not a finite number in stage %s, epoch %d, step %d: %s; a lower %s.lr may help; %s", st.name, epoch+1, i+1, p.astray(), st.section, kept)
}

// astray names the first layer whose weights are not finite, or else the one that has the largest.
func (p *pipeline) astray() string {
	name, largest := "", 0.0
	for _, e := range p.team.members[0].model.State {
		if e.Tensor.DType() != torch.Float32 {
			continue
		}
		values, err := e.Tensor.Detach().Float32s()
		if err != nil {
			return "its layers cannot be read (" + err.Error() + ")"
		}
		for _, v := range values {
			switch v := math.Abs(float64(v)); {
			case math.IsNaN(v) || math.IsInf(v, 0):
				return e.Name + " is not finite"
			case v > largest:
				name, largest = e.Name, v
			}
		}
	}
	return fmt.Sprintf("the weights are finite, the largest is %s, in %s", short(largest), name)
}
