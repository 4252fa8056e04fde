package config

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

const quantised = "quantize_retrain: {epochs: 2}\n" // on line 4

func TestQuantize(t *testing.T) {
	cfg := parse(t, smallest+quantised+"quantize:\n  bits: 2\n  layers:\n    fc1.weight: 1\n    conv1: 5\n",
		"quantize.layers.conv1=4", "quantize.layers.conv2.weight=0", "quantize.ends_last=false", "quantize_admm.rho=1/2")
	assert.Equal(t, Quantize{2, []LayerBits{{"fc1.weight", 1, 8}, {"conv1", 4, 0}, {"conv2.weight", 0, 0}}, "equal", false}, cfg.Quantize)
	assert.Equal(t, Number(0.5), cfg.QuantizeADMM.Rho)
	assert.Equal(t, "admm", cfg.QuantizeADMM.LRSchedule)
	assert.Equal(t, "constant", cfg.QuantizeRetrain.LRSchedule)
	assert.EqualError(t, cfg.Errorf("quantize.layers.fc1.weight", "wrong"), "configs/x.yaml:8: wrong")

	cfg = parse(t, smallest+quantised+"quantize: {layers: {fc1: 1}}\n", "quantize.layers={fc2: 3}")
	assert.Equal(t, []LayerBits{{"fc2", 3, 0}}, cfg.Quantize.Layers, "the whole mapping is replaced")
	parse(t, "data: {dataset: mnist}\nmodel: {arch: lenet, load: a}\nquantize: {bits: 1}\n"+quantised) // of a model that is there
}

func TestQuantizeDiff(t *testing.T) {
	base := smallest + quantised + "quantize: {layers: {conv1: 5, fc1: 2}}\n"
	assert.Empty(t, Diff(parse(t, base), parse(t, smallest+quantised+"\nquantize: {layers: {fc1: 2, conv1: 5}}\n")), "neither lines nor order matter")
	for want, sets := range map[string][]string{
		"quantize.layers":        {"quantize.layers.conv1=4"},
		"quantize.levels":        {"quantize.levels=power_of_two"},
		"quantize_retrain.lr":    {"quantize_retrain.lr=0.5"},
		"quantize_admm.rho":      {"quantize_admm.rho=0.5"},
		"quantize_admm.epochs":   {"quantize_admm.epochs=1"},
		"quantize.bits":          {"quantize.bits=8"},
		"quantize.ends_last":     {"quantize.ends_last=false"},
		"quantize_admm.gamma":    {"quantize_admm.gamma=0.5"},
		"quantize_retrain.gamma": {"quantize_retrain.gamma=0.5"},
	} {
		assert.Equal(t, want, strings.Join(Diff(parse(t, base), parse(t, base, sets...)), " "))
	}
}

func TestWrongQuantize(t *testing.T) {
	const some = "quantize: {bits: 1}\n" // on line 4
	testRefusals(t, []refusal{
		{quantised + "quantize: {bits: 9}", "configs/x.yaml:5: quantize.bits is 9: 1 to 8, or 0 for float32, is needed"},
		{quantised + "quantize: {bits: 1, layers: {fc1: -1}}", "configs/x.yaml:5: quantize.layers.fc1 is -1: 1 to 8, or 0 for float32, is needed"},
		{quantised + "quantize: {bits: 7, levels: power_of_two}", "configs/x.yaml:5: quantize.bits is 7: powers of two go to 6 bits, beyond which they are too small to tell from zero"},
		{quantised + "quantize: {bits: 1, levels: power_of_tow}", `configs/x.yaml:5: quantize.levels is "power_of_tow": one of equal, power_of_two is needed; did you mean "power_of_two"?`},
		{"quantize: {layers: 3}", `configs/x.yaml:4: quantize.layers is "3": a mapping such as {conv1.weight: 5, fc1.weight: 2} is needed`},
		{"quantize: {layers: {fc1: 1.5}}", `configs/x.yaml:4: quantize.layers.fc1 is "1.5": a whole number (at most 2147483647) is needed`},
		{"quantize: {layers: {'': 1}}", `configs/x.yaml:4: quantize.layers names a layer "": a name such as conv1.weight is needed`},
		{"quantize: {layers: {a: 1, a: 2}}", "configs/x.yaml:4: quantize.layers.a is given twice, first on line 4"},
		{"quantize: {bit: 3}", `configs/x.yaml:4: unknown key "quantize.bit"; did you mean "bits"?`},
		{"quantise: {bits: 3}", `configs/x.yaml:4: unknown section "quantise"; did you mean "quantize"?`},
		{some, "configs/x.yaml: quantize_retrain.epochs is 0, but the weights are put on the levels of the quantize section there: 1 or more is needed"},
		{quantised, "configs/x.yaml:4: quantize_retrain.epochs is 2, but nothing is to be quantised: quantize.bits or quantize.layers above 0 is needed"},
		{"quantize_admm: {epochs: 2}", "configs/x.yaml:4: quantize_admm.epochs is 2, but nothing is to be quantised: quantize.bits or quantize.layers above 0 is needed"},
		{"quantize_admm: {rho: 0}", "configs/x.yaml:4: quantize_admm.rho is 0: a number above 0 is needed"},
		{"quantize_admm: {update_every: 0}", "configs/x.yaml:4: quantize_admm.update_every is 0: at least 1 is needed"},
		{"quantize_retrain: {rho: 1}", `configs/x.yaml:4: unknown key "quantize_retrain.rho"; did you mean "admm.rho" or "quantize_admm.rho"?`},
		{"quantize_retrain: {lr_schedule: admm}", "configs/x.yaml:4: quantize_retrain.lr_schedule is admm, which only the admm section has: one of constant, multistep, cosine, one_cycle, piecewise is needed"},
	})
}
