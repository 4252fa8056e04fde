package admm

import (
	"fmt"
	"math"
	"slices"
	"sort"
)

// resolution is how finely the search for an allocation divides the budget, and subdivisions how many ratios it tries between two
// that were measured. What either leaves of the budget is given back group by group.
const (
	resolution    = 1 << 15
	subdivisions  = 12
	allTriedBelow = 64 // groups: of smaller layers every number is tried
)

// evenly decides between allocations of the same loss, as where no loss was measurable: those with ratios more alike are better.
// It is far below what one image in a thousand is.
const evenly = 1e-6

// Monotone is the rising curve nearest to the measured one, in the sense of least squares (pool adjacent violators), and nowhere
// below 0: pruning more does not help, whatever a few images say. Points rise in their ratio.
func Monotone(curve []Point) []Point {
	type pool struct {
		sum float64
		n   int
	}
	var pools []pool
	for _, p := range curve {
		pools = append(pools, pool{p.Loss, 1})
		for k := len(pools); k > 1; k = len(pools) {
			last, before := pools[k-1], pools[k-2]
			if before.sum*float64(last.n) <= last.sum*float64(before.n) {
				break
			}
			pools = append(pools[:k-2], pool{before.sum + last.sum, before.n + last.n})
		}
	}
	out := slices.Clone(curve)
	at := 0
	for _, p := range pools {
		for range p.n {
			out[at].Loss = max(0, p.sum/float64(p.n))
			at++
		}
	}
	return out
}

// lossAt reads a rising curve between its points, and beyond the last one as it is there.
func lossAt(curve []Point, ratio float64) float64 {
	i := sort.Search(len(curve), func(i int) bool { return curve[i].Ratio >= ratio })
	if i == len(curve) {
		return curve[i-1].Loss
	}
	from := Point{}
	if i > 0 {
		from = curve[i-1]
	}
	return from.Loss + (curve[i].Loss-from.Loss)*(ratio-from.Ratio)/(curve[i].Ratio-from.Ratio)
}

// tried are the numbers of groups of a layer that the search may remove, rising.
func (a *allocation) tried(i int) []int64 {
	g, most := a.groups[i], a.most[i]
	var out []int64
	if g < allTriedBelow {
		for k := range most + 1 {
			out = append(out, cutTo(g, k, a.step))
		}
		return slices.Compact(out)
	}
	from := 0.0
	for _, p := range a.layers[i].Curve {
		for j := range subdivisions {
			ratio := from + (p.Ratio-from)*float64(j)/subdivisions
			out = append(out, min(most, int64(math.Round(ratio*float64(g)))))
		}
		from = p.Ratio
	}
	out = append(out, min(most, int64(math.Round(from*float64(g)))), most)
	for i, k := range out {
		out[i] = cutTo(g, k, a.step)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// sensitivity chooses for each layer how many groups go, so that the losses of all layers sum up to the least within the budget: the
// multiple-choice knapsack problem, solved by dynamic programming over the budget. It is exact where the budget is at most
// resolution groups' costs, and the layers have fewer than allTriedBelow groups.
func (a *allocation) sensitivity() error {
	whole := 0.0
	curves := make([][]Point, len(a.layers))
	for _, i := range a.free {
		l := &a.layers[i]
		if len(l.Curve) == 0 {
			return fmt.Errorf("%s has no measured losses", l.Name)
		}
		curves[i] = Monotone(l.Curve)
		whole += float64(a.groups[i] * l.Cost)
	}
	loss := func(i int, cut int64) float64 {
		ratio := float64(cut) / float64(a.groups[i])
		return lossAt(curves[i], ratio) + evenly*ratio*ratio*float64(a.groups[i]*a.layers[i].Cost)/whole
	}
	a.cheapest(loss)
	a.giveBack(loss)
	return nil
}

// cheapest fills in cut by dynamic programming: least[c] is the least loss of the layers so far that keep at most c units.
func (a *allocation) cheapest(loss func(i int, cut int64) float64) {
	unit := max(1, (a.room+resolution-1)/resolution)
	units := a.room / unit
	least := make([]float64, units+1)
	choices := make([][]uint16, len(a.free)) // of the layer's tried numbers, for each c
	for n, i := range a.free {
		next := make([]float64, units+1)
		for c := range next {
			next[c] = math.Inf(1)
		}
		choices[n] = make([]uint16, units+1)
		for o, cut := range a.tried(i) {
			kept := ((a.groups[i]-cut)*a.layers[i].Cost + unit - 1) / unit
			costs := loss(i, cut)
			for c := kept; c <= units; c++ {
				if sum := least[c-kept] + costs; sum < next[c] {
					next[c], choices[n][c] = sum, uint16(o)
				}
			}
		}
		least = next
	}
	if math.IsInf(least[units], 1) { // only what may go altogether fits
		copy(a.cut, a.most)
		return
	}
	c := units
	for n := len(a.free) - 1; n >= 0; n-- {
		i := a.free[n]
		a.cut[i] = a.tried(i)[choices[n][c]]
		c -= ((a.groups[i]-a.cut[i])*a.layers[i].Cost + unit - 1) / unit
	}
}

// giveBack keeps further groups as long as one fits into the budget, those first that bring most for their cost.
func (a *allocation) giveBack(loss func(i int, cut int64) float64) {
	for room := -a.over(a.cut); ; {
		best, left, most := -1, int64(0), -1.0
		for _, i := range a.free {
			if a.cut[i] == 0 {
				continue
			}
			less := cutTo(a.groups[i], a.cut[i]-1, a.step)
			cost := a.layers[i].Cost * (a.cut[i] - less)
			if cost > room || cost == 0 {
				continue
			}
			if gain := (loss(i, a.cut[i]) - loss(i, less)) / float64(cost); gain > most {
				best, left, most = i, less, gain
			}
		}
		if best < 0 {
			return
		}
		room -= a.layers[best].Cost * (a.cut[best] - left)
		a.cut[best] = left
	}
}
