package trainer

import (
	"context"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a run leaves on the disk is what was said before, but for the headers and the copy that is being written.
func TestDiskNeeded(t *testing.T) {
	for name, sets := range map[string][]string{
		"sgd and adam":          {"model.width=2"},
		"batch norm, averaging": {"model.arch=lenet_bn", "training.ema_decay=0.9", "training.method=free", "training.replays=2"},
		"quantised":             {"admm.epochs=0", "retrain.epochs=0", "quantize.bits=1", "quantize_admm.epochs=1", "quantize_retrain.epochs=1", "model.width=2"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Settings(t, t.TempDir(), sets...)
			needs, err := NeedsOf(context.Background(), cfg)
			require.NoError(t, err)
			assert.Equal(t, "cpu", needs.Device)
			assert.Positive(t, needs.Memory.Total)
			_, err = Run(context.Background(), cfg, Quiet())
			require.NoError(t, err)
			size := int64(0)
			require.NoError(t, filepath.WalkDir(cfg.Run.OutDir, func(path string, d fs.DirEntry, err error) error {
				if filepath.Ext(path) == ".safetensors" {
					info, err := d.Info()
					require.NoError(t, err)
					size += info.Size()
				}
				return err
			}))
			assert.LessOrEqual(t, size, needs.Disk)
			assert.Greater(t, float64(size), 0.6*float64(needs.Disk))
			assert.Equal(t, needs.Disk, plan(t, sets...).Disk)
		})
	}
}

func TestNeedsRefusesWhatARunWould(t *testing.T) {
	_, err := NeedsOf(context.Background(), Settings(t, t.TempDir(), "model.load=nowhere.safetensors"))
	assert.ErrorContains(t, err, "nowhere.safetensors")
}
