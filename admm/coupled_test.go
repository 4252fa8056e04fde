package admm_test

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
	torch "rapt/cgo"
)

// residual is a network with two sums, of stem, a.2 and b.2, and of c.2 and its shortcut. The classes have no group.
var residual = []admm.Info{
	{Name: "stem.weight", Layer: "stem", Kind: admm.Conv, Shape: []int64{6, 3, 3, 3}, Group: 1},
	{Name: "bn.weight", Layer: "bn", Kind: admm.Norm, Shape: []int64{6}},
	{Name: "a.1.weight", Layer: "a.1", Kind: admm.Conv, Shape: []int64{9, 6, 3, 3}, Group: 2},
	{Name: "a.2.weight", Layer: "a.2", Kind: admm.Conv, Shape: []int64{6, 9, 3, 3}, Group: 1},
	{Name: "b.2.weight", Layer: "b.2", Kind: admm.Conv, Shape: []int64{6, 2, 1, 1}, Group: 1},
	{Name: "c.2.weight", Layer: "c.2", Kind: admm.Conv, Shape: []int64{12, 6, 3, 3}, Group: 3},
	{Name: "short.weight", Layer: "short", Kind: admm.Conv, Shape: []int64{12, 6, 1, 1}, Group: 3},
	{Name: "head.weight", Layer: "head", Kind: admm.Linear, Shape: []int64{10, 12}},
}

// coupledLayers are those of residual that can be pruned, a batch norm's place left out.
func coupledLayers(s *torch.Session, ratio float64) (out []admm.Layer) {
	g := s.NewGenerator(3)
	for _, l := range residual {
		if l.Group != 0 {
			out = append(out, admm.Layer{Name: l.Name, Weight: s.RandN(g, l.Shape...).RequiresGrad_(true), Ratio: ratio, Group: l.Group})
		}
	}
	return out
}

// Of all ways to keep so many rows, the same ones in each layer of a group, none is nearer.
func TestCoupledMasksAreNearest(t *testing.T) {
	run(t, func(s *torch.Session) {
		layers := coupledLayers(s, 0.5)
		masks := admm.Masks(admm.CoupledFilter, layers, torch.Tensor{})
		energy := map[int][]float64{}
		rows := map[int]uint{} // that are kept, as bits
		for i, l := range layers {
			n := int(l.Weight.Size(0))
			w, m := values(t, l.Weight), values(t, masks[i])
			if energy[l.Group] == nil {
				energy[l.Group] = make([]float64, n)
			}
			kept := uint(0)
			for at, v := range w {
				row := at / (len(w) / n)
				energy[l.Group][row] += float64(v) * float64(v)
				if m[at] != 0 {
					kept |= 1 << row
				}
			}
			for at := range w {
				require.Equal(t, float32(kept>>(at/(len(w)/n))&1), m[at], "%s: rows are whole", l.Name)
			}
			if before, ok := rows[l.Group]; ok {
				require.Equal(t, before, kept, "%s keeps the rows of its group", l.Name)
			}
			rows[l.Group] = kept
		}
		for group, e := range energy {
			sum := func(set uint) (sum float64) {
				for row, v := range e {
					if set>>row&1 == 1 {
						sum += v
					}
				}
				return sum
			}
			keep := len(e) - int(admm.Pruned(int64(len(e)), 0.5))
			require.Equal(t, keep, bits.OnesCount(rows[group]))
			for set := range uint(1) << len(e) {
				if bits.OnesCount(set) == keep {
					require.LessOrEqual(t, sum(set), sum(rows[group])*(1+1e-6), "group %d", group)
				}
			}
		}
	})
}

