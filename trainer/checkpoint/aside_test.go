package checkpoint

import (
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func saveAside(r *Run, which string, epoch int64) error {
	model := &File{Tensors: []Tensor{I64("model", nil, []int64{epoch})}}
	state := &File{Tensors: []Tensor{I64("state", []int64{2}, []int64{epoch, 0})}}
	return r.SaveAside("admm", which, model, &info{epoch}, state)
}

func TestSavesAsideReachTheDiskInTheirOrder(t *testing.T) {
	r := openTestRun(t)
	for epoch := range int64(20) {
		require.NoError(t, saveAside(r, "best", epoch))
		require.NoError(t, saveAside(r, "last", epoch))
		if epoch%7 == 0 { // loading waits
			assert.Equal(t, epoch, loadEpoch(t, r, "last"))
			assert.Equal(t, epoch, loadEpoch(t, r, "best"))
		}
	}
	require.NoError(t, r.Wait())
	assert.Equal(t, int64(19), loadEpoch(t, r, "last"))
	s, err := readSeal(r.checkpoint("admm", "last") + prev + sealEnd)
	require.NoError(t, err)
	assert.JSONEq(t, `{"epoch": 18}`, string(s.Info), "the one before it is kept")
}

func TestASaveAsideIsNotWaitedFor(t *testing.T) {
	r := openTestRun(t)
	held, failed := make(chan struct{}), errors.New("no more")
	r.stop = func() error { <-held; return failed }
	require.NoError(t, saveAside(r, "last", 1))
	require.NoError(t, saveAside(r, "last", 2), "two may be under way")
	require.NoError(t, r.Failed(), "nothing has failed so far")
	close(held)
	require.ErrorIs(t, r.Wait(), failed)
	require.ErrorIs(t, r.Failed(), failed)
	require.ErrorIs(t, saveAside(r, "last", 3), failed, "what failed is not forgotten")
	_, _, _, err := r.LoadCheckpoint("admm", "last")
	require.ErrorIs(t, err, failed)
	require.ErrorIs(t, save(r, "last", 3), failed)
}

func TestAFullDiskIsSeenBeforeWriting(t *testing.T) {
	r := openTestRun(t)
	require.NoError(t, save(r, "last", 1))
	before := files(t, r)
	r.free = func(string) (int64, error) { return spare + 23, nil } // 24 are needed
	err := save(r, "last", 2)
	require.ErrorContains(t, err, "MB free and 1.0 MB are needed: free some, then the same command goes on (the last checkpoint before it is whole)")
	assert.Equal(t, before, files(t, r), "nothing was touched")
}

func files(t *testing.T, r *Run) map[string]string {
	all := map[string]string{}
	for _, f := range r.glob("checkpoints/admm/*") {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		all[f] = string(b)
	}
	return all
}

// On a disk that fills up, each save is there whole or its error says so, and the newest whole checkpoint is found afterwards.
func TestADiskThatFillsUp(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=300k"); err != nil {
		t.Skip("a small file system could not be mounted, which takes root: " + err.Error())
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, 0)) })
	for _, estimated := range []bool{true, false} { // with the estimate of what is needed, and by running into the wall
		r, err := OpenRun(filepath.Join(dir, strconv.FormatBool(estimated)), Options{})
		require.NoError(t, err)
		if !estimated {
			r.free = func(string) (int64, error) { return 1 << 40, nil }
		} else {
			r.free = func(dir string) (int64, error) { n, err := FreeBytes(dir); return n + spare, err }
		}
		saved := int64(0)
		for size := 1000; ; size += 1000 {
			f := &File{Tensors: []Tensor{I64("model", nil, []int64{saved + 1}), U8("rest", []int64{int64(size)}, make([]byte, size))}}
			err := r.SaveCheckpoint("admm", "last", f, info{saved + 1}, &File{Tensors: []Tensor{I64("state", nil, []int64{saved + 1})}})
			if err != nil {
				require.ErrorContains(t, err, "the last checkpoint before it is whole")
				break
			}
			saved++
		}
		require.Greater(t, saved, int64(5))
		require.NoError(t, r.Close())
		again, err := OpenRun(r.Dir, Options{Resume: true})
		require.NoError(t, err)
		assert.Equal(t, saved, loadEpoch(t, again, "last"))
		require.NoError(t, again.Close())
		require.NoError(t, os.RemoveAll(r.Dir))
	}
}

// A damaged checkpoint is reported and passed over, or refused; never is it loaded as if it were whole.
func TestDamageIsNeverLoaded(t *testing.T) {
	r := openTestRun(t)
	random := rand.New(rand.NewPCG(5, 6))
	data := make([]byte, 4000)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	for epoch := range int64(2) {
		model := &File{Tensors: []Tensor{I64("model", nil, []int64{epoch}), U8("data", []int64{4000}, data)}, Metadata: map[string]string{"arch": "lenet"}}
		require.NoError(t, r.SaveCheckpoint("admm", "last", model, info{epoch}, &File{Tensors: []Tensor{I64("state", nil, []int64{epoch})}}))
	}
	warned := 0
	r.Warn = func(string) { warned++ }
	whole := files(t, r)
	for n := range 1000 {
		victim := r.checkpoint("admm", "last") + []string{modelEnd, stateEnd, sealEnd}[n%3]
		broken := []byte(whole[victim])
		at := random.IntN(len(broken))
		if n%2 == 0 {
			broken[at] ^= 1 << random.IntN(8)
		} else {
			broken = broken[:at]
		}
		require.NoError(t, os.WriteFile(victim, broken, 0o644))
		was := warned
		epoch := loadEpoch(t, r, "last")
		if epoch == 1 { // only where what changed says nothing: a space, or the case of a key
			assert.Equal(t, was, warned)
			assert.Equal(t, sealEnd, filepath.Ext(victim), "%d: byte %d of %s", n, at, victim)
		} else {
			assert.Equal(t, was+1, warned, "%d: byte %d of %s", n, at, victim)
		}
		require.NoError(t, os.WriteFile(victim, []byte(whole[victim]), 0o644))
	}
	assert.Greater(t, warned, 950)

	// With the one before it damaged too, there is nothing left to load.
	for _, name := range []string{"last", "last" + prev} {
		victim := r.checkpoint("admm", name) + modelEnd
		broken := []byte(whole[victim])
		broken[len(broken)-1] ^= 1
		require.NoError(t, os.WriteFile(victim, broken, 0o644))
	}
	_, _, _, err := r.LoadCheckpoint("admm", "last")
	var input *InputError
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "and so is the one before it")
}
