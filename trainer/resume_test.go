package trainer_test

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/config"
)

// alike compares two finished runs: models, trainer state, reports but for times, and metrics.
func alike(t *testing.T, whole, broken *config.Config, msg ...any) {
	t.Helper()
	sameTensors(t, tensors(t, folder(whole)), tensors(t, folder(broken)), msg...)
	assert.Equal(t, timeless(storedReport(t, folder(whole))), timeless(storedReport(t, folder(broken))), msg...)
	assert.FileExists(t, filepath.Join(folder(broken), "DONE"), msg...)
	want, got := rows(t, folder(whole)), rows(t, folder(broken))
	require.Len(t, got, len(want), msg...)
	for i := range want {
		for _, timed := range []string{"ts", "time/epoch_s", "train/images_per_sec"} {
			assert.Equal(t, want[i][timed] != nil, got[i][timed] != nil, msg...)
			delete(want[i], timed)
			delete(got[i], timed)
		}
		// An interruption groups an epoch's sum of losses otherwise.
		if loss, ok := want[i]["train/loss"].(float64); ok {
			assert.InEpsilon(t, loss, got[i]["train/loss"], 1e-12, msg...)
			delete(want[i], "train/loss")
			delete(got[i], "train/loss")
		}
		assert.Equal(t, want[i], got[i], msg...)
	}
}

// resumesEverywhere interrupts runs of these settings at each place there is, least at fewest, and takes them up again: each ends where an
// unbroken one ends.
func resumesEverywhere(t *testing.T, least int, sets ...string) {
	t.Helper()
	whole := trainer.Settings(t, t.TempDir(), sets...)
	run(t, whole)
	for n := 0; ; n++ {
		cfg := trainer.Settings(t, t.TempDir(), sets...)
		_, err := trainer.Run(trainer.EndsAfter(n), cfg, trainer.Quiet())
		if err == nil {
			require.Greater(t, n, least, "looks at the context in a whole run")
			return
		}
		require.ErrorIs(t, err, trainer.ErrInterrupted)
		assert.NoFileExists(t, filepath.Join(folder(cfg), "DONE"))
		run(t, cfg)
		alike(t, whole, cfg, "interrupted at ", n)
		if t.Failed() {
			return
		}
	}
}

// resumesAgainAndAgain interrupts one run more than three times, after as many looks at its context as next says, and compares it with an
// unbroken one. Both come back.
func resumesAgainAndAgain(t *testing.T, next func(times int) int, sets ...string) (whole, broken *config.Config) {
	t.Helper()
	whole, broken = trainer.Settings(t, t.TempDir(), sets...), trainer.Settings(t, t.TempDir(), sets...)
	want := timeless(run(t, whole))
	for times := 0; ; times++ {
		report, err := trainer.Run(trainer.EndsAfter(next(times)), broken, trainer.Quiet())
		if err == nil {
			assert.Equal(t, want, timeless(report))
			assert.Greater(t, times, 3)
			break
		}
		require.ErrorIs(t, err, trainer.ErrInterrupted)
		require.Less(t, times, 100)
	}
	alike(t, whole, broken)
	return whole, broken
}

func TestResumeFromEveryPlace(t *testing.T) {
	resumesEverywhere(t, 15, "evaluate.suspicion=true", "pretrain.epochs=1", "pretrain.lr_schedule=constant", "retrain.epochs=1")
}

// Two workers, batch statistics and more than a step between two log rows.
func TestResumeManyTimes(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	resumesAgainAndAgain(t, func(int) int { return 2 + random.IntN(9) }, "run.workers=2", "model.arch=lenet_bn", "data.batch_size=10", "prune.sparsity_type=bn_filter", "prune.ratio=0.5", "run.log_every=3",
		"training.mixup_alpha=1", "adversary.batch_norm=train", "evaluate.baselines=[natural, one_shot]", "pretrain.epochs=1", "retrain.epochs=1", "evaluate.suspicion=true")
}

func TestFinishedRunIsLeftAlone(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir())
	first := run(t, cfg)
	models, metrics := tensors(t, folder(cfg)), rows(t, folder(cfg))
	stamp := func() (all []any) {
		files, err := filepath.Glob(filepath.Join(folder(cfg), "checkpoints", "*", "*"))
		require.NoError(t, err)
		for _, f := range files {
			info, err := os.Stat(f)
			require.NoError(t, err)
			all = append(all, f, info.ModTime())
		}
		return all
	}
	before := stamp()
	assert.Equal(t, first, run(t, cfg), "even the times are the first run's")
	assert.Equal(t, before, stamp(), "no checkpoint is written again")
	sameTensors(t, models, tensors(t, folder(cfg)))
	assert.Equal(t, metrics, rows(t, folder(cfg)))

	t.Run("another config is refused", func(t *testing.T) {
		for _, key := range []string{"pretrain.lr=0.06", "run.seed=9", "prune.ratio=0.8", "run.workers=2", "data.train_limit=59", "evaluate.attacks=[pgd-4]"} {
			_, err := trainer.Run(context.Background(), trainer.Settings(t, cfg.Run.OutDir, key), trainer.Quiet())
			var input *trainer.InputError
			require.ErrorAs(t, err, &input)
			name, _, _ := strings.Cut(key, "=")
			assert.ErrorContains(t, err, name)
			assert.ErrorContains(t, err, "--overwrite")
		}
		assert.Equal(t, before, stamp())
	})
	t.Run("where it lies and how it reports are no difference", func(t *testing.T) {
		assert.Equal(t, first, run(t, trainer.Settings(t, cfg.Run.OutDir, "run.log_every=7")))
	})
	t.Run("overwrite begins anew", func(t *testing.T) {
		other := trainer.Settings(t, cfg.Run.OutDir, "run.seed=9")
		options := trainer.Quiet()
		options.Overwrite = true
		report, err := trainer.Run(context.Background(), other, options)
		require.NoError(t, err)
		assert.Equal(t, uint64(9), report.Seed)
		alike(t, func() *config.Config { c := trainer.Settings(t, t.TempDir(), "run.seed=9"); run(t, c); return c }(), other)
	})
}

func TestStagesOneByOne(t *testing.T) {
	whole, cfg := trainer.Settings(t, t.TempDir()), trainer.Settings(t, t.TempDir())
	run(t, whole)
	train := func(stages ...string) error {
		options := trainer.Quiet()
		options.Stages = stages
		report, err := trainer.Run(context.Background(), cfg, options)
		if err == nil {
			assert.Equal(t, stages[len(stages)-1], report.Stages[len(report.Stages)-1].Stage)
		}
		return err
	}
	var input *trainer.InputError
	err := train("admm")
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "stage admm starts from the model of pretrain")

	require.NoError(t, train("pretrain"))
	err = train("retrain")
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "stage retrain starts from the model of admm")
	require.NoError(t, train("admm"))
	require.NoError(t, train("retrain"))
	assert.NoFileExists(t, filepath.Join(folder(cfg), "DONE"), "one stage is not the whole run")
	require.NoError(t, train("pretrain", "admm", "retrain")) // all done before
	run(t, cfg)
	alike(t, whole, cfg)
	err = func() error {
		options := trainer.Quiet()
		options.Stages = []string{"admm"}
		_, err := trainer.Run(context.Background(), trainer.Settings(t, t.TempDir(), "admm.epochs=0"), options)
		return err
	}()
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "no epochs for stage admm")
}
