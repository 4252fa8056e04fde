package trainer_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
)

// methods are the words of training.method, and AWP on top, with what they are tried with.
var methods = map[string][]string{
	"trades":   {"training.method=trades"},
	"mart":     {"training.method=mart"},
	"fgsm_rs":  {"training.method=fgsm_rs", "training.guard_drop=0.05"}, // of twelve images one: the guard has work
	"free":     {"training.method=free", "training.replays=2"},
	"awp":      {"training.awp_gamma=0.01", "training.awp_warmup=1"},
	"mart-awp": {"training.method=mart", "training.awp_gamma=0.005", "training.ema_decay=0.8"},
}

// Each method goes through all stages, resumes to the bit with several workers, and leaves exact zeros.
func TestMethodsResumeInAllStages(t *testing.T) {
	for name, sets := range methods {
		t.Run(name, func(t *testing.T) {
			sets := append(sets, "run.workers=2", "data.batch_size=13", "pretrain.lr_schedule=piecewise", "evaluate.baselines=[natural, gradual]")
			whole, _ := resumesAgainAndAgain(t, func(times int) int { return 3 + times%4*4 }, sets...)
			r := storedReport(t, folder(whole))
			require.Len(t, r.Stages, 3)
			for _, l := range r.Sparsity.Layers {
				assert.InDelta(t, 0.9, l.Sparsity, 1/float64(l.Numel), l.Name)
			}
		})
	}
}

// Interrupted at every third place or so: also between a fall that the guard saw, in ADMM too, and the end of that epoch.
func TestMethodsResumeOften(t *testing.T) {
	for name, sets := range map[string][]string{
		"fgsm_rs": {"training.method=fgsm_rs", "training.guard_drop=1e-6", "run.seed=2", "data.train_limit=150", "data.validation=40", "data.batch_size=37", "adversary.epsilon=0.05",
			"adversary.step_size=0.02", "pretrain.optimizer=adam", "pretrain.momentum=0", "pretrain.nesterov=false", "pretrain.weight_decay=0", "pretrain.epochs=6", "pretrain.lr=3e-3",
			"admm.epochs=3", "admm.lr_schedule=constant", "admm.lr=3e-3"},
		"free": {"training.method=free", "training.replays=2", "model.arch=lenet_bn", "prune.sparsity_type=bn_filter", "prune.ratio=0.5", "admm.epochs=1"},
	} {
		t.Run(name, func(t *testing.T) {
			whole, _ := resumesAgainAndAgain(t, func(times int) int { return 2 + times%3 }, append(sets, "retrain.epochs=1", "training.ema_decay=0.5")...)
			if r := storedReport(t, folder(whole)); name == "fgsm_rs" {
				assert.Positive(t, r.Stages[0].Collapses+r.Stages[1].Collapses, "the test needs a fall")
			}
		})
	}
}

// wild makes the validation accuracy go up and down from epoch to epoch.
var wild = []string{"data.train_limit=260", "data.validation=60", "adversary.epsilon=0.05", "adversary.step_size=0.02", "pretrain.optimizer=adam", "pretrain.lr=3e-3", "pretrain.momentum=0",
	"pretrain.nesterov=false", "pretrain.weight_decay=0", "pretrain.lr_schedule=constant"}

// The guard of a run with a wild rate sees falls, goes back, and the report counts them.
func TestGuardInARun(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), append(wild, "training.method=fgsm_rs", "training.guard_drop=1e-6", "pretrain.epochs=12", "admm.epochs=0", "retrain.epochs=0")...)
	r := run(t, cfg)
	epochs := ofEpochs(t, folder(cfg), "pretrain")
	require.Len(t, epochs, 12)
	best, falls := -1.0, 0
	for _, e := range epochs {
		if v := e["val/pgd_acc"].(float64); v < best-1e-6 {
			falls++
		} else {
			best = max(best, v)
		}
	}
	require.Positive(t, falls, "the test needs a fall")
	assert.Equal(t, falls, r.Stages[0].Collapses)
	cfg = trainer.Settings(t, t.TempDir(), append(wild, "training.method=fgsm_rs", "training.guard_drop=1e-6", "training.guard=stop", "pretrain.epochs=20", "admm.epochs=0", "retrain.epochs=0")...)
	r = run(t, cfg)
	assert.Equal(t, 1, r.Stages[0].Collapses)
	assert.Less(t, r.Stages[0].Epochs, 20)
	assert.Less(t, r.Stages[0].BestEpoch, r.Stages[0].Epochs)
}

