package trainer_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/config"
)

func strategy(t *testing.T, cfg *config.Config) []config.LayerRatio {
	t.Helper()
	out, err := config.ReadStrategy(filepath.Join(folder(cfg), "strategy.yaml"))
	require.NoError(t, err)
	return out
}

// What a run with a budget keeps is the budget, and its strategy says where.
func TestRunsToABudget(t *testing.T) {
	for _, method := range []string{"uniform", "erk", "global", "sensitivity"} {
		cfg := trainer.Settings(t, t.TempDir(), "prune.ratio=0", "prune.budget={keep: 0.1, exclude: [conv1], method: "+method+"}")
		r := run(t, cfg)
		assert.InDelta(t, 0.9, r.Sparsity.Sparsity, 1e-4, method)
		for i, one := range strategy(t, cfg) {
			l := r.Sparsity.Layers[i]
			assert.Equal(t, l.Name, one.Layer)
			assert.InDelta(t, l.Sparsity, float64(one.Ratio), 1e-6, "%s: %s", method, one.Layer)
		}
		assert.Zero(t, r.Sparsity.Layers[0].Zeros)
	}
	cfg := trainer.Settings(t, t.TempDir())
	run(t, cfg)
	for _, one := range strategy(t, cfg) {
		assert.EqualValues(t, 0.9, one.Ratio, "also a plain ratio's")
	}
}

// A threshold is taken from the model that ADMM starts from, the same bits again in another run, and kept when a run goes on.
func TestBudgetRunsResume(t *testing.T) {
	for least, sets := range map[int][]string{ // the search looks at the context 21 times
		3:  {"prune.budget={keep: 0.1, method: global}"},
		25: {"prune.budget={keep: 0.2, method: sensitivity}", "training.method=natural", "prune.steps={count: 2, shape: cubic}", "pretrain.epochs=1", "admm.epochs=1", "retrain.epochs=1"},
	} {
		sets = append(sets, "prune.ratio=0", "evaluate.baselines=[one_shot]")
		whole, cfg := trainer.Settings(t, t.TempDir(), sets...), trainer.Settings(t, t.TempDir(), sets...)
		run(t, whole)
		random := rand.New(rand.NewPCG(7, 8))
		for times := 0; ; times++ {
			_, err := trainer.Run(trainer.EndsAfter(least+random.IntN(5)), cfg, trainer.Quiet())
			if err == nil {
				assert.Positive(t, times)
				break
			}
			require.ErrorIs(t, err, trainer.ErrInterrupted)
			require.Less(t, times, 100)
		}
		alike(t, whole, cfg)
		assert.Equal(t, strategy(t, whole), strategy(t, cfg))
	}
}

func TestStrategyOfARunIsFrozen(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "prune.ratio=0", "prune.budget={keep: 0.1, method: global}")
	options := trainer.Quiet()
	options.Stages = []string{"pretrain"}
	_, err := trainer.Run(context.Background(), cfg, options)
	require.NoError(t, err)
	path := filepath.Join(folder(cfg), "strategy.yaml")
	require.NoFileExists(t, path, "pretraining does not prune")
	require.NoError(t, os.WriteFile(path, []byte("fc1: 0.5\n"), 0o600))
	r := run(t, cfg)
	assert.InDelta(t, 0.5, r.Sparsity.Layers[2].Sparsity, 1e-3, "what stands in the folder is done")
	assert.Zero(t, r.Sparsity.Layers[0].Zeros)

	cfg = trainer.Settings(t, t.TempDir(), "prune.ratio=0", "prune.budget={keep: 0.1, method: global}")
	_, err = trainer.Run(trainer.EndsAfter(12), cfg, trainer.Quiet())
	require.ErrorIs(t, err, trainer.ErrInterrupted)
	require.NoError(t, os.Remove(filepath.Join(folder(cfg), "strategy.yaml")), "ADMM had begun")
	_, err = trainer.Run(context.Background(), cfg, trainer.Quiet())
	var input *trainer.InputError
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "strategy.yaml is missing: what stage admm removes of each layer stands there")

	file := filepath.Join(t.TempDir(), "mine.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`{"conv2": 0.5, "fc1.weight": 0.75}`), 0o600))
	cfg = trainer.Settings(t, t.TempDir(), "prune.ratio=0", "prune.strategy="+file)
	r = run(t, cfg)
	assert.InDelta(t, 0.5, r.Sparsity.Layers[1].Sparsity, 1e-2)
	assert.InDelta(t, 0.75, r.Sparsity.Layers[2].Sparsity, 1e-3)
	require.NoError(t, os.WriteFile(file, []byte("conv2: 0.6\n"), 0o600))
	_, err = trainer.Run(context.Background(), cfg, trainer.Quiet())
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "holds other ratios than the run in")
}
