package trainer_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/trainer"
	"rapt/trainer/checkpoint"
)

// half is a network whose channels were pruned by half and taken out.
func half(t *testing.T, sets ...string) string {
	t.Helper()
	cfg, _ := judged(t, append([]string{"prune.sparsity_type=coupled_filter", "pretrain.epochs=1"}, sets...)...)
	out, _ := compact(t, folder(cfg))
	return out
}

// The smaller network is trained, pruned, judged and compacted like a whole one.
func TestACompactedModelGoesOn(t *testing.T) {
	trainer.Compares(t)
	for arch, want := range map[string]struct{ before, after map[string]int64 }{
		"lenet_adv":    {map[string]int64{"conv1": 2, "conv2": 4, "fc1": 64}, map[string]int64{"conv1": 1, "conv2": 2, "fc1": 32}},
		"resnet18_adv": {map[string]int64{"conv1": 4, "layer1.0.conv1": 4, "layer4.1.conv2": 32}, map[string]int64{"conv1": 2, "layer1.0.conv1": 2, "layer4.1.conv2": 16}},
	} {
		t.Run(arch, func(t *testing.T) {
			small := half(t, "model.arch="+arch, "data.train_limit=60")
			size, err := trainer.SparsityOf(small)
			require.NoError(t, err)
			cfg := trainer.Settings(t, t.TempDir(), "model.arch="+arch, "model.width=2", "model.load="+small, "data.train_limit=60", "pretrain.epochs=1", "pretrain.lr=1e-3", "admm.epochs=1",
				"retrain.epochs=1", "prune.sparsity_type=coupled_filter", "prune.ratio=0.5", "run.workers=2")
			plan, err := trainer.Plan(t.Context(), cfg, trainer.PlanOptions{})
			require.NoError(t, err)
			report := run(t, cfg)
			assert.Equal(t, size.Parameters, report.Parameters)
			assert.Equal(t, size.Parameters, plan.Parameters.Before)
			for layer, n := range want.before {
				assert.Equal(t, n, size.Channels[layer], layer)
				assert.Equal(t, n, report.Channels[layer], layer)
				assert.Equal(t, n, plan.Channels[layer], layer)
			}
			assert.InDelta(t, 0.5, report.Sparsity.Sparsity, 0.05)
			for _, stage := range []string{"pretrain", "admm", "retrain"} {
				meta, _, err := checkpoint.ReadHeader(filepath.Join(folder(cfg), "checkpoints", stage, "best.safetensors"))
				require.NoError(t, err)
				assert.Contains(t, meta["channels"], "conv1=")
				assert.Empty(t, meta["compacted_from"], "it was trained since")
			}
			got := evaluate(t, trainer.EvalOptions{Path: folder(cfg)})
			assert.Equal(t, report.CleanAccuracy, got.CleanAccuracy)
			assert.Equal(t, report.RobustAccuracy, got.RobustAccuracy)

			again, c := compact(t, folder(cfg))
			assert.Equal(t, plan.Parameters.Shrunk, c.Parameters.After)
			assert.Equal(t, plan.MACs.Shrunk, c.MACs.After)
			left, err := trainer.SparsityOf(again)
			require.NoError(t, err)
			for layer, n := range want.after {
				assert.Equal(t, n, left.Channels[layer], layer)
			}
		})
	}
}

// Training begins with the file's weights, and goes on where it was stopped, also on several devices.
func TestACompactedModelsTraining(t *testing.T) {
	small := half(t)
	sets := []string{"model.width=2", "model.load=" + small, "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0"}
	still := trainer.Settings(t, t.TempDir(), append(sets, "pretrain.lr=1e-12", "pretrain.warmup_epochs=0")...)
	run(t, still)
	want, err := checkpoint.Read(small)
	require.NoError(t, err)
	got, err := checkpoint.Read(filepath.Join(folder(still), "checkpoints", "pretrain", "best.safetensors"))
	require.NoError(t, err)
	for _, w := range want.Tensors {
		g, ok := got.Get(w.Name)
		require.True(t, ok, w.Name)
		assert.Equal(t, w.Shape, g.Shape, w.Name)
		a, err := w.Float32s()
		require.NoError(t, err)
		b, err := g.Float32s()
		require.NoError(t, err)
		assert.InDeltaSlice(t, a, b, 1e-6, w.Name)
	}

	quantized := append(sets[:3:3], "prune.sparsity_type=filter", "prune.ratio=0.5", "admm.epochs=1", "retrain.epochs=1", "quantize.bits=4", "quantize_admm.epochs=1",
		"quantize_retrain.epochs=1", "quantize.ends_last=false", "run.workers=2")
	resumesAgainAndAgain(t, func(times int) int { return 3 + 2*times }, quantized...)
	trainer.Apart(t, func() {
		report := run(t, trainer.Settings(t, t.TempDir(), quantized...))
		assert.Equal(t, int64(2), report.Channels["conv1"])
	}, torch.CPU, torch.CPU)
}

func TestACompactedModelsConfig(t *testing.T) {
	small := half(t)
	lying := func(channels string) string {
		return altered(t, small, func(f *checkpoint.File) { f.Metadata["channels"] = channels })
	}
	for _, c := range []struct {
		sets []string
		want string
	}{
		{[]string{"model.width=1", "model.load=" + small}, "holds a lenet_adv of width \"2\", not 1"},
		{[]string{"model.arch=lenet", "model.load=" + small}, `holds a "lenet_adv", not a "lenet"`},
		{[]string{"model.width=2", "model.load=" + lying("conv1")}, `"channels" in its metadata: "conv1" is no layer=channels`},
		{[]string{"model.width=2", "model.load=" + lying("conv1=9")}, "conv1 of lenet_adv has 1 to 4 channels, not 9"},
		{[]string{"model.width=2", "model.load=" + lying("conv1=1")}, "conv1.weight has shape"},
	} {
		cfg := trainer.Settings(t, t.TempDir(), c.sets...)
		_, err := trainer.Run(t.Context(), cfg, trainer.Quiet())
		require.True(t, isInput(err), "%v", err)
		assert.ErrorContains(t, err, c.want)
		assert.NoDirExists(t, folder(cfg))
	}
}

