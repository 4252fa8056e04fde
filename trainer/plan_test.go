package trainer

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

func plan(t *testing.T, sets ...string) *metrics.Plan {
	t.Helper()
	out, err := Plan(context.Background(), Settings(t, t.TempDir(), sets...), PlanOptions{})
	require.NoError(t, err)
	return out
}

// By hand: 50, 200, 12544 and 640 weights, 80 biases; a number of weights n loses ceil(0.9 (n-1)).
func TestPlanOfIrregularPruning(t *testing.T) {
	p := plan(t)
	assert.Equal(t, metrics.PlanCount{Before: 13514, After: 13514 - 45 - 180 - 11289 - 576, Shrunk: 13514}, p.Parameters)
	assert.Equal(t, metrics.PlanCount{Before: 91584, After: 91584 - 45*784 - 180*196 - 11289 - 576, Shrunk: 91584}, p.MACs)
	indices := int64(2*5+4*3) + (2*20 + 4*5) + (2*1255 + 4*65) + (2*64 + 4*11)
	assert.Equal(t, metrics.PlanBytes{Dense: 4 * 13514, SparseValues: 4 * 1424, SparseIndexed: 4*1424 + indices, Shrunk: 4 * 13514}, p.Bytes)
	assert.Equal(t, metrics.PlanLayer{Name: "conv2.weight", Shape: []int64{4, 2, 5, 5}, Ratio: 0.9, Weights: 200, WeightsKept: 20, Filters: 4, FiltersKept: 4,
		Columns: 50, ColumnsKept: 50, MACs: 39200, MACsKept: 3920}, p.Layers[1])
	assert.Empty(t, p.Coupled)
	assert.True(t, p.Resolved)
	want := metrics.PlanMemory{Stage: "admm", Weights: 4 * 13514, Gradients: 4 * 13514, Optimizer: 8 * 13514, ADMM: 8 * 13434, Activations: 8 * 3210 * 24}
	want.Total = want.Weights + want.Gradients + want.Optimizer + want.ADMM + want.Activations
	assert.Equal(t, want, p.Memory)
}

// Filters of conv1, conv2 and fc1 can be taken out, with the columns that read them.
func TestPlanOfFilterPruning(t *testing.T) {
	p := plan(t, "prune.sparsity_type=filter", "prune.ratio=0.5")
	assert.Equal(t, metrics.PlanCount{Before: 13514, After: 13514 - 25 - 100 - 32*196, Shrunk: 26 + 52 + (32*98 + 32) + 330}, p.Parameters)
	assert.Equal(t, metrics.PlanCount{Before: 91584, After: 91584 - 19600 - 19600 - 6272, Shrunk: 19600 + 9800 + 3136 + 320}, p.MACs)
	var shrinking []bool
	for _, l := range p.Layers {
		shrinking = append(shrinking, l.Shrinks)
	}
	assert.Equal(t, []bool{true, true, true, false}, shrinking)

	p = plan(t, "prune.sparsity_type=filter", "prune.ratio=0", "prune.ratios={fc2: 0.5}")
	assert.Contains(t, p.Layers[3].Why, "its outputs are the classes")

	p = plan(t, "prune.sparsity_type=column", "prune.ratio=0.5")
	assert.EqualValues(t, 13, p.Layers[0].ColumnsKept, "of 25, ceil(0.5 24) go")
	assert.EqualValues(t, 26, p.Layers[0].WeightsKept)
	assert.False(t, p.Layers[0].Shrinks)
}

// Dead channels of lenet_bn go with their convolution's filters and their readers' columns.
func TestPlanOfChannelPruning(t *testing.T) {
	p := plan(t, "model.arch=lenet_bn", "prune.sparsity_type=bn_filter", "prune.ratio=0.5")
	dense := int64(431080 + 2*570)
	assert.Equal(t, metrics.PlanCount{Before: dense, After: dense - 2*(10+25+250), Shrunk: 10*25 + 10 + 25*250 + 25 + 250*400 + 250 + 2500 + 10 + 2*(10+25+250)}, p.Parameters)
	assert.Equal(t, metrics.PlanCount{Before: 2293000, After: 144000 + 800000 + 200000 + 5000, Shrunk: 144000 + 400000 + 100000 + 2500}, p.MACs)
	assert.Equal(t, []string{"conv1_bn.weight", "conv2_bn.weight", "fc1_bn.weight"}, []string{p.Layers[0].Name, p.Layers[1].Name, p.Layers[2].Name})
	assert.True(t, p.Layers[2].Shrinks)
}

