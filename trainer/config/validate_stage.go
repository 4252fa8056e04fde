package config

import (
	"slices"
	"strings"
)

// stage checks what the stages share. Of a stage that is left out, only what could never be right is refused.
func (v *checker) stage(name string, s *Stage) {
	key := func(of string) string { return name + "." + of }
	v.atLeast(key("epochs"), s.Epochs, 0)
	v.word(key("optimizer"), s.Optimizer, optimizers)
	v.positive(key("lr"), s.LR)
	v.fraction(key("momentum"), s.Momentum)
	v.notNegative(key("weight_decay"), s.WeightDecay)
	isADMM := slices.Contains(admmSections, name)
	if isADMM {
		v.word(key("lr_schedule"), s.LRSchedule, append(slices.Clone(schedules), "admm"))
	} else if s.LRSchedule == "admm" {
		v.fail(key("lr_schedule"), "is admm, which only the admm section has: one of %s is needed", strings.Join(schedules, ", "))
	} else {
		v.word(key("lr_schedule"), s.LRSchedule, schedules)
	}
	if !(s.Gamma > 0 && s.Gamma <= 1) {
		v.fail(key("gamma"), "is %v: a number above 0 and at most 1 is needed", s.Gamma)
	}
	v.atLeast(key("warmup_epochs"), s.WarmupEpochs, 0)
	if !isADMM && (s.Rho != 0 || s.RhoMode != "" || s.RhoGrowth != 0 || s.RhoStepGrowth != 0 || s.UpdateEvery != 0) {
		v.fail(name, "has rho, rho_mode, rho_growth, rho_step_growth or update_every, which only the admm section has")
	}
	if s.Epochs > 0 {
		v.stageRelations(name, s)
	}
}

// stageRelations checks the keys of a stage against each other.
func (v *checker) stageRelations(name string, s *Stage) {
	key := func(of string) string { return name + "." + of }
	if s.Optimizer == "adam" && s.Momentum != 0 {
		v.relate(key("momentum"), "is %v, but adam has none: leave it out, or set %s to sgd", s.Momentum, key("optimizer"))
	}
	if s.Nesterov && (s.Optimizer == "adam" || s.Momentum == 0) {
		v.relate(key("nesterov"), "is true: sgd with a momentum above 0 is needed")
	}
	if s.WarmupEpochs > s.Epochs {
		v.relate(key("warmup_epochs"), "is %d: at most the stage's %d epochs are possible", s.WarmupEpochs, s.Epochs)
	} else if s.WarmupEpochs > 0 && (s.LRSchedule == "one_cycle" || s.LRSchedule == "piecewise") {
		v.relate(key("warmup_epochs"), "is %d, but %s is %s, which rises by itself: leave it out", s.WarmupEpochs, key("lr_schedule"), s.LRSchedule)
	}
	switch {
	case s.LRSchedule == "multistep" && len(s.Milestones) == 0:
		v.relate(key("lr_schedule"), "is multistep: %s is needed, such as [50, 75]", key("milestones"))
	case s.LRSchedule != "multistep" && len(s.Milestones) > 0:
		v.relate(key("milestones"), "is given, but %s is %s: only multistep uses it", key("lr_schedule"), s.LRSchedule)
	}
	for i, epoch := range s.Milestones {
		if s.Epochs < 2 {
			v.relate(key("milestones"), "is given, and a stage of %d epochs has none between two: leave it out", s.Epochs)
			break
		}
		if epoch < 1 || epoch >= s.Epochs {
			v.relate(key("milestones"), "holds %d: the stage's %d epochs leave 1 to %d", epoch, s.Epochs, s.Epochs-1)
		} else if i > 0 && epoch <= s.Milestones[i-1] {
			v.relate(key("milestones"), "holds %d after %d: rising epochs are needed", epoch, s.Milestones[i-1])
		}
	}
}

func (v *checker) admm(name string, s *Stage) {
	v.rho(name, s)
	if name == "admm" && !(s.RhoStepGrowth >= 1) {
		v.fail(name+".rho_step_growth", "is %v: a factor of 1 or more is needed", s.RhoStepGrowth)
	}
	v.atLeast(name+".update_every", s.UpdateEvery, 1)
}

// stages checks that there is something to do, and something to prune where that is asked for.
func (v *checker) stages(c *Config) {
	if c.Pretrain.Epochs == 0 && c.ADMM.Epochs == 0 && c.Retrain.Epochs == 0 && c.Compact.Epochs == 0 && c.QuantizeRetrain.Epochs == 0 {
		v.relate("pretrain.epochs", "is 0, and so are admm.epochs and retrain.epochs: one of them above 0 is needed")
	}
	v.compact(c)
	if c.Prune.any() {
		return
	}
	if c.ADMM.Epochs > 0 {
		v.relate("admm.epochs", "is %d, but nothing is to be pruned: prune.ratio or prune.ratios above 0 is needed", c.ADMM.Epochs)
	}
	if c.Retrain.Epochs > 0 {
		v.relate("retrain.epochs", "is %d, but nothing is to be pruned: prune.ratio or prune.ratios above 0 is needed", c.Retrain.Epochs)
	}
}

// compact checks that the smaller network comes of a pruned one: the run's own, or the one that it loads.
func (v *checker) compact(c *Config) {
	loaded := c.Model.Load != "" && c.Pretrain.Epochs == 0 && c.ADMM.Epochs == 0
	if c.Compact.Epochs > 0 && c.Retrain.Epochs == 0 && !loaded {
		v.relate("compact.epochs", "is %d, but the network whose channels it takes out is cut in the retrain section: retrain.epochs above 0 is needed, or a pruned model.load and neither pretrain nor admm",
			c.Compact.Epochs)
	}
}

// baselines checks that each has what it is trained by.
func (v *checker) baselines(names []string) {
	needs := func(name, what string, have bool) {
		if slices.Contains(names, name) && !have {
			v.relate("evaluate.baselines", "holds %s, %s", name, what)
		}
	}
	c := v.cfg
	for _, name := range []string{"natural", "scratch", "mask", "lottery"} {
		needs(name, "which is trained as the pretrain section says: pretrain.epochs above 0 is needed", c.Pretrain.Epochs > 0)
	}
	for _, name := range []string{"one_shot", "gradual", "scratch"} {
		needs(name, "but nothing is to be pruned: prune.ratio or prune.ratios above 0 is needed", c.Prune.any())
	}
	needs("gradual", "which is trained as the retrain section says: retrain.epochs above 0 is needed", c.Retrain.Epochs > 0)
	for _, name := range []string{"mask", "lottery"} {
		needs(name, "whose mask is that of the retrained model: retrain.epochs above 0 is needed", c.Retrain.Epochs > 0)
	}
}