// A stage that ends early is done for all purposes, and reports its last model beside its best.
func TestEarlyStopping(t *testing.T) {
	sets := append(wild, "training.patience=1", "pretrain.epochs=40", "training.ema_decay=0.3")
	cfg := trainer.Settings(t, t.TempDir(), sets...)
	r := run(t, cfg)
	first := r.Stages[0]
	require.Less(t, first.Epochs, 40)
	assert.Equal(t, first.Epochs-1, first.BestEpoch)
	assert.Len(t, ofEpochs(t, folder(cfg), "pretrain"), first.Epochs)
	require.NotNil(t, first.Last)
	assert.Equal(t, 2, r.Stages[1].BestEpoch, "ADMM hands on where it ends")
	assert.Equal(t, r.Stages[1].CleanAccuracy, r.Stages[1].Last.CleanAccuracy)
	assert.Equal(t, r, run(t, cfg), "a finished run is left alone")
	random := 0
	resumesAgainAndAgain(t, func(int) int { random++; return 2 + random%7 }, sets...)
}

// The last model's accuracies are those of its checkpoint.
func TestLastModelIsReported(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), append(wild, "pretrain.epochs=40", "admm.epochs=0", "retrain.epochs=0", "training.patience=1")...)
	r := run(t, cfg)
	s := r.Stages[0]
	require.Less(t, s.BestEpoch, s.Epochs, "the test needs a last model that is not the best")
	judged := evaluate(t, trainer.EvalOptions{Path: filepath.Join(folder(cfg), "checkpoints", "pretrain", "last.safetensors")})
	assert.Equal(t, *judged.CleanAccuracy, s.Last.CleanAccuracy)
	assert.Equal(t, judged.RobustAccuracy, s.Last.RobustAccuracy)
}

// Each method learns digits: its loss falls, and its network stands an attack that a natural one does not.
func TestMethodsLearn(t *testing.T) {
	trainer.Compares(t)
	sets := []string{"data.train_limit=1600", "data.validation=100", "data.test_limit=200", "data.batch_size=50", "run.workers=2", "model.width=2", "adversary.epsilon=0.1", "adversary.step_size=0.04", "adversary.steps=4",
		"pretrain.epochs=10", "pretrain.optimizer=adam", "pretrain.lr=2e-3", "pretrain.momentum=0", "pretrain.nesterov=false", "pretrain.lr_schedule=constant", "pretrain.weight_decay=0",
		"evaluate.attacks=[pgd-10]", "admm.epochs=0", "retrain.epochs=0"}
	natural := run(t, trainer.Settings(t, t.TempDir(), append(sets, "training.method=natural")...)).Stages[0]
	for name, own := range methods {
		t.Run(name, func(t *testing.T) {
			cfg := trainer.Settings(t, t.TempDir(), append(sets, own...)...)
			s := run(t, cfg).Stages[0]
			epochs := ofEpochs(t, folder(cfg), "pretrain")
			assert.Less(t, epochs[len(epochs)-1]["train/loss"], 0.8*epochs[0]["train/loss"].(float64))
			assert.Greater(t, s.RobustAccuracy["pgd-10"], natural.RobustAccuracy["pgd-10"]+0.2)
			t.Logf("%s: clean %.3f, pgd-10 %.3f; natural %.3f, %.3f", name, s.CleanAccuracy, s.RobustAccuracy["pgd-10"], natural.CleanAccuracy, natural.RobustAccuracy["pgd-10"])
		})
	}
}

// Stages that quantise train by any method: the weights end on their levels, what was pruned stays zero, and all resumes.
func TestMethodsQuantise(t *testing.T) {
	for name, sets := range map[string][]string{"trades-awp": {"training.method=trades", "training.awp_gamma=0.005"}, "free": {"training.method=free", "training.replays=2"}} {
		t.Run(name, func(t *testing.T) {
			whole, _ := resumesAgainAndAgain(t, func(times int) int { return 6 + times%5 }, quantizing(append(sets, "run.workers=2", "data.batch_size=13")...)...)
			f, pruned := best(t, whole, "quantize_retrain"), best(t, whole, "retrain")
			for layer, most := range map[string]int{"conv1.weight": 8, "conv2.weight": 4, "fc1.weight": 4, "fc2.weight": 2} {
				assert.LessOrEqual(t, distinct(floats(t, f, layer)), most, layer)
				was := floats(t, pruned, layer)
				for i, v := range floats(t, f, layer) {
					if was[i] == 0 {
						require.Zero(t, v, layer)
					}
				}
			}
		})
	}
}
