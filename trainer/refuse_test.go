package trainer_test

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"rapt/datasets"
	"rapt/trainer"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
)

// isInput tells whether an error is of the user's giving, which ends the program with 2.
func isInput(err error) bool {
	var (
		c *config.Error
		i *trainer.InputError
		d *datasets.InputError
		f *checkpoint.InputError
	)
	return errors.As(err, &c) || errors.As(err, &i) || errors.As(err, &d) || errors.As(err, &f)
}

func TestNotANumber(t *testing.T) {
	sets := []string{"pretrain.lr_schedule=multistep", "pretrain.milestones=[1]", "pretrain.nesterov=false", "admm.epochs=0", "retrain.epochs=0"}
	explode := func(t *testing.T, sets ...string) (*config.Config, error) {
		cfg := trainer.Settings(t, t.TempDir(), sets...)
		cfg.Pretrain.Gamma = 1e30 // no config file can say so
		_, err := trainer.Run(context.Background(), cfg, trainer.Quiet())
		require.Error(t, err)
		assert.False(t, isInput(err), "it is no fault of the input: %v", err)
		assert.NotErrorIs(t, err, trainer.ErrInterrupted)
		return cfg, err
	}
	// The rate explodes with the second epoch, whose first step still has a loss.
	for name, c := range map[string]struct{ set, where string }{
		"in a step":                      {"data.batch_size=12", "stage pretrain, epoch 2, step 2:"},
		"in validation":                  {"data.batch_size=48", "stage pretrain, epoch 2, step 1"},
		"in validation, L2":              {"adversary.norm=L2", "stage pretrain, epoch 2, step"},
		"with two workers":               {"run.workers=2", "stage pretrain, epoch 2, step 2"},
		"without an adversary":           {"training.method=natural", "stage pretrain, epoch 2, step 2"},
		"with batch norm that saturates": {"model.arch=lenet_bn", "stage pretrain, epoch 2, step 2"},
	} {
		t.Run(name, func(t *testing.T) {
			more := append(sets, c.set)
			if c.set == "adversary.norm=L2" {
				more = append(more, "adversary.epsilon=1", "adversary.step_size=0.5", "data.batch_size=48")
			}
			cfg, err := explode(t, more...)
			assert.ErrorContains(t, err, c.where)
			last := filepath.Join(folder(cfg), "checkpoints", "pretrain", "last.safetensors")
			assert.ErrorContains(t, err, last)
			assert.ErrorContains(t, err, "pretrain.lr")
			assert.Regexp(t, `: ([a-z0-9._]+\.(weight|bias|running_\w+) is not finite|the weights are finite, the largest is \S+, in [a-z0-9._]+); `, err.Error())
			assert.NoFileExists(t, filepath.Join(folder(cfg), "DONE"))
			f, err := checkpoint.Read(last)
			require.NoError(t, err)
			assert.Equal(t, "1", f.Metadata["epoch"])
			for _, w := range f.Tensors {
				if w.DType != checkpoint.TypeF32 {
					continue
				}
				data, err := w.Float32s()
				require.NoError(t, err)
				for _, v := range data {
					require.False(t, math.IsNaN(float64(v)) || math.IsInf(float64(v), 0), w.Name)
				}
			}
			good, err := trainer.Evaluate(context.Background(), trainer.EvalOptions{Path: folder(cfg), Workers: 1, Device: "cpu", Console: trainer.Quiet().Console})
			require.NoError(t, err)
			assert.NotNil(t, good.CleanAccuracy)
		})
	}
	t.Run("at once", func(t *testing.T) {
		_, err := explode(t, append(sets, "pretrain.lr=1e30")...)
		assert.ErrorContains(t, err, "stage pretrain, epoch 1, step 2")
		assert.ErrorContains(t, err, "no checkpoint had been saved yet")
	})
}

// altered writes a copy of a checkpoint that change has been at.
func altered(t *testing.T, from string, change func(f *checkpoint.File)) string {
	t.Helper()
	f, err := checkpoint.Read(from)
	require.NoError(t, err)
	change(f)
	path := filepath.Join(t.TempDir(), "altered.safetensors")
	require.NoError(t, checkpoint.Write(path, f))
	return path
}

