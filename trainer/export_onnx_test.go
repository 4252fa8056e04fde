package trainer_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/checkpoint"
)

// A run's model and what compact leaves of it become ONNX files without the data set being there; one that is no number does not.
func TestExport(t *testing.T) {
	cfg, want := judged(t, "prune.ratio=0.5", "prune.sparsity_type=filter", "data.mean=[0.13]", "data.std=[0.31]")
	small, c := compact(t, folder(cfg))
	out := filepath.Join(t.TempDir(), "model.onnx")
	e, err := trainer.Export(trainer.ExportOptions{Path: folder(cfg), Out: out, Version: "v-test"})
	require.NoError(t, err)
	assert.Equal(t, want.Parameters, e.Parameters)
	assert.Equal(t, []any{[3]int64{1, 28, 28}, 10, c.Checkpoint}, []any{e.Input, e.Classes, e.Checkpoint})
	whole, err := os.ReadFile(out)
	require.NoError(t, err)
	assert.EqualValues(t, len(whole), e.Bytes)
	for _, text := range []string{"data.mean", "conv1.weight", "sparsity_type", "v-test"} {
		assert.Contains(t, string(whole), text)
	}

	e, err = trainer.Export(trainer.ExportOptions{Path: small, Out: out})
	require.NoError(t, err)
	assert.Equal(t, c.Parameters.After, e.Parameters)
	assert.Less(t, e.Bytes, int64(len(whole))/2)

	_, err = trainer.Export(trainer.ExportOptions{Path: small, Out: small})
	require.True(t, isInput(err), "%v", err)
	bad := altered(t, small, func(f *checkpoint.File) {
		w, _ := f.Get("fc2.bias")
		binary.LittleEndian.PutUint32(w.Data, math.Float32bits(float32(math.Inf(1))))
	})
	_, err = trainer.Export(trainer.ExportOptions{Path: bad, Out: filepath.Join(t.TempDir(), "x.onnx")})
	assert.ErrorContains(t, err, "fc2.bias is not finite")
}
