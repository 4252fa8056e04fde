package admm_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
)

// budgeted is the network of select_test.go, each group at the cost of its weights.
func budgeted(t *testing.T, typ admm.Type, ratios []admm.LayerRatio, exclude ...string) []admm.BudgetLayer {
	t.Helper()
	var out []admm.BudgetLayer
	for _, l := range network {
		all := int64(1)
		for _, d := range l.Shape {
			all *= d
		}
		out = append(out, admm.BudgetLayer{Info: l, Cost: all / admm.Groups(typ, l.Shape)})
	}
	require.NoError(t, admm.Fix(typ, ratios, exclude, out))
	return out
}

// draw gives layers magnitudes and loss curves.
func draw(layers []admm.BudgetLayer, typ admm.Type, rng *rand.Rand) {
	for i := range layers {
		layers[i].Magnitudes = make([]float32, admm.Groups(typ, layers[i].Shape))
		scale := rng.Float64()
		for g := range layers[i].Magnitudes {
			layers[i].Magnitudes[g] = float32(math.Abs(rng.NormFloat64() * scale))
		}
		loss := 0.0
		layers[i].Curve = nil
		for _, r := range []float64{0.5, 0.75, 0.9, 0.95, 0.99, 1} {
			loss += rng.Float64() * r
			layers[i].Curve = append(layers[i].Curve, admm.Point{Ratio: r, Loss: loss})
		}
	}
}

var methods = []admm.Method{admm.Uniform, admm.Global, admm.ERK, admm.Sensitivity}

// Every method meets every budget to one group, from below, and holds what is fixed and clamped.
func TestBudgetsAreMet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		for _, typ := range admm.Types {
			layers := budgeted(t, typ, nil)
			name := map[admm.Type]string{admm.BNFilter: "stem_bn"}[typ]
			if name == "" {
				name = "body.0"
			}
			if rng.IntN(2) == 0 {
				layers = budgeted(t, typ, []admm.LayerRatio{{Layer: name, Ratio: 0.4}})
			}
			draw(layers, typ, rng)
			b := admm.Budget{Keep: 0.02 + 0.9*rng.Float64()}
			if rng.IntN(2) == 0 {
				b.MinKeep, b.MaxRatio = float64(rng.IntN(8)), 0.8+0.2*rng.Float64()
			}
			b.RoundTo = []int64{0, 1, 4, 8}[rng.IntN(4)]
			largest := int64(0)
			for _, l := range layers {
				largest = max(largest, l.Cost*max(1, b.RoundTo))
			}
			for _, b.Method = range methods {
				ratios, err := admm.Allocate(typ, b, layers)
				if err != nil {
					assert.ErrorContains(t, err, "cannot be met")
					continue
				}
				kept, whole := admm.Kept(typ, layers, ratios, 0)
				target := b.Keep * float64(whole)
				require.LessOrEqual(t, float64(kept), target+1e-6, "%s %s", typ, b.Method)
				full := true // everything that may stay, stays
				for i, l := range layers {
					g := admm.Groups(typ, l.Shape)
					cut := admm.Pruned(g, ratios[i])
					if l.Fixed {
						require.Equal(t, admm.RoundTo(g, l.Ratio, b.RoundTo), ratios[i])
						continue
					}
					require.True(t, b.RoundTo < 2 || cut == 0 || (g-cut)%b.RoundTo == 0, "%s %s keeps %d of %d groups, no multiple of %d", typ, b.Method, g-cut, g, b.RoundTo)
					full = full && cut == 0
					require.InDelta(t, float64(cut)/float64(g), ratios[i], 1e-12, "a ratio is what is removed")
					require.GreaterOrEqual(t, float64(g-cut), min(b.MinKeep, float64(g)))
					if b.MaxRatio > 0 {
						require.LessOrEqual(t, float64(cut), b.MaxRatio*float64(g)+1e-6)
					}
				}
				if !full {
					require.Greater(t, float64(kept+largest), target, "%s %s keeps %d of %g", typ, b.Method, kept, target)
				}
			}
		}
	}
}

func TestUniformBudget(t *testing.T) {
	layers := budgeted(t, admm.Irregular, nil)
	ratios, err := admm.Allocate(admm.Irregular, admm.Budget{Keep: 0.05, Method: admm.Uniform}, layers)
	require.NoError(t, err)
	for i, l := range layers {
		if l.Kind == admm.Norm {
			assert.Zero(t, ratios[i])
		} else {
			assert.InDelta(t, 0.95, ratios[i], 0.6/float64(admm.Groups(admm.Irregular, l.Shape)))
		}
	}
	// What one layer may not lose, the others do: 25000 of the 432500 weights are left alone.
	layers = budgeted(t, admm.Irregular, nil, "body.0")
	ratios, err = admm.Allocate(admm.Irregular, admm.Budget{Keep: 0.1, Method: admm.Uniform}, layers)
	require.NoError(t, err)
	assert.Zero(t, ratios[2])
	assert.InDelta(t, 1-(0.1*433000-25000)/(433000-25000), ratios[5], 1e-4)
}