// A run does not go on with another network, though the config is the same.
func TestACompactedModelMayNotChange(t *testing.T) {
	small := half(t)
	path := filepath.Join(t.TempDir(), "model.safetensors")
	load := func(from string) {
		f, err := checkpoint.Read(from)
		require.NoError(t, err)
		require.NoError(t, checkpoint.Write(path, f))
	}
	load(small)
	cfg := trainer.Settings(t, t.TempDir(), "model.width=2", "model.load="+path, "pretrain.epochs=2", "admm.epochs=0", "retrain.epochs=0")
	_, err := trainer.Run(trainer.EndsAfter(6), cfg, trainer.Quiet())
	require.ErrorIs(t, err, trainer.ErrInterrupted)
	load(half(t, "prune.ratio=0.75"))
	_, err = trainer.Run(t.Context(), cfg, trainer.Quiet())
	require.True(t, isInput(err), "%v", err)
	assert.ErrorContains(t, err, "other channels left")
}

// prune.round_to is kept by plain ratios, by a budget and by what a run stores for itself, to the smaller network.
func TestChannelsAreRounded(t *testing.T) {
	for name, c := range map[string]struct {
		sets []string
		want map[string]int64 // of conv1's 4, conv2's 8, fc1's 128
	}{
		"ratio":    {[]string{"prune.ratio=0.7"}, map[string]int64{"conv1": 4, "conv2": 4, "fc1": 40}},
		"budget":   {[]string{"prune.ratio=0", "prune.budget={keep: 0.3}"}, map[string]int64{"conv1": 4, "conv2": 4, "fc1": 32}}, // 0.3 of 52,356, less 1,280, 100 and 400, is 35 rows of 392
		"global":   {[]string{"prune.ratio=0", "prune.budget={keep: 0.3, method: global}"}, nil},
		"searched": {[]string{"prune.ratio=0", "prune.budget={keep: 0.3, method: sensitivity}"}, nil},
	} {
		cfg, _ := judged(t, append([]string{"prune.sparsity_type=coupled_filter", "prune.round_to=4", "pretrain.epochs=1"}, c.sets...)...)
		out, _ := compact(t, folder(cfg))
		report, err := trainer.SparsityOf(out)
		require.NoError(t, err)
		for layer, n := range report.Channels {
			assert.Zero(t, n%4, "%s: %s has %d", name, layer, n)
		}
		if c.want != nil {
			assert.Equal(t, c.want, report.Channels, name)
		}
	}
}

// Each layer pruned on its own leaves what it adds behind: the plan says where that keeps channels in use.
func TestPlanOfWeighedChannels(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "data.dataset=image_folder", "data.dir="+colours(t), "model.arch=senet18", "model.width=1", "data.train_limit=16", "data.test_limit=4", "data.validation=8",
		"data.batch_size=8", "training.method=natural", "evaluate.attacks=[]", "prune.sparsity_type=filter", "prune.ratio=0.5")
	plan, err := trainer.Plan(t.Context(), cfg, trainer.PlanOptions{})
	require.NoError(t, err)
	why := map[string]string{}
	for _, l := range plan.Layers {
		why[l.Name] = l.Why
	}
	assert.Empty(t, why["layer2.0.fc1.weight"])
	assert.Contains(t, why["layer2.0.fc2.weight"], "it weighs channels")
	assert.Contains(t, why["layer2.0.conv2.weight"], "its channels are weighed")
	assert.Contains(t, plan.Coupled, []string{"layer2.0.conv2", "layer2.0.shortcut.0", "layer2.1.conv2", "layer2.0.fc2", "layer2.1.fc2"})
}

// Channels that are joined, or weighed, are pruned with all that sees them, and are gone then: as many as the plan says.
func TestCoupledFiltersOfJoinedAndWeighedChannels(t *testing.T) {
	trainer.Compares(t)
	data := colours(t)
	for _, arch := range []string{"densenet_cifar", "senet18"} {
		cfg := trainer.Settings(t, t.TempDir(), "data.dataset=image_folder", "data.dir="+data, "model.arch="+arch, "model.width=1", "data.train_limit=16", "data.test_limit=4", "data.validation=8",
			"data.batch_size=8", "training.method=natural", "evaluate.attacks=[]", "pretrain.epochs=1", "admm.epochs=1", "retrain.epochs=1", "prune.sparsity_type=coupled_filter", "prune.ratio=0.5")
		plan, err := trainer.Plan(t.Context(), cfg, trainer.PlanOptions{})
		require.NoError(t, err)
		for _, l := range plan.Layers {
			if l.Ratio > 0 {
				assert.True(t, l.Shrinks && l.Why == "", "%s: %s", l.Name, l.Why)
			}
		}
		report := run(t, cfg)
		assert.InDelta(t, 0.5, report.Sparsity.Sparsity, 0.02, arch)
		_, c := compact(t, folder(cfg))
		assert.Equal(t, plan.Parameters.Shrunk, c.Parameters.After, arch)
		assert.Equal(t, plan.MACs.Shrunk, c.MACs.After, arch)
		assert.Less(t, c.Parameters.After, c.Parameters.Before*3/10, arch)
	}
}
