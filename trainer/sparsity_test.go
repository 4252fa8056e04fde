package trainer_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
	"rapt/trainer"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

func TestRetrainHoldsTheMask(t *testing.T) {
	optimizers := map[string][]string{
		"sgd":  {"retrain.optimizer=sgd", "retrain.lr=0.05", "retrain.momentum=0.9", "retrain.nesterov=true", "retrain.weight_decay=1e-3"},
		"adam": {"retrain.optimizer=adam", "retrain.lr=2e-3", "retrain.weight_decay=1e-3"},
	}
	for kind, arch := range map[admm.Type]string{admm.Irregular: "lenet_adv", admm.Filter: "lenet_adv", admm.Column: "lenet_adv", admm.BNFilter: "lenet_bn"} {
		for name, optimizer := range optimizers {
			t.Run(string(kind)+" "+name, func(t *testing.T) {
				cfg := trainer.Settings(t, t.TempDir(), append(optimizer, "pretrain.epochs=0", "admm.epochs=0", "model.width=1", "prune.ratio=0.6", "training.method=natural",
					"model.arch="+arch, "prune.sparsity_type="+string(kind))...)
				r := run(t, cfg)
				require.NotEmpty(t, r.Sparsity.Layers)
				for i, l := range r.Sparsity.Layers {
					want := admm.Pruned(admm.Groups(kind, l.Shape), 0.6)
					switch kind {
					case admm.Filter:
						if i == len(r.Sparsity.Layers)-1 {
							want = 0 // the last layer's rows are the classes
						}
						assert.Equal(t, want, l.ZeroFilters, l.Name)
						assert.Equal(t, want*l.Columns, l.Zeros, l.Name)
					case admm.Column:
						assert.Equal(t, want, l.ZeroColumns, l.Name)
						assert.Equal(t, want*l.Filters, l.Zeros, l.Name)
					default:
						assert.Equal(t, want, l.Zeros, l.Name)
					}
				}
				assert.Equal(t, string(kind), r.Sparsity.Type)
				last, err := checkpoint.Read(filepath.Join(folder(cfg), "checkpoints", "retrain", "last.safetensors"))
				require.NoError(t, err)
				for _, l := range r.Sparsity.Layers {
					w, ok := last.Get(l.Name)
					require.True(t, ok)
					data, err := w.Float32s()
					require.NoError(t, err)
					assert.Equal(t, l, metrics.LayerOf(l.Name, w.Shape, data), "the last model has the zeros of the best")
				}
				if kind == admm.BNFilter {
					shiftsFollow(t, last, "conv1_bn", "conv2_bn", "fc1_bn")
				}
				for _, row := range ofEpochs(t, folder(cfg), "retrain") {
					assert.Equal(t, r.Sparsity.Sparsity, row["sparsity/total"])
					assert.Equal(t, r.Sparsity.Layers[0].Sparsity, row["sparsity/"+r.Sparsity.Layers[0].Name])
				}
			})
		}
	}
}

// shiftsFollow asserts that a channel without its scale has no shift either, and that others have.
func shiftsFollow(t *testing.T, f *checkpoint.File, layers ...string) {
	t.Helper()
	for _, layer := range layers {
		read := func(name string) []float32 {
			x, ok := f.Get(layer + name)
			require.True(t, ok)
			data, err := x.Float32s()
			require.NoError(t, err)
			return data
		}
		scale, shift := read(".weight"), read(".bias")
		for i := range scale {
			assert.Equal(t, scale[i] == 0, shift[i] == 0, "%s, channel %d", layer, i)
		}
	}
}

func TestRatiosOfLayers(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "prune.ratio=0", "prune.ratios={conv2: 0.5, fc1.weight: 0.75}", "admm.epochs=1", "retrain.epochs=1")
	for _, l := range run(t, cfg).Sparsity.Layers {
		ratio := map[string]float64{"conv2.weight": 0.5, "fc1.weight": 0.75}[l.Name]
		assert.Equal(t, admm.Pruned(l.Numel, ratio), l.Zeros, l.Name)
	}
	for _, row := range ofEpochs(t, folder(cfg), "admm") {
		assert.Contains(t, row, "admm/primal/conv2.weight")
		assert.NotContains(t, row, "admm/primal/conv1.weight")
	}
}

// stored is what a stage's last checkpoint says of ADMM.
func stored(t *testing.T, dir string) (rho float64, u, z []float32) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "checkpoints", "admm", "last.json"))
	require.NoError(t, err)
	var seal struct{ Info struct{ Rho float64 } }
	require.NoError(t, json.Unmarshal(data, &seal))
	f, err := checkpoint.Read(filepath.Join(dir, "checkpoints", "admm", "last.state.safetensors"))
	require.NoError(t, err)
	read := func(name string) []float32 {
		x, ok := f.Get(name)
		require.True(t, ok, name)
		data, err := x.Float32s()
		require.NoError(t, err)
		return data
	}
	return seal.Info.Rho, read("u.fc1.weight"), read("z.fc1.weight")
}

func TestADMMUpdates(t *testing.T) {
	sets := []string{"pretrain.epochs=1", "retrain.epochs=0", "admm.epochs=5", "admm.update_every=2", "admm.rho=0.1", "admm.rho_growth=1.5", "admm.lr_schedule=constant"}
	cfg := trainer.Settings(t, t.TempDir(), sets...)
	run(t, cfg)
	epochs := ofEpochs(t, folder(cfg), "admm")
	require.Len(t, epochs, 5)
	layers := []string{"conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"}
	rho := 0.1
	for i, row := range epochs {
		due := i%2 == 1
		for _, name := range []string{"admm/rho", "admm/loss", "admm/hard_prune_clean_acc", "admm/hard_prune_pgd_acc"} {
			assert.Equal(t, due, row[name] != nil, "%s in epoch %d", name, i+1)
		}
		for _, l := range layers {
			assert.Equal(t, due, row["admm/primal/"+l] != nil)
			assert.Equal(t, due, row["admm/dual/"+l] != nil)
			if due {
				assert.Positive(t, row["admm/primal/"+l], "W is not yet pruned")
			}
		}
		if due {
			rho *= 1.5
			assert.InEpsilon(t, rho, row["admm/rho"], 1e-12)
			assert.Positive(t, row["admm/loss"])
		}
	}
	got, u, z := stored(t, folder(cfg))
	assert.InEpsilon(t, rho, got, 1e-12)
	zeros, moved := 0, 0
	for i := range z {
		if z[i] == 0 {
			zeros++
		}
		if u[i] != 0 {
			moved++
		}
	}
	assert.Equal(t, admm.Pruned(int64(len(z)), 0.9), int64(zeros), "Z is pruned")
	assert.Greater(t, moved, len(u)/2, "U has moved")

	early := trainer.Settings(t, t.TempDir(), append(sets, "admm.epochs=1")...)
	run(t, early)
	got, u, _ = stored(t, folder(early))
	assert.Equal(t, 0.1, got)
	for _, v := range u {
		require.Zero(t, v, "no update was due yet")
	}
	r := storedReport(t, folder(cfg))
	assert.Zero(t, r.Sparsity.Sparsity, "ADMM itself leaves the weights dense")
	sameTensors(t, map[string]string{"x": tensors(t, folder(cfg))["checkpoints/admm/best.safetensors"]},
		map[string]string{"x": tensors(t, folder(cfg))["checkpoints/admm/last.safetensors"]}, "ADMM hands on its last model")
}
