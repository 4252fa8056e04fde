package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSparsityTypesWithNumbers(t *testing.T) {
	for given, want := range map[string]struct {
		is    string
		ratio Number
	}{
		"2:4": {"2:4", 0.5}, "1:4": {"1:4", 0.75}, "4:8": {"4:8", 0.5}, "1:3": {"1:3", 2.0 / 3}, "31:32": {"31:32", 1.0 / 32}, "pattern": {"pattern", 5.0 / 9},
		"block": {"block4x4", 0}, "block4x4": {"block4x4", 0}, "block16x1": {"block16x1", 0},
	} {
		for _, cfg := range []*Config{parse(t, smallest, "prune.sparsity_type="+given), parse(t, smallest+"prune: {sparsity_type: "+given+"}\n")} {
			assert.Equal(t, want.is, cfg.Prune.SparsityType)
			assert.Equal(t, want.ratio, cfg.Prune.Ratio, given)
			again, err := Parse(cfg.YAML(), "elsewhere/config.yaml", nil)
			require.NoError(t, err, "%s", cfg.YAML())
			assert.Equal(t, public(cfg), public(again))
			assert.Empty(t, Diff(cfg, again))
		}
	}
	cfg := parse(t, smallest+"admm: {epochs: 1}\nretrain: {epochs: 1}\nprune: {sparsity_type: '2:4', ratios: {fc1: 0, fc2: 0.5}}\n")
	assert.Equal(t, Number(0.5), cfg.Prune.Ratio, "all layers, unless they are left out")
	assert.Zero(t, parse(t, smallest, "prune.sparsity_type=1:3", "prune.ratio=0", "prune.ratios={fc1: 2/3}").Prune.Ratio, "fc1 alone")
	assert.Equal(t, Number(5.0/9), parse(t, smallest, "prune.sparsity_type=pattern", "prune.ratio=5/9").Prune.Ratio)
}

func TestWrongStructures(t *testing.T) {
	const types = "one of irregular, filter, coupled_filter, column, bn_filter, block, pattern, blocks of another size such as block8x1, or N:M such as 2:4, with N below M and M at most 32, is needed"
	testRefusals(t, []refusal{
		{"prune: {sparsity_type: '4:4'}", `configs/x.yaml:4: prune.sparsity_type is "4:4": ` + types},
		{"prune: {sparsity_type: '0:4'}", `configs/x.yaml:4: prune.sparsity_type is "0:4": ` + types},
		{"prune: {sparsity_type: '2:33'}", `configs/x.yaml:4: prune.sparsity_type is "2:33": ` + types},
		{"prune: {sparsity_type: block4}", `configs/x.yaml:4: prune.sparsity_type is "block4": ` + types + `; did you mean "block"?`},
		{"prune: {sparsity_type: block0x4}", `configs/x.yaml:4: prune.sparsity_type is "block0x4": ` + types},
		{"prune: {sparsity_type: patern}", `configs/x.yaml:4: prune.sparsity_type is "patern": ` + types + `; did you mean "pattern"?`},
		{"prune: {sparsity_type: '2:4', ratio: 0.9}", "configs/x.yaml:4: prune.ratio is 0.9, but 2:4 removes 0.5 of a layer: leave it out, or give 0 to prune the layers of prune.ratios alone"},
		{"prune: {sparsity_type: pattern, ratio: 0.5}", "configs/x.yaml:4: prune.ratio is 0.5, but pattern removes 0.555556 of a layer: leave it out, or give 0 to prune the layers of prune.ratios alone"},
		{"prune: {sparsity_type: '2:4', ratio: 1}", "configs/x.yaml:4: prune.ratio is 1: that would remove everything; a fraction from 0 to below 1 is needed"},
		{"prune:\n  sparsity_type: '1:3'\n  ratios:\n    fc1: 0.5", "configs/x.yaml:7: prune.ratios.fc1 is 0.5, but 1:3 removes 0.666667 of a layer: that, or 0 to leave the layer out, is needed"},
		{"prune: {sparsity_type: '2:4', steps: [0.2, 0.5]}", "configs/x.yaml:4: prune.steps is given, but 2:4 removes its part of a layer at once: leave it out"},
		{"prune: {sparsity_type: pattern, steps: {count: 3}}", "configs/x.yaml:4: prune.steps is given, but pattern removes its part of a layer at once: leave it out"},
		{"prune: {sparsity_type: '2:4'}\nretrain: {epochs: 1}\nevaluate: {baselines: [gradual]}", "configs/x.yaml:6: evaluate.baselines holds gradual, but 2:4 removes its part of a layer at once"},
	})
}

func TestRhoModes(t *testing.T) {
	for mode, growth := range map[string]Number{"growth": 1.3, "fixed": 0, "balance": 0} {
		cfg := parse(t, smallest, "admm.rho_mode="+mode)
		assert.Equal(t, mode, cfg.ADMM.RhoMode)
		assert.Equal(t, growth, cfg.ADMM.RhoGrowth, mode)
		again, err := Parse(cfg.YAML(), "elsewhere/config.yaml", nil)
		require.NoError(t, err)
		assert.Equal(t, public(cfg), public(again))
	}
	assert.Equal(t, []string{"admm.rho_mode"}, Diff(parse(t, smallest, "admm.rho_mode=growth", "admm.rho_growth=1.3"), func() *Config {
		cfg := parse(t, smallest, "admm.rho_mode=fixed")
		cfg.ADMM.RhoGrowth = 1.3
		return cfg
	}()))
	withGrowth := smallest + "admm: {rho_growth: 2}\n"
	assert.Equal(t, Number(1.3), parse(t, withGrowth, "admm.rho_growth=null").ADMM.RhoGrowth, "as if the file did not have it")
	assert.Zero(t, parse(t, withGrowth, "admm.rho_mode=balance", "admm.rho_growth=null").ADMM.RhoGrowth)
	testRefusals(t, []refusal{
		{"admm: {rho_mode: grow}", `configs/x.yaml:4: admm.rho_mode is "grow": one of growth, fixed, balance is needed; did you mean "growth"?`},
		{"admm: {rho_mode: fixed, rho_growth: 1.3}", "configs/x.yaml:4: admm.rho_growth is 1.3, but admm.rho_mode is fixed, and only growth uses it: leave it out (--set admm.rho_growth=null)"},
		{"admm: {rho_mode: balance, rho_growth: 2}", "configs/x.yaml:4: admm.rho_growth is 2, but admm.rho_mode is balance, and only growth uses it: leave it out (--set admm.rho_growth=null)"},
		{"retrain: {rho_mode: fixed}", `configs/x.yaml:4: unknown key "retrain.rho_mode"; did you mean "admm.rho_mode" or "quantize_admm.rho_mode"?`},
	})
}