// The other structures: what a type implies is planned, written and read again, and blocks are divided by a budget.
func TestPlanOfStructures(t *testing.T) {
	for typ, sets := range map[string][]string{
		"2:4":      {"prune.ratio=0.5"},
		"pattern":  {"model.arch=resnet18_adv", "prune.ratio=5/9"},
		"block2x2": {"prune.ratio=0", "prune.budget={keep: 0.2, method: global}"},
	} {
		p := planOnDrawn(t, append(sets, "prune.sparsity_type="+typ)...)
		assert.Less(t, p.Parameters.After, 6*p.Parameters.Before/10, typ)
		assert.Equal(t, p.Parameters.Before, p.Parameters.Shrunk, typ)
	}
	cfg := Settings(t, t.TempDir(), "prune.sparsity_type=2:4", "prune.ratio=0.5", "prune.ratios={fc2: 0}")
	_, err := Run(context.Background(), cfg, Quiet())
	require.NoError(t, err)
	again := Settings(t, t.TempDir(), "prune.sparsity_type=2:4", "prune.ratio=0", "prune.strategy="+filepath.Join(cfg.Run.OutDir, cfg.Run.Name, "strategy.yaml"))
	one, err := Plan(context.Background(), cfg, PlanOptions{})
	require.NoError(t, err)
	two, err := Plan(context.Background(), again, PlanOptions{})
	require.NoError(t, err)
	assert.Equal(t, one.Layers, two.Layers)

	cfg = Settings(t, t.TempDir(), "prune.sparsity_type=block2x2", "prune.ratio=0", "prune.budget={keep: 0.2, method: global}")
	r, err := Run(context.Background(), cfg, Quiet())
	require.NoError(t, err)
	assert.InDelta(t, 0.8, r.Sparsity.Sparsity, 5e-3)
}

// planOnDrawn is a plan on drawn images, for networks whose data set is not at hand.
func planOnDrawn(t *testing.T, sets ...string) (out *metrics.Plan) {
	t.Helper()
	onDrawn(t, func(p *pipeline) {
		var err error
		out, err = p.describe(prunable(p.lead().model))
		require.NoError(t, err)
	}, sets...)
	return out
}

// By hand, for 4, 8, 16 and 32 channels: only the first convolution of each block can be made smaller.
func TestPlanOfResNet(t *testing.T) {
	p := planOnDrawn(t, "model.arch=resnet18_adv", "prune.sparsity_type=filter", "prune.ratio=0.5")
	assert.Equal(t, metrics.PlanCount{Before: 44622, After: 44622 - 43692/2, Shrunk: 44622 - 21576}, p.Parameters)
	assert.Equal(t, [][]string{
		{"conv1", "layer1.0.conv2", "layer1.1.conv2"},
		{"layer2.0.conv2", "layer2.0.shortcut.0", "layer2.1.conv2"},
		{"layer3.0.conv2", "layer3.0.shortcut.0", "layer3.1.conv2"},
		{"layer4.0.conv2", "layer4.0.shortcut.0", "layer4.1.conv2"},
	}, p.Coupled)
	var shrinking []string
	for _, l := range p.Layers {
		if l.Shrinks {
			shrinking = append(shrinking, l.Name)
		} else if l.Ratio > 0 {
			assert.Contains(t, l.Why, "added to other layers'")
		}
	}
	assert.Equal(t, []string{"layer1.0.conv1.weight", "layer1.1.conv1.weight", "layer2.0.conv1.weight", "layer2.1.conv1.weight",
		"layer3.0.conv1.weight", "layer3.1.conv1.weight", "layer4.0.conv1.weight", "layer4.1.conv1.weight"}, shrinking)
	assert.Zero(t, p.Layers[len(p.Layers)-1].Ratio, "the classes' layer is left alone")

	p = planOnDrawn(t, "model.arch=resnet18_adv", "prune.ratio=0", "prune.budget={macs: 0.2, method: erk}")
	assert.InDelta(t, 0.2, p.Budget.Reached, 1e-3)
	assert.InDelta(t, 0.2, float64(p.MACs.After)/float64(p.MACs.Before), 1e-3, "the budget is what the plan counts")
	p = planOnDrawn(t, "model.arch=resnet18_adv", "prune.ratio=0", "prune.sparsity_type=bn_filter", "prune.budget={macs: 0.5}")
	assert.InDelta(t, 0.5, float64(p.MACs.After)/float64(p.MACs.Before), 0.03)
}