// Against sorting all magnitudes at once.
func TestGlobalBudget(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, typ := range []admm.Type{admm.Irregular, admm.BNFilter} {
		layers := budgeted(t, typ, nil)
		draw(layers, typ, rng)
		layers[0].Magnitudes[3], layers[4].Magnitudes[7] = 0, 0
		type group struct {
			at  int
			mag float32
		}
		var all []group
		for i, l := range layers {
			if !l.Fixed {
				for _, m := range l.Magnitudes {
					all = append(all, group{i, m})
				}
			}
		}
		slices.SortStableFunc(all, func(a, b group) int {
			if a.mag < b.mag {
				return -1
			} else if a.mag > b.mag {
				return 1
			}
			return a.at - b.at
		})
		for _, keep := range []float64{0.4, 0.05} {
			n := len(all) - int(math.Floor(keep*float64(len(all))+1e-9))
			want := make([]int64, len(layers))
			for _, g := range all {
				if n > 0 && want[g.at]+1 < admm.Groups(typ, layers[g.at].Shape) { // one stays
					want[g.at]++
					n--
				}
			}
			ratios, err := admm.Allocate(typ, admm.Budget{Keep: keep, Method: admm.Global}, layers)
			require.NoError(t, err)
			for i, l := range layers {
				if !l.Fixed {
					assert.Equal(t, want[i], admm.Pruned(admm.Groups(typ, l.Shape), ratios[i]), "%s %g %s", typ, keep, l.Name)
				}
			}
		}
	}
}

func TestMagnitudes(t *testing.T) {
	data := []float32{3, -4, 0, 1, 2, 2} // [2, 3]
	shape := []int64{2, 3, 1, 1}
	assert.Equal(t, []float32{3, 4, 0, 1, 2, 2}, admm.Magnitudes(admm.Irregular, shape, data))
	near := func(want, got []float32) { assert.InDeltaSlice(t, want, got, 1e-6) }
	near([]float32{float32(math.Sqrt(25. / 3)), float32(math.Sqrt(3))}, admm.Magnitudes(admm.Filter, shape, data))
	near([]float32{float32(math.Sqrt(5)), float32(math.Sqrt(10)), float32(math.Sqrt(2))}, admm.Magnitudes(admm.Column, shape, data))
	near([]float32{float32(math.Sqrt(30. / 4)), float32(math.Sqrt(4. / 2))}, admm.Magnitudes("block2x2", shape, data))
	assert.Equal(t, []float32{1, 2}, admm.Magnitudes(admm.BNFilter, []int64{2}, []float32{-1, 2}))
}

// Densities keep the proportions of Evci et al., but where one would be above 1.
func TestERKBudget(t *testing.T) {
	layers := budgeted(t, admm.Irregular, nil)
	ratios, err := admm.Allocate(admm.Irregular, admm.Budget{Keep: 0.2, Method: admm.ERK}, layers)
	require.NoError(t, err)
	score := map[int]float64{0: 31. / 500, 2: 80. / 25000, 4: 102. / 2500, 5: 1300. / 400000, 6: 510. / 5000}
	// The wanted 86600 of 433000: the three with scores above the others' hundredfold are whole, 8000 weights; the rest share.
	var capped float64
	for _, i := range []int{0, 4, 6} {
		assert.Zero(t, ratios[i], i)
		capped += float64(admm.Groups(admm.Irregular, layers[i].Shape))
	}
	epsilon := (0.2*433000 - capped) / (80 + 1300)
	for _, i := range []int{2, 5} {
		assert.InDelta(t, epsilon*score[i], 1-ratios[i], 1e-3, i)
	}
}

func TestMonotone(t *testing.T) {
	curve := func(losses ...float64) (out []admm.Point) {
		for i, l := range losses {
			out = append(out, admm.Point{Ratio: float64(i+1) / 10, Loss: l})
		}
		return out
	}
	assert.Equal(t, curve(0, 0.25, 0.25, 0.5), admm.Monotone(curve(0, 0.375, 0.125, 0.5)))
	assert.Equal(t, curve(0, 0, 0.125), admm.Monotone(curve(-0.25, -0.5, 0.125)))
	assert.Equal(t, curve(0.25, 0.25, 0.25), admm.Monotone(curve(0.5, 0.25, 0)))
}

