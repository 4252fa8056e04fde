package admm

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// Method says how a budget for the network becomes a ratio for each layer.
type Method string

// The methods.
const (
	Uniform     Method = "uniform"     // one ratio
	Global      Method = "global"      // one threshold on the magnitudes of all layers' groups
	ERK         Method = "erk"         // Erdos-Renyi-kernel (arXiv 1911.11134, section 3): a layer keeps as sum(shape)/product(shape), at most all
	Sensitivity Method = "sensitivity" // the least sum of the layers' measured losses
)

// Budget is one number for the network.
type Budget struct {
	Keep     float64 // the fraction of the cost that is kept, in (0, 1)
	Method   Method
	MinKeep  float64 // of each layer, at least: below 1 a fraction of its groups, from 1 how many; 0 is one group
	MaxRatio float64 // removed of each layer, at most; 0 is no limit
	RoundTo  int64   // a layer keeps a multiple of so many groups, or all; below 2 any number
	Rest     int64   // cost of what is none of the layers and stays
}

// BudgetLayer is a layer as a budget sees it.
type BudgetLayer struct {
	Info
	Cost       int64     // of one group: its parameters, or its multiply-adds for an image; of blocks, which may be cut at edges, about
	Fixed      bool      // the budget leaves the layer at Ratio, and counts what that keeps
	Ratio      float64   // where it is Fixed
	Magnitudes []float32 // for Global: each group's, see Magnitudes
	Curve      []Point   // for Sensitivity: ratios in (0, 1], rising, each with its loss; of a group the first layer's

	shapes [][]int64 // where it stands for a group
}

// Point is what a layer costs in accuracy when this fraction of it is removed. Removing nothing costs 0.
type Point struct{ Ratio, Loss float64 }

// Fix marks the layers that a budget leaves alone: those with a ratio of their own, those that are excluded, those that t is not
// for, and those that one ratio for all would leave out as well. Errors are Resolve's.
func Fix(t Type, ratios []LayerRatio, exclude []string, layers []BudgetLayer) error {
	infos := make([]Info, len(layers))
	for i, l := range layers {
		infos[i] = l.Info
	}
	given := slices.Clone(ratios)
	for _, name := range exclude {
		given = append(given, LayerRatio{Layer: name})
	}
	reached, err := Resolve(t, Selection{Ratio: 0.5}, infos)
	if err != nil {
		return err
	}
	own, err := Resolve(t, Selection{Ratios: given}, infos)
	if err != nil {
		return err
	}
	for i := range layers {
		layers[i].Fixed, layers[i].Ratio = reached[i] == 0, own[i]
	}
	for _, one := range given {
		i, err := find(one.Layer, t, infos)
		if err != nil {
			return err
		}
		for j := range layers {
			layers[j].Fixed = layers[j].Fixed || j == i || t.Couples(layers[i].Group, layers[j].Group)
		}
	}
	return nil
}

// Magnitudes are what Global compares, of a weight's groups in their order: |w|, or for filters, columns and blocks the l2 norm over
// the root of their size. data is row-major.
func Magnitudes(t Type, shape []int64, data []float32) []float32 {
	_, columns := matrix(shape)
	group := func(i int64) int64 { return i }
	high, wide, block := t.Block()
	switch {
	case t.ByRow():
		group = func(i int64) int64 { return i / columns }
	case t == Column:
		group = func(i int64) int64 { return i % columns }
	case block:
		group = func(i int64) int64 { return i/columns/high*blocks(columns, wide) + i%columns/wide }
	}
	sums, sizes := make([]float64, Groups(t, shape)), make([]float64, Groups(t, shape))
	for i, v := range data {
		g := group(int64(i))
		sums[g] += float64(v) * float64(v)
		sizes[g]++
	}
	out := make([]float32, len(sums))
	for g, sum := range sums {
		out[g] = float32(math.Sqrt(sum / sizes[g]))
	}
	return out
}

