package trainer_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/metrics"
)

// ownImages are three classes of 40.
func ownImages(t *testing.T) string {
	dir := t.TempDir()
	for class, name := range []string{"dark", "light", "middling"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, name), 0o755))
		for i := range 40 {
			img := image.NewGray(image.Rect(0, 0, 30, 28))
			for at := range img.Pix {
				img.Pix[at] = byte(90*class + i + at*i%37) // with some overlap, so that not all are told apart
			}
			f, err := os.Create(filepath.Join(dir, name, fmt.Sprintf("%02d.png", i)))
			require.NoError(t, err)
			require.NoError(t, png.Encode(f, img))
			require.NoError(t, f.Close())
		}
	}
	return dir
}

// TestRunOnOwnImages trains on a folder without a test part, and judges the checkpoint on the images that the run was tested on.
func TestRunOnOwnImages(t *testing.T) {
	dir := ownImages(t)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "dark", "broken.jpg"), []byte("\xff\xd8\xff"), 0o644))
	cfg := trainer.Settings(t, t.TempDir(), "data.dataset=image_folder", "data.dir="+dir, "data.size=28", "data.test_fraction=0.3", "data.on_error=skip",
		"data.cache_dir="+t.TempDir(), "data.train_limit=0", "data.test_limit=0", "data.validation=9", "admm.epochs=0", "retrain.epochs=0", "training.method=natural",
		"prune.ratio=0", "adversary.epsilon=0.05", "adversary.step_size=0.02")
	want := run(t, cfg)
	assert.Contains(t, want.DataNote, "1 of 121 images are broken")
	assert.Contains(t, want.DataNote, "36 of its 120 images")
	for _, name := range []string{"env.json", "log.txt"} {
		text, err := os.ReadFile(filepath.Join(folder(cfg), name))
		require.NoError(t, err)
		assert.Contains(t, string(text), "broken.jpg", name)
	}
	got := evaluate(t, trainer.EvalOptions{Path: folder(cfg), Workers: 1})
	assert.Equal(t, want.CleanAccuracy, got.CleanAccuracy)
	assert.Equal(t, want.RobustAccuracy, got.RobustAccuracy)
	assert.Equal(t, want.DataNote, got.DataNote)
	require.Len(t, got.Evaluation.Classes, 3)
	assert.Equal(t, "dark", got.Evaluation.Classes[0].Name)
	var shown strings.Builder
	metrics.EvaluationTables(&shown, got)
	assert.Contains(t, shown.String(), "0 dark")
}

// A run's data.dir is where its checkpoints are judged too.
func TestARunsDataAreFoundAgain(t *testing.T) {
	dir := t.TempDir()
	idx := func(name string, data []byte, sizes ...uint32) {
		header := []byte{0, 0, 8, byte(len(sizes))}
		for _, n := range sizes {
			header = binary.BigEndian.AppendUint32(header, n)
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), append(header, data...), 0o644))
	}
	for set, n := range map[string]int{"train": 80, "t10k": 40} {
		images, labels := make([]byte, n*784), make([]byte, n)
		for i := range images {
			images[i], labels[i/784] = byte(i*i), byte(i/784%10)
		}
		idx(set+"-images-idx3-ubyte", images, uint32(n), 28, 28)
		idx(set+"-labels-idx1-ubyte", labels, uint32(n))
	}
	elsewhere := t.TempDir()
	t.Setenv("RAPT_DATA_DIR", elsewhere)
	cfg := trainer.Settings(t, t.TempDir(), "data.dataset=mnist", "data.dir="+dir, "admm.epochs=0", "retrain.epochs=0", "training.method=natural", "prune.ratio=0")
	want := run(t, cfg)
	checkpoint := filepath.Join(folder(cfg), "checkpoints", "pretrain", "best.safetensors")
	for _, path := range []string{folder(cfg), checkpoint} {
		assert.Equal(t, want.CleanAccuracy, evaluate(t, trainer.EvalOptions{Path: path, Workers: 1}).CleanAccuracy)
	}
	_, err := trainer.Evaluate(t.Context(), trainer.EvalOptions{Path: checkpoint, DataDir: elsewhere})
	require.ErrorContains(t, err, elsewhere, "what is given goes before it")
	require.NoError(t, os.Rename(dir, filepath.Join(elsewhere, "mnist")))
	assert.Equal(t, want.CleanAccuracy, evaluate(t, trainer.EvalOptions{Path: folder(cfg), Workers: 1}).CleanAccuracy, "where the folder is gone, the usual places")
}

func TestDecodingIsInterruptedWithTheWork(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "data.dataset=image_folder", "data.dir="+ownImages(t), "data.size=28", "data.cache_dir="+t.TempDir(),
		"data.train_limit=0", "data.test_limit=0", "data.validation=9", "admm.epochs=0", "retrain.epochs=0", "training.method=natural", "prune.ratio=0")
	run(t, cfg)
	cfg.Data.CacheDir = t.TempDir()
	moved := trainer.EvalOptions{Path: folder(cfg), DataDir: ownImages(t), Workers: 1} // which are not in the cache
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name, work := range map[string]func() error{
		"run":      func() error { _, err := trainer.Run(ctx, cfg, trainer.RunOptions{}); return err },
		"plan":     func() error { _, err := trainer.Plan(ctx, cfg, trainer.PlanOptions{}); return err },
		"needs":    func() error { _, err := trainer.NeedsOf(ctx, cfg); return err },
		"evaluate": func() error { _, err := trainer.Evaluate(ctx, moved); return err },
		"compare":  func() error { _, err := trainer.Compare(ctx, moved.Path, moved.Path, moved); return err },
		"transfer": func() error { _, err := trainer.Transfer(ctx, []string{moved.Path, moved.Path}, moved); return err },
		"from":     func() error { _, err := trainer.EvaluateFrom(ctx, moved.Path, moved); return err },
		"compact": func() error {
			_, err := trainer.Compact(ctx, trainer.CompactOptions{Path: moved.Path, DataDir: moved.DataDir, Out: filepath.Join(t.TempDir(), "x.safetensors")})
			return err
		},
		"predict": func() error {
			_, err := trainer.Predict(ctx, trainer.PredictOptions{Path: moved.Path, DataDir: moved.DataDir, Out: filepath.Join(t.TempDir(), "x.safetensors")})
			return err
		},
	} {
		err := work()
		assert.ErrorIs(t, err, trainer.ErrInterrupted, name)
		assert.ErrorContains(t, err, "interrupted while images were decoded", name)
	}
}
