package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// smallest is the least that a config has to say.
const smallest = "data: {dataset: mnist}\nmodel: {arch: lenet}\npretrain: {epochs: 1}\n"

func parse(t *testing.T, text string, sets ...string) *Config {
	t.Helper()
	cfg, err := Parse([]byte(text), "configs/x.yaml", sets)
	require.NoError(t, err)
	return cfg
}

// problemsOf gives what a config is refused with.
func problemsOf(t *testing.T, text string, sets ...string) []string {
	t.Helper()
	cfg, err := Parse([]byte(text), "configs/x.yaml", sets)
	require.Error(t, err)
	assert.Nil(t, cfg)
	var refused *Error
	require.True(t, errors.As(err, &refused), "%T is not *config.Error", err)
	assert.Equal(t, strings.Join(refused.Problems, "\n"), err.Error())
	return refused.Problems
}

// public drops what a Config remembers of its source.
func public(c *Config) Config {
	p := *c
	p.name, p.origins = "", nil
	p.Prune.Ratios = nil
	for _, one := range c.Prune.Ratios {
		p.Prune.Ratios = append(p.Prune.Ratios, LayerRatio{Layer: one.Layer, Ratio: one.Ratio})
	}
	p.Quantize.Layers = nil
	for _, one := range c.Quantize.Layers {
		p.Quantize.Layers = append(p.Quantize.Layers, LayerBits{Layer: one.Layer, Bits: one.Bits})
	}
	return p
}

func TestDefaultsForMNIST(t *testing.T) {
	for _, dataset := range []string{"mnist", "digits"} {
		stage := Stage{Optimizer: "adam", LR: 1e-4, LRSchedule: "constant", Gamma: 0.1}
		pretrain, admm := stage, stage
		pretrain.Epochs = 1
		admm.LRSchedule, admm.Rho, admm.RhoMode, admm.RhoGrowth, admm.RhoStepGrowth, admm.UpdateEvery = "admm", 1e-3, "growth", 1.3, 2, 4
		levels := admm
		levels.RhoStepGrowth = 0
		want := Config{
			Run:       Run{Name: "x", OutDir: "runs", Seed: 1, Device: "auto", Precision: "fp32", CUDAGraphs: true, LogEvery: 50, KeepLast: 2, SaveEvery: "10m", Grace: "20s"},
			Data:      Data{Dataset: dataset, OnError: "refuse", Validation: 0.05, BatchSize: 128, EvalBatchSize: 1000},
			Model:     Model{Arch: "lenet", Width: 1, Init: "default"},
			Training:  Training{Method: "pgd"},
			Adversary: Adversary{Norm: "Linf", Epsilon: 0.3, StepSize: 0.01, Steps: 40, RandomStart: true, Loss: "ce", BatchNorm: "eval"},
			Prune:     Prune{SparsityType: "irregular", RoundTo: 1},
			Pretrain:  pretrain, ADMM: admm, Retrain: stage, Compact: stage,
			Quantize: Quantize{Levels: "equal", EndsLast: true}, QuantizeADMM: levels, QuantizeRetrain: stage,
			Evaluate: Evaluate{Attacks: []string{"pgd-40"}, Suspicion: true},
		}
		got := parse(t, "data: {dataset: "+dataset+"}\nmodel: {arch: lenet}\npretrain: {epochs: 1}\n")
		assert.Equal(t, want, public(got))
	}
}

func TestDefaultsForOtherSets(t *testing.T) {
	cfg := parse(t, "data: {dataset: cifar10}\nmodel: {arch: lenet}\npretrain: {epochs: 1}\n")
	assert.Equal(t, Adversary{"Linf", 8.0 / 255, 2.0 / 255, 10, true, "ce", "eval"}, cfg.Adversary)
	assert.Equal(t, Stage{Epochs: 1, Optimizer: "sgd", LR: 0.1, Momentum: 0.9, WeightDecay: 5e-4, LRSchedule: "constant", Gamma: 0.1}, cfg.Pretrain)
	assert.Equal(t, 20, cfg.ADMM.UpdateEvery)

	cfg = parse(t, "data: {dataset: fashion_mnist}\nmodel: {arch: lenet}\npretrain: {epochs: 1}\n")
	assert.Equal(t, Adversary{"Linf", 0.1, 0.01, 40, true, "ce", "eval"}, cfg.Adversary)
	assert.Equal(t, "adam", cfg.Pretrain.Optimizer)

	cfg = parse(t, "data: {dataset: cifar10}\nmodel: {arch: lenet}\npretrain: {epochs: 1}\nadversary: {norm: L2}\n")
	assert.Equal(t, Adversary{"L2", 128.0 / 255, 15.0 / 255, 10, true, "ce", "eval"}, cfg.Adversary)
}

