package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tinySweep is a sweep of the tiny config.
func tinySweep(t *testing.T, grid string) string {
	t.Helper()
	dir := t.TempDir()
	sweep := filepath.Join(dir, "sweep.yaml")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "base.yaml"), []byte(strings.ReplaceAll(tiny, "OUT", filepath.Join(dir, "runs"))), 0o644))
	require.NoError(t, os.WriteFile(sweep, []byte("config: base.yaml\ngrid: "+grid+"\n"), 0o644))
	return sweep
}

// A sweep's list tells what came out of the points that are done, and stands a report that cannot be read.
func TestSweepShowsResults(t *testing.T) {
	sweep := tinySweep(t, "{run.seed: [1, 2, 3]}")
	code, out, errOut := rapt("run", sweep, "--array-index", "1", "--set", "admm.epochs=0", "--json")
	require.Zero(t, code, errOut)
	report := parseReport(t, []byte(out))

	code, out, errOut = rapt("sweep", sweep, "--json")
	require.Zero(t, code, errOut)
	var listed struct {
		Points int
		Runs   []map[string]any
	}
	require.NoError(t, json.Unmarshal([]byte(out), &listed))
	require.Equal(t, 3, listed.Points)
	assert.Equal(t, "new", listed.Runs[0]["state"])
	assert.NotContains(t, listed.Runs[0], "clean_accuracy")
	done := listed.Runs[1]
	assert.Equal(t, "done", done["state"])
	assert.Equal(t, *report.CleanAccuracy, done["clean_accuracy"])
	assert.Equal(t, map[string]any{"pgd-4": report.RobustAccuracy["pgd-4"]}, done["robust_accuracy"])
	assert.Equal(t, report.Sparsity.Sparsity, done["sparsity"])

	code, out, errOut = rapt("sweep", sweep)
	require.Zero(t, code, errOut)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	require.Len(t, lines, 4)
	assert.Equal(t, []string{"point", "state", "values", "clean", "%", "pgd-4", "%", "pruned", "%", "folder"}, strings.Fields(lines[0]))
	assert.Equal(t, []string{"0", "new", "run.seed=1"}, strings.Fields(lines[1])[:3])
	cells := strings.Fields(lines[2])
	require.Len(t, cells, 7)
	assert.Equal(t, []string{fmt.Sprintf("%.2f", 100**report.CleanAccuracy), fmt.Sprintf("%.2f", 100*report.RobustAccuracy["pgd-4"]), "90.00"}, cells[3:6])

	require.NoError(t, os.WriteFile(filepath.Join(done["folder"].(string), "report.json"), []byte("{"), 0o644))
	code, out, errOut = rapt("sweep", sweep)
	require.Zero(t, code, errOut)
	assert.Len(t, strings.Fields(strings.Split(out, "\n")[2]), 4, "no results")
	assert.Contains(t, errOut, "report.json cannot be read, so its results are not shown")
}

// A sweep over seeds tells the mean and the standard deviation of those that are done, for each setting, and which points are in doubt.
func TestSweepOverSeeds(t *testing.T) {
	sweep := tinySweep(t, "{prune.ratio: [0.5, 0.75], run.seed: [1, 2, 3]}")

	list := func() (runs []sweepPoint, over []overSeeds, shown string) {
		code, out, errOut := rapt("sweep", sweep, "--json")
		require.Zero(t, code, errOut)
		var listed struct {
			Runs      []sweepPoint
			OverSeeds []overSeeds `json:"over_seeds"`
		}
		require.NoError(t, json.Unmarshal([]byte(out), &listed))
		code, out, errOut = rapt("sweep", sweep)
		require.Zero(t, code, errOut)
		return listed.Runs, listed.OverSeeds, out
	}
	runs, over, shown := list()
	require.Len(t, over, 2)
	assert.Equal(t, overSeeds{Sets: []string{"prune.ratio=0.5"}, Seeds: 3}, over[0])
	assert.NotContains(t, shown, "standard deviation", "there is none yet")

	// What the runs of points 3 to 5 came out with is written here: their training is not what this is about.
	write := func(point int, report string) {
		require.NoError(t, os.MkdirAll(runs[point].Folder, 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(runs[point].Folder, "report.json"), []byte(report), 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(runs[point].Folder, "DONE"), nil, 0o644))
	}
	write(3, `{"clean_accuracy": 0.90, "robust_accuracy": {"pgd-4": 0.5, "fgsm": 0.7}, "sparsity": {"sparsity": 0.75}}`)
	write(5, `{"clean_accuracy": 0.94, "robust_accuracy": {"pgd-4": 0.6}, "sparsity": {"sparsity": 0.75},
		"stages": [{"stage": "retrain", "suspicion": [{"check": "black box", "fine": false, "why": "square breaks 9"}, {"check": "outputs", "fine": true, "why": "they are logits"}]}]}`)
	runs, over, shown = list()
	assert.Zero(t, over[0].Done)
	assert.Equal(t, 2, over[1].Done)
	near := func(mean, std float64, s spread) {
		assert.InDelta(t, mean, s.Mean, 1e-12)
		assert.InDelta(t, std, s.Std, 1e-12)
	}
	near(0.92, 0.02*math.Sqrt2, *over[1].CleanAccuracy)
	require.Len(t, over[1].RobustAccuracy, 1, "fgsm is not of both")
	near(0.55, 0.05*math.Sqrt2, over[1].RobustAccuracy["pgd-4"])
	near(0.75, 0, *over[1].Sparsity)
	require.Len(t, runs[5].Doubts, 1)
	assert.Equal(t, "black box", runs[5].Doubts[0].Check)
	assert.Empty(t, runs[3].Doubts)
	assert.Contains(t, shown, "\npoint 5: the robust accuracy may be too high: square breaks 9\n")
	lines := strings.Split(strings.TrimSpace(shown), "\n")
	assert.Equal(t, "prune.ratio=0.75 2 of 3 92.00 ± 2.83 55.00 ± 7.07 75.00 ± 0.00", strings.Join(strings.Fields(lines[len(lines)-1]), " "))
	assert.NotContains(t, lines[len(lines)-2], "prune.ratio=0.5", "too few are done")
}
