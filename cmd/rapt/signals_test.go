package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
)

// fakeSlurm has scontrol write its arguments to calls, and wait until somebody reads pipe.
func fakeSlurm(t *testing.T) (calls, pipe string) {
	dir := t.TempDir()
	calls, pipe = filepath.Join(dir, "calls"), filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "scontrol"), []byte("#!/bin/sh\necho \"$*\" >>"+calls+"\n: >"+pipe+"\n"), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	t.Setenv("SLURM_JOB_ID", "17")
	t.Setenv("SLURM_ARRAY_JOB_ID", "")
	return calls, pipe
}

// However long Slurm takes to requeue a job whose work is saved: the grace is over by then for good, so it is neither called unsaved nor requeued twice.
func TestAJobIsRequeuedOnce(t *testing.T) {
	calls, pipe := fakeSlurm(t)
	var said bytes.Buffer
	a := &app{err: &said}
	stopped := make(chan bool, 1)
	go func() {
		f, err := os.Open(pipe) // once scontrol is at work
		stopped <- err == nil && !a.signal.timer.Load().Stop()
		f.Close()
	}()
	err := a.interruptible(func(ctx context.Context, _ *cobra.Command, _ []string) error {
		a.signal.requeue.Store(true)
		a.signal.grace.Store(int64(time.Hour))
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1))
		<-ctx.Done()
		return trainer.ErrInterrupted
	})(nil, nil)
	require.ErrorIs(t, err, trainer.ErrInterrupted)
	b, err := os.ReadFile(calls)
	require.NoError(t, err)
	assert.Equal(t, "requeue 17\n", string(b))
	assert.True(t, <-stopped, "the timer still runs while the job is requeued")
	assert.Equal(t, "rapt: user defined signal 1: stopping at the next step\nrapt: job 17 is requeued\n", said.String())
}

// Work that ended by itself, or for another signal than that of a time limit, is not done again.
func TestOnlyATimeLimitRequeues(t *testing.T) {
	calls, _ := fakeSlurm(t)
	for _, end := range []error{nil, trainer.ErrInterrupted} {
		a := &app{err: &bytes.Buffer{}}
		err := a.interruptible(func(ctx context.Context, _ *cobra.Command, _ []string) error {
			a.signal.requeue.Store(true)
			if end != nil {
				require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
				<-ctx.Done()
			}
			return end
		})(nil, nil)
		require.Equal(t, end, err)
		assert.NoFileExists(t, calls)
	}
}
