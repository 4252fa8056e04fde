package torch_test

import (
	"cmp"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

func TestReductions(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.FromFloat64([]float64{1, -2, 0, 3, 5, -4}, 2, 3)
		near(t, []float64{3}, x.Sum(), 0)
		near(t, []float64{4, 3, -4}, x.Sum(0), 0)
		near(t, []float64{-1, 4}, x.Sum(1), 0)
		near(t, []float64{-1, 4}, x.Sum(-1), 0)
		near(t, []float64{0.5}, x.Mean(), 0)
		near(t, []float64{2, 1.5, -2}, x.Mean(0), 0)
		near(t, []float64{5}, x.Max(), 0)
		near(t, []float64{1, 5}, x.Max(1), 0)
		near(t, []float64{-4}, x.Min(), 0)
		near(t, []float64{1, -2, -4}, x.Min(0), 0)
		near(t, []float64{math.Sqrt(55)}, x.Norm(), 1e-15)
		near(t, []float64{math.Sqrt(5), math.Sqrt(50)}, x.Norm(1), 1e-15)
		near(t, []float64{5}, x.CountNonzero(), 0)
		near(t, []float64{2, 2, 1}, x.CountNonzero(0), 0)
		require.Equal(t, torch.Int64, x.CountNonzero().DType())

		require.Empty(t, x.Sum().Shape())
		require.Equal(t, []int64{3}, x.Sum(0).Shape())
		require.Equal(t, []int64{2, 1}, x.SumKeep(1).Shape())
		near(t, []float64{-1, 4}, x.SumKeep(1), 0)
		require.Equal(t, []int64{1, 1}, x.NormKeep(0, 1).Shape())
		near(t, []float64{math.Sqrt(10), math.Sqrt(29), 4}, x.NormKeep(0), 1e-15)

		for _, b := range []struct{ all, any bool }{{false, true}, {true, true}, {false, false}} {
			v := s.FromBool([]bool{b.any, b.all}, 2)
			near(t, []float64{truth(b.all && b.any)}, v.All(), 0)
			near(t, []float64{truth(b.all || b.any)}, v.Any(), 0)
		}
		near(t, []float64{0, 1}, x.Argmax(1), 0)
		near(t, []float64{1, 1, 0}, x.Argmax(0), 0)

		one := s.Full(2, torch.Float64)
		near(t, []float64{2}, one.Sum(), 0)
		near(t, []float64{2}, one.Max(), 0)
		near(t, []float64{2}, one.Norm(), 0)
		near(t, []float64{1}, one.CountNonzero(), 0)
		near(t, []float64{0}, s.Empty(torch.Float64, 0, 3).Sum(), 0)
	})
}

func TestSoftmax(t *testing.T) {
	x := noise(4, 12)
	session(t, func(s *torch.Session) {
		p, logs := make([]float64, 12), make([]float64, 12)
		for row := range 3 {
			sum := 0.0
			for _, v := range x[row*4 : row*4+4] {
				sum += math.Exp(v)
			}
			for i := row * 4; i < row*4+4; i++ {
				p[i], logs[i] = math.Exp(x[i])/sum, x[i]-math.Log(sum)
			}
		}
		near(t, p, s.FromFloat64(x, 3, 4).Softmax(1), 1e-14)
		near(t, logs, s.FromFloat64(x, 3, 4).LogSoftmax(-1), 1e-14)
		near(t, []float64{-1000, 0}, s.FromFloat64([]float64{-1000, 0}, 2).LogSoftmax(0), 1e-12, "no overflow")
	})
}

