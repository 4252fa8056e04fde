package admm

import (
	"fmt"
	"math/bits"

	torch "rapt/cgo"
)

const (
	patternKeeps  = 4 // entries of a 3x3 kernel
	maxPatterns   = 8 // in a network
	countedAtOnce = 1 << 16
)

// patternTable are the ways to keep 4 of 9 entries, as rows of 0 and 1. Those that keep later entries come first, as in Mask.
var patternTable = func() (rows []float32) {
	for code := 1<<9 - 1; code > 0; code-- {
		if bits.OnesCount(uint(code)) == patternKeeps {
			for i := range 9 {
				rows = append(rows, float32(code>>i&1))
			}
		}
	}
	return rows
}()

// SelectPatterns chooses the patterns that the kernels of a network share, from all weights that are to be pruned (PCONV, arXiv
// 1909.05073, section 4.1; PatDNN, arXiv 2001.00138, section 4.2): each kernel proposes its own 4 entries of largest magnitude, and
// the 8 patterns that are proposed most often are chosen. Kernels that are zero propose nothing.
//
// The result is float32 [8, 9], a pattern a row, 1 where an entry is kept; the most frequent one first, which is also repeated where
// fewer than 8 were proposed. It lies on the weights' device, in the innermost scope. A weight whose kernels are not 3x3 is the
// session's error.
func SelectPatterns(weights ...torch.Tensor) torch.Tensor {
	if len(weights) == 0 || weights[0].Session() == nil {
		return torch.Tensor{}
	}
	s := weights[0].Session()
	var out torch.Tensor
	s.NoGrad(func() {
		out = s.Scope(func() torch.Tensor {
			n := int64(len(patternTable) / 9)
			table := s.FromFloat32(patternTable, n, 9)
			counts := s.Full(0, torch.Int64, n)
			for _, w := range weights {
				kernels, ok := kernelsOf(w)
				if !ok {
					return torch.Tensor{}
				}
				for at := int64(0); at < kernels.Size(0); at += countedAtOnce { // a kernel's row of the table is 14 times its size
					part := kernels.Narrow(0, at, min(countedAtOnce, kernels.Size(0)-at))
					counts = s.Scope(func() torch.Tensor { return counts.Add(proposals(part, table)) })
				}
			}
			_, order := counts.Sort(0, true)
			first := order.Narrow(0, 0, maxPatterns)
			proposed := counts.IndexSelect(0, first).GtScalar(0)
			return table.IndexSelect(0, proposed.Where(first, first.Narrow(0, 0, 1).Expand(maxPatterns)))
		})
	})
	return out
}

// proposals counts, for each pattern of the table, the kernels [K, 9] whose largest entries it keeps.
func proposals(kernels, table torch.Tensor) torch.Tensor {
	size := kernels.Abs()
	_, order := size.Sort(1, false)
	best := size.ZerosLike().Fill_(1).Scatter(1, order.Narrow(1, 0, 9-patternKeeps), 0)
	best = best.Mul(size.Max(1).GtScalar(0).To(torch.Float32).Reshape(-1, 1))
	return best.MatMul(table.Permute(1, 0)).EqScalar(patternKeeps).Sum(0)
}

// MaskPatterns is float32, of w's shape and on its device: for each 3x3 kernel of w the one of patterns (see SelectPatterns) that keeps
// most of its energy, of equals the first. A weight whose kernels are not 3x3 is the session's error.
func MaskPatterns(w, patterns torch.Tensor) torch.Tensor {
	s := w.Session()
	if s == nil || s.Err() != nil {
		return torch.Tensor{}
	}
	var out torch.Tensor
	s.NoGrad(func() {
		out = s.Scope(func() torch.Tensor {
			kernels, ok := kernelsOf(w)
			if !ok {
				return torch.Tensor{}
			}
			energy := kernels.To(torch.Float64).Square().MatMul(patterns.To(torch.Float64).Permute(1, 0))
			return like(w, patterns.IndexSelect(0, energy.Argmax(1)).Reshape(w.Shape()...))
		})
	})
	return out
}

// kernelsOf is w as [kernels, 9].
func kernelsOf(w torch.Tensor) (torch.Tensor, bool) {
	if shape := w.Shape(); !threeByThree(shape) {
		w.Session().Fail(fmt.Errorf("pattern pruning is for kernels of 3x3, not for a weight of shape %v", shape))
		return torch.Tensor{}, false
	}
	return w.Reshape(-1, 9), true
}
