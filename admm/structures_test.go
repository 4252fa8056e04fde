package admm_test

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/admm"
	torch "rapt/cgo"
)

// subsets are the ways to choose k of n, as sorted indices.
func subsets(n, k int) [][]int {
	if k == 0 {
		return [][]int{{}}
	}
	if n < k {
		return nil
	}
	out := subsets(n-1, k)
	for _, s := range subsets(n-1, k-1) {
		out = append(out, append(slices.Clone(s), n-1))
	}
	return out
}

// choices are the masks that keep, of each group, one of its sets of members; each is tried with each.
func choices(n int, groups [][][]int) (masks [][]float32) {
	masks = [][]float32{make([]float32, n)}
	for _, sets := range groups {
		var next [][]float32
		for _, m := range masks {
			for _, set := range sets {
				with := slices.Clone(m)
				for _, i := range set {
					with[i] = 1
				}
				next = append(next, with)
			}
		}
		masks = next
	}
	return masks
}

// at are members of a group, each set of them taken from where.
func at(where []int, sets [][]int) (out [][]int) {
	for _, set := range sets {
		var members []int
		for _, i := range set {
			members = append(members, where[i])
		}
		out = append(out, members)
	}
	return out
}

// nmMasks are all that N:M allows.
func nmMasks(shape []int64, n, m int) [][]float32 {
	inner := 1
	for _, d := range shape[2:] {
		inner *= int(d)
	}
	total := int(shape[0]*shape[1]) * inner
	var groups [][][]int
	for o := range int(shape[0]) {
		for first := 0; first < int(shape[1]); first += m {
			for place := range inner {
				var where []int
				for i := first; i < first+m; i++ {
					where = append(where, (o*int(shape[1])+i)*inner+place)
				}
				groups = append(groups, at(where, subsets(m, n)))
			}
		}
	}
	return choices(total, groups)
}

// blocksOf are the members of each block, row by row.
func blocksOf(rows, columns, high, wide int) (out [][]int) {
	for r := 0; r < rows; r += high {
		for c := 0; c < columns; c += wide {
			var members []int
			for i := r; i < min(r+high, rows); i++ {
				for j := c; j < min(c+wide, columns); j++ {
					members = append(members, i*columns+j)
				}
			}
			out = append(out, members)
		}
	}
	return out
}

// distance is ||w - masked w||^2 in float64.
func distance(w, mask []float32) (sum float64) {
	for i, v := range w {
		if mask[i] == 0 {
			sum += float64(v) * float64(v)
		}
	}
	return sum
}

// requireNearest asserts that the mask is one of the allowed ones, and none of them is nearer.
func requireNearest(t *testing.T, w, mask []float32, allowed [][]float32, msg ...any) {
	t.Helper()
	found, least := false, math.Inf(1)
	for _, m := range allowed {
		found = found || slices.Equal(m, mask)
		least = min(least, distance(w, m))
	}
	require.True(t, found, msg...)
	require.InDelta(t, least, distance(w, mask), 1e-12*(1+least), msg...)
}

func TestNMIsTheNearest(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(11)
		for _, c := range []struct {
			n, m  int
			shape []int64
		}{{2, 4, []int64{2, 4}}, {2, 4, []int64{1, 12}}, {1, 4, []int64{2, 8}}, {1, 2, []int64{2, 4, 1, 2}}, {2, 3, []int64{1, 3, 2, 3}}, {4, 8, []int64{2, 8}}, {1, 32, []int64{1, 64}}, {31, 32, []int64{2, 32}}} {
			allowed := nmMasks(c.shape, c.n, c.m)
			typ := admm.Type(fmt.Sprintf("%d:%d", c.n, c.m))
			ratio, ok := typ.Implied()
			require.True(t, ok)
			require.InDelta(t, 1-float64(c.n)/float64(c.m), ratio, 1e-15)
			for _, levels := range []float64{1, 3, 1e6} { // few levels make many ties
				s.Do(func() {
					w := s.RandN(g, c.shape...).MulScalar(levels).Round()
					m := admm.Mask(w, typ, ratio)
					require.Equal(t, c.shape, m.Shape())
					requireNearest(t, values(t, w), values(t, m), allowed, "%s of %v", typ, c.shape)
					require.Equal(t, float64(w.Numel()-admm.Pruned(admm.Groups(typ, c.shape), ratio)), item(t, m.Sum()))
					z := admm.Project(w, typ, ratio)
					require.Equal(t, values(t, w.Mul(m)), values(t, z))
					require.Equal(t, values(t, z), values(t, admm.Project(z, typ, ratio)), "projecting twice is projecting once")
					require.Equal(t, ones(int(w.Numel())), values(t, admm.Mask(w, typ, 0)), "a ratio of 0 keeps all")
				})
			}
		}
		equal := s.Ones(1, 8).Neg()
		require.Equal(t, []float32{0, 0, 1, 1, 0, 0, 1, 1}, values(t, admm.Mask(equal, "2:4", 0.5)), "equal ones go from the front")
	})
}

