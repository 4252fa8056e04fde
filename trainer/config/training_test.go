package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMethodDefaults(t *testing.T) {
	for method, want := range map[string]Training{
		"natural": {Method: "natural"},
		"pgd":     {Method: "pgd"},
		"trades":  {Method: "trades", Beta: 6},
		"mart":    {Method: "mart", Beta: 5},
		"fgsm_rs": {Method: "fgsm_rs", Guard: "lower", GuardDrop: 0.2},
		"free":    {Method: "free", Replays: 8},
	} {
		cfg := parse(t, smallest+"training: {method: "+method+"}")
		assert.Equal(t, want, cfg.Training)
		again := parse(t, string(cfg.YAML()))
		assert.Equal(t, want, again.Training, "written and read again")
	}
	own := parse(t, smallest+"training: {method: trades, beta: 3, awp_gamma: 0.005, awp_warmup: 10, ema_decay: 0.995, patience: 5}").Training
	assert.Equal(t, Training{Method: "trades", Beta: 3, AWPGamma: 0.005, AWPWarmup: 10, EMADecay: 0.995, Patience: 5}, own)
}

func TestMethodRefusals(t *testing.T) {
	at := "configs/x.yaml:4: training."
	quantised := "\nprune: {ratio: 0.5}\nquantize: {bits: 2}\nquantize_retrain: {epochs: 1}"
	testRefusals(t, []refusal{
		{"training: {method: trade}", at + `method is "trade": one of natural, pgd, trades, mart, fgsm_rs, free is needed; did you mean "trades"?`},
		{"training: {beta: 6}", at + "beta is given, but training.method is pgd: only trades and mart use it"},
		{"training: {method: trades, beta: 0}", at + "beta is 0: a number above 0 is needed"},
		{"training: {method: mart, beta: -1}", at + "beta is -1: a number above 0 is needed"},
		{"training: {replays: 4}", at + "replays is given, but training.method is pgd: only free uses it"},
		{"training: {method: free, replays: 0}", at + "replays is 0: at least 1 is needed"},
		{"training: {method: fgsm_rs, guard: halt}", at + `guard is "halt": one of lower, stop is needed`},
		{"training: {guard_drop: 0.1}", at + "guard_drop is given, but training.method is pgd: only a training.guard has it"},
		{"training: {method: natural, guard: stop}", at + "guard is given, but training.method is natural: only adversarial methods have it"},
		{"training: {guard: lower}", at + `guard is "lower": stop is needed, only fgsm_rs has one step to make smaller`},
		{"training: {method: fgsm_rs, guard_drop: 20}", at + "guard_drop is 20: a fraction above 0 and below 1 is needed, 0.2 for 20 points"},
		{"training: {method: natural, awp_gamma: 0.01}", at + "awp_gamma is given, but training.method is natural: only pgd, trades and mart take it"},
		{"training: {method: free, awp_gamma: 0.01}", at + "awp_gamma is given, but training.method is free: only pgd, trades and mart take it"},
		{"training: {awp_gamma: 1}", at + "awp_gamma is 1: a number from 0 to below 1 is needed"},
		{"training: {awp_warmup: 3}", at + "awp_warmup is 3, but training.awp_gamma is 0: give both or neither"},
		{"training: {ema_decay: 1}", at + "ema_decay is 1: a number from 0 to below 1 is needed"},
		{"training: {patience: -1}", at + "patience is -1: at least 0 is needed"},
		{"training: {method: mart, mixup_alpha: 1}", at + "method is mart, whose loss compares the right class with the next one: label_smoothing and mixup_alpha of 0 are needed"},
		{"training: {method: mart, label_smoothing: 0.1}", at + "method is mart, whose loss compares the right class with the next one: label_smoothing and mixup_alpha of 0 are needed"},
		{"training: {method: free}\nadversary: {norm: L2, epsilon: 1}", at + "method is free, which goes by the gradient's sign: adversary.norm Linf is needed"},
		{"training: {method: fgsm_rs}\nadversary: {steps: 1}", "configs/x.yaml:5: adversary.steps is 1, but fgsm_rs is watched by the adversary's PGD: 2 steps or more are needed to see it collapse"},
		{"training: {ema_decay: 0.9}" + quantised, at + "ema_decay is 0.9, but an average of weights that are held on levels lies on none: quantise in a run of its own, from model.load"},
		{"training: {method: fgsm_rs}" + quantised, at + "method is fgsm_rs, whose guard cannot bring back weights that are held on levels: quantise with pgd in a run of its own, from model.load"},
		{"training: {guard: stop}" + quantised, at + "guard is stop, which cannot bring back weights that are held on levels: leave it out of a run that quantises"},
	})
	for _, fine := range []string{"training: {method: trades, mixup_alpha: 1, label_smoothing: 0.1}\nadversary: {norm: L2, epsilon: 1}", "training: {method: mart, awp_gamma: 0.005}" + quantised} {
		assert.NotNil(t, parse(t, smallest+strings.TrimSpace(fine)))
	}
}
