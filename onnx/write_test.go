package onnx_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/models/modelstest"
	"rapt/onnx"
)

// written is a model's file.
func written(m *models.Model) ([]byte, error) { return writtenWith(m, nil) }

func writtenWith(m *models.Model, codes map[string]onnx.Codes) (data []byte, err error) {
	err = models.Record(m, func(r models.Recording) (err error) {
		g := onnx.Model{Name: "net", Version: "v-test", Metadata: map[string]string{"dataset": "digits", "arch": "lenet"}, Steps: r.Steps, Images: r.Images, Logits: r.Logits, Names: r.Names, Codes: codes}
		data, err = onnx.Write(g)
		return err
	})
	return data, err
}

// The file of every kind of network says what the network computes, for batches of another size than the one that was recorded.
func TestEveryKindOfNetwork(t *testing.T) {
	write := func(_ *torch.Session, m *models.Model) ([]byte, error) { return written(m) }
	modelstest.Written(t, 1e-6, write, func(s *torch.Session, file []byte, x torch.Tensor) torch.Tensor { return runModel(t, s, file, x) })
}

// Quantised weights take a byte each in the file, and are the same weights to the bit: levels that are whole numbers of an int8, and others.
func TestQuantisedWeights(t *testing.T) {
	for _, c := range []struct {
		levels []float32
		by     string // what makes the weights
	}{
		{[]float32{0, 1, 2, 3}, "DequantizeLinear"},
		{[]float32{0, 1}, "DequantizeLinear"},
		{[]float32{0, 1, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625}, "DequantizeLinear"},
		{[]float32{0, 1, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125}, "Gather"}, // 128 units
		{[]float32{0, 1, 1.25}, "Gather"},                                                   // not whole numbers of the least
	} {
		require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
			m, err := models.New(s, models.Spec{Arch: "lenet", Classes: 10}, nil)
			require.NoError(t, err)
			require.NoError(t, modelstest.Fill(s, m))
			plain, err := written(m)
			require.NoError(t, err)
			codes := map[string]onnx.Codes{}
			rng := rand.New(rand.NewPCG(1, 2))
			for _, e := range m.State {
				if e.Tensor.Dim() < 2 {
					continue
				}
				q := onnx.Codes{Scale: 0.0371, Levels: c.levels}
				var weights []float32
				for range e.Tensor.Numel() {
					code := rng.IntN(2*len(c.levels)-1) - len(c.levels) + 1
					weight := q.Scale * c.levels[max(code, -code)]
					if code < 0 {
						weight = -weight
					}
					q.Values, weights = append(q.Values, int8(code)), append(weights, weight)
				}
				e.Tensor.Detach().Copy_(s.FromFloat32(weights, e.Tensor.Shape()...))
				codes[e.Name] = q
			}
			file, err := writtenWith(m, codes)
			require.NoError(t, err)
			assert.Contains(t, string(file), c.by)
			assert.Less(t, len(file), len(plain)*27/100)
			s.NoGrad(func() {
				x := modelstest.Input(s, m, 3)
				same, err := m.Forward(x, nn.Eval).Eq(runModel(t, s, file, x)).All().Item()
				require.NoError(t, err)
				assert.Equal(t, 1.0, same, "%v", c.levels)
			})
			return nil
		}))
	}
}

func TestFile(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		m, err := models.New(s, models.Spec{Arch: "lenet_bn", Classes: 10}, nil)
		require.NoError(t, err)
		require.NoError(t, modelstest.Fill(s, m))
		data, err := written(m)
		require.NoError(t, err)
		again, err := written(m)
		require.NoError(t, err)
		assert.Equal(t, data, again, "the same model gives the same bytes")

		file := parse(t, data)
		assert.Equal(t, []int64{7}, file.ints(1))
		assert.Equal(t, "rapt", file.text(2))
		assert.Equal(t, "v-test", file.text(3))
		set := file.inner(t, 8)[0]
		assert.Equal(t, []any{"", int64(13)}, []any{set.text(1), set.ints(2)[0]})
		var meta []string
		for _, e := range file.inner(t, 14) {
			meta = append(meta, e.text(1), e.text(2))
		}
		assert.Equal(t, []string{"arch", "lenet", "dataset", "digits"}, meta)

		g := file.inner(t, 7)[0]
		assert.Equal(t, "net", g.text(2))
		for field, want := range map[protowire.Number]struct {
			name  string
			sizes []int64
		}{11: {"images", []int64{1, 28, 28}}, 12: {"logits", []int64{10}}} {
			v := g.inner(t, field)[0]
			assert.Equal(t, want.name, v.text(1))
			kind := v.inner(t, 2)[0].inner(t, 1)[0]
			assert.Equal(t, []int64{1}, kind.ints(1), "float32")
			dims := kind.inner(t, 2)[0].inner(t, 1)
			assert.Equal(t, "N", dims[0].text(2))
			for i, n := range want.sizes {
				assert.Equal(t, []int64{n}, dims[i+1].ints(1))
			}
		}
		names := map[string]bool{}
		for _, v := range g.inner(t, 5) {
			names[v.text(8)] = true
		}
		assert.True(t, names["conv1_bn.running_var"], "tensors have their names in the state dict")
		assert.Len(t, names, 4*2+3*4)
		return nil
	}))
}

func TestWhatONNXIsNotWrittenOf(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		x := s.Ones(1, 2, 4, 4)
		for want, f := range map[string]func() torch.Tensor{
			"the network uses Exp, which cannot be written as ONNX":                              func() torch.Tensor { return x.Exp() },
			"an input of Relu: it was made by an operation that cannot be written as ONNX":       func() torch.Tensor { return x.AddScalar(1).Relu() },
			"the logits are made by an operation that cannot be written as ONNX":                 func() torch.Tensor { return x.Relu().AddScalar(1) },
			"the network averages to maps of 2 pixels a side, and only 1 can be written as ONNX": func() torch.Tensor { return x.AdaptiveAvgPool2d(2) },
		} {
			g := onnx.Model{Images: x}
			g.Steps = s.Tape(func() { g.Logits = f() })
			_, err := onnx.Write(g)
			assert.EqualError(t, err, want)
		}
		return nil
	}))
}
