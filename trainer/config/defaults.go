package config

import (
	"fmt"
	"slices"
	"strings"
)

// preset holds what the papers use on a data set.
type preset struct {
	linf, l2    ball
	attack      string // evaluation
	optimizer   string
	adamLR      Number
	sgdLR       Number
	sgdDecay    Number
	updateEvery int // epochs between the ADMM stage's updates
	augment     Augment
}

// ball is the usual attack in a norm; a zero epsilon says that there is none.
type ball struct {
	epsilon, stepSize Number
	steps             int
}

// The MNIST values are those of arXiv 1903.12561, and the embedded digits are as large and as dark; the rest is CIFAR's.
var (
	digitsPreset = preset{
		linf: ball{0.3, 0.01, 40}, l2: ball{steps: 40}, attack: "pgd-40",
		optimizer: "adam", adamLR: 1e-4, sgdLR: 0.01, sgdDecay: 1e-6, updateEvery: 4,
	}
	// Fashion-MNIST's images are as large; its usual radius is a third of MNIST's (arXiv 1711.00851).
	fashionPreset = preset{
		linf: ball{0.1, 0.01, 40}, l2: ball{steps: 40}, attack: "pgd-40",
		optimizer: "adam", adamLR: 1e-4, sgdLR: 0.01, sgdDecay: 1e-6, updateEvery: 4,
	}
	colourPreset = preset{
		linf: ball{8.0 / 255, 2.0 / 255, 10}, l2: ball{128.0 / 255, 15.0 / 255, 10}, attack: "pgd-20",
		optimizer: "sgd", adamLR: 1e-3, sgdLR: 0.1, sgdDecay: 5e-4, updateEvery: 20,
	}
)

func presetOf(dataset string) preset {
	usual := colourPreset
	switch dataset {
	case "mnist", "digits":
		return digitsPreset
	case "fashion_mnist":
		return fashionPreset
	case "cifar10", "cifar100":
		usual.augment = Augment{Crop: 4, Flip: true}
	}
	return usual
}

// normalise rewrites the accepted synonyms.
func (c *Config) normalise() {
	switch strings.ToLower(c.Adversary.Norm) {
	case "linf", "inf", "l_inf":
		c.Adversary.Norm = "Linf"
	case "l2", "2", "l_2":
		c.Adversary.Norm = "L2"
	}
	switch c.Prune.SparsityType {
	case "weight":
		c.Prune.SparsityType = "irregular"
	case "channel":
		c.Prune.SparsityType = "filter"
	case "block":
		c.Prune.SparsityType = "block4x4"
	}
}

// fill sets a field to its default where the key was not given.
func fill[T any](c *Config, key string, field *T, value T) {
	if _, given := c.origins[key]; !given {
		*field = value
	}
}

// complete fills in what was not given.
func (c *Config) complete() {
	usual := presetOf(c.Data.Dataset)
	fill(c, "run.name", &c.Run.Name, baseName(c.name))
	fill(c, "run.out_dir", &c.Run.OutDir, "runs")
	fill(c, "run.seed", &c.Run.Seed, 1)
	fill(c, "run.device", &c.Run.Device, "auto")
	fill(c, "run.precision", &c.Run.Precision, "fp32")
	fill(c, "run.cuda_graphs", &c.Run.CUDAGraphs, true)
	fill(c, "run.log_every", &c.Run.LogEvery, 50)
	fill(c, "run.keep_last", &c.Run.KeepLast, 2)
	fill(c, "run.save_every", &c.Run.SaveEvery, "10m")
	fill(c, "run.grace", &c.Run.Grace, "20s")

	fill(c, "data.on_error", &c.Data.OnError, "refuse")
	fill(c, "data.validation", &c.Data.Validation, 0.05)
	fill(c, "data.batch_size", &c.Data.BatchSize, 128)
	fill(c, "data.eval_batch_size", &c.Data.EvalBatchSize, 1000)

	fill(c, "data.augment.crop", &c.Data.Augment.Crop, usual.augment.Crop)
	fill(c, "data.augment.flip", &c.Data.Augment.Flip, usual.augment.Flip)

	fill(c, "model.width", &c.Model.Width, 1)
	fill(c, "model.init", &c.Model.Init, "default")
	c.completeTraining()
	c.completeAdversary(usual)
	fill(c, "prune.sparsity_type", &c.Prune.SparsityType, "irregular")
	fill(c, "prune.round_to", &c.Prune.RoundTo, 1)
	if c.Prune.Budget.Given() || c.Given("prune.budget") {
		fill(c, "prune.budget.method", &c.Prune.Budget.Method, "uniform")
	}
	if ratio, ok := impliedRatio(c.Prune.SparsityType); ok && len(c.Prune.Steps.List) == 0 && c.Prune.Strategy == "" && !c.Prune.Budget.Given() {
		fill(c, "prune.ratio", &c.Prune.Ratio, ratio)
	}

	c.completeStage("pretrain", &c.Pretrain, usual)
	c.completeStage("admm", &c.ADMM, usual)
	c.completeStage("retrain", &c.Retrain, usual)
	c.completeStage("compact", &c.Compact, usual)
	c.completeRho("admm", &c.ADMM)
	fill(c, "admm.rho_step_growth", &c.ADMM.RhoStepGrowth, 2)
	fill(c, "admm.update_every", &c.ADMM.UpdateEvery, usual.updateEvery)

	c.completeQuantize(usual)

	fill(c, "evaluate.attacks", &c.Evaluate.Attacks, []string{usual.attack})
	fill(c, "evaluate.suspicion", &c.Evaluate.Suspicion, true)
}

func (c *Config) completeAdversary(usual preset) {
	a := &c.Adversary
	fill(c, "adversary.norm", &a.Norm, "Linf")
	attack := usual.linf
	if a.Norm == "L2" {
		attack = usual.l2
	}
	fill(c, "adversary.epsilon", &a.Epsilon, attack.epsilon)
	fill(c, "adversary.steps", &a.Steps, attack.steps)
	// The usual step suits the usual ball alone: seven steps of 0.01 would not reach an epsilon of 0.3.
	if step := attack.stepSize; a.Epsilon == attack.epsilon && a.Steps == attack.steps {
		fill(c, "adversary.step_size", &a.StepSize, step)
	} else if a.Steps > 0 {
		fill(c, "adversary.step_size", &a.StepSize, Number(stepSize(float64(a.Epsilon), a.Steps)))
	}
	fill(c, "adversary.random_start", &a.RandomStart, true)
	fill(c, "adversary.loss", &a.Loss, "ce")
	fill(c, "adversary.batch_norm", &a.BatchNorm, "eval")
}

func (c *Config) completeStage(name string, s *Stage, usual preset) {
	key := func(of string) string { return fmt.Sprintf("%s.%s", name, of) }
	fill(c, key("optimizer"), &s.Optimizer, usual.optimizer)
	if s.Optimizer == "sgd" {
		fill(c, key("lr"), &s.LR, usual.sgdLR)
		fill(c, key("momentum"), &s.Momentum, 0.9)
		fill(c, key("weight_decay"), &s.WeightDecay, usual.sgdDecay)
	} else {
		fill(c, key("lr"), &s.LR, usual.adamLR)
	}
	schedule := "constant"
	if slices.Contains(admmSections, name) {
		schedule = "admm"
	}
	fill(c, key("lr_schedule"), &s.LRSchedule, schedule)
	fill(c, key("gamma"), &s.Gamma, 0.1)
}
