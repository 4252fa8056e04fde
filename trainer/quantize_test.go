package trainer_test

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
	"rapt/trainer"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
)

// quantizing are the settings of a run that prunes, and then quantises in two pairs of stages.
func quantizing(more ...string) []string {
	return append([]string{"pretrain.epochs=1", "admm.epochs=1", "retrain.epochs=1", "quantize.bits=2", "quantize.layers={conv1: 3, fc2.weight: 1}",
		"quantize_admm.epochs=2", "quantize_admm.update_every=1", "quantize_admm.lr=1e-3", "quantize_admm.rho=0.1",
		"quantize_retrain.epochs=2", "quantize_retrain.lr=1e-3"}, more...)
}

func best(t *testing.T, cfg *config.Config, stage string) *checkpoint.File {
	t.Helper()
	f, err := checkpoint.Read(filepath.Join(folder(cfg), "checkpoints", stage, "best.safetensors"))
	require.NoError(t, err)
	return f
}

func floats(t *testing.T, f *checkpoint.File, name string) []float32 {
	t.Helper()
	one, ok := f.Get(name)
	require.True(t, ok, name)
	v, err := one.Float32s()
	require.NoError(t, err)
	return v
}

// distinct counts a tensor's values, zero apart.
func distinct(v []float32) int {
	all := map[float32]bool{}
	for _, x := range v {
		if x != 0 {
			all[x] = true
		}
	}
	return len(all)
}

func TestQuantizedAndPruned(t *testing.T) {
	trainer.Compares(t)
	for name, sets := range map[string][]string{"equal": nil, "powers of two": {"quantize.levels=power_of_two"},
		"by filter": {"prune.sparsity_type=filter", "prune.ratio=0.5"}} {
		t.Run(name, func(t *testing.T) {
			cfg := trainer.Settings(t, t.TempDir(), quantizing(append(sets, "model.width=4")...)...)
			r := run(t, cfg)
			var names []string
			for _, s := range r.Stages {
				names = append(names, s.Stage)
			}
			assert.Equal(t, []string{"pretrain", "admm", "retrain", "quantize_admm_1", "quantize_retrain_1", "quantize_admm", "quantize_retrain"}, names)

			bits := map[string]int{"conv1.weight": 3, "conv2.weight": 2, "fc1.weight": 2, "fc2.weight": 1}
			pruned := best(t, cfg, "retrain")
			onLevels := func(stage string, want ...string) {
				f := best(t, cfg, stage)
				for layer, k := range bits {
					v := floats(t, f, layer)
					levels := 1 << k
					if k > 1 && !slices.Contains(floats(t, pruned, layer), 0) {
						levels -= 2 // nothing was pruned: zero is one of 2^k - 1 levels
					}
					is := distinct(v) <= levels
					assert.Equal(t, slices.Contains(want, layer), is, "%s of %s has %d values", layer, stage, distinct(v))
					for i, was := range floats(t, pruned, layer) {
						if was == 0 {
							require.Zero(t, v[i], "a pruned weight of %s came back in %s", layer, stage)
						}
					}
				}
			}
			onLevels("quantize_admm_1")
			onLevels("quantize_retrain_1", "conv2.weight", "fc1.weight")
			onLevels("quantize_admm", "conv2.weight", "fc1.weight")
			onLevels("quantize_retrain", "conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight")
			assert.Equal(t, best(t, cfg, "quantize_retrain").Metadata["quantized"], "conv1.weight=3,conv2.weight=2,fc1.weight=2,fc2.weight=1")
		})
	}
}

// The codes beside a model give its weights to the last bit, and the report is theirs.
func TestCodesRebuildTheWeights(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), quantizing()...)
	r := run(t, cfg)
	f := best(t, cfg, "quantize_retrain")
	state, err := checkpoint.Read(filepath.Join(folder(cfg), "checkpoints", "quantize_retrain", "best.state.safetensors"))
	require.NoError(t, err)
	require.Len(t, state.Tensors, 12)
	require.Len(t, r.Quantization.Layers, 4)
	var data, all int64
	for _, l := range r.Quantization.Layers {
		stored, ok := state.Get("codes." + l.Name)
		require.True(t, ok)
		codes, err := stored.Int8s()
		require.NoError(t, err)
		scale, levels := floats(t, state, "scale."+l.Name), floats(t, state, "levels."+l.Name)
		require.Equal(t, floats(t, f, l.Name), admm.Decode(codes, scale[0], levels), l.Name)
		model, _ := f.Get(l.Name)
		assert.Equal(t, model.Shape, stored.Shape)
		assert.Equal(t, scale[0], l.Scale)
		assert.Equal(t, l.Nonzero*int64(l.Bits), l.BitsData, "of a pruned layer the others take nothing")
		assert.Less(t, l.Nonzero, l.Weights)
		assert.Equal(t, 1<<l.Bits, l.Levels)
		data, all = data+l.BitsData, all+l.Weights
	}
	q := r.Quantization
	assert.Equal(t, data, q.WeightsBits)
	assert.Equal(t, data+4*32, q.BitsWithoutIndices)
	assert.Equal(t, r.Parameters-all, q.KeptFloat32)
	assert.Greater(t, q.CompressionWithoutIndices, q.CompressionWithIndices)

	same, err := trainer.SparsityOf(folder(cfg))
	require.NoError(t, err)
	assert.Equal(t, q, same.Quantization, "of the run's last model")
	none, err := trainer.SparsityOf(filepath.Join(folder(cfg), "checkpoints", "retrain", "best.safetensors"))
	require.NoError(t, err)
	assert.Nil(t, none.Quantization)

	f.Metadata["quantized_scales"] = strings.Replace(f.Metadata["quantized_scales"], "conv1.weight=", "conv1.weight=1", 1)
	broken := filepath.Join(t.TempDir(), "broken.safetensors")
	require.NoError(t, checkpoint.Write(broken, f))
	_, err = trainer.SparsityOf(broken)
	assert.ErrorContains(t, err, "conv1.weight is not quantised as its metadata says")
}

