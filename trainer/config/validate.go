package config

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// The words that a key may hold. Architectures and data sets are not among them: their packages know them.
var (
	inits         = []string{"default", "uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal"}
	methods       = []string{"natural", "pgd", "trades", "mart", "fgsm_rs", "free"}
	guards        = []string{"lower", "stop"}
	norms         = []string{"Linf", "L2"}
	losses        = []string{"ce"}
	batchNorms    = []string{"eval", "train"}
	sparsityTypes = []string{"irregular", "filter", "coupled_filter", "column", "bn_filter", "block", "pattern"}
	optimizers    = []string{"sgd", "adam"}
	schedules     = []string{"constant", "multistep", "cosine", "one_cycle", "piecewise"}
	baselines     = []string{"natural", "one_shot", "gradual", "scratch", "mask", "lottery"}
)

// Validate checks a Config, which need not come from Load: one sentence a problem, as an *Error. Load has done it already.
func (c *Config) Validate() error {
	check := checker{cfg: c, problems: problems{name: c.name}}
	check.all()
	return check.problems.err()
}

type checker struct {
	cfg      *Config
	problems problems
	// partial is set where some keys could not be read: then only keys that were given are reported, each on its own, since
	// what they miss may be what could not be read.
	partial bool
}

// fail reports a problem with one key.
func (v *checker) fail(key, format string, args ...any) {
	from, given := v.cfg.origins[key]
	if v.partial && !given {
		return
	}
	v.problems.add(from, "%s "+format, append([]any{key}, args...)...)
}

// relate reports a problem between keys, under the one that needs the other.
func (v *checker) relate(key, format string, args ...any) {
	if !v.partial {
		v.fail(key, format, args...)
	}
}

func (v *checker) word(key, value string, words []string) {
	if slices.Contains(words, value) {
		return
	}
	hint := ""
	if near := nearest(value, words); near != "" {
		hint = fmt.Sprintf("; did you mean %q?", near)
	}
	if len(words) == 1 {
		v.fail(key, "is %q: only %s is known%s", clip(value), words[0], hint)
		return
	}
	v.fail(key, "is %q: one of %s is needed%s", clip(value), strings.Join(words, ", "), hint)
}

func (v *checker) atLeast(key string, value, least int) {
	if value < least {
		v.fail(key, "is %d: at least %d is needed", value, least)
	}
}

// fraction checks for [0,1).
func (v *checker) fraction(key string, value Number) {
	if !(value >= 0 && value < 1) {
		v.fail(key, "is %v: a number from 0 to below 1 is needed", value)
	}
}

func (v *checker) notNegative(key string, value Number) {
	if !(value >= 0) || math.IsInf(float64(value), 0) {
		v.fail(key, "is %v: a number of 0 or more is needed", value)
	}
}

func (v *checker) positive(key string, value Number) {
	if !(value > 0) || math.IsInf(float64(value), 0) {
		v.fail(key, "is %v: a number above 0 is needed", value)
	}
}

// lengthOrNone is a length in the adversary's norm, or 0 for what it stands for.
func (v *checker) lengthOrNone(key string, value Number, none string) {
	switch {
	case value < 0:
		v.fail(key, "is %v: a number above 0, or 0 for %s, is needed", value, none)
	case value != 0:
		v.length(key, value, v.cfg.Adversary.Norm)
	}
}

func (v *checker) all() {
	v.run(&v.cfg.Run)
	v.data(&v.cfg.Data)
	if v.cfg.Model.Arch == "" {
		v.fail("model.arch", "is missing: the name of an architecture such as lenet_adv is needed")
	}
	v.atLeast("model.width", v.cfg.Model.Width, 1)
	v.word("model.init", v.cfg.Model.Init, inits)
	v.training(&v.cfg.Training)
	v.adversary(&v.cfg.Adversary)
	v.prune(&v.cfg.Prune)
	v.stage("pretrain", &v.cfg.Pretrain)
	v.stage("admm", &v.cfg.ADMM)
	v.stage("retrain", &v.cfg.Retrain)
	v.stage("compact", &v.cfg.Compact)
	v.admm("admm", &v.cfg.ADMM)
	v.quantize(&v.cfg.Quantize)
	v.stages(v.cfg)
	v.evaluate(&v.cfg.Evaluate)
}

