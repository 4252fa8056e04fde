package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBudget(t *testing.T) {
	text := smallest + "prune:\n  ratios: {fc2: 0.5}\n  budget:\n    keep: 1/20\n    min_keep: 4\n    max_ratio: 0.99\n    exclude: [conv1]\nadmm: {epochs: 3}\n"
	cfg := parse(t, text)
	want := Budget{Keep: 0.05, Method: "uniform", MinKeep: 4, MaxRatio: 0.99, Exclude: []string{"conv1"}}
	assert.Equal(t, want, cfg.Prune.Budget)
	assert.Equal(t, "prune.budget.keep", want.Key())
	assert.EqualError(t, cfg.Errorf("prune.budget.keep", "no"), "configs/x.yaml:7: no")
	assert.EqualError(t, cfg.Errorf("prune.budget.exclude", "no"), "configs/x.yaml:10: no")
	again, err := Parse(cfg.YAML(), "x.yaml", nil)
	require.NoError(t, err, "%s", cfg.YAML())
	assert.Equal(t, public(cfg), public(again))
	assert.Empty(t, Diff(cfg, again))

	cfg = parse(t, smallest, "prune.budget.macs=0.1", "prune.budget.method=sensitivity", "admm.epochs=1")
	assert.Equal(t, Budget{MACs: 0.1, Method: "sensitivity"}, cfg.Prune.Budget)
	assert.Equal(t, "prune.budget.macs", cfg.Prune.Budget.Key())
	assert.Equal(t, 0.1, cfg.Prune.Budget.Fraction())
	assert.True(t, cfg.Prune.Budget.NeedsWeights())
	cfg = parse(t, text, "prune.budget={macs: 0.3, method: erk}")
	assert.Equal(t, Budget{MACs: 0.3, Method: "erk"}, cfg.Prune.Budget, "the whole mapping is replaced")
	assert.False(t, cfg.Prune.Budget.NeedsWeights())
	cfg = parse(t, text, "prune.budget=", "prune.ratio=0.5")
	assert.False(t, cfg.Prune.Budget.Given())

	base := parse(t, text)
	assert.Equal(t, []string{"prune.budget"}, Diff(base, parse(t, text, "prune.budget.method=erk")))
	assert.Empty(t, Diff(parse(t, text, "prune.budget.exclude=[a, b]"), parse(t, text, "prune.budget.exclude=[b, a]")))
	assert.Equal(t, []string{"prune.ratios", "prune.budget", "prune.strategy"}, Diff(base, parse(t, smallest+"admm: {epochs: 3}\n", "prune.strategy=s.yaml")))
}