func TestDefaultsThatDependOnOtherKeys(t *testing.T) {
	cfg := parse(t, smallest, "adversary.steps=7")
	assert.InDelta(t, 2.5*0.3/7, float64(cfg.Adversary.StepSize), 1e-15, "seven steps of 0.01 do not cross the ball")
	cfg = parse(t, smallest, "adversary.steps=7", "adversary.step_size=0.08")
	assert.Equal(t, Number(0.08), cfg.Adversary.StepSize)
	cfg = parse(t, smallest, "pretrain.optimizer=sgd")
	assert.Equal(t, Stage{Epochs: 1, Optimizer: "sgd", LR: 0.01, Momentum: 0.9, WeightDecay: 1e-6, LRSchedule: "constant", Gamma: 0.1}, cfg.Pretrain)
	cfg = parse(t, smallest, "pretrain.optimizer=sgd", "pretrain.momentum=0")
	assert.Zero(t, cfg.Pretrain.Momentum, "a zero that was given is no default")
}

func TestSynonyms(t *testing.T) {
	for given, want := range map[string]string{"linf": "Linf", "LINF": "Linf", "inf": "Linf", "l_inf": "Linf", "l2": "L2", "L2": "L2", "2": "L2"} {
		assert.Equal(t, want, parse(t, smallest, "adversary.norm="+given, "adversary.epsilon=0.5").Adversary.Norm, given)
	}
	for given, want := range map[string]string{"weight": "irregular", "channel": "filter", "column": "column"} {
		assert.Equal(t, want, parse(t, smallest, "prune.sparsity_type="+given).Prune.SparsityType, given)
	}
}

func TestL2MayExceedOne(t *testing.T) {
	cfg := parse(t, smallest, "adversary.norm=L2", "adversary.epsilon=1.5", "evaluate.epsilon=2")
	assert.Equal(t, Number(1.5), cfg.Adversary.Epsilon)
}

func TestRatiosKeepTheirOrderAndLines(t *testing.T) {
	cfg := parse(t, smallest+"prune:\n  ratios:\n    fc1.weight: 0.9\n    conv1: 1/2\n    bn3: 0\n")
	assert.Equal(t, []LayerRatio{{"fc1.weight", 0.9, 6}, {"conv1", 0.5, 7}, {"bn3", 0, 8}}, cfg.Prune.Ratios)
	assert.EqualError(t, cfg.Errorf("prune.ratios.conv1", "there is no such layer"), "configs/x.yaml:7: there is no such layer")
	assert.EqualError(t, cfg.Errorf("data.dir", "is not there"), "configs/x.yaml: is not there")
}

func TestSet(t *testing.T) {
	text := smallest + "prune: {ratios: {conv1.weight: 0.5, fc1: 0.7}}\nadmm: {epochs: 3}\n"
	cfg := parse(t, text, "adversary.epsilon=8/255", "prune.ratios.conv1.weight=0.8", "prune.ratios.conv2=0.6", "evaluate.attacks=[pgd-10]",
		"run.name=2024", "data.dir=a=b", "admm.epochs=5", "admm.epochs=6", "model.load=", "training.method=natural", "run.seed=18446744073709551615")
	assert.Equal(t, Number(8.0/255), cfg.Adversary.Epsilon)
	assert.Equal(t, []LayerRatio{{"conv1.weight", 0.8, 0}, {"fc1", 0.7, 4}, {"conv2", 0.6, 0}}, cfg.Prune.Ratios)
	assert.Equal(t, []string{"pgd-10"}, cfg.Evaluate.Attacks)
	assert.Equal(t, Run{Name: "2024", OutDir: "runs", Seed: 1<<64 - 1, Device: "auto", Precision: "fp32", CUDAGraphs: true, LogEvery: 50, KeepLast: 2, SaveEvery: "10m", Grace: "20s"}, cfg.Run)
	assert.Equal(t, "a=b", cfg.Data.Dir)
	assert.Equal(t, 6, cfg.ADMM.Epochs, "the last one wins")
	assert.EqualError(t, cfg.Errorf("prune.ratios.conv2", "wrong"), "--set prune.ratios.conv2=0.6: wrong")

	cfg = parse(t, text, "prune.ratios={fc2: 0.1}")
	assert.Equal(t, []LayerRatio{{"fc2", 0.1, 0}}, cfg.Prune.Ratios, "the whole mapping is replaced")
}

