package trainer_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/trainer"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// bestFile is where a stage's chosen model lies.
func bestFile(cfg *config.Config, stage string) string {
	return filepath.Join(folder(cfg), "checkpoints", stage, "best.safetensors")
}

// Stage compact trains the network that rapt compact makes of the retrained one: it begins with its weights, and is of the size that the plan says.
func TestTheSmallerNetworkOfARun(t *testing.T) {
	trainer.Compares(t)
	for name, sets := range map[string][]string{
		"coupled_filter": {"prune.sparsity_type=coupled_filter", "model.arch=resnet18_adv", "model.width=1", "pretrain.epochs=1", "data.train_limit=100"},
		"filter":         {"prune.sparsity_type=filter"},
		"bn_filter":      {"prune.sparsity_type=bn_filter", "model.arch=lenet_bn", "model.width=1"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, report := judged(t, append(sets, "compact.epochs=1", "compact.optimizer=sgd", "compact.lr=1e-12", "compact.momentum=0", "compact.weight_decay=0", "run.workers=2")...)
			path, c := compact(t, bestFile(cfg, "retrain"))
			retrained, small := report.Stages[len(report.Stages)-2], report.Stages[len(report.Stages)-1]
			require.Equal(t, "compact", small.Stage)
			assert.Equal(t, c.Parameters.After, report.Parameters)
			assert.Equal(t, c.Parameters.After, small.Parameters)
			assert.Zero(t, retrained.Parameters, "it is the whole network")
			require.NotNil(t, small.Reduction)
			assert.Equal(t, c.Parameters, small.Reduction.Parameters)
			assert.Equal(t, c.MACs, small.Reduction.MACs)
			assert.Equal(t, c.Channels, small.Reduction.Channels)
			assert.Equal(t, 30, small.Reduction.Images)
			assert.Equal(t, 30, small.Reduction.SameClass)

			want, err := checkpoint.Read(path)
			require.NoError(t, err)
			got, err := checkpoint.Read(bestFile(cfg, "compact"))
			require.NoError(t, err)
			assert.Equal(t, want.Metadata["channels"], got.Metadata["channels"])
			require.Len(t, got.Tensors, len(want.Tensors))
			statistics := 0
			for _, w := range want.Tensors {
				g, ok := got.Get(w.Name)
				require.True(t, ok, w.Name)
				require.Equal(t, w.Shape, g.Shape, w.Name)
				if filepath.Ext(w.Name) == ".running_mean" || filepath.Ext(w.Name) == ".running_var" || filepath.Ext(w.Name) == ".num_batches_tracked" {
					statistics++
					continue // they follow the batches
				}
				a, err := w.Float32s()
				require.NoError(t, err)
				b, err := g.Float32s()
				require.NoError(t, err)
				assert.InDeltaSlice(t, a, b, 1e-6, w.Name)
			}
			if statistics == 0 {
				assert.Equal(t, retrained.CleanAccuracy, small.CleanAccuracy)
			}

			judgedAgain := evaluate(t, trainer.EvalOptions{Path: folder(cfg)})
			assert.Equal(t, bestFile(cfg, "compact"), judgedAgain.Checkpoint)
			assert.Equal(t, report.CleanAccuracy, judgedAgain.CleanAccuracy)
			assert.Equal(t, report.RobustAccuracy, judgedAgain.RobustAccuracy)
			assert.Equal(t, report.Channels, judgedAgain.Channels)
			assert.Equal(t, report.Parameters, judgedAgain.Parameters)
			assert.Equal(t, report.Sparsity, judgedAgain.Sparsity)

			whole, err := trainer.SparsityOf(bestFile(cfg, "retrain"))
			require.NoError(t, err)
			left := report.Sparsity.Weights - report.Sparsity.Zeros
			assert.InDelta(t, 1-float64(left)/float64(whole.Sparsity.Weights), small.Sparsity, 1e-12)
			assert.InDelta(t, float64(whole.Sparsity.Weights)/float64(left), small.Compression, 1e-12)

			plan, err := trainer.Plan(t.Context(), cfg, trainer.PlanOptions{Measure: true})
			require.NoError(t, err)
			if name == "coupled_filter" {
				assert.Equal(t, plan.Parameters.Shrunk, report.Parameters)
			}
			require.Len(t, plan.Time.Stages, 3)
			assert.Equal(t, "compact", plan.Time.Stages[2].Stage)
			assert.Positive(t, plan.Time.Stages[2].StepMS)
		})
	}
}

