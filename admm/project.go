package admm

import (
	"math"

	torch "rapt/cgo"
)

// Groups is how many elements, filters, columns or blocks a weight of this shape has: what a ratio counts in. N:M and patterns count
// elements: at the ratio that they imply, Pruned is what they remove.
func Groups(t Type, shape []int64) int64 {
	rows, columns := matrix(shape)
	switch {
	case t.ByRow():
		return rows
	case t == Column:
		return columns
	}
	if high, wide, ok := t.Block(); ok {
		return blocks(rows, high) * blocks(columns, wide)
	}
	return rows * columns
}

// Pruned is how many of groups are removed at ratio: ceil(ratio (groups-1)), as the original's percentile has it. At
// least one group stays.
func Pruned(groups int64, ratio float64) int64 {
	v := ratio * float64(groups-1)
	k := math.Ceil(v)
	if near := math.Round(v); math.Abs(v-near) <= 1e-15*float64(groups) { // 0.07*100 is 7.000000000000001
		k = near
	}
	return max(0, min(int64(k), groups-1))
}

// cutTo is the most of groups, up to cut, whose removal leaves a multiple of step, or all of them.
func cutTo(groups, cut, step int64) int64 {
	if step > 1 && cut > 0 {
		kept := (groups - cut + step - 1) / step * step
		cut = groups - min(kept, groups)
	}
	return cut
}

// RoundTo is the ratio, not above the given one, at which Pruned leaves a multiple of step groups, or all of them.
func RoundTo(groups int64, ratio float64, step int64) float64 {
	if step < 2 || ratio == 0 {
		return ratio
	}
	return float64(cutTo(groups, Pruned(groups, ratio), step)) / float64(groups)
}

// Mask is float32, of w's shape and on its device: 0 for the Pruned groups of least magnitude, 1 for the others. Of
// equal magnitudes the one with the lowest index goes first. N:M and patterns remove what they imply, unless ratio is 0; patterns are
// chosen from w alone, see MaskPatterns for those of a network.
func Mask(w torch.Tensor, t Type, ratio float64) torch.Tensor {
	s := w.Session()
	if s == nil || s.Err() != nil {
		return torch.Tensor{}
	}
	shape := w.Shape()
	k := Pruned(Groups(t, shape), ratio)
	var out torch.Tensor
	s.NoGrad(func() {
		out = s.Scope(func() torch.Tensor {
			if k == 0 {
				return w.ZerosLike().Fill_(1)
			}
			if kept, ok := structured(w, t, k); ok {
				return like(w, kept)
			}
			if !t.ByRow() && t != Column {
				return like(w, w.MaskSmallest(k))
			}
			kept := norms(w, t).MaskSmallest(k)
			rows, rest := shape[0], w.Numel()/shape[0]
			if t.ByRow() {
				kept = kept.Reshape(rows, 1)
			}
			return like(w, kept.Expand(rows, rest).Reshape(shape...))
		})
	})
	return out
}

// Project is the nearest weight to w with the Pruned groups zero.
func Project(w torch.Tensor, t Type, ratio float64) torch.Tensor {
	return keep(w, func() torch.Tensor { return Mask(w, t, ratio) })
}

// keep is w where the mask is 1, and 0 elsewhere.
func keep(w torch.Tensor, mask func() torch.Tensor) torch.Tensor {
	s := w.Session()
	if s == nil || s.Err() != nil {
		return torch.Tensor{}
	}
	var out torch.Tensor
	s.NoGrad(func() {
		out = s.Scope(func() torch.Tensor { return like(w, w.Mul(mask())) })
	})
	return out
}

// like lays t out as w is: updates take lists of tensors in few launches where these are laid out alike.
func like(w, t torch.Tensor) torch.Tensor {
	if w.IsContiguous() {
		return t.Contiguous()
	}
	return w.ZerosLike().Copy_(t)
}

// norms holds the l2 norm of each filter or column. They are summed in float64, so that groups which are equal but for the
// order of their elements tie on every device.
func norms(w torch.Tensor, t Type) torch.Tensor {
	dim := int64(1)
	if t == Column {
		dim = 0
	}
	return w.Reshape(w.Size(0), -1).To(torch.Float64).Norm(dim).To(torch.Float32)
}