// Three rounds against float64 in Go, the layers of a group apart from each other in the list.
func TestCoupledRounds(t *testing.T) {
	run(t, func(s *torch.Session) {
		layers := coupledLayers(s, 0.75)
		st := admm.New(s, layers, admm.Options{Type: admm.CoupledFilter, Rho: 0.1, RhoGrowth: 1.3})
		_, zu := st.Tensors()
		us := make([][]float64, len(layers))
		zs := project(t, layers, us) // before the first update: the weights' own
		for i := range layers {
			us[i] = make([]float64, len(zs[i]))
		}
		for round := range 3 {
			change(s, layers, uint64(round))
			now, err := st.Update()
			require.NoError(t, err)
			before := zs
			zs = project(t, layers, us)
			for i, l := range layers {
				primal, dual := 0.0, 0.0
				gotZ, gotU := values(t, zu[2*i]), values(t, zu[2*i+1])
				for at, w := range values(t, l.Weight) {
					gap := float64(w) - zs[i][at]
					us[i][at] += gap
					primal += gap * gap
					dual += (zs[i][at] - before[i][at]) * (zs[i][at] - before[i][at])
					require.InDelta(t, zs[i][at], gotZ[at], 1e-5, "%s, round %d", l.Name, round)
					require.InDelta(t, us[i][at], gotU[at], 1e-5, "%s, round %d", l.Name, round)
				}
				assert.Equal(t, l.Name, now[i].Name)
				assert.InEpsilon(t, math.Sqrt(primal), now[i].Primal, 1e-4)
				assert.InDelta(t, math.Sqrt(dual), now[i].Dual, 1e-4*(1+math.Sqrt(dual)))
			}
		}
	})
}

// project is W + U without the rows of least energy in their groups.
func project(t *testing.T, layers []admm.Layer, us [][]float64) [][]float64 {
	xs := make([][]float64, len(layers))
	energy := map[int][]float64{}
	for i, l := range layers {
		n := int(l.Weight.Size(0))
		if energy[l.Group] == nil {
			energy[l.Group] = make([]float64, n)
		}
		for at, w := range values(t, l.Weight) {
			x := float64(w)
			if us[i] != nil {
				x += us[i][at]
			}
			xs[i] = append(xs[i], x)
		}
		for at, x := range xs[i] {
			energy[l.Group][at/(len(xs[i])/n)] += x * x
		}
	}
	for i, l := range layers {
		e := energy[l.Group]
		for at := range xs[i] {
			row, below := at/(len(xs[i])/len(e)), 0
			for other := range e {
				if e[other] < e[row] {
					below++
				}
			}
			if below < int(admm.Pruned(int64(len(e)), l.Ratio)) {
				xs[i][at] = 0
			}
		}
	}
	return xs
}

func TestCoupledMasksOfUnequalRows(t *testing.T) {
	err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		admm.Masks(admm.CoupledFilter, []admm.Layer{{Weight: s.Ones(4, 3), Ratio: 0.5, Group: 1}, {Weight: s.Ones(5, 3), Ratio: 0.5, Group: 1}}, torch.Tensor{})
		return s.Err()
	})
	require.ErrorContains(t, err, "weights of 4 and 5 rows cannot be pruned together")
}

