package torch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

func TestShapes(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.FromFloat64([]float64{0, 1, 2, 3, 4, 5}, 2, 3)
		require.Equal(t, 2, x.Dim())
		require.EqualValues(t, 6, x.Numel())
		require.Equal(t, []int64{2, 3, 3, 0}, []int64{x.Size(0), x.Size(1), x.Size(-1), x.Size(2)})
		require.Equal(t, []int64{3, 2}, x.Reshape(3, -1).Shape())
		require.Equal(t, []int64{4, 6}, s.Ones(4, 2, 3).Flatten().Shape())
		require.Equal(t, []int64{0, 6}, s.Empty(torch.Float32, 0, 2, 3).Flatten().Shape(), "an empty batch too")

		turned := x.Permute(1, 0)
		require.Equal(t, []int64{3, 2}, turned.Shape())
		require.False(t, turned.IsContiguous())
		require.True(t, turned.Contiguous().IsContiguous())
		near(t, []float64{0, 3, 1, 4, 2, 5}, turned, 0, "read in row-major order whatever the layout")
		near(t, []float64{1, 1, 2, 2}, s.FromFloat64([]float64{1, 2}, 2, 1).Expand(2, 2), 0)
		near(t, []float64{1, 2, 4, 5}, x.Narrow(1, 1, 2), 0)
		near(t, []float64{9, 0, 1, 2, 9, 9, 9, 3, 4, 5, 9, 9}, x.Pad(9, 1, 2), 0, "the last dimension: one before, two after")
		near(t, []float64{0, 1, 2, 3, 4, 5, 7, 7, 7}, x.Pad(7, 0, 0, 0, 1), 0, "then the one before it")

		y := s.FromFloat64([]float64{6, 7, 8}, 1, 3)
		near(t, []float64{0, 1, 2, 3, 4, 5, 6, 7, 8}, s.Cat(0, x, y), 0)
		near(t, []float64{0, 1, 2, 0, 3, 4, 5, 3}, s.Cat(1, x, x.Narrow(1, 0, 1)), 0)
		near(t, []float64{2, 0, 5, 3}, x.IndexSelect(1, s.FromInt64([]int64{2, 0}, 2)), 0)
		near(t, []float64{1, 3}, x.Gather(1, s.FromInt64([]int64{1, 0}, 2, 1)), 0)
		near(t, []float64{0, -1, 2, -1, 4, 5}, x.Scatter(1, s.FromInt64([]int64{1, 0}, 2, 1), -1), 0)
		near(t, []float64{0, 1, 2, 3, 4, 5}, x, 0, "Scatter leaves its tensor alone")
		near(t, []float64{0, -1, 2, -3, 4, -5}, s.FromBool([]bool{true, false, true, false, true, false}, 2, 3).Where(x, x.Neg()), 0)
		near(t, []float64{0, 1, 2, 3}, s.Arange(4), 0)
	})
}

func TestSharing(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.Ones(3)
		copied, detached, alias, narrow := x.Clone(), x.Detach(), x.Alias(), x.Narrow(0, 0, 1)
		x.Fill_(2)
		near(t, []float64{1, 1, 1}, copied, 0)
		near(t, []float64{2, 2, 2}, detached, 0)
		near(t, []float64{2, 2, 2}, alias, 0)
		near(t, []float64{2}, narrow, 0)

		p := s.Ones(3).RequiresGrad_(true)
		require.True(t, p.RequiresGrad())
		require.True(t, p.Alias().RequiresGrad())
		require.False(t, p.Detach().RequiresGrad())
		require.False(t, p.RequiresGrad_(false).RequiresGrad())

		image := s.FromFloat64(noise(5, 2*3*4*5), 2, 3, 4, 5)
		last := image.ChannelsLast()
		require.Equal(t, image.Shape(), last.Shape())
		require.False(t, last.IsContiguous())
		near(t, values(t, image), last, 0)
	})
}

func TestRefusedShapes(t *testing.T) {
	refused(t, "Reshape", func(s *torch.Session) { s.Ones(6).Reshape(4) })
	refused(t, "Reshape", func(s *torch.Session) { s.Ones(6).Reshape(-1, -1) })
	refused(t, "Permute", func(s *torch.Session) { s.Ones(2, 3).Permute(0, 0) })
	refused(t, "Permute", func(s *torch.Session) { s.Ones(2, 3).Permute() })
	refused(t, "Expand", func(s *torch.Session) { s.Ones(2, 3).Expand(4, 3) })
	refused(t, "Narrow", func(s *torch.Session) { s.Ones(2, 3).Narrow(0, 1, 2) })
	refused(t, "Narrow", func(s *torch.Session) { s.Ones(2, 3).Narrow(0, 0, -1) })
	refused(t, "Pad", func(s *torch.Session) { s.Ones(2).Pad(0, 1) })
	refused(t, "Cat", func(s *torch.Session) { s.Cat(0) })
	refused(t, "Cat", func(s *torch.Session) { s.Cat(0, s.Ones(2, 3), s.Ones(2, 4)) })
	refused(t, "IndexSelect", func(s *torch.Session) { s.Ones(2, 3).IndexSelect(0, s.FromInt64([]int64{2}, 1)) })
	refused(t, "IndexSelect", func(s *torch.Session) { s.Ones(2, 3).IndexSelect(0, s.Ones(1)) })
	refused(t, "Gather", func(s *torch.Session) { s.Ones(2, 3).Gather(1, s.FromInt64([]int64{3, 0}, 2, 1)) })
	refused(t, "Scatter", func(s *torch.Session) { s.Ones(2, 3).Scatter(1, s.FromInt64([]int64{-1, 0}, 2, 1), 1) })
	refused(t, "Where", func(s *torch.Session) { s.FromBool([]bool{true}, 1).Where(torch.Tensor{}, torch.Tensor{}) })
	refused(t, "ChannelsLast", func(s *torch.Session) { s.Ones(3).ChannelsLast() })
	refused(t, "Flatten", func(s *torch.Session) { s.Ones(3).Flatten() })
}
