package trainer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/trainer/checkpoint"
)

func TestOutOfMemorySaysWhatToLower(t *testing.T) {
	cfg := Settings(t, t.TempDir(), "run.workers=3", "model.width=2", "data.eval_batch_size=77", "retrain.epochs=0", "admm.epochs=0")
	dir := filepath.Join(cfg.Run.OutDir, cfg.Run.Name)
	run, err := checkpoint.OpenRun(dir, checkpoint.Options{})
	require.NoError(t, err)
	p := &pipeline{cfg: cfg, run: run}
	injected := fmt.Errorf("torch: Conv2d: no room\nfor 3 GiB: %w", torch.ErrOutOfMemory)

	const advice = "rapt doctor --find-batch %s finds the batch that fits; "
	at := fmt.Sprintf(advice, filepath.Join(dir, "config.yaml"))
	err = p.exhausted(injected, []torch.Device{torch.CPU})
	assert.ErrorIs(t, err, torch.ErrOutOfMemory)
	assert.EqualError(t, err, "out of memory on cpu: lower data.batch_size (24), run.workers (3) or model.width (2), in a run of another run.name or with --overwrite; "+
		at+"no checkpoint had been saved yet (torch: Conv2d: no room for 3 GiB: out of memory)")
	assert.False(t, errors.As(err, new(*InputError)), "exit code 1")

	require.NoError(t, run.Close())
	_, err = Run(context.Background(), cfg, Quiet())
	require.NoError(t, err)
	assert.EqualError(t, p.exhausted(injected, []torch.Device{torch.CUDA(0)}), "out of memory on cuda:0: lower data.batch_size (24), data.eval_batch_size (77) or model.width (2), "+
		"in a run of another run.name or with --overwrite; "+at+"the last checkpoint is kept: "+filepath.Join(dir, "checkpoints", "pretrain", "last.safetensors")+
		" (torch: Conv2d: no room for 3 GiB: out of memory)")

	cfg.Model.Width = 1
	assert.ErrorContains(t, p.exhausted(injected, []torch.Device{torch.CPU}), "lower data.batch_size (24) or run.workers (3), in a run")

	other := errors.New("another")
	assert.Equal(t, other, p.exhausted(other, []torch.Device{torch.CPU}))
	assert.NoError(t, p.exhausted(nil, []torch.Device{torch.CPU}))
}