// Every N:M has exactly N of M in each group, on layers as large as real ones.
func TestNMOfLargeLayers(t *testing.T) {
	run(t, func(s *torch.Session) {
		w := s.RandN(s.NewGenerator(5), 24, 64, 3, 3)
		for _, typ := range []admm.Type{"2:4", "1:4", "4:8", "1:2", "16:32", "3:16"} {
			n, m, ok := typ.NM()
			require.True(t, ok)
			ratio, _ := typ.Implied()
			mask := admm.Mask(w, typ, ratio)
			sums := mask.Reshape(24, 64/m, m, 9).Sum(2)
			require.Equal(t, 1.0, item(t, sums.EqScalar(float64(n)).All()), typ)
			require.EqualValues(t, 24*64*9*(m-n)/m, admm.Pruned(admm.Groups(typ, w.Shape()), ratio), typ)
			least := w.Abs().Mul(mask).Add(mask.EqScalar(0).To(torch.Float32).MulScalar(9)).Reshape(24, 64/m, m, 9).Min(2) // of what is kept
			most := w.Abs().Mul(mask.EqScalar(0)).Reshape(24, 64/m, m, 9).Max(2)
			require.Equal(t, 1.0, item(t, least.Ge(most).All()), typ)
		}
	})
}

func TestBlocksAreTheNearest(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(12)
		for _, c := range []struct {
			typ        admm.Type
			high, wide int
			shape      []int64
		}{{"block4x4", 4, 4, []int64{8, 8}}, {"block4x4", 4, 4, []int64{6, 9}}, {"block2x3", 2, 3, []int64{5, 2, 2, 1}}, {"block1x4", 1, 4, []int64{3, 10}},
			{"block4x1", 4, 1, []int64{7, 4}}, {"block1x1", 1, 1, []int64{3, 4}}, {"block16x16", 16, 16, []int64{3, 4}}} {
			rows, columns := int(c.shape[0]), 1
			for _, d := range c.shape[1:] {
				columns *= int(d)
			}
			all := blocksOf(rows, columns, c.high, c.wide)
			require.EqualValues(t, len(all), admm.Groups(c.typ, c.shape))
			for _, ratio := range []float64{0.1, 0.3, 0.5, 0.9, 0.99} {
				k := int(admm.Pruned(int64(len(all)), ratio))
				var sets [][]int
				for _, kept := range subsets(len(all), len(all)-k) {
					var members []int
					for _, b := range kept {
						members = append(members, all[b]...)
					}
					sets = append(sets, members)
				}
				allowed := choices(rows*columns, [][][]int{sets})
				for _, levels := range []float64{1, 1e6} {
					s.Do(func() {
						w := s.RandN(g, c.shape...).MulScalar(levels).Round()
						requireNearest(t, values(t, w), values(t, admm.Mask(w, c.typ, ratio)), allowed, "%s of %v at %g", c.typ, c.shape, ratio)
						z := admm.Project(w, c.typ, ratio)
						require.Equal(t, values(t, z), values(t, admm.Project(z, c.typ, ratio)), "projecting twice is projecting once")
					})
				}
			}
		}
		equal := s.Ones(2, 8)
		require.Equal(t, []float32{0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1}, values(t, admm.Mask(equal, "block2x4", 0.5)), "equal ones go from the front")
	})
}

// best4 is a kernel's mask of its 4 largest entries, of equals the later ones.
func best4(kernel []float32) (mask [9]float32) {
	order := []int{0, 1, 2, 3, 4, 5, 6, 7, 8}
	sort.SliceStable(order, func(a, b int) bool { return math.Abs(float64(kernel[order[a]])) < math.Abs(float64(kernel[order[b]])) })
	for _, i := range order[5:] {
		mask[i] = 1
	}
	return mask
}

// proposals counts what the kernels of some weights propose.
func proposals(weights ...[]float32) map[[9]float32]int {
	counts := map[[9]float32]int{}
	for _, w := range weights {
		for kernel := range slices.Chunk(w, 9) {
			if slices.Max(kernel) > 0 || slices.Min(kernel) < 0 {
				counts[best4(kernel)]++
			}
		}
	}
	return counts
}

func rowsOf(flat []float32) (rows [][9]float32) {
	for row := range slices.Chunk(flat, 9) {
		rows = append(rows, [9]float32(row))
	}
	return rows
}

func TestSelectPatterns(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(13)
		for _, levels := range []float64{0.5, 2, 1e6} { // few levels make ties and zero kernels
			a, b := s.RandN(g, 16, 8, 3, 3).MulScalar(levels).Round(), s.RandN(g, 40, 16, 3, 3).MulScalar(levels).Round()
			counts := proposals(values(t, a), values(t, b))
			got := admm.SelectPatterns(a, b)
			require.Equal(t, []int64{8, 9}, got.Shape())
			chosen := rowsOf(values(t, got))
			var most []int
			for _, n := range counts {
				most = append(most, n)
			}
			slices.Sort(most)
			slices.Reverse(most)
			for i, p := range chosen {
				require.Equal(t, most[i], counts[p], "pattern %d of the most frequent, levels %g", i, levels)
				require.NotContains(t, chosen[:i], p, "each once")
			}
		}
		// Two patterns among the kernels that propose any: one most, and the rest of the eight are the more frequent one again.
		corner, row := []float32{9, 8, 0, 7, 6, 0, 1, 0, 0}, []float32{-5, 4, 3, 1, 0, 0, 0, 0, 0}
		w := s.FromFloat32(slices.Concat(corner, row, make([]float32, 9), row, make([]float32, 9), make([]float32, 9)), 3, 2, 3, 3)
		chosen := rowsOf(values(t, admm.SelectPatterns(w)))
		for i, p := range chosen {
			want := [9]float32{1, 1, 1, 1}
			if i == 1 {
				want = [9]float32{1, 1, 0, 1, 1}
			}
			require.Equal(t, want, p)
		}
		require.Len(t, rowsOf(values(t, admm.SelectPatterns(s.Zeros(2, 2, 3, 3)))), 8, "a weight of zeros has some pattern")
	})
}

func TestPatternsAreTheNearest(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(14)
		patterns := admm.SelectPatterns(s.RandN(g, 32, 8, 3, 3))
		var sets [][]int
		for _, p := range rowsOf(values(t, patterns)) {
			var members []int
			for i, v := range p {
				if v == 1 {
					members = append(members, i)
				}
			}
			require.Len(t, members, 4)
			sets = append(sets, members)
		}
		ratio, _ := admm.Pattern.Implied()
		require.InDelta(t, 5./9, ratio, 1e-15)
		for _, levels := range []float64{1, 1e6} {
			w := s.RandN(g, 3, 1, 3, 3).MulScalar(levels).Round()
			var groups [][][]int
			for k := range 3 {
				var where []int
				for i := range 9 {
					where = append(where, 9*k+i)
				}
				groups = append(groups, at(where, sets))
			}
			requireNearest(t, values(t, w), values(t, admm.MaskPatterns(w, patterns)), choices(27, groups), levels)
		}
		w := s.RandN(g, 20, 10, 3, 3)
		z := admm.Project(w, admm.Pattern, ratio)
		require.EqualValues(t, admm.Pruned(admm.Groups(admm.Pattern, w.Shape()), ratio), float64(w.Numel())-item(t, z.CountNonzero()))
		require.Equal(t, values(t, w.Mul(admm.MaskPatterns(w, admm.SelectPatterns(w)))), values(t, z))
	})
}

func TestStructuresOfWrongShapes(t *testing.T) {
	for want, f := range map[string]func(s *torch.Session){
		"2:4 pruning needs a weight whose second size is a multiple of 4": func(s *torch.Session) { admm.Mask(s.Ones(4, 6), "2:4", 0.5) },
		"pattern pruning is for kernels of 3x3":                           func(s *torch.Session) { admm.Mask(s.Ones(4, 6, 5, 5), admm.Pattern, 5./9) },
	} {
		err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error { f(s); return nil })
		require.ErrorContains(t, err, want)
	}
}

// Masks of structures lie as the weight does, hold no gradient and leave nothing behind.
func TestStructuresAreLaidOutAsTheWeight(t *testing.T) {
	run(t, func(s *torch.Session) {
		plain := s.RandN(s.NewGenerator(1), 8, 8, 3, 3)
		last := plain.ChannelsLast().RequiresGrad_(true)
		for _, typ := range []admm.Type{"2:4", "block4x4", "block3x5", admm.Pattern} {
			ratio, ok := typ.Implied()
			if !ok {
				ratio = 0.5
			}
			before := s.Live()
			a, b := admm.Project(plain, typ, ratio), admm.Project(last, typ, ratio)
			m := admm.Mask(last, typ, ratio)
			require.Equal(t, before+3, s.Live(), typ)
			require.Equal(t, values(t, a), values(t, b), typ)
			require.True(t, a.IsContiguous())
			require.False(t, b.IsContiguous() || m.IsContiguous() || b.RequiresGrad() || m.RequiresGrad(), typ)
		}
	})
}

func TestResolveStructures(t *testing.T) {
	layers := []admm.Info{
		{Name: "conv1.weight", Layer: "conv1", Kind: admm.Conv, Shape: []int64{16, 3, 3, 3}},
		{Name: "bn1.weight", Layer: "bn1", Kind: admm.Norm, Shape: []int64{16}},
		{Name: "conv2.weight", Layer: "conv2", Kind: admm.Conv, Shape: []int64{32, 16, 3, 3}},
		{Name: "down.weight", Layer: "down", Kind: admm.Conv, Shape: []int64{32, 16, 1, 1}},
		{Name: "fc.weight", Layer: "fc", Kind: admm.Linear, Shape: []int64{10, 32}},
	}
	named := func(layer string, r float64) []admm.LayerRatio { return []admm.LayerRatio{{Layer: layer, Ratio: r}} }
	const p = 5. / 9
	for _, c := range []struct {
		typ  admm.Type
		sel  admm.Selection
		want []float64
	}{
		{"2:4", admm.Selection{Ratio: 0.5}, []float64{0, 0, 0.5, 0.5, 0.5}},
		{"1:4", admm.Selection{Ratio: 0.75, Ratios: named("down", 0)}, []float64{0, 0, 0.75, 0, 0.75}},
		{"1:4", admm.Selection{Ratio: 0.75, Ratios: named("conv1", 0)}, []float64{0, 0, 0.75, 0.75, 0.75}},
		{"2:4", admm.Selection{Ratios: named("fc", 0.5)}, []float64{0, 0, 0, 0, 0.5}},
		{"1:3", admm.Selection{Ratio: 2. / 3}, []float64{2. / 3, 0, 0, 0, 0}},
		{"block4x4", admm.Selection{Ratio: 0.7}, []float64{0.7, 0, 0.7, 0.7, 0.7}},
		{admm.Pattern, admm.Selection{Ratio: p}, []float64{p, 0, p, 0, 0}},
		{admm.Pattern, admm.Selection{Ratios: named("conv2", p)}, []float64{0, 0, p, 0, 0}},
	} {
		got, err := admm.Resolve(c.typ, c.sel, layers)
		require.NoError(t, err)
		require.Equal(t, c.want, got, c.typ)
	}
	for _, c := range []struct {
		typ    admm.Type
		sel    admm.Selection
		layers []admm.Info
		want   string
	}{
		{"2:4", admm.Selection{Ratio: 0.9}, layers, "the ratio for all layers is 0.9: 2:4 pruning removes 0.5 of a layer, no more and no less"},
		{"1:3", admm.Selection{Ratios: named("conv1", 0.5)}, layers, "the ratio of conv1 is 0.5: 1:3 pruning removes 0.666667 of a layer"},
		{"2:4", admm.Selection{Ratios: named("conv1", 0.5)}, layers, "conv1 has 3 inputs, of which 2:4 pruning needs a multiple of 4: want one of conv2, down, fc"},
		{"2:4", admm.Selection{Ratios: named("bn1", 0.5)}, layers, "bn1 is a batch norm, which 2:4 pruning is not for: want one of conv2, down, fc"},
		{"2:7", admm.Selection{Ratio: 5. / 7}, layers, "the network has no layer that 2:7 pruning is for"},
		{"2:7", admm.Selection{Ratios: named("fc", 5./7)}, layers, "fc has 32 inputs, of which 2:7 pruning needs a multiple of 7; no layer of the network fits"},
		{admm.Pattern, admm.Selection{Ratios: named("down", p)}, layers, "down has kernels of 1x1, and pattern pruning is for 3x3: want one of conv1, conv2"},
		{admm.Pattern, admm.Selection{Ratios: named("fc", p)}, layers, "fc is a linear layer, which pattern pruning is not for: want one of conv1, conv2"},
		{admm.Pattern, admm.Selection{Ratio: p}, layers[3:], "the network has no layer that pattern pruning is for"},
		{"block4x4", admm.Selection{Ratios: named("bn1", 0.5)}, layers, "bn1 is a batch norm, which block4x4 pruning is not for"},
	} {
		_, err := admm.Resolve(c.typ, c.sel, c.layers)
		require.ErrorContains(t, err, c.want)
	}
}
