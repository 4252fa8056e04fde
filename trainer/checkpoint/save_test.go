package checkpoint

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type info struct {
	Epoch int64 `json:"epoch"`
}

func openTestRun(t *testing.T) *Run {
	r, err := OpenRun(filepath.Join(t.TempDir(), "run"), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	return r
}

// save stores a checkpoint whose three parts all tell the epoch. Every epoch's
// files have the same size, as in training.
func save(r *Run, which string, epoch int64) error {
	model := &File{Tensors: []Tensor{I64("model", nil, []int64{epoch})}}
	state := &File{Tensors: []Tensor{I64("state", []int64{2}, []int64{epoch, 0})}}
	return r.SaveCheckpoint("admm", which, model, info{epoch}, state)
}

// loadEpoch loads a checkpoint and demands that its parts belong together.
func loadEpoch(t *testing.T, r *Run, which string) int64 {
	model, state, raw, err := r.LoadCheckpoint("admm", which)
	require.NoError(t, err)
	var in info
	require.NoError(t, json.Unmarshal(raw, &in))
	m, err := model.Tensors[0].Int64s()
	require.NoError(t, err)
	s, err := state.Tensors[0].Int64s()
	require.NoError(t, err)
	require.Equal(t, []int64{in.Epoch, in.Epoch}, []int64{m[0], s[0]}, "model and state of one epoch")
	return in.Epoch
}

func TestSaveAndLoad(t *testing.T) {
	r := openTestRun(t)
	assert.False(t, r.HasCheckpoint("admm", "last"))
	_, _, _, err := r.LoadCheckpoint("admm", "last")
	assert.ErrorIs(t, err, fs.ErrNotExist)
	for epoch := range int64(3) {
		require.NoError(t, save(r, "last", epoch))
		require.NoError(t, save(r, "best", epoch))
		assert.Equal(t, epoch, loadEpoch(t, r, "last"))
		assert.Equal(t, epoch, loadEpoch(t, r, "best"))
	}
	assert.True(t, r.HasCheckpoint("admm", "last"))
	names, err := fs.Glob(os.DirFS(r.Path("checkpoints", "admm")), "*")
	require.NoError(t, err)
	assert.Equal(t, []string{"best.json", "best.safetensors", "best.state.safetensors",
		"last.json", "last.prev.json", "last.prev.safetensors", "last.prev.state.safetensors",
		"last.safetensors", "last.state.safetensors"}, names)
	f, err := Read(r.CheckpointPath("admm", "last"))
	require.NoError(t, err)
	assert.Equal(t, "model", f.Tensors[0].Name)
}

func TestWithoutState(t *testing.T) {
	r := openTestRun(t)
	require.NoError(t, save(r, "best", 1))
	require.NoError(t, r.SaveCheckpoint("admm", "best", &File{}, info{2}, nil))
	_, state, raw, err := r.LoadCheckpoint("admm", "best")
	require.NoError(t, err)
	assert.Nil(t, state)
	assert.JSONEq(t, `{"epoch": 2}`, string(raw))
	assert.NoFileExists(t, r.Path("checkpoints/admm/best.state.safetensors"))
}

// A save is killed before its k-th rename, for every k; then, from there, the
// next save is killed before its j-th. There is always a whole checkpoint, never
// older than the last that was saved or the one before.
func TestKilledBetweenAnyTwoRenames(t *testing.T) {
	killed := errors.New("killed")
	kill := func(r *Run, after int) {
		r.stop = func() error {
			if after == 0 {
				return killed
			}
			after--
			return nil
		}
	}
	for which, again := range map[string]int{"last": 7, "best": 1} {
		for k := range 6 {
			for j := range again {
				r := openTestRun(t)
				require.NoError(t, save(r, which, 1))
				require.NoError(t, save(r, which, 2))
				kill(r, k)
				require.ErrorIs(t, save(r, which, 3), killed, "a save takes six renames")
				require.Equal(t, int64(2), loadEpoch(t, r, which), "%s, killed before rename %d", which, k)
				kill(r, j)
				err := save(r, which, 3)
				if err != nil {
					require.ErrorIs(t, err, killed)
					require.Equal(t, int64(2), loadEpoch(t, r, which), "%s, killed before %d, then %d", which, k, j)
				} else {
					require.Equal(t, int64(3), loadEpoch(t, r, which))
				}
				r.stop = nil
				require.NoError(t, save(r, which, 4))
				require.Equal(t, int64(4), loadEpoch(t, r, which))
			}
		}
	}
}

func TestDamageIsFoundAndTheOneBeforeUsed(t *testing.T) {
	damage := map[string]func(t *testing.T, path string){
		"a flipped bit": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			b[len(b)-1] ^= 1
			require.NoError(t, os.WriteFile(path, b, 0o644))
		},
		"truncated": func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 40)) },
		"missing":   func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
	}
	for name, harm := range damage {
		for _, end := range []string{modelEnd, stateEnd, sealEnd} {
			if name == "a flipped bit" && end == sealEnd {
				continue // its last byte is a newline
			}
			t.Run(name+" "+end, func(t *testing.T) {
				r := openTestRun(t)
				var warning string
				r.Warn = func(msg string) { warning = msg }
				require.NoError(t, save(r, "last", 1))
				require.NoError(t, save(r, "last", 2))
				harm(t, r.Path("checkpoints/admm/last"+end))
				assert.Equal(t, int64(1), loadEpoch(t, r, "last"))
				assert.Contains(t, warning, "the one before it is used")
				harm(t, r.Path("checkpoints/admm/last.prev"+end))
				_, _, _, err := r.LoadCheckpoint("admm", "last")
				var bad *InputError
				assert.ErrorAs(t, err, &bad)
			})
		}
	}
}

func TestInfoThatIsNoJSONIsRefused(t *testing.T) {
	r := openTestRun(t)
	require.NoError(t, save(r, "last", 1))
	assert.Error(t, r.SaveCheckpoint("admm", "last", &File{}, func() {}, nil))
	bad := &File{Tensors: []Tensor{F32("w", []int64{2}, nil)}}
	assert.ErrorContains(t, r.SaveCheckpoint("admm", "last", bad, info{2}, nil), "needs 8 bytes")
	assert.Equal(t, int64(1), loadEpoch(t, r, "last"))
	hidden, err := filepath.Glob(r.Path("checkpoints/admm/.*"))
	require.NoError(t, err)
	assert.Empty(t, hidden, "no temporary file stays")
}

// A damaged checkpoint that was passed over is not kept in the place of the good one before it.
func TestADamagedCheckpointDoesNotReplaceTheOneBefore(t *testing.T) {
	r := openTestRun(t)
	for epoch := range int64(2) {
		require.NoError(t, save(r, "last", epoch))
	}
	path := r.CheckpointPath("admm", "last")
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	require.NoError(t, os.WriteFile(path, data, 0o644))
	require.Equal(t, int64(0), loadEpoch(t, r, "last"))
	require.NoError(t, save(r, "last", 2))
	require.Equal(t, int64(2), loadEpoch(t, r, "last"))
	require.NoError(t, os.Remove(path))
	require.Equal(t, int64(0), loadEpoch(t, r, "last"), "the one before is the good one")
	sum, err := r.ModelSHA256(path)
	require.NoError(t, err)
	require.Len(t, sum, 64)
}
