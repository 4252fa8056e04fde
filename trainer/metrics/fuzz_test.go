package metrics

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzCutBack resumes over metric files that hold anything: what stays are whole rows of earlier steps, and rows can be added.
func FuzzCutBack(f *testing.F) {
	f.Add([]byte(`{"ts":"x","stage":"admm","epoch":1,"step":3,"train/loss":1}`+"\n"+`{"step":9}`+"\n"+`{"ste`), []byte("ts,stage,epoch,step,train/loss\nx,admm,1,3,0.5\nx,admm,2,9,\n"), int64(5))
	f.Add([]byte("null\n[]\n{\"step\":1e300}\n{\"step\":null}\n{\"step\":-1}\n"), []byte("a,b\n1,2\n"), int64(0))
	f.Add([]byte("\n\n"), []byte("ts,stage,epoch,step,\"a\nb\"\n"), int64(1))
	f.Add([]byte{}, []byte("\n"), int64(-1))
	f.Add([]byte{}, []byte("ts,stage,epoch,step\n"), int64(1))
	f.Fuzz(func(t *testing.T, jsonl, table []byte, from int64) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "metrics.jsonl"), jsonl, 0o644))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "metrics.csv"), table, 0o644))
		l, err := Open(dir, from, true)
		if err != nil {
			require.Contains(t, err.Error(), "metrics")
			return
		}
		defer l.Close()
		require.NoError(t, l.LogEpoch("admm", 1, from, map[string]float64{"train/loss": 1}))
		lines := kept(t, dir, "metrics.jsonl")
		for i, line := range lines {
			var row struct {
				Step *int64 `json:"step"`
			}
			require.NoError(t, json.Unmarshal(line, &row))
			require.NotNil(t, row.Step)
			require.Equal(t, i == len(lines)-1, *row.Step == from, "only the new row is of step %d", from)
		}
		rows := kept(t, dir, "metrics.csv")
		require.GreaterOrEqual(t, len(rows), 2, "a header and the new row")
		require.Contains(t, string(rows[len(rows)-1]), ",admm,1,"+strconv.FormatInt(from, 10))
	})
}

// kept are the lines of a file of dir, which ends with a whole one.
func kept(t *testing.T, dir, name string) [][]byte {
	text, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(text), "\n"))
	return bytes.Split(bytes.TrimSuffix(text, []byte("\n")), []byte("\n"))
}
