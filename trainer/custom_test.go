package trainer_test

import (
	"context"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/checkpoint"
)

// customised takes a run's model out by export, and in again as a network of its own.
func customised(t *testing.T, run string) string {
	t.Helper()
	dir := t.TempDir()
	model, out := filepath.Join(dir, "net.onnx"), filepath.Join(dir, "net.safetensors")
	_, err := trainer.Export(trainer.ExportOptions{Path: run, Out: model})
	require.NoError(t, err)
	done, err := trainer.ImportModel(trainer.ImportOptions{Path: model, Out: out, Dataset: "digits"})
	require.NoError(t, err)
	assert.Equal(t, []any{"custom", 10, "digits"}, []any{done.Arch, done.Classes, done.Dataset})
	return out
}

// A network of its own is trained, pruned, quantised and judged as the same network of rapt's is, from the same weights.
func TestCustomNetwork(t *testing.T) {
	trainer.Compares(t)
	first := trainer.Settings(t, t.TempDir(), "model.arch=lenet_bn", "admm.epochs=0", "retrain.epochs=0", "data.mean=[0.13]", "data.std=[0.31]")
	run(t, first)
	custom := customised(t, folder(first))
	native := filepath.Join(folder(first), "checkpoints", "pretrain", "best.safetensors")

	sets := []string{"prune.ratio=0.5", "prune.sparsity_type=bn_filter", "data.mean=[0.13]", "data.std=[0.31]", "quantize.bits=4", "quantize_admm.epochs=1",
		"quantize_retrain.epochs=1", "evaluate.baselines=[one_shot, scratch, gradual]", "pretrain.epochs=1"}
	a := trainer.Settings(t, t.TempDir(), append(slices.Clone(sets), "model.arch=lenet_bn", "model.load="+native)...)
	b := trainer.Settings(t, t.TempDir(), append(slices.Clone(sets), "model.arch=custom", "model.load="+custom)...)
	want, got := run(t, a), run(t, b)
	assert.Equal(t, want.Parameters, got.Parameters)
	assert.Equal(t, "custom", got.Arch)
	for i := range want.Stages {
		assert.InDelta(t, want.Stages[i].Loss, got.Stages[i].Loss, 0.02*want.Stages[i].Loss, want.Stages[i].Stage)
		assert.InDelta(t, want.Stages[i].Sparsity, got.Stages[i].Sparsity, 1e-9)
	}
	judge := func(path string) []any {
		r, err := trainer.Evaluate(context.Background(), trainer.EvalOptions{Path: path, Attacks: []string{"pgd-5", "fgsm"}, Epsilon: 0.1, StepSize: 0.05, Limit: 40, Console: trainer.Quiet().Console})
		require.NoError(t, err)
		return []any{*r.CleanAccuracy, r.RobustAccuracy}
	}
	assert.Equal(t, judge(native), judge(custom), "attacked alike")

	small := filepath.Join(t.TempDir(), "small.safetensors")
	c, err := trainer.Compact(context.Background(), trainer.CompactOptions{Path: folder(b), Out: small, Console: trainer.Quiet().Console})
	require.NoError(t, err)
	assert.Less(t, c.Parameters.After, c.Parameters.Before/2)
	assert.Equal(t, judge(folder(b))[0], judge(small)[0])
	again := customised(t, small) // what compact leaves is a network of its own, too
	assert.Equal(t, judge(small)[0], judge(again)[0])
	further := trainer.Settings(t, t.TempDir(), "model.arch=custom", "model.load="+small, "data.mean=[0.13]", "data.std=[0.31]", "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0")
	assert.Equal(t, c.Parameters.After, run(t, further).Parameters)
	judge(folder(further))
	_, err = trainer.Plan(context.Background(), b, trainer.PlanOptions{Measure: true})
	require.NoError(t, err)
}

// A network for images of one's own says so, and is judged once they are given.
func TestCustomNetworkOfOwnImages(t *testing.T) {
	first := trainer.Settings(t, t.TempDir(), "admm.epochs=0", "retrain.epochs=0", "pretrain.epochs=1")
	run(t, first)
	dir := t.TempDir()
	model, out := filepath.Join(dir, "net.onnx"), filepath.Join(dir, "net.safetensors")
	_, err := trainer.Export(trainer.ExportOptions{Path: folder(first), Out: model})
	require.NoError(t, err)
	done, err := trainer.ImportModel(trainer.ImportOptions{Path: model, Out: out, Dataset: "image_folder"})
	require.NoError(t, err)
	assert.Equal(t, "image_folder", done.Dataset)
	_, err = trainer.Evaluate(context.Background(), trainer.EvalOptions{Path: out, Console: trainer.Quiet().Console})
	require.True(t, isInput(err), "%v", err)
}

