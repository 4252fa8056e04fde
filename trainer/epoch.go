package trainer

import (
	"context"
	"math"
	"time"

	"go.uber.org/zap"

	"rapt/admm"
	"rapt/adversarial"
	torch "rapt/cgo"
)

// endEpoch validates the model, keeps it if it is the best so far, and updates Z and U where that is due. A model
// is judged by its accuracy under the attack it is trained against; a naturally trained one by its clean accuracy.
func (p *pipeline) endEpoch(ctx context.Context, st *stage) error {
	p.watchClock()
	epoch := st.saved.Epoch
	acc, err := p.validate(ctx, st)
	if err != nil {
		return err
	}
	if math.IsNaN(acc.loss) || math.IsInf(acc.loss, 0) {
		return errNotFinite
	}
	robust := acc.robust[p.attack.Name()]
	score := robust
	if st.target.natural() {
		score = acc.clean
	}
	values := p.epochValues(st, acc.clean, robust)
	if st.admm {
		if err := p.endADMM(ctx, st, values); err != nil {
			return err
		}
	}
	if err := p.noneRevived(st); err != nil {
		return err
	}
	if err := p.logSparsity(st, values); err != nil {
		return err
	}
	if s := p.team.members[0].s; s.Device().IsCUDA() {
		if m, err := s.CUDAMemory(); err == nil {
			values["gpu/mem_mb"] = float64(m.AllocatedPeak) / 1e6
		}
	}
	steps := p.stepsPerEpoch()
	if err := p.metrics.LogEpoch(st.name, epoch+1, st.offset+int64((epoch+1)*steps), values); err != nil {
		return err
	}
	st.saved.Epoch, st.saved.Step, st.saved.Loss, st.saved.Right = epoch+1, 0, 0, 0
	st.saved.Validation = map[string]float64{"clean_accuracy": acc.clean, p.attack.Name(): robust}
	if epoch+1 < st.mask.gradual {
		return nil // not as sparse as it is to be
	}
	return p.choose(st, score)
}

// epochValues are the epoch's metrics that every stage has; the log is told the most of them.
func (p *pipeline) epochValues(st *stage, clean, robust float64) map[string]float64 {
	seen := float64(min(st.saved.Step*p.cfg.Data.BatchSize, p.train.n))
	took := st.spent() - st.saved.EpochFrom
	values := map[string]float64{
		"train/loss": st.saved.Loss / seen, accuracyName(st): st.saved.Right / seen,
		"train/images_per_sec": float64(st.saved.Images) / st.saved.Training,
		"val/clean_acc":        clean, "val/pgd_acc": robust, "time/epoch_s": took,
	}
	p.log.Info("epoch", zap.String("stage", st.name), zap.Int("epoch", st.saved.Epoch+1), zap.String("loss", short(st.saved.Loss/seen)),
		zap.String("train", percent(st.saved.Right/seen)), zap.String("val_clean", percent(clean)), zap.String("val_pgd", percent(robust)),
		zap.Int("images_per_sec", int(values["train/images_per_sec"])), zap.Duration("took", time.Duration(took*float64(time.Second)).Round(100*time.Millisecond)))
	if !st.target.natural() {
		values["train/clean_acc"] = st.saved.Clean
	}
	return values
}

// noneRevived is an error where a pruned weight is not zero any more.
func (p *pipeline) noneRevived(st *stage) error {
	if st.masks == nil {
		return nil
	}
	n, err := st.masks.revived(p.team.members[0].s)
	if err == nil && n > 0 {
		err = faultf("%d pruned weights came back to life in stage %s", int(n), st.name)
	}
	return err
}

func (p *pipeline) logSparsity(st *stage, values map[string]float64) error {
	if st.masks == nil {
		return nil
	}
	sum, err := p.sparsityNow()
	if err != nil {
		return err
	}
	values["sparsity/total"] = sum.Sparsity
	for _, l := range sum.Layers {
		values["sparsity/"+l.Name] = l.Sparsity
	}
	return nil
}

// updateADMM moves Z and U, and notes what the model would be if it were pruned hard now.
func (p *pipeline) updateADMM(st *stage, pruned accuracies, values map[string]float64) ([]admm.Residual, error) {
	values["admm/hard_prune_clean_acc"], values["admm/hard_prune_pgd_acc"] = pruned.clean, pruned.robust[p.attack.Name()]
	residuals, err := st.split.Update()
	if err != nil {
		return nil, err
	}
	residualValues(st, residuals, values)
	worst := 0.0
	for _, r := range residuals {
		worst = max(worst, r.PrimalRel)
	}
	var penalty float64
	p.team.members[0].s.Do(func() { penalty, err = st.split.Penalty().Item() })
	if err != nil {
		return nil, err
	}
	values["admm/rho"], values["admm/loss"] = st.split.Rho(), penalty
	p.log.Info("Z and U updated", zap.String("rho", short(st.split.Rho())), zap.String("penalty", short(penalty)),
		zap.String("largest_primal", percent(worst)), zap.String("pruned_now_clean", percent(pruned.clean)),
		zap.String("pruned_now_pgd", percent(pruned.robust[p.attack.Name()])))
	return residuals, nil
}

// measurePruned validates the model as it would be if it were pruned hard now, and leaves the weights as they were.
func (p *pipeline) measurePruned(ctx context.Context, st *stage) (acc accuracies, err error) {
	return p.accuracyPruned(ctx, st.plan, p.val, []adversarial.PGD{p.attack})
}

// accuracyPruned judges the model as it would be if it were pruned as plan says, and leaves the weights as they were.
func (p *pipeline) accuracyPruned(ctx context.Context, plan *pruning, d *images, attacks []adversarial.PGD) (acc accuracies, err error) {
	lead := p.team.members[0]
	lead.s.Do(func() {
		now := plan.pruneNow(lead)
		var kept []torch.Tensor
		for _, w := range now.params {
			kept = append(kept, w.Detach().Clone())
		}
		now.apply(lead.s)
		acc, err = p.measure(ctx, d, attacks)
		lead.s.CopyLists_(now.params, kept)
	})
	return acc, err
}