func TestAnchorsAreRead(t *testing.T) {
	cfg := parse(t, "data: {dataset: mnist}\nmodel: {arch: lenet}\npretrain: &p {epochs: &n 3, lr: 0.5}\nretrain: *p\nprune: {ratio: 0.5}\nadmm: {epochs: *n}\n")
	assert.Equal(t, cfg.Pretrain, cfg.Retrain)
	assert.Equal(t, 3, cfg.ADMM.Epochs)
}

func TestNumber(t *testing.T) {
	for text, want := range map[string]Number{"0.3": 0.3, "8/255": 8.0 / 255, "8 / 255": 8.0 / 255, "1e-4": 1e-4, "-2": -2, "5.": 5, ".5": 0.5, "+1": 1, "1E3": 1000} {
		got, err := ParseNumber(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{"", "eight", "8/0", "0/0", "1/2/3", "/2", "nan", ".nan", "inf", "1e999", "1e300/1e-300", "0x10", "1_000", "8/", "1,5", "true"} {
		_, err := ParseNumber(text)
		assert.EqualError(t, err, "a number such as 0.3, 1e-4 or 8/255 is needed", text)
	}
}

func TestAttack(t *testing.T) {
	for name, want := range map[string]int{"pgd-1": 1, "pgd-40": 40, "pgd-999999": 999999, "mim-10": 10, "pgd-20-margin": 20, "apgd-ce": 0, "autoattack": 0, "cw": 0} {
		steps, err := ParseAttack(name)
		require.NoError(t, err)
		assert.Equal(t, want, steps)
	}
	for _, name := range []string{"", "pgd", "pgd-0", "pgd--1", "pgd-1000001", "fgsn", "pgd-4 ", "autoattack-5"} {
		_, err := ParseAttack(name)
		assert.ErrorContains(t, err, "attack", name)
	}

	cfg := parse(t, smallest, "adversary.random_start=false")
	attack, err := cfg.Attack("pgd-40")
	require.NoError(t, err)
	assert.Equal(t, Attack{"pgd-40", "Linf", 0.3, 0.01, 40, false}, attack, "the adversary's own")
	attack, err = cfg.Attack("pgd-10")
	require.NoError(t, err)
	assert.Equal(t, Attack{"pgd-10", "Linf", 0.3, 2.5 * 0.3 / 10, 10, false}, attack)
	_, err = cfg.Attack("fgsn")
	assert.Error(t, err)
	attack, err = cfg.Attack("autoattack")
	require.NoError(t, err)
	assert.Equal(t, Attack{"autoattack", "Linf", 0.3, 0, 0, false}, attack)

	attack, err = parse(t, smallest, "evaluate.epsilon=0.1").Attack("pgd-40")
	require.NoError(t, err)
	assert.Equal(t, Attack{"pgd-40", "Linf", 0.1, 2.5 * 0.1 / 40, 40, true}, attack, "another ball, another step")
	attack, err = parse(t, smallest, "evaluate.step_size=0.02").Attack("pgd-10")
	require.NoError(t, err)
	assert.Equal(t, Attack{"pgd-10", "Linf", 0.3, 0.02, 10, true}, attack)
}

func TestYAMLGivesTheSameConfig(t *testing.T) {
	full := smallest + `
prune: {sparsity_type: filter, ratio: 0.5, ratios: {fc1.weight: 0.123456789012345678, "true": 1/3, conv1: 0.7}}
admm: {epochs: 4, optimizer: sgd, nesterov: true, lr_schedule: multistep, milestones: [1, 3], rho: 1/3}
retrain: {epochs: 2, warmup_epochs: 1}
quantize: {bits: 3, layers: {fc1.weight: 1, "true": 8, conv1: 0}, ends_last: false}
quantize_admm: {epochs: 2, update_every: 1}
quantize_retrain: {epochs: 2}
evaluate: {attacks: [], baselines: [natural, one_shot]}
`
	for _, sets := range [][]string{nil, {"adversary.epsilon=8/255", "run.name=2024"}, {"run.name='~'", "model.load='a: b # c'", "data.dir=' x '"}} {
		cfg := parse(t, full, sets...)
		again, err := Parse(cfg.YAML(), "elsewhere/config.yaml", nil)
		require.NoError(t, err, "%s", cfg.YAML())
		assert.Equal(t, public(cfg), public(again))
		assert.Empty(t, Diff(cfg, again))
		assert.Equal(t, cfg.YAML(), again.YAML())
	}
}

func TestDiff(t *testing.T) {
	base := smallest + "prune: {ratios: {conv1: 0.5, fc1: 0.7}}\n"
	for want, sets := range map[string][]string{
		"":                                  {"run.name=y", "run.out_dir=z", "run.device=cpu", "run.log_every=1", "run.save_every=5", "run.grace=1s", "data.dir=d"},
		"adversary.epsilon":                 {"adversary.epsilon=0.2", "adversary.step_size=0.01"},
		"run.workers":                       {"run.workers=2"},
		"run.seed":                          {"run.seed=2"},
		"prune.ratios":                      {"prune.ratios.conv1=0.6"},
		"evaluate.attacks":                  {"evaluate.attacks=[pgd-1]"},
		"data.dataset model.width admm.rho": {"data.dataset=digits", "model.width=2", "admm.rho=1"},
	} {
		assert.Equal(t, want, strings.Join(Diff(parse(t, base), parse(t, base, sets...)), " "))
	}
	assert.Empty(t, Diff(parse(t, base), parse(t, "\n\n"+smallest+"prune: {ratios: {fc1: 0.7, conv1: 0.5}}\n")), "neither lines nor order matter")
}

func TestLoad(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "my.run.yaml")
	require.NoError(t, os.WriteFile(path, []byte(smallest), 0o600))
	cfg, err := Load(path, []string{"pretrain.epochs=2"})
	require.NoError(t, err)
	assert.Equal(t, "my.run", cfg.Run.Name)
	assert.Equal(t, 2, cfg.Pretrain.Epochs)

	missing := filepath.Join(folder, "none.yaml")
	_, err = Load(missing, nil)
	assert.EqualError(t, err, missing+": the config cannot be read: no such file or directory")
	_, err = Load(folder, nil)
	assert.EqualError(t, err, folder+": the config cannot be read: is a directory")
	own := filepath.Join(folder, "config.yaml")
	require.NoError(t, os.WriteFile(own, nil, 0o600))
	_, err = Load(folder, nil)
	assert.EqualError(t, err, folder+": the config cannot be read: is a directory; the run's config is "+own)
	var refused *Error
	assert.ErrorAs(t, err, &refused)

	require.NoError(t, os.WriteFile(path, make([]byte, maxSize+1), 0o600))
	_, err = Load(path, nil)
	assert.EqualError(t, err, path+": the config is larger than 1 MiB")
}

// The configs that come with the program are correct, and complete as they stand.
func TestShippedConfigs(t *testing.T) {
	paths, err := filepath.Glob("../../configs/*.yaml")
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(paths), 3)
	for _, path := range paths {
		cfg, err := Load(path, nil)
		require.NoError(t, err)
		assert.Equal(t, strings.TrimSuffix(filepath.Base(path), ".yaml"), cfg.Run.Name)
		assert.True(t, cfg.Prune.any() || cfg.Quantize.any(), path)
	}
	cfg, err := Load("../../configs/mnist-paper.yaml", nil)
	require.NoError(t, err)
	assert.Equal(t, Adversary{"Linf", 0.3, 0.01, 40, true, "ce", "eval"}, cfg.Adversary)
	assert.Equal(t, 83, cfg.Pretrain.Epochs)
	assert.Equal(t, Number(1e-4), cfg.Pretrain.LR)
}

func TestThreads(t *testing.T) {
	assert.Equal(t, 3, Run{Workers: 3}.Threads())
	assert.GreaterOrEqual(t, Run{}.Threads(), 1)
}

// Nested aliases would be a billion entries if they were followed.
func TestAliasBombIsHarmless(t *testing.T) {
	bomb := "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 10; i++ {
		was, is := string(rune('0'+i-1)), string(rune('0'+i))
		bomb += "a" + is + ": &a" + is + " [" + strings.Repeat("*a"+was+", ", 9) + "*a" + was + "]\n"
	}
	began := time.Now()
	refused := problemsOf(t, bomb+"evaluate: {attacks: *a9}\npretrain: &loop {epochs: *loop}\n")
	assert.Less(t, time.Since(began), 30*time.Second) // following them takes hours
	assert.Contains(t, refused, "configs/x.yaml:11: evaluate.attacks is a list: a list of words such as [pgd-10, pgd-40] is needed")
	assert.Contains(t, refused, "configs/x.yaml:12: pretrain.epochs is a mapping: a whole number (at most 2147483647) is needed")
}
