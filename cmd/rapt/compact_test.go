package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/metrics"
)

// A run whose config says so ends with the smaller network, and says what it is.
func TestCompactInARun(t *testing.T) {
	config, folder := tinyRun(t)
	sets := []string{"--set", "prune.sparsity_type=coupled_filter", "--set", "prune.ratio=0.5", "--set", "training.method=natural", "--set", "compact.epochs=1"}
	code, out, errOut := rapt(append([]string{"run", config}, sets...)...)
	require.Zero(t, code, errOut)
	assert.Regexp(t, `compacted\) on digits.* parameters`, out)
	assert.Regexp(t, `compact: \d+ of \d+ parameters \(\d\.\d\dx fewer\), \d+ of \d+ MACs \(\d\.\d\dx fewer\); before its training (\d+) of (\d+) validation images had the whole network's class`, out)
	assert.Contains(t, out, filepath.Join(folder, "checkpoints", "compact", "best.safetensors"))
	code, again, errOut := rapt(append([]string{"run", config}, sets...)...)
	require.Zero(t, code, errOut)
	assert.Contains(t, again, "parameters (")
	page := filepath.Join(t.TempDir(), "page.html")
	code, _, errOut = rapt("report", folder, "--out", page)
	require.Zero(t, code, errOut)
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	assert.Regexp(t, `<p>compact: \d+ of \d+ parameters`, string(html))
	code, out, errOut = rapt("export", folder, "--out", filepath.Join(t.TempDir(), "small.onnx"))
	require.Zero(t, code, errOut)
	assert.Contains(t, out, "compact")
}

// A run by filter becomes a smaller model, which is judged beside the run's own.
func TestCompactCommand(t *testing.T) {
	config, folder := tinyRun(t)
	code, _, errOut := rapt("run", config, "--set", "prune.sparsity_type=filter", "--set", "prune.ratio=0.5", "--set", "training.method=natural", "--json")
	require.Zero(t, code, errOut)
	small := filepath.Join(t.TempDir(), "small.safetensors")
	code, out, errOut := rapt("compact", folder, "--out", small, "--device", "cpu", "--json")
	require.Zero(t, code, errOut)
	assert.Empty(t, errOut)
	var c metrics.Compaction
	require.NoError(t, json.Unmarshal([]byte(out), &c))
	assert.Equal(t, small, c.Out)
	assert.Less(t, c.Parameters.After, c.Parameters.Before)
	assert.Positive(t, c.ImagesPerSecond.After)

	code, out, errOut = rapt("compact", folder, "--out", small, "--device", "cpu", "--limit", "20")
	require.Zero(t, code, errOut)
	assert.Contains(t, out, small+": lenet_adv")
	assert.Contains(t, out, "20 test images: 20 have the same class")

	code, out, errOut = rapt("compare", folder, small, "--device", "cpu", "--limit", "20", "--json")
	require.Zero(t, code, errOut)
	_, shown, _ := rapt("sparsity", small)
	assert.Contains(t, shown, "; what rapt compact left of it")
	model := filepath.Join(t.TempDir(), "small.onnx")
	code, exported, errOut := rapt("export", small, "--out", model, "--json")
	require.Zero(t, code, errOut)
	var e metrics.Export
	require.NoError(t, json.Unmarshal([]byte(exported), &e))
	assert.Equal(t, c.Parameters.After, e.Parameters)
	assert.FileExists(t, model)
	code, exported, errOut = rapt("export", small, "--out", model)
	require.Zero(t, code, errOut)
	assert.Contains(t, exported, "images [N, 1, 28, 28] in [0, 1] to logits [N, 10]")

	var both metrics.Comparison
	require.NoError(t, json.Unmarshal([]byte(out), &both))
	require.NotEmpty(t, both.Pairs)
	assert.Zero(t, both.Pairs[0].OnlyA+both.Pairs[0].OnlyB, "clean")
}
