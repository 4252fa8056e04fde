package trainer_test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/config"
)

// bestOf is the values of best, by tensor.
func bestOf(t *testing.T, cfg *config.Config, stage string) map[string][]float32 {
	t.Helper()
	out := map[string][]float32{}
	for _, x := range best(t, cfg, stage).Tensors {
		if v, err := x.Float32s(); err == nil { // else a counter
			out[x.Name] = v
		}
	}
	return out
}

var progressive = []string{"prune.ratio=0", "prune.ratios={conv2: 0.9, fc1: 0.99}", "prune.steps={count: 3, shape: cubic}",
	"pretrain.epochs=1", "admm.epochs=1", "admm.update_every=1", "retrain.epochs=1"}

func TestProgressive(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), progressive...)
	r := run(t, cfg)
	var names []string
	sparsity := 0.0
	for _, s := range r.Stages {
		names = append(names, s.Stage)
		assert.GreaterOrEqual(t, s.Sparsity, sparsity, s.Stage)
		sparsity = s.Sparsity
	}
	require.Equal(t, []string{"pretrain", "admm_1", "retrain_1", "admm_2", "retrain_2", "admm", "retrain"}, names)
	for _, l := range r.Sparsity.Layers {
		want := map[string]float64{"conv2.weight": 0.9, "fc1.weight": 0.99}[l.Name]
		assert.InDelta(t, want, l.Sparsity, 2/float64(l.Numel), l.Name)
	}
	// Cubic: 1-(2/3)^3 of the last ratio in the first step.
	zeros := func(stage, layer string) (n float64) {
		w := bestOf(t, cfg, stage)[layer]
		for _, v := range w {
			if v == 0 {
				n++
			}
		}
		return n / float64(len(w))
	}
	assert.InDelta(t, 0.9*19/27, zeros("retrain_1", "conv2.weight"), 1e-2)
	assert.InDelta(t, 0.99*26/27, zeros("retrain_2", "fc1.weight"), 1e-3)

	for _, pair := range [][2]string{{"retrain_1", "admm_2"}, {"admm_2", "retrain_2"}, {"retrain_2", "admm"}, {"admm", "retrain"}} {
		before, after := bestOf(t, cfg, pair[0]), bestOf(t, cfg, pair[1])
		moved := 0
		for _, layer := range []string{"conv2.weight", "fc1.weight"} {
			for i, v := range before[layer] {
				if v == 0 {
					require.Zero(t, after[layer][i], "%s of %s came back in %s", layer, pair[0], pair[1])
				} else if v != after[layer][i] {
					moved++
				}
			}
		}
		assert.Greater(t, moved, 10, "%v trained", pair)
	}
	rho := func(stage string) any { return ofEpochs(t, folder(cfg), stage)[0]["admm/rho"] }
	assert.InEpsilon(t, 4, rho("admm").(float64)/rho("admm_1").(float64), 1e-9, "rho doubles from step to step")
}

func TestProgressiveResumes(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	resumesAgainAndAgain(t, func(int) int { return 3 + random.IntN(30) }, append([]string{"evaluate.baselines=[gradual, scratch, mask, lottery]"}, progressive...)...)
}

// The original's masked_progressive: a pruned model is loaded and pruned further, and its zeros are held.
func TestHoldZeros(t *testing.T) {
	first := trainer.Settings(t, t.TempDir(), "prune.ratio=0.5", "retrain.epochs=1")
	run(t, first)
	load := filepath.Join(folder(first), "checkpoints", "retrain", "best.safetensors")
	before := bestOf(t, first, "retrain")
	back := func(hold string) (n int) {
		cfg := trainer.Settings(t, t.TempDir(), "model.load="+load, "pretrain.epochs=0", "prune.ratio=0.6", "prune.hold_zeros="+hold, "admm.lr=0.01", "retrain.epochs=0")
		run(t, cfg)
		for name, w := range bestOf(t, cfg, "admm") {
			for i, v := range before[name] {
				if v == 0 && w[i] != 0 {
					n++
				}
			}
		}
		return n
	}
	assert.Zero(t, back("true"))
	assert.Greater(t, back("false"), 100)
}

func TestStepsAlone(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), progressive...)
	o := trainer.Quiet()
	o.Stages = []string{"admm"}
	_, err := trainer.Run(t.Context(), cfg, o)
	var input *trainer.InputError
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "rapt run does them all")
}

// What the four further baselines are, by their zeros and their beginnings.
func TestPrunedBaselines(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "evaluate.baselines=[gradual, scratch, mask, lottery]", "prune.ratio=0.8", "pretrain.epochs=1",
		"pretrain.lr_schedule=constant", "admm.epochs=2", "retrain.epochs=1")
	r := run(t, cfg)
	require.Len(t, r.Baselines, 4)
	pruned := bestOf(t, cfg, "retrain")
	same := func(stage string) bool {
		for name, w := range bestOf(t, cfg, stage) {
			for i, v := range w {
				if (v == 0) != (pruned[name][i] == 0) {
					return false
				}
			}
		}
		return true
	}
	for i, want := range []struct {
		name   string
		epochs int
		same   bool
	}{{"gradual", 3, false}, {"scratch", 1, false}, {"mask", 1, true}, {"lottery", 1, true}} {
		b := r.Baselines[i]
		assert.Equal(t, want.name, b.Stage)
		assert.Equal(t, want.epochs, b.Epochs, b.Stage)
		assert.Equal(t, r.Sparsity.Sparsity, b.Sparsity, b.Stage)
		assert.Equal(t, want.same, same(b.Stage), "the mask is the pruned model's: %s", b.Stage)
	}
	hashes := map[string]bool{}
	for _, l := range r.Sparsity.Layers {
		assert.Len(t, l.MaskSHA256, 64)
		hashes[l.MaskSHA256] = true
	}
	assert.Len(t, hashes, len(r.Sparsity.Layers))
}

// Of gradual pruning, only a model with all of its zeros is chosen, even where those before it did better.
func TestGradualIsChosenAtItsEnd(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "training.method=natural", "data.train_limit=800", "data.validation=100", "prune.ratio=0.97",
		"pretrain.epochs=5", "pretrain.lr=3e-3", "pretrain.lr_schedule=constant", "admm.epochs=2", "retrain.epochs=1", "retrain.lr=1e-6", "evaluate.baselines=[gradual]")
	r := run(t, cfg)
	epochs := ofEpochs(t, folder(cfg), "gradual")
	require.Greater(t, epochs[0]["val/clean_acc"], epochs[2]["val/clean_acc"], "it did better at first")
	assert.Equal(t, epochs[2]["sparsity/total"], r.Baselines[0].Sparsity)
}