// It goes on wherever it was stopped, as long as model.load describes the same network.
func TestCustomNetworkResumes(t *testing.T) {
	first := trainer.Settings(t, t.TempDir(), "admm.epochs=0", "retrain.epochs=0", "pretrain.epochs=1")
	run(t, first)
	custom := customised(t, folder(first))
	sets := []string{"model.arch=custom", "model.load=" + custom, "prune.sparsity_type=coupled_filter", "prune.ratio=0.5"}
	whole, broken := trainer.Settings(t, t.TempDir(), sets...), trainer.Settings(t, t.TempDir(), sets...)
	run(t, whole)
	_, err := trainer.Run(trainer.EndsAfter(9), broken, trainer.Quiet())
	require.ErrorIs(t, err, trainer.ErrInterrupted)
	kept, err := checkpoint.Read(custom)
	require.NoError(t, err)
	other := altered(t, custom, func(f *checkpoint.File) {
		f.Metadata["graph"] = f.Metadata["graph"][:len(f.Metadata["graph"])-1] + " }"
	})
	f, err := checkpoint.Read(other)
	require.NoError(t, err)
	require.NoError(t, checkpoint.Write(custom, f))
	_, err = trainer.Run(context.Background(), broken, trainer.Quiet())
	require.True(t, isInput(err), "%v", err)
	assert.ErrorContains(t, err, "describes another network of its own than the one that is trained")
	require.NoError(t, checkpoint.Write(custom, kept))
	run(t, broken)
	alike(t, whole, broken)
}

func TestCustomNetworkIsRefused(t *testing.T) {
	first := trainer.Settings(t, t.TempDir(), "admm.epochs=0", "retrain.epochs=0", "pretrain.epochs=1")
	run(t, first)
	native := filepath.Join(folder(first), "checkpoints", "pretrain", "best.safetensors")
	custom := customised(t, folder(first))
	bad := altered(t, custom, func(f *checkpoint.File) {
		f.Metadata["graph"] = `{"input":[1,28,28],"nodes":[{"op":"relu","from":[-1]}]}`
	})
	for want, sets := range map[string][]string{
		"model.arch is custom, which is the network that a checkpoint describes: model.load must name that one": {"model.arch=custom"},
		"describes no network of its own: it is a \"lenet_adv\"":                                                {"model.arch=custom", "model.load=" + native},
		"has no width multiplier":                           {"model.arch=custom", "model.load=" + custom, "model.width=2"},
		"holds a \"custom\", not a \"lenet_adv\"":           {"model.load=" + custom},
		"the network ends in numbers of the shape":          {"model.arch=custom", "model.load=" + bad},
		"none.safetensors":                                  {"model.arch=custom", "model.load=none.safetensors"},
		"the network takes images of 1 x 28 x 28, not of 3": {"model.arch=custom", "model.load=" + custom, "data.dataset=image_folder", "data.dir=" + colours(t), "data.cache_dir=" + t.TempDir()},
	} {
		_, err := trainer.Run(context.Background(), trainer.Settings(t, t.TempDir(), sets...), trainer.Quiet())
		assert.ErrorContains(t, err, want)
	}
	model := filepath.Join(t.TempDir(), "net.onnx")
	_, err := trainer.Export(trainer.ExportOptions{Path: folder(first), Out: model})
	require.NoError(t, err)
	_, err = trainer.ImportModel(trainer.ImportOptions{Path: model, Out: filepath.Join(t.TempDir(), "net.safetensors"), Dataset: "cifar10"})
	assert.ErrorContains(t, err, "net.onnx: it takes images of 1 x 28 x 28, and those of cifar10 are 3 x 32 x 32")
	_, err = trainer.Evaluate(context.Background(), trainer.EvalOptions{Path: bad, Console: trainer.Quiet().Console})
	require.True(t, isInput(err), "%v", err)
	assert.ErrorContains(t, err, bad)
}
