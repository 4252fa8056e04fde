package torchscript_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/models"
	"rapt/models/modelstest"
	"rapt/torchscript"
)

func written(s *torch.Session, m *models.Model) (data []byte, err error) {
	err = models.Record(m, func(r models.Recording) (err error) {
		data, err = torchscript.Write(s, torchscript.Model{Metadata: map[string]string{"arch": "net"}, Steps: r.Steps, Images: r.Images, Logits: r.Logits, State: r.State})
		return err
	})
	return data, err
}

// libtorch's own reading of every kind of network's file computes what the network does, for batches of another size than the one that was recorded.
func TestEveryKindOfNetwork(t *testing.T) {
	modelstest.Written(t, 1e-5, written, (*torch.Session).RunScript) // libtorch's own kernels
}

// What cannot be written is refused, and names the operation.
func TestRefused(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		x := s.Ones(1, 2)
		y := x.Exp()
		_, err := torchscript.Write(s, torchscript.Model{Images: x, Logits: y})
		assert.ErrorContains(t, err, "the logits are made by an operation that cannot be written as TorchScript")
		_, err = torchscript.Write(s, torchscript.Model{Images: x, Logits: y, Steps: []torch.Step{{Op: "Exp", In: []torch.Tensor{x}, Out: y}}})
		assert.ErrorContains(t, err, "the network uses Exp, which cannot be written as TorchScript")
		_, err = torchscript.Write(s, torchscript.Model{Images: x, Logits: y, Steps: []torch.Step{{Op: "Relu", In: []torch.Tensor{s.Ones(1)}, Out: y}}})
		assert.ErrorContains(t, err, "an input of Relu was made by an operation that cannot be written as TorchScript")
		return nil
	}))
}

// Names need be no identifiers; one that is a tensor's and a part's is refused.
func TestNames(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		x, bias := s.Ones(1, 2), s.Full(3, torch.Float32, 2)
		y := x.Add(bias)
		steps := []torch.Step{{Op: "Add", In: []torch.Tensor{x, bias}, Out: y}}
		for _, name := range []string{"bias", "0.1.bias", "onnx::Add_12", "a b.c'd/e:0", "forward_", "x1", "images"} {
			file, err := torchscript.Write(s, torchscript.Model{Images: x, Logits: y, Steps: steps, State: []torch.Named{{Name: name, Tensor: bias}}})
			require.NoError(t, err, name)
			got, err := s.RunScript(file, x).Float32s()
			require.NoError(t, errors.Join(s.Err(), err), name)
			assert.Equal(t, []float32{4, 4}, got, name)
		}
		_, err := torchscript.Write(s, torchscript.Model{Images: x, Logits: y, Steps: steps, State: []torch.Named{{Name: "a", Tensor: bias}, {Name: "a.b", Tensor: x}}})
		assert.ErrorContains(t, err, "a tensor and a part of the network both have the name a")
		_, err = torchscript.Write(s, torchscript.Model{Images: x, Logits: y, Steps: steps, State: []torch.Named{{Name: "a.b", Tensor: bias}, {Name: "a", Tensor: x}}})
		assert.ErrorContains(t, err, "a tensor and a part of the network both have the name a")
		for name, why := range map[string]string{
			`a"b`: "whose names are of ASCII, without quotes and backslashes", "é": "whose names are of ASCII", "a\u00a0b": "whose names are of ASCII", "a\n": "whose names are of ASCII",
			"a.forward.b": "forward is a name that Python or PyTorch's modules have for themselves", "training": "for themselves", "_c.a": "for themselves", "torch.b": "for themselves", "a.in": "for themselves",
		} {
			_, err = torchscript.Write(s, torchscript.Model{Images: x, Logits: y, Steps: steps, State: []torch.Named{{Name: name, Tensor: bias}}})
			assert.ErrorContains(t, err, why, name)
		}
		return nil
	}))
}