func TestBudgetRefusals(t *testing.T) {
	testRefusals(t, []refusal{
		{"prune: {budget: 0.1}", `configs/x.yaml:4: prune.budget is "0.1": a mapping such as {keep: 0.05, method: erk} is needed`},
		{"prune:\n  budget:\n    keap: 0.1", `configs/x.yaml:6: unknown key "prune.budget.keap"; did you mean "keep"?`},
		{"prune: {budget: {zebra: 1, keep: 0.1}}", `configs/x.yaml:4: unknown key "prune.budget.zebra"; the keys of prune.budget are keep, macs, method, min_keep, max_ratio and exclude`},
		{"prune:\n  budget:\n    keep: x", `configs/x.yaml:6: prune.budget.keep is "x": a number such as 0.3, 1e-4 or 8/255 is needed`},
		{"prune: {budget: {keep: 0.1, exclude: conv1}}", `configs/x.yaml:4: prune.budget.exclude is "conv1": a list of layers such as [conv1, fc2] is needed`},
		{"prune: {budget: {}}", "configs/x.yaml:4: prune.budget has no number: keep or macs, the fraction that is kept, is needed"},
		{"prune:\n  budget:\n    keep: 1", "configs/x.yaml:6: prune.budget.keep is 1: the fraction kept is needed, above 0 and below 1"},
		{"prune: {budget: {macs: 0}}", "configs/x.yaml:4: prune.budget.macs is 0: the fraction kept is needed, above 0 and below 1"},
		{"prune: {budget: {keep: 0.1, macs: 0.1}}", "configs/x.yaml:4: prune.budget.macs is given beside prune.budget.keep: leave one out"},
		{"prune: {budget: {keep: 0.1, method: erl}}", `configs/x.yaml:4: prune.budget.method is "erl": one of uniform, global, erk, sensitivity is needed; did you mean "erk"?`},
		{"prune: {budget: {keep: 0.1, min_keep: 1.5}}", "configs/x.yaml:4: prune.budget.min_keep is 1.5: a fraction of each layer (0.1) or how many weights, filters or columns (4) is needed"},
		{"prune: {sparsity_type: '2:4', budget: {keep: 0.5}}", "configs/x.yaml:4: prune.budget has nothing to divide: 2:4 removes 0.5 of each layer"},
		{"prune: {budget: {keep: 0.1, max_ratio: 1}}", "configs/x.yaml:4: prune.budget.max_ratio is 1: a number from 0 to below 1 is needed"},
		{"prune: {ratio: 0.5, budget: {keep: 0.1}}", "configs/x.yaml:4: prune.budget gives each layer its ratio: leave out prune.ratio"},
		{"prune: {steps: [0.5, 0.9], budget: {keep: 0.1}}", "configs/x.yaml:4: prune.budget gives each layer its last ratio: prune.steps may only be {count, shape}"},
		{"prune: {strategy: s.yaml, budget: {keep: 0.1}}", "configs/x.yaml:4: prune.strategy gives each layer its ratio: leave out prune.ratios and prune.budget"},
		{"prune: {strategy: s.yaml, ratios: {a: 0.1}}", "configs/x.yaml:4: prune.strategy gives each layer its ratio: leave out prune.ratios and prune.budget"},
		{"prune: {strategy: s.yaml, ratio: 0.1}", "configs/x.yaml:4: prune.strategy gives each layer its ratio: leave out prune.ratio"},
	})
}

func TestStrategyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s.yaml")
	read := func(text string) ([]LayerRatio, error) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return ReadStrategy(path)
	}
	want := []LayerRatio{{Layer: "layer1.0.conv1.weight", Ratio: 0.123456789012345678}, {Layer: "true", Ratio: 0}, {Layer: "fc1", Ratio: 1.0 / 3}}
	text, err := StrategyYAML("by hand", want)
	require.NoError(t, err)
	got, err := read(string(text))
	require.NoError(t, err, "%s", text)
	for i := range want {
		want[i].Line = i + 2 // below the comment
	}
	assert.Equal(t, want, got)
	got, err = read(`{"conv1.weight": 0.5, "fc1": 0.25}`)
	require.NoError(t, err)
	assert.Equal(t, []LayerRatio{{"conv1.weight", 0.5, 1}, {"fc1", 0.25, 1}}, got, "JSON")

	for text, want := range map[string]string{
		"":                         "the strategy is empty; it needs a mapping such as {conv1.weight: 0.8, fc1.weight: 0.9}",
		"- a":                      "the strategy is a list: a mapping such as {conv1.weight: 0.8, fc1.weight: 0.9} is needed",
		"a: 0.1\nb: x":             `b is "x": a number such as 0.3, 1e-4 or 8/255 is needed`,
		"a: 0.1\nb: 50":            "b is 50: the fraction removed is needed, from 0 to below 1; did you mean 0.5?",
		"a: 0.1\na: 0.2":           "a is given twice, first on line 1",
		"a: [0.1]\n":               "a is [0.1]: a number such as 0.3, 1e-4 or 8/255 is needed",
		"a: {b: 0.1}\n---\nc: 1\n": "a second YAML document begins here; a strategy is one",
	} {
		_, err := read(text)
		require.Error(t, err, text)
		assert.ErrorContains(t, err, want, text)
		var refused *Error
		assert.ErrorAs(t, err, &refused)
		assert.Contains(t, err.Error(), path)
	}
	_, err = ReadStrategy(path + ".none")
	assert.EqualError(t, err, path+".none: the strategy cannot be read: no such file or directory")
}
