package adversarial

import (
	torch "rapt/cgo"
)

// byImage gives values of images, [n], the shape [n, 1, 1, 1].
func byImage(v torch.Tensor) torch.Tensor { return v.Reshape(-1, 1, 1, 1) }

// length is each image's norm, [n].
func length(d torch.Tensor, n Norm) torch.Tensor {
	switch d = d.Flatten(); n {
	case L2:
		return d.Norm(1)
	case L1:
		return d.Abs().Sum(1)
	}
	return d.Abs().Max(1)
}

// unit scales each image's change to the length 1.
func unit(d torch.Tensor, n Norm) torch.Tensor { return d.Div(byImage(length(d, n).AddScalar(1e-12))) }

// into moves x, [n, C, H, W], to the nearest point of the ball of radius eps round origin and of [0, 1]. For L2 it is the nearest
// point of the ball first, then of the box, which only brings it nearer to the origin.
func into(x, origin torch.Tensor, n Norm, eps float64) torch.Tensor {
	s := x.Session()
	return s.Scope(func() torch.Tensor {
		d := x.Sub(origin)
		switch n {
		case L2:
			d = d.Mul(byImage(s.Full(eps, torch.Float32, 1).Div(length(d, L2).ClampMin(1e-12)).ClampMax(1)))
		case L1:
			d = intoL1(d, origin, eps)
		default:
			d = d.Clamp(-eps, eps)
		}
		return origin.Add(d).Clamp_(0, 1)
	})
}

// intoL1 is the change nearest to d whose values' magnitudes sum to eps at most and that keeps origin + d in [0, 1] (Croce & Hein,
// arXiv 2103.01208, section 3.1): each magnitude shrinks by one amount per image, and stops at 0 and at the box. The amount is
// bracketed by bisection; between its neighbouring kinks the sum is linear, which gives it to the last bit.
func intoL1(d, origin torch.Tensor, eps float64) torch.Tensor {
	s := d.Session()
	shape := d.Shape()
	size, sign := d.Abs().Flatten(), d.Sign()
	up := d.GtScalar(0).Flatten()
	room := up.Where(origin.Flatten().Neg().AddScalar(1), origin.Flatten())
	lo, hi := s.Zeros(shape[0], 1), size.Max(1).Reshape(-1, 1)
	left := func(shrink torch.Tensor) torch.Tensor { return size.Sub(shrink).ClampMin(0).Minimum(room) }
	for range 30 {
		s.Do(func() {
			mid := lo.Add(hi).MulScalar(0.5)
			more := left(mid).SumKeep(1).GtScalar(eps)
			lo.Copy_(more.Where(mid, lo))
			hi.Copy_(more.Where(hi, mid))
		})
	}
	rest := size.Sub(lo.Add(hi).MulScalar(0.5))
	part := rest.GtScalar(0).LogicalAnd(rest.Lt(room)).To(torch.Float32)
	full := rest.Ge(room).To(torch.Float32)
	over := part.Mul(size).SumKeep(1).Add(full.Mul(room).SumKeep(1)).SubScalar(eps)
	count := part.SumKeep(1)
	shrink := count.GtScalar(0).Where(over.Div(count.ClampMin(1)), lo)
	inside := left(s.Zeros(shape[0], 1)).SumKeep(1).LeScalar(eps)
	shrink = inside.Where(shrink.ZerosLike(), shrink.ClampMin(0))
	return left(shrink).Reshape(shape...).Mul(sign)
}
