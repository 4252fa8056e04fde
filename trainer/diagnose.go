package trainer

import (
	"context"
	"fmt"

	"go.uber.org/zap"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/trainer/metrics"
)

// historyLength is how many of a stage's last ADMM iterations the verdict at its end goes by.
const historyLength = 5

// endADMM does what is due at the end of an ADMM stage's epoch: Z and U move, and after the last epoch each layer gets its verdict.
func (p *pipeline) endADMM(ctx context.Context, st *stage, values map[string]float64) error {
	epoch := st.saved.Epoch + 1
	due, last := epoch%st.conf.UpdateEvery == 0, epoch == st.conf.Epochs
	if !due && !last {
		return nil
	}
	// First what can be interrupted: the epoch's end is done again then, and Z and U must not move twice.
	measure := p.measurePruned
	if st.quant != nil {
		measure = p.measureQuantised
	}
	var pruned accuracies
	err := p.averaged(st, func() (err error) {
		pruned, err = measure(ctx, st)
		return err
	})
	if err != nil {
		return err
	}
	var now []admm.Residual
	if due {
		now, err = p.updateADMM(st, pruned, values)
		st.saved.Updates++
	} else {
		now, err = st.split.Measure()
	}
	if err != nil {
		return err
	}
	history := append(st.saved.History, admm.Iteration{Epoch: epoch, Rhos: st.split.Rhos(), Residuals: now})
	st.saved.History = history[max(0, len(history)-historyLength):]
	if last {
		st.saved.ADMM = p.judge(st, pruned)
	}
	return p.team.members[0].s.Err()
}

// judge says of each layer whether ADMM has converged, in the log and for the report.
func (p *pipeline) judge(st *stage, pruned accuracies) *metrics.ADMM {
	out := &metrics.ADMM{Updates: st.saved.Updates, Rho: st.split.Rho(), HardPruneCleanAccuracy: pruned.clean, HardPruneRobustAccuracy: pruned.robust[p.attack.Name()]}
	done := 0
	for _, v := range admm.Judge(st.saved.History, admm.Course{Section: st.section, Epochs: st.conf.Epochs, Updates: st.saved.Updates,
		UpdateEvery: st.conf.UpdateEvery, RhoMode: admm.RhoMode(st.conf.RhoMode), Quantises: st.quant != nil}) {
		out.Layers = append(out.Layers, metrics.ADMMLayer{Name: v.Name, Primal: v.PrimalRel, Dual: v.DualRel, Energy: v.Energy, Converged: v.Converged, Advice: v.Advice})
		if v.Converged {
			done++
			continue
		}
		p.log.Warn("not converged", zap.String("layer", v.Name), zap.String("primal", percent(v.PrimalRel)), zap.String("dual", percent(v.DualRel)),
			zap.String("energy", percent(v.Energy)), zap.String("advice", v.Advice))
	}
	p.log.Info("ADMM", zap.String("stage", st.name), zap.String("converged", fmt.Sprintf("%d of %d layers", done, len(out.Layers))), zap.Int("updates", out.Updates),
		zap.String("rho", short(out.Rho)), zap.String("pruned_now_clean", percent(out.HardPruneCleanAccuracy)), zap.String("pruned_now_pgd", percent(out.HardPruneRobustAccuracy)))
	return out
}

// residualValues adds an update's numbers of each layer to an epoch's metrics.
func residualValues(st *stage, now []admm.Residual, values map[string]float64) {
	for i, r := range now {
		values["admm/primal/"+r.Name], values["admm/dual/"+r.Name] = r.Primal, r.Dual
		values["admm/primal_rel/"+r.Name], values["admm/dual_rel/"+r.Name] = r.PrimalRel, r.DualRel
		values["admm/energy/"+r.Name] = r.Energy
		if admm.RhoMode(st.conf.RhoMode) == admm.Balance {
			values["admm/rho/"+r.Name] = st.split.Rhos()[i]
		}
	}
}

// usePatterns gives the stage's plan the patterns that its kernels share: those of the ADMM stage it starts from, else what the weights
// propose. An ADMM stage that goes on gets its own with Z and U.
func (p *pipeline) usePatterns(st *stage) error {
	if st.quant != nil || !st.admm && st.mask.from != pruneFirst || st.plan.kind != admm.Pattern || len(st.plan.layers) == 0 {
		return nil
	}
	var weights []torch.Tensor
	for _, l := range st.plan.layers {
		weights = append(weights, l.Weight)
	}
	st.plan.patterns = admm.SelectPatterns(weights...)
	if st.from == "" || !p.run.HasCheckpoint(st.from, "last") {
		return nil
	}
	_, state, _, err := p.run.LoadCheckpoint(st.from, "last")
	if err != nil {
		return err
	}
	if stored, ok := get(state, "patterns"); ok {
		if err := fill(p.team.members[0].s, st.plan.patterns, stored); err != nil {
			return &InputError{fmt.Errorf("%s: trainer state patterns: %w", p.run.CheckpointPath(st.from, "last"), err)}
		}
	}
	return nil
}
