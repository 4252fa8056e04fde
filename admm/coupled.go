package admm

import (
	"fmt"
	"math"
	"slices"

	torch "rapt/cgo"
)

// CoupledFilter is Filter for layers whose outputs are added, as in residual networks: a channel of the sum is kept or removed in all of
// them, so that it can be taken out. Which layers hang together is Info's and Layer's Group to say.
const CoupledFilter Type = "coupled_filter"

// ByRow tells whether the type removes rows of a weight.
func (t Type) ByRow() bool { return t == Filter || t == CoupledFilter }

// Masks are each layer's of what pruning it by t keeps, aligned with the layers, in the innermost scope. patterns are those that Pattern's
// kernels share.
func Masks(t Type, layers []Layer, patterns torch.Tensor) []torch.Tensor {
	out := make([]torch.Tensor, len(layers))
	for _, g := range groups(t, layers) {
		ws := make([]torch.Tensor, len(g))
		for i, at := range g {
			ws[i] = layers[at].Weight
		}
		for i, mask := range masks(t, layers[g[0]], ws, patterns) {
			out[g[i]] = mask
		}
	}
	return out
}

// groups are the places of layers that are pruned together; each is alone unless t couples them.
func groups(t Type, layers []Layer) (out [][]int) {
	for i, l := range layers {
		same := func(g []int) bool { return t.Couples(layers[g[0]].Group, l.Group) }
		if g := slices.IndexFunc(out, same); g >= 0 {
			out[g] = append(out[g], i)
			continue
		}
		out = append(out, []int{i})
	}
	return out
}

// Couples tells whether the type prunes layers of these groups together.
func (t Type) Couples(a, b int) bool { return t == CoupledFilter && a == b && a != 0 }

// masks are what pruning the tensors of one group, whose ratio is l's, keeps of each.
func masks(t Type, l Layer, xs []torch.Tensor, patterns torch.Tensor) []torch.Tensor {
	switch {
	case t == Pattern:
		return []torch.Tensor{MaskPatterns(xs[0], patterns)}
	case len(xs) > 1:
		return maskRows(xs, l.Ratio)
	}
	return []torch.Tensor{Mask(xs[0], t, l.Ratio)}
}

// maskRows are masks that keep the same rows of each weight: those in which the sum of the weights' squares over all of them is largest, which is what
// the nearest weights with so few rows keep.
func maskRows(ws []torch.Tensor, ratio float64) []torch.Tensor {
	s := ws[0].Session()
	if s == nil || s.Err() != nil {
		return make([]torch.Tensor, len(ws))
	}
	rows := ws[0].Size(0)
	for _, w := range ws {
		if w.Size(0) != rows {
			s.Fail(fmt.Errorf("weights of %d and %d rows cannot be pruned together", rows, w.Size(0)))
			return make([]torch.Tensor, len(ws))
		}
	}
	var out []torch.Tensor
	s.NoGrad(func() {
		out = s.ScopeN(func() (out []torch.Tensor) {
			var flat []torch.Tensor
			for _, w := range ws {
				flat = append(flat, w.Reshape(rows, -1))
			}
			kept := norms(s.Cat(1, flat...), Filter).MaskSmallest(Pruned(rows, ratio)).Reshape(rows, 1)
			for _, w := range ws {
				out = append(out, like(w, kept.Expand(rows, w.Numel()/rows).Reshape(w.Shape()...)))
			}
			return out
		})
	})
	return out
}

// couple gives every layer of a group the ratio of the one that is named. given are the names.
func couple(out []float64, given []string, layers []Info) error {
	for i, name := range given {
		if name == "" {
			continue
		}
		for j, l := range layers {
			switch {
			case !CoupledFilter.Couples(l.Group, layers[i].Group):
			case given[j] == "":
				out[j] = out[i]
			case out[j] != out[i]:
				return fmt.Errorf("%s and %s share their channels and need one ratio, not %g and %g (an excluded layer has 0): it is enough to give it for one of them",
					given[i], given[j], out[i], out[j])
			}
		}
	}
	return nil
}

// allocateCoupled is Allocate with each group as one layer, which has the rows of its layers and all of their columns.
func allocateCoupled(b Budget, layers []BudgetLayer) ([]float64, error) {
	var merged []BudgetLayer
	at := make([]int, len(layers)) // of each layer among merged
	for i, l := range layers {
		same := func(m BudgetLayer) bool { return CoupledFilter.Couples(m.Group, l.Group) }
		if at[i] = slices.IndexFunc(merged, same); at[i] < 0 {
			at[i] = len(merged)
			l.Magnitudes = slices.Clone(l.Magnitudes)
			merged = append(merged, l)
			continue
		}
		merged[at[i]].merge(l)
	}
	ratios, err := Allocate(Filter, b, merged)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(layers))
	for i := range layers {
		out[i] = ratios[at[i]]
	}
	return out, nil
}

// allShapes are those of the layers that are merged in l.
func (l *BudgetLayer) allShapes() [][]int64 {
	if l.shapes == nil {
		return [][]int64{l.Shape}
	}
	return l.shapes
}

// merge adds a layer of the same rows, and of the same ratio where both are fixed.
func (l *BudgetLayer) merge(other BudgetLayer) {
	_, mine := matrix(l.Shape)
	_, its := matrix(other.Shape)
	l.shapes = append(l.allShapes(), other.Shape)
	l.Shape = []int64{l.Shape[0], mine + its}
	l.Cost += other.Cost
	for i, m := range other.Magnitudes {
		a, b := float64(l.Magnitudes[i]), float64(m)
		l.Magnitudes[i] = float32(math.Sqrt((a*a*float64(mine) + b*b*float64(its)) / float64(mine+its)))
	}
}