// Allocate gives each layer the ratio at which the network as a whole keeps b.Keep of its cost, aligned with layers. At least one group
// stays of each, and no more than the budget is kept: where the numbers of groups do not meet it exactly, less, by less than one
// group of a layer, or b.RoundTo groups. Where the fixed layers alone keep less than the budget the others stay whole.
//
// Errors: a budget below what must stay; no layer to choose for; a method without what it needs.
func Allocate(t Type, b Budget, layers []BudgetLayer) ([]float64, error) {
	if t == CoupledFilter {
		return allocateCoupled(b, layers)
	}
	a, err := newAllocation(t, b, layers)
	if err != nil {
		return nil, err
	}
	switch b.Method {
	case Uniform:
		a.search(func(x float64, g int64, _ *BudgetLayer) int64 { return int64(math.Round(x * float64(g))) })
	case ERK:
		densest := 0.0
		for _, i := range a.free {
			densest = max(densest, 1/layers[i].density())
		}
		a.search(func(x float64, g int64, l *BudgetLayer) int64 {
			return g - int64(math.Round(min(1, (1-x)*densest*l.density())*float64(g)))
		})
	case Global:
		err = a.global()
	case Sensitivity:
		err = a.sensitivity()
	default:
		err = fmt.Errorf("unknown budget method %q: want uniform, global, erk or sensitivity", b.Method)
	}
	if err != nil {
		return nil, err
	}
	return a.ratios(), nil
}

// Kept is what of the layers' cost stays at these ratios, and all of it; rest stays as well.
func Kept(t Type, layers []BudgetLayer, ratios []float64, rest int64) (kept, whole int64) {
	kept, whole = rest, rest
	for i, l := range layers {
		if t.Prunes(l.Kind) {
			g := Groups(t, l.Shape)
			whole += l.Cost * g
			kept += l.Cost * (g - Pruned(g, ratios[i]))
		}
	}
	return kept, whole
}

// density is a layer's in the Erdos-Renyi-kernel, up to a factor that all share.
func (l *BudgetLayer) density() float64 {
	sums, sizes := 0.0, 0.0
	for _, shape := range l.allShapes() {
		product := 1.0
		for _, d := range shape {
			sums, product = sums+float64(d), product*float64(d)
		}
		sizes += product
	}
	return sums / sizes
}

// allocation counts removed groups.
type allocation struct {
	layers []BudgetLayer
	step   int64   // what a layer keeps is a multiple of it, or all
	free   []int   // the layers to choose for
	groups []int64 // of each layer
	most   []int64 // that may be removed of it
	cut    []int64 // that are removed
	room   int64   // cost that the free layers may keep
}

func newAllocation(t Type, b Budget, layers []BudgetLayer) (*allocation, error) {
	n := len(layers)
	a := &allocation{layers: layers, step: b.RoundTo, groups: make([]int64, n), most: make([]int64, n), cut: make([]int64, n)}
	whole, fixed, least := b.Rest, b.Rest, int64(0)
	for i, l := range layers {
		if !t.Prunes(l.Kind) {
			continue
		}
		g := Groups(t, l.Shape)
		a.groups[i] = g
		whole += g * l.Cost
		if l.Fixed {
			a.cut[i] = cutTo(g, Pruned(g, l.Ratio), b.RoundTo)
			fixed += (g - a.cut[i]) * l.Cost
			continue
		}
		a.free = append(a.free, i)
		a.most[i] = cutTo(g, mostCut(g, b), b.RoundTo)
		least += (g - a.most[i]) * l.Cost
	}
	if len(a.free) == 0 {
		return nil, fmt.Errorf("the budget has no layer to choose a ratio for: all have one, or are excluded")
	}
	a.room = int64(math.Floor(b.Keep*float64(whole)+1e-6)) - fixed
	if a.room < least {
		up := math.Ceil(1e4*float64(fixed+least)/float64(whole)) / 1e4
		return nil, fmt.Errorf("a budget of %g cannot be met, since what is excluded, has a ratio of its own or is clamped keeps more: %g or above can", b.Keep, up)
	}
	return a, nil
}