// What is still zero in the smaller network stays so, and single weights leave most channels: then the whole network is trained on.
func TestTheSmallerNetworksZeros(t *testing.T) {
	sparse := trainer.Settings(t, t.TempDir(), "prune.ratio=0.5", "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=1")
	run(t, sparse)
	for name, sets := range map[string][]string{
		"irregular": {"prune.sparsity_type=irregular", "prune.ratio=0.5"},
		"held":      {"prune.sparsity_type=coupled_filter", "prune.ratio=0.5", "prune.hold_zeros=true", "model.load=" + bestFile(sparse, "retrain"), "pretrain.epochs=0", "admm.epochs=0"},
		"sums":      {"prune.sparsity_type=filter", "prune.ratio=0.5", "model.arch=resnet18_adv", "model.width=2", "training.method=natural", "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=1"},
	} {
		cfg := trainer.Settings(t, t.TempDir(), append(sets, "compact.epochs=2", "compact.lr=1e-2", "compact.weight_decay=1e-2")...)
		report := run(t, cfg)
		before := filepath.Join(t.TempDir(), "small.safetensors")
		_, err := trainer.Compact(t.Context(), trainer.CompactOptions{Path: bestFile(cfg, "retrain"), Out: before, Device: "cpu"})
		if name == "irregular" {
			require.ErrorContains(t, err, "has no channel that could be taken out")
			log, err := os.ReadFile(filepath.Join(folder(cfg), "log.txt"))
			require.NoError(t, err)
			assert.Contains(t, string(log), "the network has no channel that could be taken out")
			before = bestFile(cfg, "retrain")
		} else {
			require.NoError(t, err)
		}
		whole, err := trainer.SparsityOf(bestFile(cfg, "retrain"))
		require.NoError(t, err)
		began, err := trainer.SparsityOf(before)
		require.NoError(t, err)
		require.Positive(t, began.Sparsity.Zeros, name)
		for i, l := range began.Sparsity.Layers {
			if whole.Sparsity.Layers[i].Zeros == 0 {
				continue // it was not pruned: what reads a channel that holds nothing may begin at 0
			}
			assert.Equal(t, l.Zeros, report.Sparsity.Layers[i].Zeros, "%s: %s", name, l.Name)
			assert.Equal(t, l.MaskSHA256, report.Sparsity.Layers[i].MaskSHA256, "%s: %s", name, l.Name)
		}
	}
}

// A pruned network that a run loads keeps all of its zeros, whatever the config says of pruning, and goes on to be quantised with them.
func TestALoadedNetworksZeros(t *testing.T) {
	for kind, ratio := range map[string]string{"irregular": "0.9", "column": "0.5", "filter": "0.5"} {
		pruned := trainer.Settings(t, t.TempDir(), "prune.sparsity_type="+kind, "prune.ratio="+ratio, "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=1")
		run(t, pruned)
		for _, sets := range [][]string{{"prune.sparsity_type=" + kind, "prune.ratio=" + ratio}, {"prune.sparsity_type=coupled_filter", "prune.ratio=0.5"}, {"prune.ratio=0", "quantize.bits=4", "quantize_retrain.epochs=1"}} {
			cfg := trainer.Settings(t, t.TempDir(), append(sets, "model.load="+bestFile(pruned, "retrain"), "pretrain.epochs=0", "admm.epochs=0", "retrain.epochs=0", "compact.epochs=1", "compact.lr=1e-2")...)
			report := run(t, cfg)
			small := filepath.Join(t.TempDir(), "small.safetensors")
			if _, err := trainer.Compact(t.Context(), trainer.CompactOptions{Path: bestFile(pruned, "retrain"), Out: small, Device: "cpu"}); err != nil {
				small = bestFile(pruned, "retrain")
			}
			began, err := trainer.SparsityOf(small)
			require.NoError(t, err)
			require.Positive(t, began.Sparsity.Zeros)
			for i, l := range began.Sparsity.Layers {
				if l.Zeros > 0 { // of others 0 may be a level
					assert.Equal(t, l.MaskSHA256, report.Sparsity.Layers[i].MaskSHA256, "%s by %v: %s, %d zeros", kind, sets, l.Name, l.Zeros)
				}
			}
		}
	}
}

// A run that is stopped anywhere in the stages of the smaller network, or before or after them, ends where an unbroken one ends.
func TestTheSmallerNetworkGoesOn(t *testing.T) {
	resumesEverywhere(t, 12, "prune.sparsity_type=coupled_filter", "prune.ratio=0.5", "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=1", "compact.epochs=2", "compact.lr=1e-3")
}

