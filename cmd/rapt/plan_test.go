package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/metrics"
)

func TestPlan(t *testing.T) {
	config, folder := tinyRun(t)
	code, out, errOut := program(t, "plan", config, "--json")
	require.Zero(t, code, errOut)
	assert.Equal(t, "taking training steps to estimate the time; --no-measure leaves them out\n", errOut)
	var p metrics.Plan
	decoder := json.NewDecoder(strings.NewReader(out))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&p), out)
	assert.Equal(t, []any{1, "tiny", "digits", "lenet_adv", "irregular", true}, []any{p.Schema, p.Name, p.Dataset, p.Arch, p.Type, p.Resolved})
	assert.Equal(t, metrics.PlanCount{Before: 13514, After: 1424, Shrunk: 13514}, p.Parameters)
	require.Len(t, p.Layers, 4)
	assert.Equal(t, 0.9, p.Layers[0].Ratio)
	require.NotNil(t, p.Time)
	require.Len(t, p.Time.Stages, 3)
	assert.Equal(t, 4, p.Time.Stages[0].Steps, "190 images in batches of 50")
	assert.Positive(t, p.Time.Seconds)
	assert.Positive(t, p.Memory.Total)
	assert.NoDirExists(t, folder)
	var fields map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &fields))
	assert.Equal(t, map[string]any{"before": 91584., "after": 9159., "shrunk": 91584.}, fields["macs"])
	assert.Contains(t, fields["bytes"], "sparse_with_indices")

	file := filepath.Join(t.TempDir(), "strategy.yaml")
	code, out, errOut = program(t, "plan", config, "--no-measure", "--set", "prune.ratio=0", "--set", "prune.sparsity_type=filter",
		"--set", "prune.budget={macs: 0.4, method: erk}", "--strategy-out", file)
	require.Zero(t, code, errOut)
	assert.Contains(t, out, "budget: macs 0.4, erk")
	assert.Contains(t, out, "conv2.weight")
	assert.Contains(t, out, "shrunk")
	assert.NotContains(t, out, "time of")
	assert.NotContains(t, errOut, "taking training steps")
	assert.FileExists(t, file)
	code, out, errOut = program(t, "run", config, "--set", "prune.ratio=0", "--set", "prune.sparsity_type=filter", "--set", "prune.strategy="+file)
	require.Zero(t, code, errOut)
	assert.Contains(t, out, "report:")
	stored, err := os.ReadFile(filepath.Join(folder, "strategy.yaml"))
	require.NoError(t, err)
	asked, err := os.ReadFile(file)
	require.NoError(t, err)
	ratios := func(b []byte) string { _, after, _ := strings.Cut(string(b), "\n"); return after }
	assert.Equal(t, ratios(asked), ratios(stored))
}

func TestPlanRefusals(t *testing.T) {
	config, _ := tinyRun(t)
	for want, args := range map[string][]string{
		"needs a CONFIG":          {"plan"},
		"did you mean \"budget\"": {"plan", config, "--set", "prune.budgit={keep: 0.1}"},
		"needs trained weights":   {"plan", config, "--no-measure", "--set", "prune.ratio=0", "--set", "prune.budget={keep: 0.1, method: global}", "--strategy-out", "x"},
		"cannot be met":           {"plan", config, "--set", "prune.ratio=0", "--set", "prune.budget={keep: 0.1, max_ratio: 0.5}"},
		"strategy cannot be read": {"plan", config, "--set", "prune.ratio=0", "--set", "prune.strategy=none.yaml"},
	} {
		code, out, errOut := program(t, args...)
		assert.Equal(t, exitUsage, code, args)
		assert.Contains(t, errOut, want)
		assert.Empty(t, out)
	}
}