// mostCut is how many of g groups may be removed.
func mostCut(g int64, b Budget) int64 {
	keep := int64(1)
	if b.MinKeep >= 1 {
		keep = int64(b.MinKeep)
	} else {
		keep = max(keep, int64(math.Ceil(b.MinKeep*float64(g)-1e-9)))
	}
	if b.MaxRatio > 0 {
		keep = max(keep, g-int64(math.Floor(b.MaxRatio*float64(g)+1e-9)))
	}
	return max(0, g-keep)
}

// over is by how much more than the budget is kept where cut is removed.
func (a *allocation) over(cut []int64) int64 {
	sum := -a.room
	for _, i := range a.free {
		sum += (a.groups[i] - cut[i]) * a.layers[i].Cost
	}
	return sum
}

// search finds the least x in [0, 1] at which the budget is met. count says how many of a layer's g groups are removed at x; it
// rises with x. Clamps are applied here, so that what they keep is removed elsewhere.
func (a *allocation) search(count func(x float64, g int64, l *BudgetLayer) int64) {
	at := func(x float64) []int64 {
		cut := make([]int64, len(a.layers))
		for _, i := range a.free {
			cut[i] = cutTo(a.groups[i], max(0, min(a.most[i], count(x, a.groups[i], &a.layers[i]))), a.step)
		}
		return cut
	}
	low, high := 0.0, 1.0
	if a.over(at(0)) <= 0 {
		a.take(at(0), at(0))
		return
	}
	for range 100 {
		if mid := (low + high) / 2; a.over(at(mid)) > 0 {
			low = mid
		} else {
			high = mid
		}
	}
	a.take(at(low), at(high))
}

// take removes what few does, and of what many removes further, layer by layer, as much as the budget needs.
func (a *allocation) take(few, many []int64) {
	over := a.over(few)
	for _, i := range a.free {
		a.cut[i] = few[i]
		if cost := a.layers[i].Cost; over > 0 && cost > 0 {
			more := min(many[i]-few[i], (over+cost-1)/cost)
			for cutTo(a.groups[i], few[i]+more, a.step) < few[i]+more { // many is such a number
				more++
			}
			a.cut[i] += more
			over -= more * cost
		}
	}
}

// global searches the threshold among the magnitudes there are. Magnitudes are not negative, so that their bits are ordered as they are.
func (a *allocation) global() error {
	sorted := make([][]float32, len(a.layers))
	for _, i := range a.free {
		if int64(len(a.layers[i].Magnitudes)) != a.groups[i] {
			return fmt.Errorf("%s has %d magnitudes where there are %d groups", a.layers[i].Name, len(a.layers[i].Magnitudes), a.groups[i])
		}
		sorted[i] = slices.Clone(a.layers[i].Magnitudes)
		slices.Sort(sorted[i])
	}
	below := func(bits uint64) []int64 { // magnitudes whose bits are below
		cut := make([]int64, len(a.layers))
		for _, i := range a.free {
			n := sort.Search(len(sorted[i]), func(j int) bool { return uint64(math.Float32bits(sorted[i][j])) >= bits })
			cut[i] = cutTo(a.groups[i], min(int64(n), a.most[i]), a.step)
		}
		return cut
	}
	bits := uint64(sort.Search(1<<32, func(bits int) bool { return a.over(below(uint64(bits))) <= 0 }))
	if bits == 0 {
		a.take(below(0), below(0))
		return nil
	}
	a.take(below(bits-1), below(bits))
	return nil
}

// ratios are the fractions removed: Pruned gives the same numbers of groups again.
func (a *allocation) ratios() []float64 {
	out := make([]float64, len(a.layers))
	for i, l := range a.layers {
		switch {
		case a.groups[i] == 0:
		case l.Fixed:
			out[i] = RoundTo(a.groups[i], l.Ratio, a.step)
		default:
			out[i] = float64(a.cut[i]) / float64(a.groups[i])
		}
	}
	return out
}