func TestOrder(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.FromFloat64([]float64{3, 1, 2, 1, 7, 7, -1, 7}, 2, 4)
		for k, want := range [][]float64{{1, -1}, {1, 7}, {2, 7}, {3, 7}} {
			v, i := x.KthValue(int64(k+1), 1)
			near(t, want, v, 0, k)
			near(t, want, x.Gather(1, i.Reshape(2, 1)), 0, "the index names the value")
		}
		v, i := x.TopK(2, 1, true)
		near(t, []float64{3, 2, 7, 7}, v, 0)
		near(t, []float64{3, 2, 7, 7}, x.Gather(1, i), 0)
		v, _ = x.TopK(2, -1, false)
		near(t, []float64{1, 1, -1, 7}, v, 0)

		v, i = x.Sort(1, false)
		near(t, []float64{1, 1, 2, 3, -1, 7, 7, 7}, v, 0)
		near(t, []float64{1, 3, 2, 0, 2, 0, 1, 3}, i, 0, "equal elements in their old order")
		v, i = x.Sort(1, true)
		near(t, []float64{3, 2, 1, 1, 7, 7, 7, -1}, v, 0)
		near(t, []float64{0, 2, 1, 3, 0, 1, 3, 2}, i, 0, "equal elements in their old order")
		require.Equal(t, torch.Int64, i.DType())
	})
	refused(t, "KthValue", func(s *torch.Session) { s.Ones(3).KthValue(0, 0) })
	refused(t, "KthValue", func(s *torch.Session) { s.Ones(3).KthValue(4, 0) })
	refused(t, "TopK", func(s *torch.Session) { s.Ones(3).TopK(4, 0, true) })
	refused(t, "TopK", func(s *torch.Session) { s.Ones(3).TopK(-1, 0, true) })
	refused(t, "Sort", func(s *torch.Session) { s.Ones(3).Sort(1, true) })
	refused(t, "Sum", func(s *torch.Session) { s.Ones(3).Sum(0, 0) })
	refused(t, "Sum", func(s *torch.Session) { s.Ones(3).Sum(5) })
	refused(t, "Max", func(s *torch.Session) { s.Empty(torch.Float32, 0).Max() })
}

// smallest is the plain form of MaskSmallest: a stable sort by magnitude.
func smallest(x []float32, k int) []float32 {
	at := make([]int, len(x))
	for i := range at {
		at[i] = i
	}
	size := func(i int) float64 { return math.Abs(float64(x[i])) }
	slices.SortStableFunc(at, func(a, b int) int {
		if math.IsNaN(size(a)) || math.IsNaN(size(b)) { // a NaN is the largest
			return cmp.Compare(size(b), size(a))
		}
		return cmp.Compare(size(a), size(b))
	})
	mask := make([]float32, len(x))
	for i, place := range at {
		if i >= k {
			mask[place] = 1
		}
	}
	return mask
}

func TestMaskSmallest(t *testing.T) {
	session(t, func(s *torch.Session) {
		g := s.NewGenerator(1)
		normal, err := s.RandN(g, 1003).Float32s()
		require.NoError(t, err)
		few := make([]float32, 500) // many equals
		for i := range few {
			few[i] = float32(i*37%7) - 3
		}
		for name, x := range map[string][]float32{
			"normal": normal, "few values": few, "zeros": make([]float32, 90), "one": {-2},
			"edges": {float32(math.Inf(1)), 0, float32(math.Copysign(0, -1)), 1e-45, float32(math.NaN()), -1e-45, math.MaxFloat32, float32(math.Inf(-1))},
		} {
			for _, k := range []int{0, 1, len(x) / 3, len(x) / 2, len(x) - 1, len(x)} {
				v := s.FromFloat32(x, int64(len(x)))
				got, err := v.MaskSmallest(int64(k)).Float32s()
				require.NoError(t, err)
				require.Equal(t, smallest(x, k), got, "%s, %d", name, k)
				got, err = v.To(torch.Float64).MaskSmallest(int64(k)).Float32s() // by libtorch's operations
				require.NoError(t, err)
				if name != "edges" {
					require.Equal(t, smallest(x, k), got, "%s, %d, float64", name, k)
				}
			}
		}
		require.Equal(t, []int64{2, 3, 4}, s.RandN(g, 2, 3, 4).MaskSmallest(5).Shape())
	})
	refused(t, "MaskSmallest", func(s *torch.Session) { s.Ones(3).MaskSmallest(4) })
	refused(t, "MaskSmallest", func(s *torch.Session) { s.Ones(3).MaskSmallest(-1) })
}
