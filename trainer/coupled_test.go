package trainer_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
	"rapt/trainer"
	"rapt/trainer/config"
)

// sums are the layers of resnet18_adv whose outputs are added, with what follows each layer's filters.
var (
	sums = [][]string{
		{"conv1", "layer1.0.conv2", "layer1.1.conv2"},
		{"layer2.0.conv2", "layer2.0.shortcut.0", "layer2.1.conv2"},
		{"layer3.0.conv2", "layer3.0.shortcut.0", "layer3.1.conv2"},
		{"layer4.0.conv2", "layer4.0.shortcut.0", "layer4.1.conv2"},
	}
	behind = strings.NewReplacer("conv", "bn", "shortcut.0", "shortcut.1")
)

func resnet(more ...string) []string {
	return append([]string{"model.arch=resnet18_adv", "training.method=natural", "prune.sparsity_type=coupled_filter", "prune.ratio=0.75", "pretrain.epochs=1", "admm.epochs=1",
		"retrain.epochs=1", "run.deterministic=true"}, more...)
}

// zeroRows are the rows of a layer that are zero; its batch norm has neither scale nor shift there, and what is left of the layer has some.
func zeroRows(t *testing.T, w map[string][]float32, layer string) (out []int) {
	t.Helper()
	norm := behind.Replace(layer)
	scale, shift, weight := w[norm+".weight"], w[norm+".bias"], w[layer+".weight"]
	require.NotEmpty(t, scale, norm)
	size := len(weight) / len(scale)
	for row := range scale {
		if !slices.ContainsFunc(weight[row*size:(row+1)*size], func(v float32) bool { return v != 0 }) {
			out = append(out, row)
			assert.Zero(t, scale[row], "%s, channel %d", norm, row)
			assert.Zero(t, shift[row], "%s, channel %d", norm, row)
		} else {
			assert.NotZero(t, shift[row], "%s, channel %d", norm, row)
		}
	}
	return out
}

// requireCoupled asserts that the layers of each sum have lost the same channels, as many as the ratio of each says.
func requireCoupled(t *testing.T, cfg *config.Config, stage string, ratio func(layer string) float64) {
	t.Helper()
	w := bestOf(t, cfg, stage)
	seen := 0
	for name, v := range w {
		if layer, ok := strings.CutSuffix(name, ".weight"); ok && w[behind.Replace(layer)+".bias"] != nil && behind.Replace(layer) != layer {
			rows := len(w[behind.Replace(layer)+".bias"])
			assert.Len(t, zeroRows(t, w, layer), int(admm.Pruned(int64(rows), ratio(layer))), "%s of %d numbers", name, len(v))
			seen++
		}
	}
	require.Equal(t, 20, seen)
	for _, group := range sums {
		for _, layer := range group[1:] {
			assert.Equal(t, zeroRows(t, w, group[0]), zeroRows(t, w, layer), layer)
		}
	}
}

func always(ratio float64) func(string) float64 { return func(string) float64 { return ratio } }

func TestCoupledRun(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), resnet("evaluate.baselines=[one_shot, scratch]")...)
	r := run(t, cfg)
	assert.Equal(t, "coupled_filter", r.Sparsity.Type)
	for _, stage := range []string{"retrain", "one_shot_retrain", "scratch"} {
		requireCoupled(t, cfg, stage, always(0.75))
	}
	plan, err := trainer.Plan(t.Context(), cfg, trainer.PlanOptions{})
	require.NoError(t, err)
	_, c := compact(t, folder(cfg))
	assert.Equal(t, plan.Parameters.Shrunk, c.Parameters.After, "exactly, since no channel of constants is left")
	assert.Equal(t, plan.MACs.Shrunk, c.MACs.After)
	assert.Less(t, 12*c.Parameters.After, c.Parameters.Before)
	again := evaluate(t, trainer.EvalOptions{Path: folder(cfg)})
	assert.Equal(t, "coupled_filter", again.Sparsity.Type, "the checkpoint says so")
}

