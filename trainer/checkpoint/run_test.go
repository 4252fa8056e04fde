package checkpoint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// fill puts every kind of file in a run folder that rapt writes, and closes it.
func fill(t *testing.T, dir string) {
	r, err := OpenRun(dir, Options{})
	require.NoError(t, err)
	require.NoError(t, r.WriteFile("config.yaml", []byte("run: {}\n")))
	require.NoError(t, r.WriteJSON("env.json", Environment("1")))
	require.NoError(t, r.WriteFile("events.out.tfevents.1.host.2.0", nil))
	require.NoError(t, save(r, "last", 1))
	require.NoError(t, save(r, "last", 2))
	require.NoError(t, save(r, "best", 2))
	require.NoError(t, r.MarkDone())
	require.True(t, IsDone(r.Dir))
	require.NoError(t, r.Close())
}

func tree(t *testing.T, dir string) []string {
	var names []string
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if !d.IsDir() {
			names = append(names, path)
		}
		return err
	}))
	return names
}

func TestAnExistingRunIsResumedOrRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out", "a [run]") // a name with the letters of a pattern
	fill(t, dir)
	before := tree(t, dir)
	_, err := OpenRun(dir, Options{})
	var bad *InputError
	require.ErrorAs(t, err, &bad)
	assert.Contains(t, err.Error(), "--overwrite")
	r, err := OpenRun(dir, Options{Resume: true})
	require.NoError(t, err)
	assert.True(t, r.Resumed)
	assert.True(t, IsDone(r.Dir))
	assert.Equal(t, int64(2), loadEpoch(t, r, "last"))
	require.NoError(t, r.Close())
	assert.Equal(t, before, tree(t, dir))
}

func TestOverwriteRemovesOnlyWhatRaptWrote(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [run]")
	fill(t, dir)
	mine := []string{"notes.txt", "checkpoints/admm/best-of-all.safetensors", "checkpoints/keep.json", "eval/mine.json", "eval/0123456789abcdef.csv"}
	judged := []string{"report.html", "eval/0123456789abcdef.json", "eval/0123456789abcdef.json.images", "eval/.0123456789abcdef.json8917239"}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "eval"), 0o755))
	for _, m := range append(judged, mine...) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, m), nil, 0o644))
	}
	r, err := OpenRun(dir, Options{Resume: true})
	require.NoError(t, err)
	for _, j := range judged {
		assert.FileExists(t, r.Path(j), "an evaluation may be at work")
	}
	require.NoError(t, r.Close())
	r, err = OpenRun(dir, Options{Overwrite: true, Resume: true})
	require.NoError(t, err)
	defer r.Close()
	assert.False(t, r.Resumed)
	assert.False(t, IsDone(r.Dir))
	assert.False(t, r.HasCheckpoint("admm", "last"))
	assert.ElementsMatch(t, append(mine, lockName), tree(t, dir))
}

func TestForeignFoldersAreLeftAlone(t *testing.T) {
	foreign := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(foreign, "config.yaml"), []byte("theirs"), 0o644))
	for _, o := range []Options{{}, {Resume: true}, {Overwrite: true}} {
		_, err := OpenRun(foreign, o)
		var bad *InputError
		require.ErrorAs(t, err, &bad)
		assert.Contains(t, err.Error(), "not a run of rapt, such as config.yaml")
	}
	assert.Equal(t, []string{"config.yaml"}, tree(t, foreign))

	file := filepath.Join(foreign, "config.yaml")
	for _, dir := range []string{file, filepath.Join(file, "sub")} {
		_, err := OpenRun(dir, Options{})
		var bad *InputError
		require.ErrorAs(t, err, &bad)
		assert.Contains(t, err.Error(), "not a directory")
	}
}

func TestARunIsHeldByOneProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	r, err := OpenRun(dir, Options{})
	require.NoError(t, err)
	for _, o := range []Options{{}, {Resume: true}, {Overwrite: true}} {
		_, err = OpenRun(dir, o)
		var bad *InputError
		require.ErrorAs(t, err, &bad)
		host, _ := os.Hostname()
		assert.Contains(t, err.Error(), fmt.Sprintf("in use by process %d on %s", os.Getpid(), host))
	}
	require.NoError(t, r.Close())
	r, err = OpenRun(dir, Options{}) // nothing was written, so it is new again
	require.NoError(t, err)
	assert.False(t, r.Resumed)
	require.NoError(t, r.Close())
}

func TestAFolderThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o555))
	if os.Geteuid() == 0 { // CI is root, who may write anywhere: this thread's file accesses are made as nobody's
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, err := unix.SetfsuidRetUid(65534)
		require.NoError(t, err)
		defer unix.SetfsuidRetUid(0)
	}
	for _, d := range []string{dir, filepath.Join(dir, "sub")} {
		_, err := OpenRun(d, Options{})
		var bad *InputError
		require.ErrorAs(t, err, &bad)
		assert.Contains(t, err.Error(), "permission denied")
	}
}

func TestLeftoversOfAKilledWriteAreRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	fill(t, dir)
	left := []string{".report.json123", "checkpoints/admm/.last.safetensors8917239", "checkpoints/admm/.best.json1"}
	for _, l := range append(left, ".keep.me") {
		require.NoError(t, os.WriteFile(filepath.Join(dir, l), nil, 0o644))
	}
	r, err := OpenRun(dir, Options{Resume: true})
	require.NoError(t, err)
	defer r.Close()
	for _, l := range left {
		assert.NoFileExists(t, filepath.Join(dir, l))
	}
	assert.FileExists(t, filepath.Join(dir, ".keep.me"))
	assert.Equal(t, int64(2), loadEpoch(t, r, "last"))
}

func TestJSONFiles(t *testing.T) {
	r := openTestRun(t)
	require.NoError(t, r.WriteJSON("env.json", map[string]int{"a": 1}))
	b, err := os.ReadFile(r.Path("env.json"))
	require.NoError(t, err)
	assert.Equal(t, "{\n  \"a\": 1\n}\n", string(b))
	var v map[string]int
	require.NoError(t, r.ReadJSON("env.json", &v))
	assert.Equal(t, 1, v["a"])
	var bad *InputError
	assert.ErrorAs(t, r.ReadJSON("absent.json", &v), &bad)
	require.NoError(t, r.WriteFile("env.json", []byte("{")))
	assert.ErrorAs(t, r.ReadJSON("env.json", &v), &bad)
	assert.ErrorContains(t, r.WriteJSON("env.json", func() {}), "env.json")
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SLURM_JOB_ID", "17")
	t.Setenv("SLURM_JWT", "secret")
	e := Environment("1.2.3")
	assert.Equal(t, "1.2.3", e["version"])
	slurm := e["slurm"].(map[string]string)
	assert.Equal(t, "17", slurm["SLURM_JOB_ID"])
	assert.NotContains(t, slurm, "SLURM_JWT")
	assert.Positive(t, e["cpus"])
}

// What a lost node may leave of the lock: its file, and nothing or a part of what was written there.
func TestATornLockIsOurs(t *testing.T) {
	for _, left := range []string{"", lockTitle[:5]} {
		dir := t.TempDir()
		fill(t, dir)
		require.NoError(t, os.WriteFile(filepath.Join(dir, lockName), []byte(left), 0o644))
		r, err := OpenRun(dir, Options{Resume: true})
		require.NoError(t, err, "%q", left)
		require.NoError(t, r.Close())
		require.True(t, isRun(dir))
	}
}

// A disk that fails is worth another try, a path that is wrong is not.
func TestWhichErrorsAreTheUsers(t *testing.T) {
	var input *InputError
	assert.ErrorAs(t, osInput("x", "cannot read it", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}), &input)
	assert.ErrorAs(t, osInput("x", "cannot read it", &fs.PathError{Op: "open", Path: "x", Err: syscall.ENOENT}), &input)
	for _, failed := range []error{syscall.EIO, syscall.ESTALE, syscall.EMFILE, syscall.ENOSPC} {
		err := osInput("x", "cannot read it", &fs.PathError{Op: "read", Path: "x", Err: failed})
		assert.False(t, errors.As(err, &input), "%v", err)
		assert.ErrorIs(t, err, failed)
	}
}
