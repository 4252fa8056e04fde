package admm

import (
	"fmt"
	"math"

	torch "rapt/cgo"
)

// Quant is how one layer's weights are quantised: each becomes scale * level, where the scale is the layer's own and the
// levels are a fixed set ("Progressive DNN Compression", arXiv 1903.09769; arXiv 1707.09870, section 3).
//
// A layer without pruned weights has, at one bit, the levels -1 and 1, and at k bits from -(2^(k-1)-1) to 2^(k-1)-1 with
// zero: 2 bits are ternary. A pruned one, whose removed weights stay zero, has no level zero for the others: they get
// one of +-1 ... +-2^(k-1), at 8 bits +-1 ... +-127, so that a code with its zero is an int8. With PowerOfTwo the n
// levels above zero are 1, 1/2, ... 2^-(n-1) instead of 1 ... n.
//
// Where a method takes a mask (1 kept, 0 pruned, of the weight's shape), an absent one means a layer that is not pruned.
type Quant struct {
	Bits       int // 1 to 8; with PowerOfTwo to 6
	PowerOfTwo bool
}

// MostBits is the highest Bits: of powers of two more would be too small to tell from zero.
func (q Quant) MostBits() int {
	if q.PowerOfTwo {
		return 6
	}
	return 8
}

// above is the number of levels above zero.
func (q Quant) above(pruned bool) int {
	n := 1 << (q.Bits - 1)
	if !pruned && q.Bits > 1 || n > math.MaxInt8 {
		n--
	}
	return n
}

// zero tells whether zero is a level.
func (q Quant) zero(pruned bool) bool { return q.Bits > 1 && !pruned }

// Levels is how many levels there are, zero included where it is one.
func (q Quant) Levels(pruned bool) int {
	if q.zero(pruned) {
		return 2*q.above(pruned) + 1
	}
	return 2 * q.above(pruned)
}

// Table holds the level of each code: a weight of code c is scale * sign(c) * Table[|c|]. Table[0] is 0.
func (q Quant) Table(pruned bool) []float32 {
	out := make([]float32, q.above(pruned)+1)
	for i := 1; i < len(out); i++ {
		out[i] = float32(i)
		if q.PowerOfTwo {
			out[i] = float32(math.Ldexp(1, 1-i))
		}
	}
	return out
}

// nearest is the level nearest to each w/scale; scale is broadcast.
func (q Quant) nearest(w, scale torch.Tensor, pruned bool) torch.Tensor {
	n := float64(q.above(pruned))
	if q.zero(pruned) && !q.PowerOfTwo {
		return w.Div(scale).Round().Clamp(-n, n)
	}
	sign := w.GeScalar(0).To(torch.Float32).MulScalar(2).SubScalar(1)
	if q.Bits == 1 {
		return sign
	}
	size := w.Abs().Div(scale)
	if !q.PowerOfTwo {
		return size.Round().Clamp(1, n).Mul_(sign)
	}
	// 2^e is nearest from 0.75 2^e on. What is no number must not become an index: it goes to the last level.
	e := size.DivScalar(0.75).Log().DivScalar(math.Ln2).Floor()
	e = e.GeScalar(1-n).Where(e, e.ZerosLike().Fill_(1-n)).ClampMax(0)
	level := w.Session().Constant(q.Table(pruned)[1:]...).IndexSelect(0, e.Neg().To(torch.Int64).Reshape(-1)).Reshape(e.Shape()...).Mul_(sign)
	if q.zero(pruned) {
		level = level.Mul(size.GeScalar(math.Ldexp(0.5, int(1-n))).To(torch.Float32))
	}
	return level
}

// least keeps scales and divisors from zero, which a layer of zeros would give.
const least = 1e-30

// gains says for each of the scales [C, 1] what the levels c nearest to w [1, N] under it are worth: of all scales for
// these levels the best is <w,c>/<c,c>, and it takes <w,c>^2/<c,c> off ||w||^2. Both are [C].
func (q Quant) gains(w, mask, scales torch.Tensor) (gain, best torch.Tensor) {
	c := q.nearest(w, scales, mask.Defined())
	if mask.Defined() {
		c = c.Mul(mask)
	}
	wc := c.MatMul(w.Reshape(-1, 1)).Reshape(-1)
	cc := c.Square().Sum(1).ClampMin(least)
	best = wc.Div(cc).ClampMin(least)
	return best.Mul(wc), best
}

const (
	candidates = 49      // scales tried in each round of Fit
	rounds     = 3       // each looks between the neighbours of the best scale of the one before
	together   = 1 << 22 // elements that candidates are tried on at once
)