// Where some channels go on in a way that is not followed the others are pruned, taken out and trained on, and the run says what it leaves whole.
func TestCoupledInPart(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), resnet("model.arch=shufflenetv2_0.5", "model.width=1", "compact.epochs=1")...)
	r := run(t, cfg)
	plan, err := trainer.Plan(t.Context(), cfg, trainer.PlanOptions{})
	require.NoError(t, err)
	require.NotEmpty(t, plan.Whole)
	assert.Equal(t, plan.Parameters.Shrunk, r.Parameters)
	assert.Less(t, r.Parameters, plan.Parameters.Before)
	assert.EqualValues(t, 6, r.Channels["layer1.0.conv4"], "of 24")
	assert.NotContains(t, r.Channels, "conv1")
	log, err := os.ReadFile(filepath.Join(folder(cfg), "log.txt"))
	require.NoError(t, err)
	assert.Contains(t, string(log), fmt.Sprintf("coupled_filter leaves %d of the layers whole, whose channels are shuffled, split or grouped", len(plan.Whole)))

	_, err = trainer.Plan(t.Context(), trainer.Settings(t, t.TempDir(), resnet("model.arch=shufflenetv2_0.5", "model.width=1", "prune.ratio=0", "prune.ratios={conv1: 0.5}")...), trainer.PlanOptions{})
	require.ErrorContains(t, err, "conv1 makes the classes, or channels that go on in a way that is not followed, and of these none can go: want one of ")
}

// Dead channels stay dead while the weights that are left are quantised, and where another run prunes on.
func TestDeadChannelsStayDead(t *testing.T) {
	first := trainer.Settings(t, t.TempDir(), resnet("prune.ratio=0.5", "quantize.bits=3", "quantize_admm.epochs=1", "quantize_retrain.epochs=1")...)
	run(t, first)
	requireCoupled(t, first, "quantize_retrain", always(0.5))

	from := filepath.Join(folder(first), "checkpoints", "retrain", "best.safetensors")
	second := trainer.Settings(t, t.TempDir(), resnet("prune.ratio=0", "prune.ratios={layer4.1.conv2: 0.9}", "pretrain.epochs=0", "prune.hold_zeros=true", "model.load="+from)...)
	run(t, second)
	requireCoupled(t, second, "retrain", func(layer string) float64 {
		if slices.Contains(sums[3], layer) {
			return 0.9
		}
		return 0.5
	})
}

func TestCoupledResume(t *testing.T) {
	whole, _ := resumesAgainAndAgain(t, func(times int) int { return 4 + 3*(times%3) },
		resnet("run.workers=2", "prune.hold_zeros=true", "prune.steps={count: 2}", "evaluate.baselines=[gradual]")...)
	requireCoupled(t, whole, "retrain", always(0.75))
	requireCoupled(t, whole, "gradual", always(0.75))
}

// Every layer of a group gets the ratio of the group, which is measured once.
func TestCoupledSensitivity(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), resnet("prune.ratio=0", "prune.budget={keep: 0.4, method: sensitivity}")...)
	run(t, cfg)
	ratios := map[string]float64{}
	for _, l := range strategy(t, cfg) {
		ratios[strings.TrimSuffix(l.Layer, ".weight")] = float64(l.Ratio)
	}
	for _, group := range sums {
		for _, layer := range group {
			assert.Equal(t, ratios[group[0]], ratios[layer], layer)
		}
	}
	delete(ratios, "linear")
	assert.Greater(t, len(slices.Compact(slices.Sorted(maps.Values(ratios)))), 1, "not one ratio for all")
	requireCoupled(t, cfg, "retrain", func(layer string) float64 { return ratios[layer] })
	log, err := os.ReadFile(filepath.Join(folder(cfg), "log.txt"))
	require.NoError(t, err)
	assert.Equal(t, 12, strings.Count(string(log), `"msg":"sensitivity"`), "eight convolutions inside of blocks and four sums")
}
