package trainer_test

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
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
	assert.Equal(t, []any{[3]int64{1, 28, 28}, 10, c.Checkpoint, "onnx"}, []any{e.Input, e.Classes, e.Checkpoint, e.Format})
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

	script := filepath.Join(t.TempDir(), "model.PT")
	e, err = trainer.Export(trainer.ExportOptions{Path: small, Out: script})
	require.NoError(t, err)
	assert.Equal(t, []any{"torchscript", c.Parameters.After}, []any{e.Format, e.Parameters})
	whole, err = os.ReadFile(script)
	require.NoError(t, err)
	assert.EqualValues(t, len(whole), e.Bytes)
	for _, text := range []string{"metadata.json", `"sparsity_type":"filter"`, "data/0"} { // its code is compressed
		assert.Contains(t, string(whole), text)
	}
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		logits, err := s.RunScript(whole, s.Full(0.5, torch.Float32, 2, 1, 28, 28)).Float32s()
		require.NoError(t, err)
		require.Len(t, logits, 20)
		sum := 0.0
		for _, v := range logits {
			sum += math.Exp(float64(v))
		}
		assert.InDelta(t, 2, sum, 1e-5, "log-probabilities of two images")
		return nil
	}))

	_, err = trainer.Export(trainer.ExportOptions{Path: small, Out: small})
	require.True(t, isInput(err), "%v", err)
	bad := altered(t, small, func(f *checkpoint.File) {
		w, _ := f.Get("fc2.bias")
		binary.LittleEndian.PutUint32(w.Data, math.Float32bits(float32(math.Inf(1))))
	})
	_, err = trainer.Export(trainer.ExportOptions{Path: bad, Out: filepath.Join(t.TempDir(), "x.onnx")})
	assert.ErrorContains(t, err, "fc2.bias is not finite")
}

// A quantised model's file is about a quarter as large as one of float32, pruned or not, whatever its levels; a model that is not what its
// metadata say is refused.
func TestExportOfQuantised(t *testing.T) {
	trainer.Compares(t)
	for _, sets := range [][]string{
		{"quantize.bits=4"},
		{"quantize.bits=4", "quantize.levels=power_of_two"}, // pruned: 128 units of the least level
		{"quantize.bits=1", "prune.ratio=0", "admm.epochs=0", "retrain.epochs=0"},
	} {
		cfg := trainer.Settings(t, t.TempDir(), append(sets, "training.method=natural", "quantize_admm.epochs=1", "quantize_retrain.epochs=1", "model.arch=lenet")...)
		report := run(t, cfg)
		out := filepath.Join(t.TempDir(), "model.onnx")
		e, err := trainer.Export(trainer.ExportOptions{Path: folder(cfg), Out: out})
		require.NoError(t, err, sets)
		assert.Equal(t, len(report.Quantization.Layers), e.Quantized)
		assert.Less(t, e.Bytes, 4*e.Parameters*3/10, sets)

		path, err := trainer.CheckpointOf(folder(cfg))
		require.NoError(t, err)
		bad := altered(t, path, func(f *checkpoint.File) {
			w, _ := f.Get("fc2.weight")
			binary.LittleEndian.PutUint32(w.Data, math.Float32bits(3))
		})
		_, err = trainer.Export(trainer.ExportOptions{Path: bad, Out: filepath.Join(t.TempDir(), "x.onnx")})
		require.True(t, isInput(err), "%v", err)
		assert.ErrorContains(t, err, "fc2.weight is not quantised as its metadata says")
	}
}