func TestPlanOfBudgets(t *testing.T) {
	p := plan(t, "prune.ratio=0", "prune.budget={keep: 0.05, method: global}")
	assert.False(t, p.Resolved)
	assert.Contains(t, p.Note, "global needs trained weights")
	assert.Equal(t, "uniform", p.Budget.Method)
	assert.InDelta(t, 0.95, p.Layers[2].Ratio, 1e-3)

	cfg := Settings(t, t.TempDir(), "admm.epochs=0", "retrain.epochs=0")
	_, err := Run(context.Background(), cfg, Quiet())
	require.NoError(t, err)
	load := "model.load=" + filepath.Join(cfg.Run.OutDir, cfg.Run.Name, "checkpoints", "pretrain", "best.safetensors")
	for _, method := range []string{"global", "sensitivity"} {
		budget := "prune.budget={keep: 0.1, method: " + method + "}"
		p = plan(t, "prune.ratio=0", budget, load, "pretrain.epochs=0")
		assert.True(t, p.Resolved, method)
		assert.Equal(t, method, p.Budget.Method)
		assert.InDelta(t, 0.1, p.Budget.Reached, 1e-3)
		if method == "global" {
			assert.Greater(t, math.Abs(p.Layers[0].Ratio-p.Layers[2].Ratio), 1e-2, "no uniform one")
		}
		p = plan(t, "prune.ratio=0", budget, load)
		assert.False(t, p.Resolved)
		assert.Contains(t, p.Note, "by the weights of model.load")
	}
}

func TestPlanWritesAStrategy(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.yaml")
	options := PlanOptions{StrategyOut: path}
	budget := Settings(t, t.TempDir(), "prune.ratio=0", "prune.budget={keep: 0.1, method: erk, exclude: [conv1]}")
	want, err := Plan(context.Background(), budget, options)
	require.NoError(t, err)
	got := plan(t, "prune.ratio=0", "prune.strategy="+path)
	assert.Equal(t, want.Layers, got.Layers)
	assert.Zero(t, got.Layers[0].Ratio)
	written, err := os.ReadFile(path)
	require.NoError(t, err)
	same := path + ".same"
	require.NoError(t, os.Link(path, same))
	_, err = Plan(context.Background(), Settings(t, t.TempDir()), options)
	require.NoError(t, err)
	old, err := os.ReadFile(same)
	require.NoError(t, err)
	assert.Equal(t, written, old, "it is replaced, and not written over where a kill would leave a part")

	var input *InputError
	_, err = Plan(context.Background(), Settings(t, t.TempDir(), "prune.ratio=0", "prune.budget={keep: 0.1, method: global}"), options)
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "needs trained weights")
	_, err = Plan(context.Background(), Settings(t, t.TempDir(), "admm.epochs=0", "retrain.epochs=0"), options)
	require.ErrorAs(t, err, &input)
	options.StrategyOut = filepath.Join(path, "no")
	_, err = Plan(context.Background(), Settings(t, t.TempDir()), options)
	require.ErrorAs(t, err, &input)

	require.NoError(t, os.WriteFile(path, []byte("conv1: 0.5\nconv7: 0.5\n"), 0o600))
	_, err = Plan(context.Background(), Settings(t, t.TempDir(), "prune.ratio=0", "prune.strategy="+path), PlanOptions{})
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, path+": there is no layer conv7")
	var refused *config.Error
	_, err = Plan(context.Background(), Settings(t, t.TempDir(), "prune.ratio=0", "prune.budget={keep: 0.01, exclude: [fc1]}"), PlanOptions{})
	require.ErrorAs(t, err, &refused)
	assert.ErrorContains(t, err, "prune.budget.keep: a budget of 0.01 cannot be met")
	_, err = Plan(context.Background(), Settings(t, t.TempDir(), "prune.ratio=0", "prune.budget={keep: 0.01, exclude: [fc7]}"), PlanOptions{})
	require.ErrorAs(t, err, &refused)
	assert.ErrorContains(t, err, "did you mean fc1")
}

