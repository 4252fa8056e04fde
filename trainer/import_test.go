package trainer_test

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/models/modelstest"
	"rapt/trainer"
	"rapt/trainer/checkpoint"
)

func importModel(t *testing.T, o trainer.ImportOptions) (*trainer.Imported, error) {
	t.Helper()
	if o.Out == "" {
		o.Out = filepath.Join(t.TempDir(), "m.safetensors")
	}
	got, err := trainer.ImportModel(o)
	if err != nil {
		require.NoFileExists(t, o.Out)
		require.ErrorAs(t, err, new(*trainer.InputError))
	}
	return got, err
}

// logits runs a checkpoint on n images of the reference vectors' rule.
func logits(t *testing.T, path string, spec models.Spec, n int64) []float32 {
	t.Helper()
	f, err := checkpoint.Read(path)
	require.NoError(t, err)
	var out []float32
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		m, err := models.New(s, spec, nil)
		require.NoError(t, err)
		require.Len(t, f.Tensors, len(m.State))
		s.NoGrad(func() {
			s.Do(func() {
				for i, e := range m.State {
					require.Equal(t, e.Name, f.Tensors[i].Name)
					e.Tensor.Copy_(s.FromBytes(f.Tensors[i].Data, e.Tensor.DType(), f.Tensors[i].Shape...))
				}
				out, err = m.Forward(modelstest.Input(s, m, n), nn.Eval).Float32s()
			})
		})
		return err
	}))
	return out
}

// TestImportedModelsAreThoseOfPyTorch: PyTorch's checkpoints, its wrappers' names and all, give PyTorch's logits.
func TestImportedModelsAreThoseOfPyTorch(t *testing.T) {
	var want map[string][][]float64
	b, err := os.ReadFile("testdata/import/logits.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &want))
	for name, c := range map[string]struct {
		file, dataset string
		width         int
	}{"lenet_adv": {"lenet_adv.pt", "mnist", 2}, "resnet18_adv": {"resnet18_adv.pth.tar", "cifar10", 1}} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "m.safetensors")
			got, err := importModel(t, trainer.ImportOptions{Path: "testdata/import/" + c.file, Out: out, Version: "v-test"})
			require.NoError(t, err)
			assert.Equal(t, []any{name, c.width, c.dataset, 10}, []any{got.Arch, got.Width, got.Dataset, got.Classes})
			assert.Contains(t, strings.Join(got.Notes, "\n"), `"module.basic_model." was taken from the front of every name`)
			mine := logits(t, out, models.Spec{Arch: name, Width: c.width, Classes: 10}, 3)
			for i, row := range want[name] {
				for j, v := range row {
					assert.InDelta(t, v, mine[10*i+j], 2e-5, "image %d, class %d", i, j)
				}
			}
		})
	}
}

func TestImportedModelCanBeJudgedAndPredicts(t *testing.T) {
	out := filepath.Join(t.TempDir(), "m.safetensors")
	_, err := importModel(t, trainer.ImportOptions{Path: "testdata/import/lenet_adv.pt", Out: out, Dataset: "digits"})
	require.NoError(t, err)
	r := evaluate(t, trainer.EvalOptions{Path: out, Limit: 100, Attacks: []string{"pgd-2"}})
	assert.Equal(t, "lenet_adv", r.Arch)
	assert.Contains(t, r.RobustAccuracy, "pgd-2")
	assert.Zero(t, r.Sparsity.Zeros)
	n, err := trainer.Predict(context.Background(), trainer.PredictOptions{Path: out, Out: filepath.Join(t.TempDir(), "l.safetensors"), Limit: 20, Device: "cpu",
		Console: trainer.Quiet().Console})
	require.NoError(t, err)
	assert.Equal(t, 20, n)
	cfg := trainer.Settings(t, t.TempDir(), "model.width=2", "model.load="+out, "pretrain.epochs=0", "admm.epochs=1", "retrain.epochs=1")
	run(t, cfg)
}

// changed copies PyTorch's zip with a tensor's name written over by one of the same length.
func changed(t *testing.T, from, to string) string {
	t.Helper()
	require.Len(t, to, len(from))
	src, err := zip.OpenReader("testdata/import/lenet_adv.pt")
	require.NoError(t, err)
	defer src.Close()
	path := filepath.Join(t.TempDir(), "m.pt")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	z := zip.NewWriter(f)
	for _, in := range src.File {
		r, err := in.Open()
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, r.Close())
		w, err := z.Create(in.Name)
		require.NoError(t, err)
		_, err = w.Write(bytes.ReplaceAll(b, []byte(from), []byte(to)))
		require.NoError(t, err)
	}
	require.NoError(t, z.Close())
	return path
}

func TestWhatDiffersIsListed(t *testing.T) {
	path := "testdata/import/lenet_adv.pt"
	for name, c := range map[string]struct {
		o    trainer.ImportOptions
		says []string
	}{
		"another width":    {trainer.ImportOptions{Path: path, Arch: "lenet_adv", Width: 1}, []string{"no checkpoint of lenet_adv of width 1", "of another shape: conv1.weight [4 1 5 5] instead of [2 1 5 5]"}},
		"another network":  {trainer.ImportOptions{Path: path, Arch: "lenet_bn"}, []string{"no checkpoint of lenet_bn; missing: conv1_bn.weight", "of another shape: "}},
		"renamed":          {trainer.ImportOptions{Path: changed(t, "fc2.bias", "fc3.bias"), Arch: "lenet_adv"}, []string{"missing: fc2.bias", "unexpected: fc3.bias"}},
		"none fits":        {trainer.ImportOptions{Path: changed(t, "fc2.bias", "fc3.bias")}, []string{"fits none of the networks"}},
		"no width":         {trainer.ImportOptions{Path: path, Arch: "lenet", Width: 2}, []string{"lenet has no width multiplier"}},
		"no such network":  {trainer.ImportOptions{Path: path, Arch: "lenet_ad"}, []string{`did you mean "lenet_adv"?`}},
		"no such data set": {trainer.ImportOptions{Path: path, Dataset: "mnst"}, []string{`there is no data set "mnst": `}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := importModel(t, c.o)
			for _, s := range c.says {
				require.ErrorContains(t, err, s)
			}
		})
	}
}

// TestMissingCountersAreZero: batch norm's num_batches_tracked, which old checkpoints lack.
func TestMissingCountersAreZero(t *testing.T) {
	out := filepath.Join(t.TempDir(), "m.safetensors")
	got, err := importModel(t, trainer.ImportOptions{Path: "testdata/import/resnet18_adv.pth.tar", Out: out})
	require.NoError(t, err)
	assert.Contains(t, strings.Join(got.Notes, "\n"), "num_batches_tracked of 20 batch norms is missing and was set to 0")
	f, err := checkpoint.Read(out)
	require.NoError(t, err)
	n, ok := f.Get("bn1.num_batches_tracked")
	require.True(t, ok)
	v, err := n.Int64s()
	require.NoError(t, err)
	assert.Equal(t, []int64{0}, v)
}
