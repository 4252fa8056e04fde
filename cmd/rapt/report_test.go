package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A run's page is in its folder unless another file is named; of several runs there is no such folder.
func TestReport(t *testing.T) {
	config, folder := tinyRun(t)
	code, _, errOut := program(t, "run", config)
	require.Equal(t, 0, code, errOut)
	code, out, errOut := program(t, "report", folder)
	require.Equal(t, 0, code, errOut)
	page := filepath.Join(folder, "report.html")
	assert.Equal(t, page+"\n", out)
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	for _, want := range []string{"<h1>tiny</h1>", "pgd-4 %", "<td class=\"text\">retrain</td>", "fc1.weight", "What pruning costs", "How near ADMM came", "v-test"} {
		assert.Contains(t, string(text), want)
	}
	code, _, errOut = program(t, "run", config)
	require.Equal(t, 0, code, "the run is still its own: "+errOut)

	both := filepath.Join(t.TempDir(), "both.html")
	code, out, errOut = program(t, "report", folder, folder, "--out", both, "--json")
	require.Equal(t, 0, code, errOut)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	assert.Equal(t, map[string]any{"out": both, "runs": []any{folder, folder}}, got)
	assert.FileExists(t, both)

	for want, args := range map[string][]string{
		"report needs the folder of a RUN":                      nil,
		"nowhere is no run's folder: it holds no config.yaml":   {"nowhere"},
		"report needs --out FILE, the file to write several":    {folder, folder},
		"is a folder, and a file is needed":                     {folder, "--out", folder},
		config + " is no run's folder: it holds no config.yaml": {config},
	} {
		code, out, errOut := program(t, append([]string{"report"}, args...)...)
		assert.Equal(t, 2, code, want)
		assert.Empty(t, out)
		assert.Contains(t, errOut, want)
	}
}
