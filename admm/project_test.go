package admm_test

import (
	"math"
	"sort"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
	torch "rapt/cgo"
)

// The original prunes ceil(ratio (n-1)) of n. In whole numbers: ceil(a (n-1) / 1000).
func TestPrunedIsExact(t *testing.T) {
	sizes := []int64{100_001, 3_274_634, 11_173_962}
	for n := int64(1); n <= 3000; n++ {
		sizes = append(sizes, n)
	}
	for _, n := range sizes {
		for a := int64(0); a < 1000; a += 7 {
			if want, got := (a*(n-1)+999)/1000, admm.Pruned(n, float64(a)/1000); want != got {
				t.Fatalf("%d groups at %d/1000: pruned %d, want %d", n, a, got, want)
			}
		}
	}
	require.EqualValues(t, 7, admm.Pruned(101, 0.07), "0.07*100 is 7.000000000000001")
	require.EqualValues(t, 900, admm.Pruned(1000, 0.9), "a whole number of elements is met exactly")
	require.EqualValues(t, 500, admm.Pruned(1000, 0.5))
	require.EqualValues(t, 0, admm.Pruned(0, 0.5))
	for n := int64(1); n < 40; n++ {
		require.Less(t, admm.Pruned(n, math.Nextafter(1, 0)), n, "one group stays")
	}
}

// What a ratio keeps goes up to the next multiple, and to all where there is none.
func TestRoundTo(t *testing.T) {
	for _, c := range []struct {
		groups, step, kept int64
		ratio              float64
	}{
		{64, 8, 32, 0.5}, {64, 8, 40, 0.45}, {64, 8, 64, 0.05}, {64, 8, 8, 0.99}, {64, 1, 32, 0.499}, {64, 0, 32, 0.499},
		{20, 8, 16, 0.5}, {20, 8, 20, 0.1}, {6, 8, 6, 0.5}, {8, 8, 8, 0.9}, {64, 8, 64, 0}, {1000, 7, 504, 0.5},
	} {
		got := admm.RoundTo(c.groups, c.ratio, c.step)
		assert.Equal(t, c.kept, c.groups-admm.Pruned(c.groups, got), "%+v", c)
		assert.LessOrEqual(t, got, c.ratio)
	}
	for groups := int64(1); groups < 300; groups++ { // a ratio that is rounded already stays
		for step := int64(2); step < 20; step++ {
			for _, ratio := range []float64{0.1, 0.5, 0.75, 0.9, 0.99} {
				once := admm.RoundTo(groups, ratio, step)
				require.Equal(t, once, admm.RoundTo(groups, once, step))
			}
		}
	}
}

func TestGroups(t *testing.T) {
	conv := []int64{16, 8, 5, 5}
	require.EqualValues(t, 3200, admm.Groups(admm.Irregular, conv))
	require.EqualValues(t, 16, admm.Groups(admm.Filter, conv))
	require.EqualValues(t, 200, admm.Groups(admm.Column, conv))
	require.EqualValues(t, 64, admm.Groups(admm.BNFilter, []int64{64}))
}

// reference prunes by sorting in Go: least magnitude first, then the lowest index.
func reference(w []float32, t admm.Type, rows int, ratio float64) []float32 {
	rest := len(w) / rows
	group := func(i int) int {
		switch t {
		case admm.Filter:
			return i / rest
		case admm.Column:
			return i % rest
		}
		return i
	}
	size := make([]float64, admm.Groups(t, []int64{int64(rows), int64(rest)}))
	order := make([]int, len(size))
	for i := range order {
		order[i] = i
	}
	for i, v := range w {
		size[group(i)] += float64(v) * float64(v)
	}
	sort.SliceStable(order, func(a, b int) bool { return size[order[a]] < size[order[b]] })
	gone := map[int]bool{}
	for _, g := range order[:admm.Pruned(int64(len(size)), ratio)] {
		gone[g] = true
	}
	mask := make([]float32, len(w))
	for i := range mask {
		if !gone[group(i)] {
			mask[i] = 1
		}
	}
	return mask
}

func TestMaskAgainstASort(t *testing.T) {
	shapes := [][]int64{{1, 1}, {2, 1}, {1, 7}, {10, 1}, {3, 2, 2, 2}, {8, 4, 3, 3}, {33, 17}}
	ratios := []float64{0, 0.001, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.99999}
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(1)
		for _, shape := range shapes {
			for _, levels := range []float64{1, 3, 1e6} { // few levels make many ties
				w := s.RandN(g, shape...).MulScalar(levels).Round()
				for _, typ := range admm.Types {
					for _, ratio := range ratios {
						s.Do(func() {
							m := admm.Mask(w, typ, ratio)
							require.Equal(t, shape, m.Shape())
							require.Equal(t, torch.Float32, m.DType())
							require.True(t, m.IsContiguous())
							require.Equal(t, reference(values(t, w), typ, int(shape[0]), ratio), values(t, m),
								"%s of %v at %g, levels %g", typ, shape, ratio, levels)
							z := admm.Project(w, typ, ratio)
							require.Equal(t, values(t, z), values(t, admm.Project(z, typ, ratio)), "projecting twice is projecting once")
						})
					}
				}
			}
		}
	})
}

func TestEqualWeightsGoFromTheFront(t *testing.T) {
	run(t, func(s *torch.Session) {
		w := s.Full(-0.5, torch.Float32, 4, 6)
		require.Equal(t, append(make([]float32, 12), ones(12)...), values(t, admm.Mask(w, admm.Irregular, 0.5)))
		require.Equal(t, append(make([]float32, 12), ones(12)...), values(t, admm.Mask(w, admm.Filter, 0.5)))
		var columns []float32
		for range 4 {
			columns = append(columns, 0, 0, 0, 1, 1, 1)
		}
		require.Equal(t, columns, values(t, admm.Mask(w, admm.Column, 0.5)))
		require.Equal(t, append(make([]float32, 23), 1), values(t, admm.Mask(s.Zeros(24), admm.BNFilter, 0.999999)))
	})
}

func ones(n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = 1
	}
	return v
}

// A column's or filter's elements in another order tie with it, though a float32 sum would round differently.
func TestReorderedGroupsTie(t *testing.T) {
	const rows, rest = 16, 1000
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(3)
		row := s.RandN(g, rest)
		row = row.Mul(row.MulScalar(3).Exp()) // of very different sizes
		var all []torch.Tensor
		for range rows {
			_, order := s.Rand(g, rest).Sort(0, false)
			all = append(all, row.IndexSelect(0, order).Reshape(1, rest))
		}
		w := s.Cat(0, all...)
		first := append(make([]float32, rows/2), ones(rows/2)...)
		require.Equal(t, first, values(t, admm.Mask(w, admm.Filter, 0.5).Narrow(1, 0, 1).Reshape(-1)))
		require.Equal(t, first, values(t, admm.Mask(w.Permute(1, 0), admm.Column, 0.5).Narrow(0, 0, 1).Reshape(-1)))
	})
}

func TestMaskLeavesOneTensor(t *testing.T) {
	run(t, func(s *torch.Session) {
		w := s.RandN(s.NewGenerator(1), 8, 9).RequiresGrad_(true)
		for _, typ := range admm.Types {
			before := s.Live()
			m, z := admm.Mask(w, typ, 0.5), admm.Project(w, typ, 0.5)
			require.Equal(t, before+2, s.Live())
			require.False(t, m.RequiresGrad())
			require.False(t, z.RequiresGrad())
		}
		require.False(t, admm.Mask(torch.Tensor{}, admm.Filter, 0.5).Defined())
	})
}