var devices = regexp.MustCompile(`^(auto|cpu|cuda|cuda:[0-9]{1,3}(, ?cuda:[0-9]{1,3})*)$`)

// maxWorkers catches a slip before it asks the system for that many threads.
const maxWorkers = 1024

func (v *checker) run(r *Run) {
	if r.Name == "" || r.Name == "." || r.Name == ".." || len(r.Name) > 255 || strings.ContainsAny(r.Name, `/\`) || !oneLine(r.Name) {
		v.fail("run.name", "is %q: the name of one folder is needed, without slashes; run.out_dir says where it lies", clip(r.Name))
	}
	if r.OutDir == "" {
		v.fail("run.out_dir", "is empty: the folder for the run's own folder is needed, such as runs")
	}
	if !devices.MatchString(r.Device) {
		v.fail("run.device", "is %q: auto, cpu, cuda, cuda:N or several GPUs such as cuda:0,cuda:1 is needed", clip(r.Device))
	}
	if r.Workers < 0 || r.Workers > maxWorkers {
		v.fail("run.workers", "is %d: 0 (one a core) to %d is needed", r.Workers, maxWorkers)
	}
	switch {
	case r.Precision == "tf32" && r.Device == "cpu":
		v.fail("run.precision", "is tf32, which only CUDA has: fp32 or bf16 is needed with run.device cpu")
	default:
		v.word("run.precision", r.Precision, []string{"fp32", "tf32", "bf16"})
	}
	v.atLeast("run.log_every", r.LogEvery, 1)
	if r.KeepLast != 2 {
		v.fail("run.keep_last", "is %d: 2, the newest checkpoint and the one before it, is what is built so far", r.KeepLast)
	}
	if _, _, err := r.SaveEvery.Every(); err != nil {
		v.fail("run.save_every", "is %q: %v", clip(string(r.SaveEvery)), err)
	}
	if _, err := r.Grace.Time(); err != nil {
		v.fail("run.grace", "is %q: %v", clip(string(r.Grace)), err)
	}
}

func (v *checker) data(d *Data) {
	if d.Dataset == "" {
		v.fail("data.dataset", "is missing: the name of a data set such as digits or mnist is needed")
	}
	v.images(d)
	switch whole := float64(d.Validation) == math.Trunc(float64(d.Validation)); {
	case !(d.Validation > 0) || d.Validation >= 1 && !whole || d.Validation > math.MaxInt32:
		v.fail("data.validation", "is %v: a fraction of the training images (0.05) or how many of them (3000) is needed", d.Validation)
	case d.TrainLimit > 0 && d.Validation >= Number(d.TrainLimit) && d.Validation >= 1:
		v.relate("data.validation", "is %v: data.train_limit leaves %d images, and some are needed to train on", d.Validation, d.TrainLimit)
	}
	v.atLeast("data.train_limit", d.TrainLimit, 0)
	v.atLeast("data.test_limit", d.TestLimit, 0)
	v.atLeast("data.batch_size", d.BatchSize, 1)
	v.atLeast("data.eval_batch_size", d.EvalBatchSize, 1)
	v.atLeast("data.augment.crop", d.Augment.Crop, 0)
	v.atLeast("data.augment.cutout", d.Augment.Cutout, 0)
	v.normalisation(d)
}

// normalisation wants means and standard deviations, as many of each, or neither.
func (v *checker) normalisation(d *Data) {
	switch {
	case len(d.Mean) > 0 && len(d.Std) == 0:
		v.relate("data.mean", "is given without data.std: both or neither are needed")
	case len(d.Std) > 0 && len(d.Mean) == 0:
		v.relate("data.std", "is given without data.mean: both or neither are needed")
	case len(d.Mean) != len(d.Std):
		v.relate("data.std", "holds %d numbers and data.mean %d: one for each channel is needed in both", len(d.Std), len(d.Mean))
	}
	for _, std := range d.Std {
		v.positive("data.std", std)
	}
}

func (v *checker) adversary(a *Adversary) {
	if a.Norm == "L1" {
		v.fail("adversary.norm", "is L1, in which only rapt eval attacks, by --norm L1 --epsilon 10 or so: Linf or L2 is needed")
	} else {
		v.word("adversary.norm", a.Norm, norms)
	}
	if _, given := v.cfg.origins["adversary.epsilon"]; !given && a.Epsilon == 0 {
		v.fail("adversary.epsilon", "is missing: %s has no usual radius in the norm %s", v.cfg.Data.Dataset, a.Norm)
	} else if v.length("adversary.epsilon", a.Epsilon, a.Norm) && a.Steps > 0 {
		v.length("adversary.step_size", a.StepSize, a.Norm)
	}
	v.atLeast("adversary.steps", a.Steps, 1)
	v.word("adversary.loss", a.Loss, losses)
	v.word("adversary.batch_norm", a.BatchNorm, batchNorms)
}

// length checks a distance between images, an epsilon or a step.
func (v *checker) length(key string, value Number, norm string) bool {
	switch whole := float64(value) == math.Trunc(float64(value)); {
	case !(value > 0) || math.IsInf(float64(value), 0):
		v.fail(key, "is %v: a number above 0 is needed", value)
	case norm != "L2" && value > 1 && value <= 255 && whole:
		v.fail(key, "is %v: pixels are in [0,1], did you mean %v/255?", value, value)
	case norm != "L2" && value > 1:
		v.fail(key, "is %v: pixels are in [0,1], so a number above 0 and at most 1 is needed", value)
	default:
		return true
	}
	return false
}

func (v *checker) prune(p *Prune) {
	v.structure(p)
	v.ratio("prune.ratio", p.Ratio)
	seen := map[string]bool{}
	for _, one := range p.Ratios {
		key := "prune.ratios." + one.Layer
		if seen[one.Layer] {
			v.fail(key, "is given twice")
		}
		seen[one.Layer] = true
		v.ratio(key, one.Ratio)
	}
	v.steps(p)
	v.budget(p)
}

func (v *checker) ratio(key string, ratio Number) {
	switch {
	case ratio >= 0 && ratio < 1:
	case ratio == 1:
		v.fail(key, "is 1: that would remove everything; a fraction from 0 to below 1 is needed")
	case ratio > 1 && ratio < 100:
		v.fail(key, "is %v: the fraction removed is needed, from 0 to below 1; did you mean %.4g?", ratio, ratio/100)
	default:
		v.fail(key, "is %v: the fraction removed is needed, from 0 to below 1", ratio)
	}
}

// any tells whether something is to be pruned.
func (p *Prune) any() bool {
	return len(p.Steps.List) > 0 || p.Budget.Given() || p.Strategy != "" || Step{p.Ratio, p.Ratios}.any()
}

// any tells whether something is to be removed; what is wrong with a ratio is said elsewhere.
func (s Step) any() bool {
	return s.Ratio != 0 || slices.ContainsFunc(s.Ratios, func(one LayerRatio) bool { return one.Ratio != 0 })
}

func (v *checker) evaluate(e *Evaluate) {
	seen := map[string]bool{}
	for _, name := range e.Attacks {
		if _, err := ParseAttack(name); err != nil {
			v.fail("evaluate.attacks", "has a wrong entry: %v", err)
		} else if seen[name] {
			v.fail("evaluate.attacks", "holds %s twice", name)
		}
		seen[name] = true
	}
	v.lengthOrNone("evaluate.epsilon", e.Epsilon, "adversary.epsilon")
	v.lengthOrNone("evaluate.step_size", e.StepSize, "the usual one")
	for _, name := range e.Baselines {
		if !slices.Contains(baselines, name) {
			v.fail("evaluate.baselines", "holds %q: %s are known", clip(name), listing(baselines))
		} else if seen[name] {
			v.fail("evaluate.baselines", "holds %s twice", name)
		}
		seen[name] = true
	}
	v.baselines(e.Baselines)
}