// The stages that quantise go on with the smaller network, also where they are stopped, and on several devices; baselines are the whole one.
func TestTheSmallerNetworkIsQuantised(t *testing.T) {
	trainer.Compares(t)
	sets := []string{"pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=1", "compact.epochs=2", "compact.lr=1e-3", "model.width=2", "run.workers=2", "prune.sparsity_type=filter", "prune.ratio=0", "prune.budget={keep: 0.4, method: global}", "quantize.bits=4", "quantize_admm.epochs=1", "quantize_retrain.epochs=1",
		"evaluate.baselines=[one_shot, mask]"}
	resumesAgainAndAgain(t, func(times int) int { return 3 + 2*times }, sets...)
	shared, apart := trainer.Settings(t, t.TempDir(), sets...), trainer.Settings(t, t.TempDir(), sets...)
	want := run(t, shared)
	trainer.Apart(t, func() { run(t, apart) }, torch.CPU, torch.CPU)
	alike(t, shared, apart)

	require.Equal(t, []string{"pretrain", "retrain", "compact", "quantize_admm_1", "quantize_retrain_1", "quantize_admm", "quantize_retrain"}, namesOf(want))
	for _, st := range want.Stages[2:] {
		assert.Equal(t, want.Parameters, st.Parameters, st.Stage)
		assert.Equal(t, st.Stage == "compact", st.Reduction != nil, st.Stage)
	}
	require.NotNil(t, want.Quantization)
	assert.Greater(t, want.Stages[6].Sparsity, 0.5)
	got := evaluate(t, trainer.EvalOptions{Path: folder(shared)})
	assert.Equal(t, want.RobustAccuracy, got.RobustAccuracy)
	assert.Equal(t, want.Quantization, got.Quantization)
	for _, b := range want.Baselines {
		assert.Zero(t, b.Parameters, "%s is the whole network", b.Stage)
	}
}

// What may go with each other method in training may in stage compact.
func TestTheSmallerNetworkByEachMethod(t *testing.T) {
	trainer.Compares(t)
	for _, sets := range [][]string{
		{"training.method=trades", "training.ema_decay=0.9", "training.awp_gamma=0.01"},
		{"training.method=free", "training.replays=2"},
		{"training.method=fgsm_rs", "training.guard_drop=0.01", "compact.epochs=4"},
		{"prune.steps={count: 2, shape: linear}", "data.augment.crop=2"},
	} {
		resumesAgainAndAgain(t, func(times int) int { return 3 + 2*times }, append([]string{"model.arch=lenet_bn", "prune.sparsity_type=coupled_filter", "prune.ratio=0.5", "pretrain.epochs=1", "admm.epochs=1",
			"retrain.epochs=1", "compact.epochs=2", "compact.lr=1e-3"}, sets...)...)
	}
}

// The stage can be done alone, in its turn, and of a pruned network that a run loads.
func TestTheSmallerNetworkAlone(t *testing.T) {
	sets := []string{"prune.sparsity_type=coupled_filter", "prune.ratio=0.5", "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=1", "compact.epochs=1"}
	whole, cfg := trainer.Settings(t, t.TempDir(), sets...), trainer.Settings(t, t.TempDir(), sets...)
	run(t, whole)
	only := func(stage string) error {
		options := trainer.Quiet()
		options.Stages = []string{stage}
		_, err := trainer.Run(context.Background(), cfg, options)
		return err
	}
	require.NoError(t, only("pretrain"))
	err := only("compact")
	require.True(t, isInput(err), "%v", err)
	assert.ErrorContains(t, err, "stage compact starts from the model of retrain")
	require.NoError(t, only("retrain"))
	require.NoError(t, only("compact"))
	run(t, cfg)
	alike(t, whole, cfg)

	loads := trainer.Settings(t, t.TempDir(), "model.load="+bestFile(whole, "retrain"), "prune.ratio=0", "pretrain.epochs=0", "admm.epochs=0", "retrain.epochs=0", "compact.epochs=1")
	report := run(t, loads)
	assert.Equal(t, storedReport(t, folder(whole)).Parameters, report.Parameters)
	plan, err := trainer.Plan(t.Context(), loads, trainer.PlanOptions{Measure: true})
	require.NoError(t, err)
	assert.Equal(t, report.Parameters, plan.Parameters.Shrunk)
	assert.Equal(t, "compact", plan.Memory.Stage)
	assert.Positive(t, plan.Memory.Total)

	again := trainer.Settings(t, t.TempDir(), append(sets, "model.load="+bestFile(loads, "compact"))...) // a smaller network's smaller network
	assert.Less(t, run(t, again).Parameters, report.Parameters/2)
}

func TestTheSmallerNetworkIsRefused(t *testing.T) {
	for _, c := range []struct {
		sets []string
		want string
	}{
		{[]string{"data.dataset=image_folder", "data.dir=" + colours(t), "model.arch=shufflenetg2", "data.train_limit=16", "data.validation=8", "compact.epochs=1"}, "compact.epochs is 1, but the channels of shufflenetg2 are shuffled, split or grouped, or go ways that rapt does not follow, and none can be taken out"},
	} {
		cfg := trainer.Settings(t, t.TempDir(), c.sets...)
		_, err := trainer.Run(t.Context(), cfg, trainer.Quiet())
		require.True(t, isInput(err), "%v", err)
		assert.ErrorContains(t, err, c.want)
		assert.NoDirExists(t, folder(cfg))
	}
}

func namesOf(r *metrics.Report) (names []string) {
	for _, st := range r.Stages {
		names = append(names, st.Stage)
	}
	return names
}