// Without pruning, from a model that is loaded: one pair, zero a level, and held zeros where the file has them.
func TestQuantizeAlone(t *testing.T) {
	first := trainer.Settings(t, t.TempDir(), "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=1", "prune.ratio=0", "prune.ratios={fc1: 0.9}")
	run(t, first)
	path := filepath.Join(folder(first), "checkpoints", "retrain", "best.safetensors")
	cfg := trainer.Settings(t, t.TempDir(), "model.load="+filepath.ToSlash(path), "pretrain.epochs=0", "admm.epochs=0", "retrain.epochs=0",
		"quantize.bits=2", "quantize.ends_last=false", "quantize_admm.epochs=1", "quantize_retrain.epochs=1")
	r := run(t, cfg)
	require.Len(t, r.Stages, 2)
	assert.Equal(t, "quantize_retrain", r.Stages[1].Stage)
	was, is := floats(t, best(t, first, "retrain"), "fc1.weight"), floats(t, best(t, cfg, "quantize_retrain"), "fc1.weight")
	for i := range was {
		require.Equal(t, was[i] == 0, is[i] == 0, "pruned weights stay zero, the others cannot become it")
	}
	for _, l := range r.Quantization.Layers {
		assert.Equal(t, map[bool]int{true: 4, false: 3}[l.Name == "fc1.weight"], l.Levels, l.Name)
		if l.Name != "fc1.weight" {
			assert.Equal(t, 2*l.Weights, l.BitsData, "a dense layer stores all its weights")
			assert.Less(t, l.Nonzero, l.Weights, "zero is a level")
			assert.Zero(t, l.IndexBits)
		}
	}
}

func TestQuantizeResumesExactly(t *testing.T) {
	resumesEverywhere(t, 20, quantizing("quantize_admm.epochs=1", "quantize_retrain.epochs=1", "pretrain.epochs=0", "admm.epochs=0", "evaluate.attacks=[]")...)
}

// With two workers, batch norm and dead channels, interrupted again and again.
func TestQuantizeResumesManyTimes(t *testing.T) {
	whole, cfg := resumesAgainAndAgain(t, func(times int) int { return 5 + times%4 }, quantizing("run.workers=2", "model.arch=lenet_bn", "prune.sparsity_type=bn_filter", "prune.ratio=0.5",
		"quantize.layers={fc2: 1, conv1: 4}", "quantize_admm.epochs=1", "quantize_retrain.epochs=1", "quantize_retrain.optimizer=sgd", "quantize_retrain.weight_decay=0.1")...)
	was, is := best(t, whole, "retrain"), best(t, cfg, "quantize_retrain")
	for _, name := range []string{"conv1_bn.weight", "conv1_bn.bias"} {
		zeros := 0
		for i, v := range floats(t, was, name) {
			if v == 0 {
				zeros++
				require.Zero(t, floats(t, is, name)[i], "a dead channel stays dead")
			}
		}
		assert.Equal(t, 10, zeros)
	}
}

func TestQuantizeStagesOneByOne(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), quantizing("pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0", "prune.ratio=0")...)
	train := func(stage string) error {
		options := trainer.Quiet()
		options.Stages = []string{stage}
		_, err := trainer.Run(context.Background(), cfg, options)
		return err
	}
	require.NoError(t, train("pretrain"))
	assert.ErrorContains(t, train("quantize_admm"), "stage quantize_admm starts from the model of quantize_retrain_1")
	for _, stage := range []string{"quantize_admm_1", "quantize_retrain_1", "quantize_admm"} {
		require.NoError(t, train(stage))
		at, err := trainer.CheckpointOf(folder(cfg))
		require.NoError(t, err)
		assert.Equal(t, stage, filepath.Base(filepath.Dir(at)))
	}
	whole := trainer.Settings(t, t.TempDir(), quantizing("pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0", "prune.ratio=0")...)
	run(t, whole)
	run(t, cfg)
	alike(t, whole, cfg)
}

func TestQuantizeRefusesUnknownLayers(t *testing.T) {
	for set, want := range map[string]string{
		"quantize.layers.conv9=3":    "there is no layer conv9",
		"quantize.layers.conv1_bn=3": "conv1_bn is a batch norm, which stays float32",
	} {
		cfg := trainer.Settings(t, t.TempDir(), quantizing("model.arch=lenet_bn", set)...)
		_, err := trainer.Run(context.Background(), cfg, trainer.Quiet())
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "--set "+set)
	}
}

// ADMM draws the weights to their levels: by the last update the distance has fallen.
func TestQuantizeADMMNearsTheLevels(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "admm.epochs=0", "retrain.epochs=0", "quantize.bits=1", "quantize.ends_last=false", "quantize_admm.epochs=8",
		"quantize_admm.update_every=1", "quantize_admm.rho=1", "quantize_admm.lr=1e-3", "quantize_admm.lr_schedule=constant", "quantize_retrain.epochs=1",
		"data.batch_size=4", "training.method=natural", "evaluate.attacks=[]")
	run(t, cfg)
	epochs := ofEpochs(t, folder(cfg), "quantize_admm")
	require.Len(t, epochs, 8)
	first, last := epochs[0]["admm/primal/fc1.weight"].(float64), epochs[7]["admm/primal/fc1.weight"].(float64)
	assert.Less(t, last, 0.7*first, strconv.FormatFloat(first, 'g', 4, 64))
	assert.False(t, math.IsNaN(last))
}