// The allocation has the least loss of all there are.
func TestSensitivityAgainstBruteForce(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for trial := range 40 {
		var layers []admm.BudgetLayer
		for i := range 3 {
			g := int64(2 + rng.IntN(14))
			layers = append(layers, admm.BudgetLayer{Info: admm.Info{Name: string(rune('a' + i)), Kind: admm.Conv, Shape: []int64{g, 1}}, Cost: int64(1 + rng.IntN(9))})
		}
		draw(layers, admm.Irregular, rng)
		loss := func(i int, cut int64) float64 { // a reader of its own
			r := float64(cut) / float64(layers[i].Shape[0])
			points := append([]admm.Point{{}}, admm.Monotone(layers[i].Curve)...)
			k := sort.Search(len(points)-1, func(k int) bool { return points[k+1].Ratio >= r })
			from, to := points[k], points[k+1]
			return from.Loss + (to.Loss-from.Loss)*(r-from.Ratio)/(to.Ratio-from.Ratio)
		}
		b := admm.Budget{Keep: 0.3 + 0.5*rng.Float64(), Method: admm.Sensitivity, MinKeep: float64(rng.IntN(3))}
		ratios, err := admm.Allocate(admm.Irregular, b, layers)
		_, whole := admm.Kept(admm.Irregular, layers, make([]float64, 3), 0)
		best := math.Inf(1)
		most := func(i int) int64 { return layers[i].Shape[0] - max(1, int64(b.MinKeep)) }
		for x := range most(0) + 1 {
			for y := range most(1) + 1 {
				for z := range most(2) + 1 {
					kept := (layers[0].Shape[0]-x)*layers[0].Cost + (layers[1].Shape[0]-y)*layers[1].Cost + (layers[2].Shape[0]-z)*layers[2].Cost
					if float64(kept) <= b.Keep*float64(whole) {
						best = min(best, loss(0, x)+loss(1, y)+loss(2, z))
					}
				}
			}
		}
		if math.IsInf(best, 1) {
			require.ErrorContains(t, err, "cannot be met", trial)
			continue
		}
		require.NoError(t, err)
		got := 0.0
		for i := range layers {
			got += loss(i, admm.Pruned(layers[i].Shape[0], ratios[i]))
		}
		require.InDelta(t, best, got, 3e-6, trial)
	}
}

// Where no loss is seen, no layer is favoured.
func TestSensitivityWithoutLosses(t *testing.T) {
	layers := budgeted(t, admm.Irregular, nil)
	for i := range layers {
		layers[i].Curve = []admm.Point{{Ratio: 0.5}, {Ratio: 0.9}, {Ratio: 1}}
	}
	ratios, err := admm.Allocate(admm.Irregular, admm.Budget{Keep: 0.3, Method: admm.Sensitivity}, layers)
	require.NoError(t, err)
	for _, i := range []int{0, 2, 4, 5, 6} {
		assert.InDelta(t, 0.7, ratios[i], 0.05, i)
	}
}

func TestBudgetRefusals(t *testing.T) {
	one := func(b admm.Budget, ratios []admm.LayerRatio, exclude ...string) error {
		_, err := admm.Allocate(admm.Irregular, b, budgeted(t, admm.Irregular, ratios, exclude...))
		return err
	}
	err := one(admm.Budget{Keep: 0.01, Method: admm.Uniform}, nil, "body.0", "stem")
	require.EqualError(t, err, "a budget of 0.01 cannot be met, since what is excluded, has a ratio of its own or is clamped keeps more: 0.0589 or above can")
	require.NoError(t, one(admm.Budget{Keep: 0.0589, Method: admm.Uniform}, nil, "body.0", "stem"))
	assert.ErrorContains(t, one(admm.Budget{Keep: 0.1, MaxRatio: 0.8, Method: admm.ERK}, nil), "0.2 or above can")
	assert.ErrorContains(t, one(admm.Budget{Keep: 0.1, MinKeep: 0.25, Method: admm.ERK}, nil), "0.25 or above can")
	assert.ErrorContains(t, one(admm.Budget{Keep: 0.1}, nil, "stem", "body.0", "conv1", "hidden", "head"), "no layer to choose")
	assert.ErrorContains(t, one(admm.Budget{Keep: 0.1, Method: "best"}, nil), `unknown budget method "best"`)
	assert.ErrorContains(t, one(admm.Budget{Keep: 0.1, Method: admm.Global}, nil), "stem.weight has 0 magnitudes where there are 500 groups")
	assert.ErrorContains(t, one(admm.Budget{Keep: 0.1, Method: admm.Sensitivity}, nil), "no measured losses")
	layers := budgeted(t, admm.Filter, nil)
	assert.True(t, layers[6].Fixed, "the classes' rows stay")
	_, err = admm.Allocate(admm.Filter, admm.Budget{Keep: 0.19, RoundTo: 64, Method: admm.Uniform}, layers)
	assert.ErrorContains(t, err, "0.1945 or above can", "64 of hidden's 500 rows, and all of the layers that have less")
	ratios, err := admm.Allocate(admm.Filter, admm.Budget{Keep: 0.1945, RoundTo: 64, Method: admm.Uniform}, layers)
	require.NoError(t, err)
	assert.Equal(t, []float64{0, 0, 0, 0, 0, 436.0 / 500, 0}, ratios)
	assert.ErrorContains(t, admm.Fix(admm.Irregular, nil, []string{"hiden"}, layers), "did you mean hidden?")
	assert.ErrorContains(t, admm.Fix(admm.Irregular, []admm.LayerRatio{{Layer: "stem", Ratio: 0.5}}, []string{"stem.weight"}, layers), "given twice")
	assert.ErrorContains(t, admm.Fix(admm.Irregular, nil, []string{"stem_bn"}, layers), "not for")
}
