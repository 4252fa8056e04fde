package trainer_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/checkpoint"
)

var averaged = []string{"training.ema_decay=0.8", "pretrain.lr_schedule=one_cycle", "retrain.lr_schedule=piecewise"}

func TestAverageResumesFromEveryPlace(t *testing.T) {
	resumesEverywhere(t, 15, append(averaged, "pretrain.epochs=1", "retrain.epochs=1", "data.train_limit=60")...)
}

func TestAverageResumesWithBatchNormAndGradually(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	resumesAgainAndAgain(t, func(int) int { return 2 + random.IntN(9) }, append(averaged, "run.workers=2", "model.arch=lenet_bn", "data.batch_size=10",
		"prune.sparsity_type=bn_filter", "prune.ratio=0.5", "evaluate.baselines=[gradual]", "pretrain.epochs=1", "retrain.epochs=1")...)
}

// The chosen model is the average, the last one the raw model with the average beside it; what is pruned is zero in both.
func TestAverageIsHandedOn(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), append(averaged, "pretrain.epochs=1", "admm.epochs=1", "retrain.epochs=1", "evaluate.baselines=[gradual]")...)
	r := run(t, cfg)
	dir, err := checkpoint.OpenRun(folder(cfg), checkpoint.Options{Resume: true})
	require.NoError(t, err)
	defer dir.Close()
	for _, stage := range []string{"pretrain", "admm", "retrain", "gradual"} {
		best := bestOf(t, cfg, stage)
		model, state, _, err := dir.LoadCheckpoint(stage, "last")
		require.NoError(t, err)
		for _, raw := range model.Tensors {
			mean, ok := state.Get("ema." + raw.Name)
			require.True(t, ok, raw.Name)
			values, err := mean.Float32s()
			require.NoError(t, err)
			assert.NotEqual(t, raw.Data, mean.Data, "%s of %s", raw.Name, stage)
			if stage == "pretrain" || stage == "admm" || stage == "retrain" { // of one epoch: its last is its best
				assert.Equal(t, best[raw.Name], values, "%s of %s", raw.Name, stage)
			}
		}
	}
	assert.InDelta(t, 0.9, r.Stages[2].Sparsity, 1e-3)
	assert.Equal(t, r.Stages[2].Sparsity, r.Baselines[0].Sparsity)
}
