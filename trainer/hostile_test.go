package trainer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/checkpoint"
	"rapt/trainer/limits"
)

func resident() int64 { return limits.Kilobytes(os.DirFS("/"), "proc/self/status", "VmHWM") }

// A few bytes that claim a network of gigabytes cost none.
func TestACheckpointIsSeenToHoldItsNetworkBeforeThatIsMade(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0", "data.test_limit=10")
	run(t, cfg)
	best := filepath.Join(folder(cfg), "checkpoints", "pretrain", "best.safetensors")
	claims := func(sets map[string]string) string {
		return altered(t, best, func(f *checkpoint.File) {
			for k, v := range sets {
				f.Metadata[k] = v
			}
		})
	}
	early := altered(t, best, func(f *checkpoint.File) { delete(f.Metadata, "input") })
	assert.NotNil(t, evaluate(t, trainer.EvalOptions{Path: early, Workers: 1}).CleanAccuracy, "one of an earlier version")
	before := resident()
	for want, sets := range map[string]map[string]string{
		"lacks conv1.weight":                  {"arch": "lenet", "width": "1024"},
		"where the model has [64 1 3 3]":      {"arch": "resnet50", "classes": "4000000", "width": "1"},
		"where the model has [1000000 64]":    {"classes": "1000000"},
		"tells 10 classes apart":              {"dataset": "cifar100"},
		"was trained on images of 1 x 28 x 2": {"dataset": "cifar10"},
	} {
		if set := sets["dataset"]; set != "" && !hasData(set) {
			continue
		}
		_, err := trainer.Evaluate(t.Context(), trainer.EvalOptions{Path: claims(sets), Workers: 1, Device: "cpu", Console: trainer.Quiet().Console})
		if !assert.True(t, isInput(err), "%v: %v", sets, err) || want == "lacks conv1.weight" {
			continue
		}
		assert.ErrorContains(t, err, want)
	}
	assert.Less(t, resident()-before, int64(200<<20))
}

func hasData(name string) bool {
	_, err := os.Stat(filepath.Join(os.Getenv("RAPT_DATA_DIR"), name))
	return err == nil && os.Getenv("RAPT_DATA_DIR") != ""
}

// The norm of an evaluation can be asked for, with its radius.
func TestAskedNorm(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0", "data.test_limit=20", "evaluate.attacks=[autoattack]",
		"adversary.steps=7", "adversary.step_size=0.03")
	run(t, cfg)
	o := trainer.EvalOptions{Path: folder(cfg), Workers: 1, Device: "cpu", Attacks: []string{"pgd-3"}, Norm: "L1", Console: trainer.Quiet().Console}
	_, err := trainer.Evaluate(t.Context(), o)
	require.True(t, isInput(err), "%v", err)
	assert.ErrorContains(t, err, "give --epsilon beside --norm")
	o.Epsilon = 30
	r := evaluate(t, o)
	assert.Equal(t, "L1", r.Attacks[0].Norm)
	assert.Less(t, *r.WorstCaseAccuracy, *r.CleanAccuracy+1e-9)
	o.Attacks, o.Norm, o.Epsilon = []string{"cw-5"}, "L2", 2
	assert.Equal(t, "L2", evaluate(t, o).Attacks[0].Norm)

	// The adversary's own attack keeps its step size, however its name is written; the suspicion checks come with the run's own autoattack.
	o.Attacks, o.Norm, o.Epsilon = []string{"PGD-07"}, "", 0
	r = evaluate(t, o)
	assert.InDelta(t, 0.03, r.Attacks[0].StepSize, 1e-12)
	assert.Empty(t, r.Evaluation.Suspicion)
	o.Attacks, o.Restarts = []string{"fgsm"}, 5
	assert.LessOrEqual(t, evaluate(t, o).Attacks[0].Restarts, 1, "all its starts are one")
	o.Attacks, o.Restarts = nil, 0
	assert.NotEmpty(t, evaluate(t, o).Evaluation.Suspicion)
}

