package trainer_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
)

func TestALogThatCannotBeWrittenDoesNotEndTraining(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full, which Linux has")
	}
	cfg := trainer.Settings(t, t.TempDir(), "admm.epochs=0", "retrain.epochs=0")
	var console bytes.Buffer
	o := trainer.Quiet()
	o.Console.Out = &console
	_, err := trainer.Run(trainer.EndsAfter(1), cfg, o)
	require.ErrorIs(t, err, trainer.ErrInterrupted)
	log := filepath.Join(folder(cfg), "log.txt")
	require.NoError(t, os.Remove(log))
	require.NoError(t, os.Symlink("/dev/full", log))
	console.Reset()
	_, err = trainer.Run(context.Background(), cfg, o)
	require.NoError(t, err)
	assert.FileExists(t, filepath.Join(folder(cfg), "DONE"))
	assert.Equal(t, 1, bytes.Count(console.Bytes(), []byte("the log cannot be written")), console.String())
}

func TestOverwriteRemovesOldLogs(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "admm.epochs=0", "retrain.epochs=0", "pretrain.epochs=1")
	run(t, cfg)
	old := filepath.Join(folder(cfg), "log-2026-01-02T03-04-05.678-size.txt")
	own := filepath.Join(folder(cfg), "notes.txt")
	for _, path := range []string{old, own} {
		require.NoError(t, os.WriteFile(path, nil, 0o644))
	}
	o := trainer.Quiet()
	o.Overwrite = true
	_, err := trainer.Run(context.Background(), cfg, o)
	require.NoError(t, err)
	assert.NoFileExists(t, old)
	assert.FileExists(t, own, "what the person put there stays")
}
