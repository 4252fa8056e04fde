package trainer_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

func TestCompactStaysOffItsSource(t *testing.T) {
	cfg, _ := judged(t, "prune.ratio=0.5", "prune.sparsity_type=filter", "pretrain.epochs=1")
	path, err := trainer.CheckpointOf(folder(cfg))
	require.NoError(t, err)
	_, err = trainer.Compact(t.Context(), trainer.CompactOptions{Path: folder(cfg), Out: path, Device: "cpu"})
	require.True(t, isInput(err), "%v", err)
	assert.ErrorContains(t, err, "is the checkpoint itself")
}

func compact(t *testing.T, path string) (string, *metrics.Compaction) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "small.safetensors")
	c, err := trainer.Compact(t.Context(), trainer.CompactOptions{Path: path, Out: out, Device: "cpu"})
	require.NoError(t, err)
	return out, c
}

// The smaller model of a run is judged as the run's own was, and is of the size that the plan tells but for channels of 1.
func TestCompact(t *testing.T) {
	trainer.Compares(t)
	for name, sets := range map[string][]string{
		"filter":    {"prune.sparsity_type=filter", "model.arch=lenet_adv"},
		"bn_filter": {"prune.sparsity_type=bn_filter", "model.arch=lenet_bn", "model.width=1"},
		"sums":      {"prune.sparsity_type=bn_filter", "model.arch=resnet18_adv", "model.width=1", "pretrain.epochs=1"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, want := judged(t, append(sets, "prune.ratio=0.5")...)
			out, c := compact(t, folder(cfg))
			assert.Equal(t, want.Parameters, c.Parameters.Before)
			assert.Equal(t, c.Images, c.SameClass)
			assert.Equal(t, metrics.Measured{Before: *want.CleanAccuracy, After: *want.CleanAccuracy}, c.CleanAccuracy)
			assert.Less(t, c.Bytes.After, c.Bytes.Before*3/4)
			assert.Less(t, c.LargestDifference, 1e-3)

			got := evaluate(t, trainer.EvalOptions{Path: out})
			assert.Equal(t, want.CleanAccuracy, got.CleanAccuracy)
			for attack, robust := range want.RobustAccuracy {
				assert.InDelta(t, robust, got.RobustAccuracy[attack], 1/250.0, "an image on the border may fall to either side: %s", attack)
			}
			assert.Equal(t, c.Parameters.After, got.Parameters)
			for i, l := range got.Sparsity.Layers {
				if name == "filter" && l.Name != "fc2.weight" {
					assert.LessOrEqual(t, l.ZeroFilters, int64(1), "%s: of %d", l.Name, want.Sparsity.Layers[i].ZeroFilters)
				}
			}

			plan, err := trainer.Plan(t.Context(), cfg, trainer.PlanOptions{})
			require.NoError(t, err)
			switch name {
			case "sums": // channels that all layers drop by chance are not in the plan
				assert.LessOrEqual(t, c.Parameters.After, plan.Parameters.Shrunk)
				assert.Less(t, plan.MACs.Shrunk, plan.MACs.Before)
			case "bn_filter":
				assert.Equal(t, plan.Parameters.Shrunk, c.Parameters.After)
				assert.Equal(t, plan.MACs.Shrunk, c.MACs.After)
			case "filter":
				n := map[string]int64{} // 26 a channel of conv1, ..
				for _, g := range c.Channels {
					n[g.Layers[0]] = g.After
				}
				assert.Equal(t, 26*n["conv1"]+n["conv2"]*(25*n["conv1"]+1)+n["fc1"]*(49*n["conv2"]+1)+10*(n["fc1"]+1), c.Parameters.After)
				assert.Subset(t, []int64{2, 3}, []int64{n["conv1"]}, "conv1 may keep one that holds 1: conv2 is padded")
				assert.Equal(t, []int64{4, 64}, []int64{n["conv2"], n["fc1"]}, "which linear layers need not")
			}

			file, err := checkpoint.Read(out)
			require.NoError(t, err)
			before, err := checkpoint.Read(c.Checkpoint)
			require.NoError(t, err)
			for key, v := range before.Metadata {
				assert.Equal(t, v, file.Metadata[key], key)
			}
			if name != "sums" {
				refusesCompacted(t, out)
			}
		})
	}
}

// refusesCompacted tries what a smaller model is not for, and metadata that lie.
func refusesCompacted(t *testing.T, out string) {
	_, err := trainer.Compact(t.Context(), trainer.CompactOptions{Path: out, Out: out + ".again", Device: "cpu"})
	require.True(t, isInput(err), "%v", err)
	assert.ErrorContains(t, err, "has no channel that could be taken out")
	assert.NoFileExists(t, out+".again")
	again := altered(t, out, func(f *checkpoint.File) { // the same by another writer
		words := strings.Split(f.Metadata["channels"], ",")
		slices.Reverse(words)
		f.Metadata["channels"] = strings.Join(words, ",")
	})
	_, err = trainer.SparsityOf(again)
	require.NoError(t, err)
	for channels, want := range map[string]string{
		"conv1":         `"channels" in its metadata is "conv1"`,
		"conv1=2,":      `"channels" in its metadata`,
		"conv1=0":       "channels, not 0",
		"conv1=1":       "conv1.weight has shape",
		"conv9=1":       `has no layer "conv9"`,
		"\x1b[31m=1":    `has no layer "\x1b[31m"`,
		"fc1=1,fc1=1":   `"channels" in its metadata`,
		"conv1=1000000": "channels, not 1000000",
	} {
		lie := altered(t, out, func(f *checkpoint.File) { f.Metadata["channels"] = channels })
		_, err := trainer.SparsityOf(lie)
		require.True(t, isInput(err), "%s: %v", channels, err)
		assert.ErrorContains(t, err, want)
	}
}

// The weights that are left of a quantised model are on their levels.
func TestCompactOfAQuantizedModel(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), quantizing("prune.sparsity_type=filter", "prune.ratio=0.5", "training.method=natural")...)
	want := run(t, cfg)
	out, c := compact(t, folder(cfg))
	got, err := trainer.SparsityOf(out)
	require.NoError(t, err)
	require.NotNil(t, got.Quantization)
	for i, l := range got.Quantization.Layers {
		assert.Equal(t, want.Quantization.Layers[i].Scale, l.Scale, l.Name)
	}
	assert.Less(t, got.Parameters, c.Parameters.Before)
}

func TestCompactRefuses(t *testing.T) {
	options := func(path string) trainer.CompactOptions {
		return trainer.CompactOptions{Path: path, Out: filepath.Join(t.TempDir(), "small.safetensors"), Device: "cpu"}
	}
	for want, sets := range map[string][]string{
		"has no channel that could be taken out": {"model.width=1"},
		"is a shufflenetg2: its channels are shuffled, split or grouped": {"data.dataset=image_folder", "data.dir=" + colours(t),
			"model.arch=shufflenetg2", "model.width=1", "data.train_limit=16", "data.test_limit=4", "data.validation=8", "data.batch_size=8"},
	} {
		cfg := trainer.Settings(t, t.TempDir(), append([]string{"pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0", "training.method=natural", "evaluate.attacks=[]"}, sets...)...)
		run(t, cfg)
		o := options(folder(cfg))
		_, err := trainer.Compact(t.Context(), o)
		require.True(t, isInput(err), "%v", err)
		assert.ErrorContains(t, err, want)
		assert.NoFileExists(t, o.Out)
	}
	_, err := trainer.Compact(t.Context(), options(filepath.Join(t.TempDir(), "none")))
	assert.True(t, isInput(err), fmt.Sprint(err))
}
