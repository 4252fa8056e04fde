// Package adversarial makes adversarial examples: images moved, within a small ball, to where a network errs most.
package adversarial

import (
	"fmt"
	"math"
	"strings"

	torch "rapt/cgo"
)

// Norm measures how far an image was moved.
type Norm int

const (
	Linf Norm = iota // the largest change of any value of the image
	L2               // the Euclidean length of the change of the whole image
	L1               // the sum of the changes' magnitudes; for evaluation by PGD only
)

func (n Norm) String() string {
	switch n {
	case Linf:
		return "Linf"
	case L2:
		return "L2"
	case L1:
		return "L1"
	}
	return fmt.Sprintf("Norm(%d)", int(n))
}

// ParseNorm reads Linf, inf or l_inf, L2 or 2, and L1 or 1, in any case.
func ParseNorm(name string) (Norm, error) {
	switch strings.ToLower(name) {
	case "linf", "l_inf", "inf":
		return Linf, nil
	case "l2", "2":
		return L2, nil
	case "l1", "1":
		return L1, nil
	}
	return 0, fmt.Errorf("unknown norm %q: want Linf, L2 or L1", name)
}

// Logits is a network: images [N, C, H, W] to logits [N, classes]. Log-probabilities do as well. Whoever makes it
// decides on evaluation or training mode. The attack calls it once a step.
type Logits func(x torch.Tensor) torch.Tensor

// PGD is projected gradient ascent on the cross-entropy (Madry et al., arXiv 1706.06083, section 2.1), the adversary
// of arXiv 1903.12561, section 3. Epsilon and StepSize are in units of the pixels, which lie in [0, 1]. Norm is Linf or L2.
// It is what networks are trained with; for evaluation see Parse.
type PGD struct {
	Norm              Norm
	Epsilon, StepSize float64
	Steps             int
	RandomStart       bool // from a uniformly drawn point of the ball instead of the image itself
}

// Name is the attack's name in reports, such as pgd-40.
func (p PGD) Name() string { return fmt.Sprintf("pgd-%d", p.Steps) }

// Perturb moves each image of x, float32 [N, C, H, W] in [0, 1], to where the cross-entropy against y is large.
// y holds classes (int64 [N]) or probabilities ([N, classes]). The result lies in the ball round x and in [0, 1],
// outside any graph and in the innermost scope; x stays as it is. g is needed for a random start only.
//
// The loss is the batch's sum, so an image's result does not depend on the size of the batch. Gradients are taken for
// the images alone, outside NoGrad, and nothing waits for the device.
func (p PGD) Perturb(f Logits, x, y torch.Tensor, g *torch.Generator) torch.Tensor {
	if s := x.Session(); s == nil || s.Err() != nil {
		return torch.Tensor{}
	}
	start := p.Start(x, g)
	p.Ascend(f, start, x, y)
	return start
}

// Ascend is Perturb in place, from a start of the caller's own.
func (p PGD) Ascend(f Logits, start, x, y torch.Tensor) {
	p.climb(start, x, func(at torch.Tensor) torch.Tensor { return f(at).CrossEntropy(y, torch.ReduceSum, 0) })
}

// climb moves start up loss, the batch's sum, staying in the ball round x.
func (p PGD) climb(start, x torch.Tensor, loss func(at torch.Tensor) torch.Tensor) {
	s := start.Session()
	if p.Norm == L1 && s != nil {
		s.Fail(fmt.Errorf("%s: training attacks know Linf and L2, not L1", p.Name()))
	}
	for i := 0; i < p.Steps && s != nil && s.Err() == nil; i++ {
		s.Do(func() { // a scope of its own, so that memory does not grow with the steps
			at := start.Detach().RequiresGrad_(true)
			start.PGDStep_(s.Grad(loss(at), at)[0], x, p.StepSize, p.Epsilon, p.Norm == L2)
		})
	}
}

// Start is a new tensor with the images that the first step leaves from: x, or a point of the ball that g draws.
func (p PGD) Start(x torch.Tensor, g *torch.Generator) torch.Tensor {
	return x.Session().Scope(func() torch.Tensor {
		if !p.RandomStart {
			return x.Detach().Clone()
		}
		return x.Detach().Add(p.noise(x, g)).Clamp_(0, 1)
	})
}

// noise has x's shape, every sample drawn uniformly from the ball round zero.
func (p PGD) noise(x torch.Tensor, g *torch.Generator) torch.Tensor {
	s := x.Session()
	if p.Norm == Linf {
		return s.Empty(torch.Float32, x.Shape()...).Uniform_(g, -p.Epsilon, p.Epsilon)
	}
	// A normal vector's direction is uniform on the sphere; U^(1/d) is the radius that fills d dimensions evenly.
	n := x.Size(0)
	d := x.Numel() / max(n, 1)
	v := s.RandN(g, n, d)
	radius := s.Rand(g, n, 1).Log().DivScalar(float64(d)).Exp().MulScalar(p.Epsilon)
	return v.Mul_(radius.Div(v.NormKeep(1).ClampMin(1e-12))).Reshape(x.Shape()...)
}

// Inside reports whether every image of x is finite, lies in [0, 1], and is at most eps from its original in x0. It
// allows for float32's rounding: 1e-6, relative to eps where that is above 1. It waits for the device.
func Inside(x, x0 torch.Tensor, n Norm, eps float64) (bool, error) {
	s := x.Session()
	if s == nil {
		return false, x.Err()
	}
	var ok float64
	var err error
	s.NoGrad(func() {
		s.Do(func() {
			d := x.To(torch.Float64).Sub(x0.To(torch.Float64))
			switch n {
			case L2:
				d = d.Flatten().Norm(1)
			case L1:
				d = d.Flatten().Abs().Sum(1)
			}
			near := d.Abs().LeScalar(eps + 1e-6*math.Max(1, eps)).All() // false for NaN, as every comparison is
			ok, err = near.LogicalAnd(x.GeScalar(0).LogicalAnd(x.LeScalar(1)).All()).Item()
		})
	})
	return ok == 1, err
}
