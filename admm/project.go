package admm

import (
	"math"

	torch "rapt/cgo"
)

// Groups is how many elements, filters or columns a weight of this shape has: what a ratio counts in.
func Groups(t Type, shape []int64) int64 {
	rows, all := int64(1), int64(1)
	for i, d := range shape {
		if i == 0 {
			rows = d
		}
		all *= d
	}
	switch t {
	case Filter:
		return rows
	case Column:
		return all / max(rows, 1)
	}
	return all
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

// Mask is float32, of w's shape and on its device: 0 for the Pruned groups of least magnitude, 1 for the others. Of
// equal magnitudes the one with the lowest index goes first.
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
			kept := smallest(magnitudes(w, t), k).LogicalNot().To(torch.Float32)
			rows := shape[0]
			rest := w.Numel() / rows
			switch t {
			case Filter:
				kept = kept.Reshape(rows, 1).Expand(rows, rest)
			case Column:
				kept = kept.Reshape(1, rest).Expand(rows, rest)
			}
			return like(w, kept.Reshape(shape...))
		})
	})
	return out
}

// Project is the nearest weight to w with the Pruned groups zero.
func Project(w torch.Tensor, t Type, ratio float64) torch.Tensor {
	s := w.Session()
	if s == nil || s.Err() != nil {
		return torch.Tensor{}
	}
	var out torch.Tensor
	s.NoGrad(func() {
		out = s.Scope(func() torch.Tensor { return like(w, w.Mul(Mask(w, t, ratio))) })
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

// magnitudes holds one number for each group: the absolute value, or the l2 norm. The norms are summed in float64, so
// that groups which are equal but for the order of their elements tie on every device.
func magnitudes(w torch.Tensor, t Type) torch.Tensor {
	if t != Filter && t != Column {
		return w.Reshape(-1).Abs()
	}
	dim := int64(1)
	if t == Column {
		dim = 0
	}
	return w.Reshape(w.Size(0), -1).To(torch.Float64).Norm(dim).To(torch.Float32)
}

// smallest marks the k smallest of v [n], k >= 1, as bool [n]. Nothing goes to the host.
func smallest(v torch.Tensor, k int64) torch.Tensor {
	s := v.Session()
	n := v.Numel()
	limit := kth(v, k)
	// Whatever is below limit is in, and of what equals it as many as are missing, in order. So rank the first as -1,
	// the second by its index, the rest as n: the k-th smallest rank is that of the last one in.
	rank := v.Eq(limit).Where(s.Arange(n), s.Full(float64(n), torch.Int64, 1))
	rank = v.Lt(limit).Where(s.Full(-1, torch.Int64, 1), rank)
	return rank.Le(kth(rank, k))
}

// kth is the k-th smallest element of v [n]. A GPU sorts, since its selection is refused where deterministic kernels
// are asked for: of equal elements it names any one's index, which is not needed here.
func kth(v torch.Tensor, k int64) torch.Tensor {
	if v.Device().IsCUDA() {
		sorted, _ := v.Sort(0, false)
		return sorted.Narrow(0, k-1, 1)
	}
	value, _ := v.KthValue(k, 0)
	return value
}
