package config

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStepsAt(t *testing.T) {
	for _, c := range []struct {
		s    Steps
		want []float64 // of a last ratio of 0.96
	}{
		{Steps{}, []float64{0.96}},
		{Steps{Count: 2, Shape: "paper"}, []float64{0.8, 0.96}}, // 5x, 25x
		{Steps{Count: 3, Shape: "linear"}, []float64{0.32, 0.64, 0.96}},
		{Steps{Count: 2, Shape: "cubic"}, []float64{0.84, 0.96}},
		{Steps{List: []Step{{Ratio: 0.5}, {Ratio: 0.96}}}, []float64{0.96, 0.96}}, // as each is given
	} {
		require.Equal(t, len(c.want), c.s.N())
		for i, want := range c.want {
			assert.InDelta(t, want, c.s.At(i, 0.96), 1e-12, "%+v step %d", c.s, i)
		}
	}
}

func stepsConfig(t *testing.T, sets ...string) (*Config, error) {
	t.Helper()
	return Parse([]byte("data: {dataset: digits}\nmodel: {arch: lenet_adv}\nadmm: {epochs: 2}\n"), "configs/x.yaml", sets)
}

func TestStepsAreRead(t *testing.T) {
	for text, want := range map[string]Steps{
		"[0.5, 0.9]":                 {List: []Step{{Ratio: 0.5}, {Ratio: 0.9}}},
		"[{conv1: 0.5}, {fc1: 0.9}]": {List: []Step{{Ratios: []LayerRatio{{Layer: "conv1", Ratio: 0.5}}}, {Ratios: []LayerRatio{{Layer: "fc1", Ratio: 0.9}}}}},
	} {
		c, err := stepsConfig(t, "prune.steps="+text)
		require.NoError(t, err, text)
		require.True(t, sameSteps(want, c.Prune.Steps), "%s: %+v", text, c.Prune.Steps)
		again, err := Parse(c.YAML(), "configs/x.yaml", nil)
		require.NoError(t, err)
		assert.Empty(t, Diff(c, again), text)
	}
	c, err := stepsConfig(t, "prune.ratio=0.9", "prune.steps={count: 4, shape: cubic}")
	require.NoError(t, err)
	assert.Equal(t, Steps{Count: 4, Shape: "cubic"}, c.Prune.Steps)
	again, err := Parse(c.YAML(), "configs/x.yaml", nil)
	require.NoError(t, err)
	assert.Equal(t, c.Prune.Steps, again.Prune.Steps)
	other, err := stepsConfig(t, "prune.ratio=0.9", "prune.steps={count: 4}")
	require.NoError(t, err)
	assert.Equal(t, []string{"prune.steps"}, Diff(c, other))
}

func TestStepsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"0.9":                   `prune.steps is "0.9": a list of ratios`,
		"[0.5, much]":           `prune.steps holds a step that is "much"`,
		"[0.5, 1.5]":            "did you mean 0.015?",
		"[0.5, 0]":              "removes nothing in step 2",
		"[{conv1: big}]":        "prune.steps: conv1",
		"{count: 0}":            "has a count of 0: 1 to 100",
		"{shape: round}":        `has the shape "round": paper, cubic or linear`,
		"{number: 3}":           `unknown key "prune.steps.number"`,
		"{count: [3]}":          "prune.steps.count is [3]: a whole number",
		"{count: 3, shape: []}": "prune.steps.shape is []: one line of text",
	} {
		_, err := stepsConfig(t, "prune.steps="+text)
		assert.ErrorContains(t, err, want, text)
	}
	_, err := stepsConfig(t, "prune.steps=[0.5, 0.9]", "prune.ratio=0.9")
	assert.ErrorContains(t, err, "prune.steps lists each step's ratios: leave out prune.ratio and prune.ratios, or give {count: 2, shape: cubic}")
}
