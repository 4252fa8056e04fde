package checkpoint

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzSeal puts anything in the place of a checkpoint's description: it is refused, or it is what was saved.
func FuzzSeal(f *testing.F) {
	r, err := OpenRun(f.TempDir(), Options{})
	require.NoError(f, err)
	require.NoError(f, r.SaveCheckpoint("admm", "last", sample(), map[string]any{"epoch": 3}, sample()))
	saved, err := os.ReadFile(r.Path("checkpoints", "admm", "last.json"))
	require.NoError(f, err)
	model, err := os.ReadFile(r.Path("checkpoints", "admm", "last.safetensors"))
	require.NoError(f, err)
	require.NoError(f, r.Close())
	f.Add(saved)
	f.Add(saved[:len(saved)/2])
	f.Add([]byte(`{"schema":2,"model":{"size":-1,"sha256":""},"info":null,"sha256":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}`))
	f.Add([]byte(`{"schema":2,"model":null,"state":{},"info":{"a":1},"sha256":1}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		dir := t.TempDir()
		folder := filepath.Join(dir, "checkpoints", "admm")
		require.NoError(t, os.MkdirAll(folder, 0o755))
		for name, data := range map[string][]byte{"last.json": content, "last.safetensors": model, "last.state.safetensors": model} {
			require.NoError(t, os.WriteFile(filepath.Join(folder, name), data, 0o644))
		}
		_, _, info, err := (&Run{Dir: dir}).LoadCheckpoint("admm", "last")
		if err != nil {
			var bad *InputError
			require.ErrorAs(t, err, &bad)
			require.NotErrorIs(t, err, fs.ErrNotExist)
			return
		}
		require.JSONEq(t, `{"epoch":3}`, string(info))
	})
}