func TestResolveCoupled(t *testing.T) {
	for name, c := range map[string]struct {
		sel  admm.Selection
		want []float64
		err  string
	}{
		"one for all":          {admm.Selection{Ratio: 0.5}, []float64{0.5, 0, 0.5, 0.5, 0.5, 0.5, 0.5, 0}, ""},
		"one of a group":       {admm.Selection{Ratios: []admm.LayerRatio{{"a.2", 0.3}}}, []float64{0.3, 0, 0, 0.3, 0.3, 0, 0, 0}, ""},
		"a group left out":     {admm.Selection{Ratio: 0.5, Ratios: []admm.LayerRatio{{"short", 0}}}, []float64{0.5, 0, 0.5, 0.5, 0.5, 0, 0, 0}, ""},
		"all of a group":       {admm.Selection{Ratios: []admm.LayerRatio{{"c.2", 0.2}, {"short", 0.2}}}, []float64{0, 0, 0, 0, 0, 0.2, 0.2, 0}, ""},
		"two ratios":           {admm.Selection{Ratios: []admm.LayerRatio{{"stem", 0.2}, {"b.2", 0.3}}}, nil, "stem and b.2 share their channels and need one ratio, not 0.2 and 0.3 (an excluded layer has 0): it is enough to give it for one of them"},
		"the classes":          {admm.Selection{Ratios: []admm.LayerRatio{{"head", 0.2}}}, nil, "head makes the classes, or channels that go on in a way that is not followed, and of these none can go: want one of stem, a.1, a.2, b.2, c.2, short"},
		"a batch norm":         {admm.Selection{Ratios: []admm.LayerRatio{{"bn", 0.2}}}, nil, "bn is a batch norm, which coupled_filter pruning is not for"},
		"the same layer twice": {admm.Selection{Ratios: []admm.LayerRatio{{"stem", 0.2}, {"conv1", 0.2}}}, nil, "layer stem is given twice"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := admm.Resolve(admm.CoupledFilter, c.sel, residual)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}

// A budget divides groups as if each were one layer with all of their columns.
func TestCoupledBudgets(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	layers := make([]admm.BudgetLayer, len(residual))
	for i, l := range residual {
		layers[i] = admm.BudgetLayer{Info: l, Cost: admm.Groups(admm.Irregular, l.Shape) / admm.Groups(admm.CoupledFilter, l.Shape)}
	}
	require.NoError(t, admm.Fix(admm.CoupledFilter, []admm.LayerRatio{{Layer: "short", Ratio: 0.25}}, nil, layers))
	fixed := []bool{false, true, false, false, false, true, true, true}
	for i, l := range layers {
		assert.Equal(t, fixed[i], l.Fixed, l.Name)
	}
	draw(layers, admm.CoupledFilter, rng)
	sizes := func(of ...int) (out []string) { // a row's l2 norm over the root of its size, for the layers together
		for row := range layers[of[0]].Magnitudes {
			sum, n := 0.0, 0.0
			for _, i := range of {
				m := float64(layers[i].Magnitudes[row])
				sum, n = sum+m*m*float64(layers[i].Cost), n+float64(layers[i].Cost)
			}
			out = append(out, fmt.Sprintf("%.6f", math.Sqrt(sum/n)))
		}
		return out
	}
	groups := map[int][]string{1: sizes(0, 3, 4), 2: sizes(2)}
	err := admm.Fix(admm.CoupledFilter, []admm.LayerRatio{{Layer: "stem", Ratio: 0.5}}, []string{"a.2"}, slices.Clone(layers))
	require.ErrorContains(t, err, "stem and a.2 share their channels and need one ratio, not 0.5 and 0 (an excluded layer has 0)")
	for _, method := range methods {
		ratios, err := admm.Allocate(admm.CoupledFilter, admm.Budget{Keep: 0.7, Method: method}, layers)
		require.NoError(t, err)
		assert.Equal(t, []float64{ratios[0], ratios[0], 0.25, 0.25, 0}, []float64{ratios[3], ratios[4], ratios[5], ratios[6], ratios[7]}, method)
		kept, whole := admm.Kept(admm.CoupledFilter, layers, ratios, 0)
		assert.LessOrEqual(t, float64(kept), 0.7*float64(whole)+1e-6, method)
		row := layers[0].Cost + layers[3].Cost + layers[4].Cost
		assert.Greater(t, float64(kept+max(row, layers[2].Cost)), 0.7*float64(whole), method)
		if method != admm.Global {
			continue
		}
		largest, smallest := "", "9"
		for group, of := range map[int]int{1: 0, 2: 2} {
			cut := int(admm.Pruned(int64(len(groups[group])), ratios[of]))
			for _, size := range groups[group] {
				below := 0
				for _, other := range groups[group] {
					if other < size {
						below++
					}
				}
				if below < cut {
					largest = max(largest, size)
				} else {
					smallest = min(smallest, size)
				}
			}
		}
		assert.Less(t, largest, smallest, "one threshold for all")
	}
}

// The Erdos-Renyi-kernel keeps as much of two layers that are coupled as of one like them that is not.
func TestCoupledERK(t *testing.T) {
	var layers []admm.BudgetLayer
	for i, group := range []int{1, 2, 2} {
		name := fmt.Sprint("conv", i)
		layers = append(layers, admm.BudgetLayer{Info: admm.Info{Name: name + ".weight", Layer: name, Shape: []int64{640, 64, 3, 3}, Group: group}, Cost: 64 * 9})
	}
	ratios, err := admm.Allocate(admm.CoupledFilter, admm.Budget{Keep: 0.2, Method: admm.ERK}, layers)
	require.NoError(t, err)
	for _, r := range ratios {
		assert.InDelta(t, 0.8, r, 2./640)
	}
}