// Fit is the scale (one element, above 0) with the least ||w - scale*level(w/scale)||^2 over the weights that are kept.
//
// The error has many local minima. A scale that cannot be bettered has its largest level between the mean and twice the
// maximum of |w|, so that range is searched on a geometric grid, then twice more, ever finer, round the best; each scale
// tried stands for the best one of its levels. One bit has the closed form mean |w|. All of it stays on the device.
func (q Quant) Fit(w, mask torch.Tensor) torch.Tensor {
	return quantised(w, func(s *torch.Session) torch.Tensor {
		if q.Bits == 1 {
			return q.Refit(w, torch.Tensor{}, mask)
		}
		x, m := w.Reshape(1, -1), mask
		count := s.Full(float64(w.Numel()), torch.Float32)
		if m.Defined() {
			m = m.Reshape(1, -1)
			x, count = x.Mul(m), m.Sum().ClampMin(1)
		}
		table := q.Table(mask.Defined())
		largest := float64(max(table[1], table[len(table)-1]))
		size := x.Abs()
		low := size.Sum().Div(count).DivScalar(largest).ClampMin(least).Log().Reshape(1)
		high := size.Max().MulScalar(2 / largest).ClampMin(least).Log().Reshape(1)
		centre, span := low.Add(high).DivScalar(2), high.Sub(low).DivScalar(2)
		places := make([]float32, candidates)
		for i := range places {
			places[i] = 2*float32(i)/(candidates-1) - 1
		}
		var scale torch.Tensor
		for range rounds {
			scale = q.best(x, m, centre.Add(span.Mul(s.FromFloat32(places, candidates))).Exp())
			centre, span = scale.Log(), span.MulScalar(2./(candidates-1))
		}
		for range 4 {
			scale = q.Refit(x, scale, m)
		}
		return scale
	})
}

// best is the scale [1] that the best of the candidates [C] leads to.
func (q Quant) best(x, mask, scales torch.Tensor) torch.Tensor {
	s := x.Session()
	return s.Scope(func() torch.Tensor {
		var gains, better []torch.Tensor
		step := max(1, together/max(1, x.Numel()))
		for at := int64(0); at < candidates; at += step {
			n := min(step, candidates-at)
			both := s.ScopeN(func() []torch.Tensor {
				g, b := q.gains(x, mask, scales.Narrow(0, at, n).Reshape(-1, 1))
				return []torch.Tensor{g, b}
			})
			gains, better = append(gains, both[0]), append(better, both[1])
		}
		return s.Cat(0, better...).IndexSelect(0, s.Cat(0, gains...).Argmax(0).Reshape(1))
	})
}

// Refit is one step of alternating minimisation: the best scale (one element) for the levels that w has under this scale,
// <w,c>/<c,c>. The error never grows by it. It is a few operations on the device, for every training step; at one bit it
// is Fit, and needs no scale.
func (q Quant) Refit(w, scale, mask torch.Tensor) torch.Tensor {
	return quantised(w, func(s *torch.Session) torch.Tensor {
		if q.Bits == 1 {
			if mask.Defined() {
				return w.Mul(mask).Abs().Sum().Div(mask.Sum().ClampMin(1)).ClampMin(least).Reshape(1)
			}
			return w.Abs().Mean().ClampMin(least).Reshape(1)
		}
		c := q.nearest(w, scale, mask.Defined())
		if mask.Defined() {
			c = c.Mul(mask)
		}
		return w.Mul(c).Sum().Div(c.Square().Sum().ClampMin(least)).ClampMin(least).Reshape(1)
	})
}

// Apply is the nearest weight to w of scale * levels, zero where it is pruned, laid out as w is.
func (q Quant) Apply(w, scale, mask torch.Tensor) torch.Tensor {
	return quantised(w, func(*torch.Session) torch.Tensor {
		z := q.nearest(w, scale, mask.Defined()).Mul(scale)
		if mask.Defined() {
			z = z.Mul(mask)
		}
		return like(w, z)
	})
}

// ProjectLevels is the nearest weight to w that q allows, with the best scale.
func ProjectLevels(w torch.Tensor, q Quant, mask torch.Tensor) torch.Tensor {
	return quantised(w, func(*torch.Session) torch.Tensor { return q.Apply(w, q.Fit(w, mask), mask) })
}

// quantised runs f outside any graph and keeps its result alone.
func quantised(w torch.Tensor, f func(*torch.Session) torch.Tensor) (out torch.Tensor) {
	s := w.Session()
	if s == nil || s.Err() != nil {
		return torch.Tensor{}
	}
	s.NoGrad(func() { out = s.Scope(func() torch.Tensor { return f(s) }) })
	return out
}

// Codes are the codes of weights that hold scale * levels to the last bit, as Apply makes them; any other is an error.
func (q Quant) Codes(w []float32, scale float32, pruned bool) ([]int8, error) {
	code := map[float32]int8{}
	for c, level := range q.Table(pruned) {
		if c > 0 || pruned || q.zero(pruned) {
			code[scale*level], code[-scale*level] = int8(c), int8(-c)
		}
	}
	out := make([]int8, len(w))
	for i, v := range w {
		c, ok := code[v]
		if !ok {
			return nil, fmt.Errorf("weight %d is %g, which is no level of %d bits at the scale %g", i, v, q.Bits, scale)
		}
		out[i] = c
	}
	return out, nil
}

// Decode gives back the weights that Codes took: scale * sign(code) * table[|code|].
func Decode(codes []int8, scale float32, table []float32) []float32 {
	out := make([]float32, len(codes))
	for i, c := range codes {
		if c < 0 {
			out[i] = -scale * table[-int(c)]
		} else {
			out[i] = scale * table[c]
		}
	}
	return out
}
