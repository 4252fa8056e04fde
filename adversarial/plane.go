package adversarial

import (
	"math"

	torch "rapt/cgo"
)

// toPlane is, for each row of x [n, d] in [0, 1], the least change in the norm (Linf or L2) after which the product with w [n, d] has
// grown by missing [n] and the row still lies in [0, 1] (section 2.2). Where the box leaves too little room it goes as far as it can.
//
// A change moves each value toward its side of the box by min(v, room) in Linf and min(v |w|, room) in L2, v being one number a row. How
// far w's product then grows is a concave, piecewise linear function of v, so Newton's method from 0 reaches v exactly, in as many steps as
// there are pieces at most; few in practice.
func toPlane(x, w, missing torch.Tensor, n Norm) torch.Tensor {
	if x.Session().Device().IsCUDA() {
		return toPlaneDevice(x, w, missing, n)
	}
	return toPlaneHost(x, w, missing, n)
}

// toPlaneDevice is toPlane by operations on all rows at once.
func toPlaneDevice(x, w, missing torch.Tensor, n Norm) torch.Tensor {
	s := x.Session()
	return s.Scope(func() torch.Tensor {
		sign := missing.Sign().Reshape(-1, 1).Mul(w.Sign())
		room := sign.GtScalar(0).Where(x.Neg().AddScalar(1), x).Mul(sign.Abs())
		size := w.Abs()
		scale := size.Max(1).Reshape(-1, 1).ClampMin(1e-30) // gradients may be so small that their squares are 0
		size, need := size.Div(scale), missing.Abs().Reshape(-1, 1).Div(scale).ClampMax(1e30)
		kink, slope := room, size
		if n == L2 {
			kink, slope = room.Div(size.ClampMin(1e-30)), size.Square()
		}
		full, zero := size.Mul(room), s.Zeros(1)
		v := s.Zeros(x.Size(0), 1)
		for range x.Size(1) {
			var grown float64
			s.Do(func() {
				free := kink.Gt(v)
				rest := need.Sub(free.Where(zero, full).SumKeep(1))
				rate := free.Where(slope, zero).SumKeep(1)
				next := rate.GtScalar(0).Where(rest.Div(rate), v).Maximum(v)
				grown, _ = next.Gt(v).Any().Item()
				v.Copy_(next)
			})
			if grown == 0 || s.Err() != nil {
				break
			}
		}
		if n == L2 {
			return v.ClampMax(1e30).Mul(size).Minimum(room).Mul(sign)
		}
		return v.Minimum(room).Mul(sign)
	})
}

// toPlaneHost is toPlane row by row: where operations cost what they touch, it pays to look only at values that are not at the box yet.
func toPlaneHost(x, w, missing torch.Tensor, n Norm) torch.Tensor {
	s := x.Session()
	xs, _ := x.Float32s()
	ws, _ := w.Float32s()
	ms, _ := missing.Float32s()
	if s.Err() != nil {
		return torch.Tensor{}
	}
	d := len(xs) / max(len(ms), 1)
	p := plane{norm: n, size: make([]float32, d), room: make([]float32, d)}
	for i, m := range ms {
		p.row(xs[i*d:(i+1)*d], ws[i*d:(i+1)*d], m)
	}
	return s.FromFloat32(xs, x.Shape()...)
}

// plane holds the weights' sizes and the rooms of those values of a row that are free to move.
type plane struct {
	norm       Norm
	size, room []float32
}

// row overwrites x with its change.
func (p plane) row(x, w []float32, missing float32) {
	size, room := p.size[:0], p.room[:0]
	for i, v := range w {
		if left := roomOf(x[i], v, missing); left > 0 {
			size, room = append(size, abs(v)), append(room, left)
		}
	}
	v, need := math.Inf(1), math.Abs(float64(missing))
	for len(size) > 0 {
		var rate float64
		for _, a := range size {
			if p.norm == L2 {
				rate += float64(a) * float64(a)
			} else {
				rate += float64(a)
			}
		}
		v = need / rate
		free := 0
		for i, a := range size {
			if p.move(v, a) < float64(room[i]) {
				size[free], room[free] = a, room[i]
				free++
			} else {
				need -= float64(a) * float64(room[i])
			}
		}
		if free == len(size) {
			break
		}
		if size, room = size[:free], room[:free]; free == 0 {
			v = math.Inf(1)
		}
	}
	for i, a := range w {
		left := roomOf(x[i], a, missing)
		if x[i] = 0; left > 0 {
			x[i] = float32(math.Copysign(min(p.move(v, abs(a)), float64(left)), float64(a)*float64(missing)))
		}
	}
}

// move is how far a value of that weight goes, for v.
func (p plane) move(v float64, size float32) float64 {
	if p.norm == L2 {
		return v * float64(size)
	}
	return v
}

// roomOf is how far value x of weight w can move in the direction that makes the product larger or, where missing is negative, smaller.
func roomOf(x, w, missing float32) float32 {
	switch {
	case w == 0 || missing == 0:
		return 0
	case (w > 0) == (missing > 0):
		return 1 - x
	}
	return x
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }
