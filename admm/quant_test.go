package admm_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/admm"
	torch "rapt/cgo"
)

// levelsOf are the levels as the paper lists them, written out anew.
func levelsOf(q admm.Quant, pruned bool) []float64 {
	n := 1 << (q.Bits - 1)
	if !pruned && q.Bits > 1 {
		n--
	}
	if n > 127 {
		n = 127
	}
	var out []float64
	if !pruned && q.Bits > 1 {
		out = append(out, 0)
	}
	for i := 1; i <= n; i++ {
		level := float64(i)
		if q.PowerOfTwo {
			level = math.Pow(2, float64(1-i))
		}
		out = append(out, level, -level)
	}
	return out
}

// errorAt is ||w - scale*level||^2 with the nearest levels, found by trying them all.
func errorAt(w []float32, keep []float32, levels []float64, scale float64) float64 {
	sum := 0.0
	for i, v := range w {
		if keep != nil && keep[i] == 0 {
			continue
		}
		least := math.Inf(1)
		for _, l := range levels {
			least = min(least, (float64(v)-scale*l)*(float64(v)-scale*l))
		}
		sum += least
	}
	return sum
}

// gridBest is the least error over a fine grid of scales.
func gridBest(w, keep []float32, levels []float64) float64 {
	largest, top := 0.0, 0.0
	for _, l := range levels {
		largest = max(largest, l)
	}
	for i, v := range w {
		if keep == nil || keep[i] != 0 {
			top = max(top, math.Abs(float64(v)))
		}
	}
	best := math.Inf(1)
	for i := range 2000 {
		best = min(best, errorAt(w, keep, levels, 2.2*top/largest*math.Pow(0.002, float64(i)/2000)))
	}
	return best
}

func quants() (all []admm.Quant) {
	for bits := 1; bits <= 5; bits++ {
		all = append(all, admm.Quant{Bits: bits}, admm.Quant{Bits: bits, PowerOfTwo: true})
	}
	return all
}

func TestFitAgainstAFineGrid(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(3)
		normal := s.RandN(g, 30, 5, 5)
		heavy := s.RandN(g, 600).MulScalar(1.3).Exp().Mul(s.RandN(g, 600).Sign()).MulScalar(0.01)
		few := s.RandN(g, 9)
		some := admm.Mask(s.RandN(g, 30, 5, 5), admm.Irregular, 0.6)
		for _, q := range quants() {
			for _, c := range []struct {
				name    string
				w, mask torch.Tensor
			}{{"normal", normal, torch.Tensor{}}, {"heavy", heavy, torch.Tensor{}}, {"few", few, torch.Tensor{}}, {"pruned", normal, some}} {
				name := fmt.Sprintf("%s at %+v", c.name, q)
				var keep []float32
				if c.mask.Defined() {
					keep = values(t, c.mask)
				}
				levels := levelsOf(q, keep != nil)
				require.Equal(t, len(levels), q.Levels(keep != nil), name)
				scale := q.Fit(c.w, c.mask)
				got := errorAt(values(t, c.w), keep, levels, item(t, scale))
				require.LessOrEqual(t, got, 1.002*gridBest(values(t, c.w), keep, levels)+1e-9, name)

				z := q.Apply(c.w, scale, c.mask)
				w := c.w
				if keep != nil {
					w = w.Mul(c.mask)
				}
				require.InEpsilon(t, got+1e-9, item(t, z.Sub(w).To(torch.Float64).Square().Sum())+1e-9, 1e-4, "each weight is at its nearest level: %s", name)
				require.Equal(t, values(t, z), values(t, admm.ProjectLevels(c.w, q, c.mask)), name)
			}
		}
	})
}

func TestOneBitIsTheMeanMagnitude(t *testing.T) {
	run(t, func(s *torch.Session) {
		w := s.FromFloat32([]float32{-3, 1, 0, 4}, 2, 2)
		q := admm.Quant{Bits: 1}
		require.Equal(t, 2., item(t, q.Fit(w, torch.Tensor{})))
		require.Equal(t, []float32{-2, 2, 2, 2}, values(t, admm.ProjectLevels(w, q, torch.Tensor{})))
		mask := s.FromFloat32([]float32{1, 1, 0, 0}, 2, 2)
		require.Equal(t, []float32{-2, 2, 0, 0}, values(t, admm.ProjectLevels(w, q, mask)))
	})
}

// Scaling so that the largest level meets the largest weight is what the fit has to beat.
func TestFitBeatsMaxScaling(t *testing.T) {
	run(t, func(s *torch.Session) {
		w := s.RandN(s.NewGenerator(5), 20_000)
		for bits, factor := range map[int]float64{1: 10, 2: 4, 3: 3, 4: 1.8, 5: 1.3} {
			q := admm.Quant{Bits: bits}
			levels := levelsOf(q, false)
			host := values(t, w)
			largest := levels[len(levels)-2]
			naive := errorAt(host, nil, levels, item(t, w.Abs().Max())/largest)
			fitted := errorAt(host, nil, levels, item(t, q.Fit(w, torch.Tensor{})))
			require.Less(t, factor*fitted, naive, "%d bits: %g against %g", bits, fitted, naive)
		}
	})
}

func TestRefitNeverLoses(t *testing.T) {
	run(t, func(s *torch.Session) {
		w := s.RandN(s.NewGenerator(8), 500)
		for _, q := range quants() {
			scale := s.FromFloat32([]float32{0.9}, 1)
			before := errorAt(values(t, w), nil, levelsOf(q, false), item(t, scale))
			for range 5 {
				scale = q.Refit(w, scale, torch.Tensor{})
				after := errorAt(values(t, w), nil, levelsOf(q, false), item(t, scale))
				require.LessOrEqual(t, after, before*(1+1e-5), "%+v", q)
				before = after
			}
		}
	})
}

func TestCodesAndBack(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(4)
		w := s.RandN(g, 40, 50).MulScalar(0.07)
		mask := admm.Mask(w, admm.Irregular, 0.5)
		for bits := 1; bits <= 8; bits++ {
			for _, q := range []admm.Quant{{Bits: bits}, {Bits: min(bits, 6), PowerOfTwo: true}} {
				for _, m := range []torch.Tensor{{}, mask} {
					scale := q.Fit(w, m)
					z := values(t, q.Apply(w, scale, m))
					alpha := values(t, scale)[0]
					codes, err := q.Codes(z, alpha, m.Defined())
					require.NoError(t, err, "%+v", q)
					require.Equal(t, z, admm.Decode(codes, alpha, q.Table(m.Defined())), "%+v", q)
					distinct := map[int8]bool{}
					for i, c := range codes {
						distinct[c] = true
						require.Equal(t, m.Defined() && values(t, mask)[i] == 0 || z[i] == 0, c == 0)
						if i > 20 {
							break // reading the mask each time is slow
						}
					}
					require.LessOrEqual(t, len(distinct), 1<<q.Bits+1)

					z[7] = math.Nextafter32(z[7], 9)
					_, err = q.Codes(z, alpha, m.Defined())
					require.ErrorContains(t, err, "weight 7 is ", "one bit off is no level")
				}
			}
		}
		_, err := admm.Quant{Bits: 1}.Codes([]float32{0}, 1, false)
		require.ErrorContains(t, err, "no level of 1 bits", "a layer that is not pruned has no zero at one bit")
	})
}

// A layer that holds nothing, or that has blown up, gives no panic and no wrong index.
func TestQuantOfOddWeights(t *testing.T) {
	run(t, func(s *torch.Session) {
		nan := s.FromFloat32([]float32{float32(math.NaN()), 1, float32(math.Inf(1)), -1}, 4)
		for _, q := range quants() {
			for _, m := range []torch.Tensor{{}, s.FromFloat32([]float32{1, 0, 0, 0}, 4), s.Zeros(4)} {
				z := values(t, admm.ProjectLevels(s.Zeros(4), q, m))
				for _, v := range z {
					require.InDelta(t, 0, v, 1e-20, "%+v", q)
				}
				require.Equal(t, []int64{4}, admm.ProjectLevels(nan, q, m).Shape())
				require.NoError(t, s.Err())
			}
		}
		require.False(t, admm.ProjectLevels(torch.Tensor{}, admm.Quant{Bits: 2}, torch.Tensor{}).Defined())
	})
}

func TestQuantLeavesOneTensor(t *testing.T) {
	run(t, func(s *torch.Session) {
		w := s.RandN(s.NewGenerator(1), 8, 9).RequiresGrad_(true)
		for _, q := range quants() {
			s.Do(func() { q.Fit(w, torch.Tensor{}) }) // the session keeps a table of levels
			before := s.Live()
			scale := q.Fit(w, torch.Tensor{})
			z := q.Apply(w, scale, torch.Tensor{})
			require.Equal(t, before+2, s.Live())
			require.False(t, z.RequiresGrad())
		}
	})
}

// ADMM with quantised layers: Z lies on levels, pruned weights stay zero, and W nears Z.
func TestStateQuantises(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(7)
		w := s.RandN(g, 8, 4, 3, 3)
		mask := admm.Mask(w, admm.Irregular, 0.75)
		layers := []admm.Layer{
			{Name: "conv1.weight", Weight: w.Mul(mask).RequiresGrad_(true), Quant: &admm.Quant{Bits: 3}, Mask: mask},
			{Name: "fc1.weight", Weight: s.RandN(g, 10, 72).RequiresGrad_(true), Quant: &admm.Quant{Bits: 1}},
		}
		st := admm.New(s, layers, admm.Options{Rho: 1, RhoGrowth: 1})
		_, zu := st.Tensors()
		var last []admm.Residual
		for range 3 {
			s.NoGrad(func() {
				for i, l := range layers {
					l.Weight.Copy_(zu[2*i].Sub(zu[2*i+1]))
				}
			})
			var err error
			last, err = st.Update()
			require.NoError(t, err)
		}
		for i, most := range []int{9, 2} {
			distinct := map[float32]bool{}
			for _, v := range values(t, zu[2*i]) {
				distinct[v] = true
			}
			require.LessOrEqual(t, len(distinct), most)
			require.InDelta(t, 0, last[i].PrimalRel, 1e-6)
		}
		require.Equal(t, kept(t, mask), kept(t, zu[0]))
	})
}

func TestResolveBits(t *testing.T) {
	infos := []admm.Info{{Name: "conv1.weight", Layer: "conv1"}, {Name: "bn1.weight", Layer: "bn1", Kind: admm.Norm},
		{Name: "conv2.weight", Layer: "conv2"}, {Name: "out.weight", Layer: "out", Kind: admm.Linear}}
	got, err := admm.ResolveBits(2, []admm.LayerBits{{"conv2", 0}, {"fc1", 4}}, infos)
	require.NoError(t, err)
	require.Equal(t, []int{2, 0, 0, 4}, got)
	for want, single := range map[string][]admm.LayerBits{
		"there is no layer conv3 (did you mean conv1?): want one of conv1, conv2, out": {{"conv3", 1}},
		"layer out is given twice, as fc1 and as out: leave one out":                   {{"fc1", 1}, {"out", 2}},
		"bn1 is a batch norm, which stays float32: want one of conv1, conv2, out":      {{"bn1", 1}},
	} {
		_, err := admm.ResolveBits(0, single, infos)
		require.EqualError(t, err, want)
	}
}
