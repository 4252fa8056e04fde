package torch_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// A tape has what is done while it runs, in order, with what it is done to; evaluation's batch norm alone.
func TestTape(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		x, w := s.Ones(1, 2, 4, 4), s.Ones(4, 1, 3, 3)
		four := s.Ones(4)
		x.Relu()
		var y, z, shaped torch.Tensor
		steps := s.Tape(func() {
			y = x.Conv2d(w, torch.Tensor{}, torch.ConvOptions{Padding: 1, Groups: 2})
			y.BatchNorm(four, four, four, four, true, 0.1, 1e-5)
			z = y.BatchNorm(four, four, four, four, false, 0.1, 1e-3)
			sizes := []int64{1, 2, 2, 16}
			shaped = s.Cat(1, z, y).Narrow(1, 2, 4).Reshape(sizes...)
			sizes[0] = 9 // the tape has its own
		})
		x.Relu()
		require.Len(t, steps, 5)
		assert.Equal(t, torch.Step{Op: "Conv2d", In: []torch.Tensor{x, w, {}}, Out: y, Ints: []int64{1, 1, 1, 2}}, steps[0])
		assert.Equal(t, torch.Step{Op: "BatchNorm", In: []torch.Tensor{y, four, four, four, four}, Out: z, Floats: []float64{1e-3}}, steps[1])
		assert.Equal(t, []torch.Tensor{z, y}, steps[2].In)
		assert.Equal(t, []int64{1, 2, 4}, steps[3].Ints)
		assert.Equal(t, torch.Step{Op: "Reshape", In: []torch.Tensor{steps[3].Out}, Out: shaped, Ints: []int64{1, 2, 2, 16}}, steps[4])
		return nil
	}))
}
