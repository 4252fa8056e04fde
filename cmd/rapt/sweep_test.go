package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A sweep's list tells what came out of the points that are done, and stands a report that cannot be read.
func TestSweepShowsResults(t *testing.T) {
	dir := t.TempDir()
	base := strings.ReplaceAll(tiny, "OUT", filepath.Join(dir, "runs"))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "base.yaml"), []byte(base), 0o644))
	sweep := filepath.Join(dir, "seeds.yaml")
	require.NoError(t, os.WriteFile(sweep, []byte("config: base.yaml\ngrid: {run.seed: [1, 2, 3]}\n"), 0o644))
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
