package trainer_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
)

// all is what a folder holds, by name.
func all(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == "run.lock" {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = string(b)
		return err
	}))
	return out
}

func TestAFinishedRunIsOnlyShown(t *testing.T) {
	strategy := filepath.Join(t.TempDir(), "mine.yaml")
	require.NoError(t, os.WriteFile(strategy, []byte("conv2: 0.5\n"), 0o600))
	for _, sets := range [][]string{{"pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0"}, {"prune.ratio=0", "prune.strategy=" + strategy}} {
		cfg := trainer.Settings(t, t.TempDir(), sets...)
		first := run(t, cfg)
		before := all(t, folder(cfg))
		assert.Equal(t, first, run(t, cfg))
		assert.Equal(t, before, all(t, folder(cfg)))
	}
}

func TestOverwritingSparesWhatTheRunReads(t *testing.T) {
	out := t.TempDir()
	run(t, trainer.Settings(t, out, "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0"))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(out, link))
	for _, at := range []string{out, link} {
		model := filepath.Join(at, "tiny", "checkpoints", "pretrain", "best.safetensors")
		cfg := trainer.Settings(t, out, "pretrain.epochs=0", "model.load="+model)
		before := all(t, folder(cfg))
		options := trainer.Quiet()
		options.Overwrite = true
		_, err := trainer.Run(t.Context(), cfg, options)
		require.True(t, isInput(err), "%v", err)
		assert.ErrorContains(t, err, "model.load")
		assert.ErrorContains(t, err, "choose another run.name")
		assert.Equal(t, before, all(t, folder(cfg)))
	}
}

func TestAStageWithoutItsPredecessorLeavesNoRun(t *testing.T) {
	out := t.TempDir()
	options := trainer.Quiet()
	options.Stages = []string{"admm"}
	_, err := trainer.Run(t.Context(), trainer.Settings(t, out), options)
	require.True(t, isInput(err), "%v", err)
	assert.ErrorContains(t, err, "run that stage first")
	run(t, trainer.Settings(t, out, "pretrain.epochs=1", "pretrain.lr=5e-4", "admm.epochs=0", "retrain.epochs=0"))
}

func TestAJudgedModelSaysWhereItComesFrom(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "pretrain.epochs=2")
	_, err := trainer.Run(trainer.EndsAfter(12), cfg, trainer.Quiet())
	require.ErrorIs(t, err, trainer.ErrInterrupted)
	r, err := trainer.SparsityOf(folder(cfg))
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(folder(cfg), "checkpoints", r.Stage, "best.safetensors"), r.Checkpoint)
	assert.Positive(t, r.Epoch)
	assert.True(t, r.Unfinished)
	run(t, cfg)
	r, err = trainer.SparsityOf(folder(cfg))
	require.NoError(t, err)
	assert.Equal(t, "retrain", r.Stage)
	assert.False(t, r.Unfinished)
}

func TestAPlanTakesNoLargerBatchThanThereAreImages(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "data.batch_size=1000000")
	p, err := trainer.Plan(t.Context(), cfg, trainer.PlanOptions{Measure: true})
	require.NoError(t, err)
	whole, err := trainer.Plan(t.Context(), trainer.Settings(t, t.TempDir(), "data.batch_size=10000"), trainer.PlanOptions{})
	require.NoError(t, err)
	assert.Equal(t, whole.Memory, p.Memory)
}

// A folder that lacks a run's config, or holds a checkpoint of another stage in a stage's place, is left as it is.
func TestAFolderThatWasMeddledWith(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=1")
	run(t, cfg)
	require.NoError(t, os.Remove(filepath.Join(folder(cfg), "DONE")))
	refused := func(why string) {
		t.Helper()
		before := all(t, folder(cfg))
		_, err := trainer.Run(t.Context(), cfg, trainer.Quiet())
		require.True(t, isInput(err), "%v", err)
		assert.ErrorContains(t, err, why)
		after := all(t, folder(cfg))
		for _, changes := range []string{"env.json", "log.txt"} { // which say that somebody tried
			delete(before, filepath.Join(folder(cfg), changes))
			delete(after, filepath.Join(folder(cfg), changes))
		}
		assert.Equal(t, before, after)
	}
	text, err := os.ReadFile(filepath.Join(folder(cfg), "config.yaml"))
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(folder(cfg), "config.yaml")))
	refused("holds a run, but not its config.yaml")
	for _, gone := range []string{"metrics.jsonl", "metrics.csv", "report.json"} {
		require.NoError(t, os.Remove(filepath.Join(folder(cfg), gone)))
		refused("holds a run, but not its config.yaml")
	}
	require.NoError(t, os.WriteFile(filepath.Join(folder(cfg), "config.yaml"), text, 0o600))
	for _, end := range []string{".safetensors", ".json", ".state.safetensors"} {
		from := filepath.Join(folder(cfg), "checkpoints", "pretrain", "last"+end)
		b, err := os.ReadFile(from)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(folder(cfg), "checkpoints", "retrain", "last"+end), b, 0o600))
	}
	refused("is of stage pretrain: put back the run's own")
}