func TestRefusedBeforeAnyWork(t *testing.T) {
	source := trainer.Settings(t, t.TempDir(), "pretrain.epochs=1", "pretrain.lr_schedule=constant", "admm.epochs=0", "retrain.epochs=0")
	run(t, source)
	good := filepath.Join(folder(source), "checkpoints", "pretrain", "best.safetensors")
	content, err := os.ReadFile(good)
	require.NoError(t, err)
	file := func(data []byte) string {
		path := filepath.Join(t.TempDir(), "model.safetensors")
		require.NoError(t, os.WriteFile(path, data, 0o644))
		return path
	}
	unlabelled := func(f *checkpoint.File) { f.Metadata = nil }
	for name, c := range map[string]struct {
		sets []string
		want []string
	}{
		"unknown arch":         {[]string{"model.arch=lenet_avd"}, []string{`model.arch`, `"lenet_avd"`, `did you mean "lenet_adv"?`}},
		"width without one":    {[]string{"model.arch=lenet", "model.width=4"}, []string{"lenet has no width multiplier"}},
		"unknown data":         {[]string{"data.dataset=digit"}, []string{`did you mean "digits"?`}},
		"no data":              {[]string{"data.dataset=mnist", "data.dir=" + t.TempDir()}, []string{"rapt data fetch mnist"}},
		"no such layer":        {[]string{"prune.ratios={conv2: 0.5, conv9: 0.5}"}, []string{"--set prune.ratios=", "there is no layer conv9", "conv1, conv2, fc1, fc2"}},
		"layer of another":     {[]string{"prune.sparsity_type=bn_filter"}, []string{"no layer that bn_filter pruning is for"}},
		"layer given twice":    {[]string{"prune.ratios={conv1: 0.5, conv1.weight: 0.5}"}, []string{"layer conv1 is given twice"}},
		"no such GPU":          {[]string{"run.device=cuda:99"}, []string{"run.device", "cuda:99"}},
		"no checkpoint":        {[]string{"model.load=nowhere.safetensors"}, []string{"nowhere.safetensors"}},
		"other arch":           {[]string{"model.arch=lenet", "model.load=" + good}, []string{`holds a "lenet_adv", not a "lenet"`}},
		"other width":          {[]string{"model.width=2", "model.load=" + good}, []string{`holds a lenet_adv of width "1", not 2`}},
		"other arch, not said": {[]string{"model.arch=lenet", "model.load=" + altered(t, good, unlabelled)}, []string{"conv1.weight", "[2 1 5 5]", "[20 1 5 5]"}},
		"tensor missing": {[]string{"model.load=" + altered(t, good, func(f *checkpoint.File) { f.Tensors = f.Tensors[:len(f.Tensors)-1] })},
			[]string{"lacks fc2.bias"}},
		"tensor too many": {[]string{"model.load=" + altered(t, good, func(f *checkpoint.File) {
			f.Tensors = append(f.Tensors, checkpoint.F32("fc3.bias", []int64{1}, []float32{1}))
		})},
			[]string{"holds fc3.bias"}},
		"truncated":   {[]string{"model.load=" + file(content[:len(content)-100])}, []string{"model.safetensors"}},
		"a text file": {[]string{"model.load=" + file([]byte("weights: none of these, and long enough to be looked at\n"))}, []string{"model.safetensors"}},
		"empty":       {[]string{"model.load=" + file(nil)}, []string{"model.safetensors"}},
		"a folder":    {[]string{"model.load=" + t.TempDir()}, []string{"is not a file"}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := trainer.Settings(t, filepath.Join(t.TempDir(), "runs"), c.sets...)
			_, err := trainer.Run(context.Background(), cfg, trainer.Quiet())
			require.Error(t, err)
			assert.True(t, isInput(err), "%v", err)
			for _, text := range c.want {
				assert.ErrorContains(t, err, text)
			}
			assert.NotContains(t, err.Error(), "goroutine")
			assert.NoDirExists(t, cfg.Run.OutDir, "nothing is left behind")

			// Where a run exists already, not even --overwrite may touch it for such a config.
			old := trainer.Settings(t, source.Run.OutDir, c.sets...)
			before := tensors(t, folder(source))
			options := trainer.Quiet()
			options.Overwrite = true
			_, err = trainer.Run(context.Background(), old, options)
			require.Error(t, err)
			sameTensors(t, before, tensors(t, folder(source)))
			assert.FileExists(t, filepath.Join(folder(source), "DONE"))
		})
	}
	t.Run("the same checkpoint, without metadata too, does load", func(t *testing.T) {
		for _, path := range []string{good, altered(t, good, unlabelled)} {
			r := run(t, trainer.Settings(t, t.TempDir(), "model.load="+path, "pretrain.epochs=0", "admm.epochs=0", "prune.ratio=0.1", "retrain.epochs=1", "retrain.lr=1e-30"))
			assert.InDelta(t, 0.1, r.Sparsity.Sparsity, 1e-2)
		}
	})
}

// The line of the config file that names the layer is part of the message.
func TestLineOfALayer(t *testing.T) {
	text := "data: {dataset: digits, train_limit: 60, test_limit: 10}\nmodel: {arch: lenet_adv}\nrun: {out_dir: '" + filepath.ToSlash(t.TempDir()) + "'}\n" +
		"pretrain: {epochs: 1}\nretrain: {epochs: 1}\nprune:\n  ratios:\n    conv1: 0.5\n    conv1x: 0.5\n    fc1: 0.5\n"
	cfg, err := config.Parse([]byte(text), "my.yaml", nil)
	require.NoError(t, err)
	_, err = trainer.Run(context.Background(), cfg, trainer.Quiet())
	require.Error(t, err)
	assert.Regexp(t, `^my\.yaml:9: there is no layer conv1x \(did you mean conv1\?\)`, err.Error())
}

func TestFolderThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("here first"), 0o644))
	_, err := trainer.Run(context.Background(), trainer.Settings(t, file), trainer.Quiet())
	require.Error(t, err)
	assert.True(t, isInput(err))
	assert.ErrorContains(t, err, file)

	foreign := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(foreign, "tiny"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "tiny", "thesis.tex"), nil, 0o644))
	options := trainer.Quiet()
	options.Overwrite = true
	_, err = trainer.Run(context.Background(), trainer.Settings(t, foreign), options)
	require.Error(t, err)
	assert.True(t, isInput(err))
	assert.ErrorContains(t, err, "thesis.tex")

	shut := t.TempDir()
	require.NoError(t, os.Chmod(shut, 0o555))
	if os.Geteuid() == 0 { // CI is root, who may write anywhere: this thread's file accesses are made as nobody's
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, err := unix.SetfsuidRetUid(65534)
		require.NoError(t, err)
		defer unix.SetfsuidRetUid(0)
	}
	_, err = trainer.Run(context.Background(), trainer.Settings(t, shut), trainer.Quiet())
	require.Error(t, err)
	assert.True(t, isInput(err))
	assert.ErrorContains(t, err, shut)
}