// Each step of pruning holds the zeros of the one before: ratios that fall, or layers left out, cannot do that.
func TestStepsThatFallAreRefused(t *testing.T) {
	for _, c := range [][2]string{
		{"prune.steps=[0.9, 0.5]", "removes 0.5 of conv1.weight after 0.9"},
		{"prune.steps=[{conv1: 0.5, fc1: 0.9}, {conv1: 0.8}]", "removes 0 of fc1.weight after 0.9"},
	} {
		_, err := trainer.Run(t.Context(), trainer.Settings(t, t.TempDir(), c[0], "prune.ratio=0"), trainer.Quiet())
		require.True(t, isInput(err), "%v", err)
		assert.ErrorContains(t, err, c[1])
		assert.ErrorContains(t, err, "prune.steps")
	}
}

// Zeros of a loaded model are held also where the config prunes less, or another layer.
func TestAllZerosAreHeld(t *testing.T) {
	first := trainer.Settings(t, t.TempDir(), "prune.ratio=0.7", "retrain.epochs=1")
	run(t, first)
	before := bestOf(t, first, "retrain")
	cfg := trainer.Settings(t, t.TempDir(), "model.load="+filepath.Join(folder(first), "checkpoints", "retrain", "best.safetensors"), "pretrain.epochs=0", "prune.ratio=0",
		"prune.ratios={conv2: 0.3}", "prune.hold_zeros=true", "admm.lr=0.01", "admm.epochs=2", "retrain.epochs=1", "evaluate.baselines=[gradual]")
	run(t, cfg)
	for _, stage := range []string{"admm", "retrain", "gradual"} {
		moved := 0
		for name, w := range bestOf(t, cfg, stage) {
			for i, v := range before[name] {
				if strings.HasSuffix(name, "weight") && v == 0 {
					require.Zero(t, w[i], "%s came back in %s", name, stage)
				} else if v != w[i] {
					moved++
				}
			}
		}
		assert.Greater(t, moved, 100, "or nothing was trained")
	}
}

// A batch norm's shift of 0, as all have at first, is nothing that bn_filter holds: only what its scale's zeros switch off.
func TestAShiftOfZeroHoldsNothing(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "model.arch=lenet_bn", "prune.sparsity_type=bn_filter", "prune.ratio=0.5", "prune.hold_zeros=true", "pretrain.epochs=0",
		"admm.epochs=1", "retrain.epochs=1")
	report := run(t, cfg)
	assert.InDelta(t, 0.5, report.Sparsity.Sparsity, 0.05)
}

func TestGradualPruningResumesWithHeldZeros(t *testing.T) {
	resumesAgainAndAgain(t, func(times int) int { return 4 + 3*(times%3) }, "prune.hold_zeros=true", "pretrain.epochs=1", "pretrain.lr_schedule=constant", "admm.epochs=2",
		"retrain.epochs=1", "evaluate.baselines=[gradual]")
}

// A stage does not start from one that has not come to its end.
func TestAStageWaitsForTheOneBefore(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "pretrain.epochs=9", "prune.ratio=0.5", "evaluate.baselines=[natural]")
	o := trainer.Quiet()
	o.Stages = []string{"pretrain"}
	_, err := trainer.Run(trainer.EndsAfter(10), cfg, o)
	require.ErrorIs(t, err, trainer.ErrInterrupted)
	require.FileExists(t, filepath.Join(folder(cfg), "checkpoints", "pretrain", "best.safetensors"), "or this test does not see what it is about")
	o.Stages = []string{"admm"}
	_, err = trainer.Run(t.Context(), cfg, o)
	require.True(t, isInput(err), "%v", err)
	assert.ErrorContains(t, err, "finish that stage first")
	run(t, cfg)
	natural, _, err := checkpoint.ReadHeader(filepath.Join(folder(cfg), "checkpoints", "natural", "best.safetensors"))
	require.NoError(t, err)
	assert.Equal(t, "natural", natural["method"])
}
