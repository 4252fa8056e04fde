package admm_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/admm"
)

// The layers of a LeNet with batch norm, under names that are not their ordinals.
var network = []admm.Info{
	{Name: "stem.weight", Layer: "stem", Kind: admm.Conv, Shape: []int64{20, 1, 5, 5}},
	{Name: "stem_bn.weight", Layer: "stem_bn", Kind: admm.Norm, Shape: []int64{20}},
	{Name: "body.0.weight", Layer: "body.0", Kind: admm.Conv, Shape: []int64{50, 20, 5, 5}},
	{Name: "body.1.weight", Layer: "body.1", Kind: admm.Norm, Shape: []int64{50}},
	{Name: "conv1.weight", Layer: "conv1", Kind: admm.Conv, Shape: []int64{50, 50, 1, 1}}, // the third convolution
	{Name: "hidden.weight", Layer: "hidden", Kind: admm.Linear, Shape: []int64{500, 800}},
	{Name: "head.weight", Layer: "head", Kind: admm.Linear, Shape: []int64{10, 500}},
}

func TestResolve(t *testing.T) {
	named := func(layer string, r float64) []admm.LayerRatio { return []admm.LayerRatio{{Layer: layer, Ratio: r}} }
	for _, c := range []struct {
		name string
		typ  admm.Type
		sel  admm.Selection
		want []float64
	}{
		{"one for all, irregular", admm.Irregular, admm.Selection{Ratio: 0.9}, []float64{0.9, 0, 0.9, 0, 0.9, 0.9, 0.9}},
		{"one for all, column", admm.Column, admm.Selection{Ratio: 0.5}, []float64{0.5, 0, 0.5, 0, 0.5, 0.5, 0.5}},
		{"one for all, filter keeps the classes", admm.Filter, admm.Selection{Ratio: 0.5}, []float64{0.5, 0, 0.5, 0, 0.5, 0.5, 0}},
		{"one for all, bn_filter", admm.BNFilter, admm.Selection{Ratio: 0.5}, []float64{0, 0.5, 0, 0.5, 0, 0, 0}},
		{"the weight's name", admm.Irregular, admm.Selection{Ratios: named("body.0.weight", 0.3)}, []float64{0, 0, 0.3, 0, 0, 0, 0}},
		{"the layer's name", admm.Irregular, admm.Selection{Ratios: named("body.0", 0.3)}, []float64{0, 0, 0.3, 0, 0, 0, 0}},
		{"an ordinal", admm.Filter, admm.Selection{Ratios: named("conv2", 0.3)}, []float64{0, 0, 0.3, 0, 0, 0, 0}},
		{"an ordinal with .weight", admm.Column, admm.Selection{Ratios: named("fc1.weight", 0.3)}, []float64{0, 0, 0, 0, 0, 0.3, 0}},
		{"a batch norm's ordinal", admm.BNFilter, admm.Selection{Ratios: named("bn2", 0.3)}, []float64{0, 0, 0, 0.3, 0, 0, 0}},
		{"a name before an ordinal", admm.Filter, admm.Selection{Ratios: named("conv1", 0.3)}, []float64{0, 0, 0, 0, 0.3, 0, 0}},
		{"a layer besides the one for all", admm.Filter, admm.Selection{0.5, named("head", 0.2)}, []float64{0.5, 0, 0.5, 0, 0.5, 0.5, 0.2}},
		{"a layer left out", admm.Irregular, admm.Selection{0.5, named("stem", 0)}, []float64{0, 0, 0.5, 0, 0.5, 0.5, 0.5}},
		{"nothing", admm.Irregular, admm.Selection{}, make([]float64, 7)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := admm.Resolve(c.typ, c.sel, network)
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

func TestResolveRefuses(t *testing.T) {
	type ratios = []admm.LayerRatio
	for _, c := range []struct {
		name   string
		typ    admm.Type
		sel    admm.Selection
		layers []admm.Info
		want   string
	}{
		{"an unknown layer", admm.Irregular, admm.Selection{Ratios: ratios{{"hiden.weight", 0.5}}}, network,
			"there is no layer hiden.weight (did you mean hidden.weight?): want one of stem, body.0, conv1, hidden, head"},
		{"nothing like it", admm.BNFilter, admm.Selection{Ratios: ratios{{"transformer", 0.5}}}, network,
			"there is no layer transformer: want one of stem_bn, body.1"},
		{"an ordinal too far", admm.Column, admm.Selection{Ratios: ratios{{"fc3", 0.5}}}, network, "there is no layer fc3: want one of"},
		{"ordinal zero", admm.Column, admm.Selection{Ratios: ratios{{"fc0", 0.5}}}, network, "there is no layer fc0"},
		{"a layer given twice", admm.Column, admm.Selection{Ratios: ratios{{"hidden", 0.5}, {"fc1", 0.6}}}, network,
			"layer hidden is given twice, as hidden and as fc1: leave one out"},
		{"a batch norm's filters", admm.Filter, admm.Selection{Ratios: ratios{{"bn1", 0.5}}}, network,
			"bn1 is a batch norm, which filter pruning is not for: want one of stem, body.0, conv1, hidden, head"},
		{"a convolution's scales", admm.BNFilter, admm.Selection{Ratios: ratios{{"stem.weight", 0.5}}}, network,
			"stem.weight is a convolution, which bn_filter pruning is not for: want one of stem_bn, body.1"},
		{"no batch norm", admm.BNFilter, admm.Selection{Ratio: 0.5}, network[4:], "the network has no layer that bn_filter pruning is for"},
		{"no batch norm to name", admm.BNFilter, admm.Selection{Ratios: ratios{{"bn1", 0.5}}}, network[4:],
			"there is no layer bn1, and none that bn_filter pruning is for"},
		{"the classes alone", admm.Filter, admm.Selection{Ratio: 0.5}, network[6:], "the network has no layer that filter pruning is for"},
		{"a ratio of 1", admm.Irregular, admm.Selection{Ratio: 1}, network,
			"the ratio for all layers is 1: the fraction removed is needed, from 0 to below 1"},
		{"a negative ratio", admm.Irregular, admm.Selection{Ratios: ratios{{"stem", -0.1}}}, network, "the ratio of stem is -0.1"},
		{"not a number", admm.Irregular, admm.Selection{Ratio: math.NaN()}, network, "is NaN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := admm.Resolve(c.typ, c.sel, c.layers)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestParseType(t *testing.T) {
	for _, typ := range admm.Types {
		got, err := admm.ParseType(string(typ))
		require.NoError(t, err)
		require.Equal(t, typ, got)
	}
	for name, want := range map[string]admm.Type{"2:4": "2:4", "1:4": "1:4", "16:32": "16:32", "block": "block4x4", "block1x1": "block1x1", "block16x9999": "block16x9999", "pattern": admm.Pattern, "coupled_filter": admm.CoupledFilter} {
		got, err := admm.ParseType(name)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	_, err := admm.ParseType("filters")
	require.EqualError(t, err, `unknown sparsity type "filters": want irregular, filter, coupled_filter, column, bn_filter, pattern, block or one like it of another size such as block8x1, or N:M up to M = 32 such as 2:4`)
	for _, wrong := range []string{"", "0:4", "4:4", "5:4", "2:33", "02:4", "2:4 ", "2/4", "-1:4", "block0x4", "block4", "block4x", "block04x4", "block4x10000", "Block", "patterns"} {
		_, err := admm.ParseType(wrong)
		require.ErrorContains(t, err, "unknown sparsity type", wrong)
	}
}
