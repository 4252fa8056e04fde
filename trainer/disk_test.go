package trainer_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
)

// smallDisk mounts a file system of its own, and gives its folder and how to mount it anew with other options.
func smallDisk(t *testing.T, options string) (dir string, remount func(flags uintptr, options string)) {
	t.Helper()
	dir = t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("a small file system could not be mounted, which takes root: " + err.Error())
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(dir, 0)) })
	return dir, func(flags uintptr, options string) {
		t.Helper()
		require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, options))
	}
}

// A run whose disk fills up ends with one sentence, and goes on from its last checkpoint once there is room: in the end it is as if there had
// always been.
func TestADiskThatFillsUpLosesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("long; runs without -short")
	}
	sets := []string{"run.save_every=2", "run.log_every=1"}
	whole := trainer.Settings(t, t.TempDir(), sets...)
	run(t, whole)

	dir, remount := smallDisk(t, "size=8k")
	cfg := trainer.Settings(t, filepath.Join(dir, "runs"), sets...)
	failed := 0
	for size := 8; ; size += 40 {
		require.Less(t, size, 20000)
		remount(0, "size="+strconv.Itoa(size)+"k")
		_, err := trainer.Run(context.Background(), cfg, trainer.Quiet())
		if err == nil {
			break
		}
		failed++
		assert.Regexp(t, `no space left on device|free some, then the same command goes on`, err.Error())
		assert.NotContains(t, err.Error(), "panic")
	}
	assert.Greater(t, failed, 5)
	alike(t, whole, cfg)
}

func TestAReadOnlyFolderIsRefused(t *testing.T) {
	dir, remount := smallDisk(t, "size=20m")
	cfg := trainer.Settings(t, dir)
	remount(syscall.MS_RDONLY, "")
	for _, begun := range []bool{false, true} {
		_, err := trainer.Run(context.Background(), cfg, trainer.Quiet())
		require.True(t, isInput(err), "%v: %v", begun, err)
		assert.Regexp(t, regexp.QuoteMeta(dir)+`.*read-only file system`, err.Error())
		remount(0, "")
		if !begun {
			_, err := trainer.Run(trainer.EndsAfter(3), cfg, trainer.Quiet())
			require.ErrorIs(t, err, trainer.ErrInterrupted)
			remount(syscall.MS_RDONLY, "")
		}
	}
	run(t, cfg)
}

func TestOtherImagesThanARunBeganWithAreRefused(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir())
	_, err := trainer.Run(trainer.EndsAfter(3), cfg, trainer.Quiet())
	require.ErrorIs(t, err, trainer.ErrInterrupted)
	path := filepath.Join(folder(cfg), "env.json")
	env, err := os.ReadFile(path)
	require.NoError(t, err)
	other := regexp.MustCompile(`("data_sha256": ")[0-9a-f]{12}`).ReplaceAllString(string(env), "${1}badbadbadbad")
	require.NotEqual(t, string(env), other)
	require.NoError(t, os.WriteFile(path, []byte(other), 0o644))
	_, err = trainer.Run(context.Background(), cfg, trainer.Quiet())
	var input *trainer.InputError
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "was begun with other images of digits (SHA-256 badbadbadbad) than are in the data folder now")
	assert.Equal(t, 1, strings.Count(err.Error(), "\n")+1, "one sentence")
	require.NoError(t, os.WriteFile(path, env, 0o644))
	run(t, cfg)
}
