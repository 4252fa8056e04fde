package config

import "slices"

// betas are the weights of the divergence that the papers found best.
var betas = map[string]Number{"trades": 6, "mart": 5}

func (c *Config) completeTraining() {
	t := &c.Training
	fill(c, "training.method", &t.Method, "pgd")
	switch t.Method {
	case "trades", "mart":
		fill(c, "training.beta", &t.Beta, betas[t.Method])
	case "fgsm_rs":
		fill(c, "training.guard", &t.Guard, "lower")
	case "free":
		fill(c, "training.replays", &t.Replays, 8)
	}
	if t.Guard != "" {
		fill(c, "training.guard_drop", &t.GuardDrop, 0.2)
	}
}

func (v *checker) training(t *Training) {
	v.word("training.method", t.Method, methods)
	v.fraction("training.label_smoothing", t.LabelSmoothing)
	v.notNegative("training.mixup_alpha", t.MixupAlpha)
	v.fraction("training.ema_decay", t.EMADecay)
	v.atLeast("training.patience", t.Patience, 0)
	v.fraction("training.awp_gamma", t.AWPGamma)
	v.atLeast("training.awp_warmup", t.AWPWarmup, 0)
	if slices.Contains(methods, t.Method) {
		v.methodKeys(t)
		v.methodRelations(t)
	}
	quantises := v.cfg.QuantizeADMM.Epochs > 0 || v.cfg.QuantizeRetrain.Epochs > 0
	if t.EMADecay > 0 && quantises {
		v.relate("training.ema_decay", "is %v, but an average of weights that are held on levels lies on none: quantise in a run of its own, from model.load",
			t.EMADecay)
	}
	switch {
	case t.Guard == "" || !quantises:
	case t.Method == "fgsm_rs":
		v.relate("training.method",
			"is fgsm_rs, whose guard cannot bring back weights that are held on levels: quantise with pgd in a run of its own, from model.load")
	default:
		v.relate("training.guard", "is %s, which cannot bring back weights that are held on levels: leave it out of a run that quantises", clip(t.Guard))
	}
}

// methodKeys checks the keys that some methods alone have.
func (v *checker) methodKeys(t *Training) {
	own := func(key string, given bool, owners string, has bool, check func(key string)) {
		key = "training." + key
		switch {
		case has:
			check(key)
		case given:
			v.relate(key, "is given, but training.method is %s: only %s it", t.Method, owners)
		}
	}
	own("beta", t.Beta != 0, "trades and mart use", betas[t.Method] > 0, func(key string) { v.positive(key, t.Beta) })
	own("replays", t.Replays != 0, "free uses", t.Method == "free", func(key string) { v.atLeast(key, t.Replays, 1) })
	own("guard", t.Guard != "", "adversarial methods have", t.Method != "natural", func(key string) { v.guard(key, t) })
	own("guard_drop", t.GuardDrop != 0, "a training.guard has", t.Guard != "", func(key string) {
		if !(t.GuardDrop > 0 && t.GuardDrop < 1) {
			v.fail(key, "is %v: a fraction above 0 and below 1 is needed, 0.2 for 20 points", t.GuardDrop)
		}
	})
	takesAWP := slices.Contains([]string{"pgd", "trades", "mart"}, t.Method)
	own("awp_gamma", t.AWPGamma != 0, "pgd, trades and mart take", takesAWP, func(string) {})
	if t.AWPWarmup > 0 && t.AWPGamma == 0 {
		v.relate("training.awp_warmup", "is %d, but training.awp_gamma is 0: give both or neither", t.AWPWarmup)
	}
}

// guard of a method with one step can make that smaller; of others it can only stop.
func (v *checker) guard(key string, t *Training) {
	switch t.Method {
	case "fgsm_rs":
		v.word(key, t.Guard, guards)
	default:
		if t.Guard != "" && t.Guard != "stop" {
			v.fail(key, "is %q: stop is needed, only fgsm_rs has one step to make smaller", clip(t.Guard))
		}
	}
}

// methodRelations checks what a method asks of other keys.
func (v *checker) methodRelations(t *Training) {
	if t.Method == "mart" && (t.LabelSmoothing > 0 || t.MixupAlpha > 0) {
		v.relate("training.method", "is mart, whose loss compares the right class with the next one: label_smoothing and mixup_alpha of 0 are needed")
	}
	if norm := v.cfg.Adversary.Norm; (t.Method == "fgsm_rs" || t.Method == "free") && norm == "L2" {
		v.relate("training.method", "is %s, which goes by the gradient's sign: adversary.norm Linf is needed", t.Method)
	}
	if steps := v.cfg.Adversary.Steps; t.Method == "fgsm_rs" && steps == 1 {
		v.relate("adversary.steps", "is 1, but fgsm_rs is watched by the adversary's PGD: 2 steps or more are needed to see it collapse")
	}
}
