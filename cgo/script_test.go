package torch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

const double = "def forward(self, x: Tensor) -> Tensor:\n  return x * getattr(self, \"by\")\n"

// A module is written, read and run, with the tensors as they were when it was written.
func TestScript(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		by := s.FromFloat32([]float32{2, 3}, 2)
		live := torch.LiveTensors()
		file, err := s.Script(double, []torch.Named{{Name: "by", Tensor: by}, {Name: "count.er", Tensor: s.FromInt64([]int64{7}), Buffer: true}}, `{"a": "b"}`)
		require.NoError(t, err)
		assert.Contains(t, string(file), `{"a": "b"}`)
		by.Fill_(0)
		got, err := s.RunScript(file, s.Ones(1, 2)).Float32s()
		require.NoError(t, err)
		assert.Equal(t, []float32{2, 3}, got)
		assert.LessOrEqual(t, torch.LiveTensors(), live+3, "those that this test made")
		return nil
	}))
}

// What is wrong is an error with libtorch's words and without its stack.
func TestScriptRefuses(t *testing.T) {
	for source, why := range map[string]string{
		"def forward(self, x: Tensor) -> Tensor:\n  return torch.nonsense(x)\n": "nonsense",
		"def forward(": "forward",
		"def forward(self, x: Tensor) -> Tensor:\n  return self.lacks\n": "lacks",
	} {
		require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
			_, err := s.Script(source, nil, "{}")
			assert.ErrorContains(t, err, why)
			assert.NotContains(t, err.Error(), "Exception raised from")
			return nil
		}))
	}
	require.ErrorIs(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		var gone torch.Tensor
		s.Do(func() { gone = s.Ones(2) })
		_, err := s.Script(double, []torch.Named{{Name: "by", Tensor: gone}}, "{}")
		assert.ErrorIs(t, err, torch.ErrClosed)
		return nil
	}), torch.ErrClosed, "the session's first error")
	for name, file := range map[string]string{"empty": "", "text": "no module", "cut": "PK\x03\x04"} {
		err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
			s.RunScript([]byte(file), s.Ones(1))
			return nil
		})
		require.Error(t, err, name)
		assert.NotContains(t, err.Error(), "Exception raised from", name)
	}
}