func TestPlanTimesTheStages(t *testing.T) {
	cfg := Settings(t, t.TempDir(), "prune.ratio=0", "prune.steps=[0.5, 0.9]", "evaluate.baselines=[natural, one_shot]")
	p, err := Plan(context.Background(), cfg, PlanOptions{Measure: true})
	require.NoError(t, err)
	var names []string
	sum := 0.0
	for _, s := range p.Time.Stages {
		names = append(names, s.Stage)
		assert.Positive(t, s.Seconds)
		assert.Equal(t, 2*s.Epochs, s.Steps, "48 images in batches of 24")
		sum += s.Seconds
	}
	assert.Equal(t, []string{"pretrain", "admm_1", "retrain_1", "admm", "retrain", "natural", "one_shot", "one_shot_retrain"}, names)
	assert.InDelta(t, sum, p.Time.Seconds, 1e-9)
	assert.Equal(t, "cpu", p.Time.Device)
	assert.NoDirExists(t, filepath.Join(cfg.Run.OutDir, cfg.Run.Name), "nothing is written")
	_, err = Plan(EndsAfter(1), cfg, PlanOptions{Measure: true})
	require.ErrorIs(t, err, ErrInterrupted)
}

// Of a network whose wires are not known nothing is said to shrink, and the plan says why. MobileNet's are: a depthwise convolution's channels
// are those of the layer before it.
func TestPlanOfNetworksWithOtherWires(t *testing.T) {
	p := planOnDrawn(t, "model.arch=shufflenetg2", "prune.sparsity_type=filter", "prune.ratio=0.5")
	assert.False(t, p.Wired)
	assert.Empty(t, p.Coupled)
	assert.Equal(t, p.Parameters.Before, p.Parameters.Shrunk)
	var text bytes.Buffer
	metrics.PlanTable(&text, p)
	assert.Contains(t, text.String(), "which layers read which channels is not known of this network")

	p = planOnDrawn(t, "model.arch=shufflenetv2_0.5", "prune.sparsity_type=coupled_filter", "prune.ratio=0.5")
	assert.True(t, p.Wired)
	assert.Contains(t, p.Coupled, []string{"layer1.0.conv3", "layer1.0.conv4"})
	assert.Equal(t, []string{"conv1", "layer1.0.conv1", "layer1.0.conv2", "layer1.0.conv5", "layer1.1.conv3"}, p.Whole[:5])
	for _, l := range p.Layers {
		assert.Equal(t, l.Name != "linear.weight" && !slices.Contains(p.Whole, strings.TrimSuffix(l.Name, ".weight")), l.Ratio > 0, l.Name)
		assert.Equal(t, l.Ratio > 0, l.Shrinks, l.Name)
	}
	assert.Less(t, p.Parameters.Shrunk, p.Parameters.Before)
	text.Reset()
	metrics.PlanTable(&text, p)
	assert.Contains(t, text.String(), "and none can be taken out: conv1, layer1.0.conv1, ")

	p = planOnDrawn(t, "model.arch=mobilenet", "prune.sparsity_type=filter", "prune.ratio=0.5")
	assert.True(t, p.Wired)
	assert.Contains(t, p.Coupled, []string{"layers.0.conv2", "layers.1.conv1"})
	for _, l := range p.Layers {
		decides := strings.HasSuffix(l.Name, ".conv1.weight") || l.Name == "layers.12.conv2.weight" // the depthwise ones, and the last
		assert.Equal(t, decides && l.Ratio > 0, l.Shrinks, l.Name)
	}
}
