package adversarial

import (
	"context"
	"math"
	"math/rand/v2"

	torch "rapt/cgo"
)

// fab is Fast Adaptive Boundary (Croce & Hein, arXiv 1907.02044): it looks for the nearest image that is wrong, by steps onto the plane where
// the linearised network's logits of two classes are equal, drawn back toward the original. An image is fooled when one is found inside the
// ball. Targeted, the other class is each of up to nine, the likeliest first; else the one whose plane is nearest.
type fab struct {
	name     string
	norm     Norm
	eps      float64
	steps    int
	restarts int
	targeted bool
}

// Numbers of the published code.
const (
	fabPull    = 0.1  // the largest share of the original's own projection
	fabBeyond  = 1.05 // how far a step goes, the plane being at 1
	fabBackOff = 0.9  // what is kept of a change that fooled the network
)

func (a fab) Name() string          { return a.name }
func (a fab) Ball() (Norm, float64) { return a.norm, a.eps }

func (a fab) Run(ctx context.Context, f Logits, b Batch, seed uint64, progress func(int, float64)) (Result, error) {
	return attempt(ctx, a.name, f, b, seed, progress, func(t *trial) {
		rounds := a.restarts
		if a.targeted {
			rounds *= t.targets()
		}
		for r := 0; r < rounds && !t.stop(); r++ {
			a.round(t, r, rounds)
		}
	})
}

// round is one restart against one class. The first restart leaves from the image itself.
func (a fab) round(t *trial, r, rounds int) {
	s := t.s
	var target torch.Tensor
	if a.targeted {
		target = t.runnerUp(2 + r/a.restarts)
	}
	at := s.Scope(func() torch.Tensor {
		if r%a.restarts == 0 {
			return t.x.Clone()
		}
		draw := normal
		if a.norm == Linf {
			draw = uniform
		}
		d := t.noise(r, func(out []float32, g *rand.Rand) { draw(out, g) })
		return t.x.Add(unit(d, a.norm).MulScalar(a.eps/2)).Clamp_(0, 1)
	})
	for i := 0; i < a.steps && !t.stop(); i++ {
		var fooled []bool
		s.Do(func() {
			a.move(t, at, target)
			fooled = t.wrong(t.logits(at))
		})
		a.settle(t, &at, &target, fooled, r*a.steps+i+1)
		t.report((float64(r) + float64(i+1)/float64(a.steps)) / float64(rounds))
	}
	s.Free(target, t.best)
	t.best = into(at, t.x, a.norm, a.eps)
	s.Free(at)
}

// settle takes out what was fooled inside the ball, and draws the other wrong images back toward their originals.
func (a fab) settle(t *trial, at, target *torch.Tensor, wrong []bool, step int) {
	near, far := make([]bool, len(wrong)), false
	keep := make([]float32, len(wrong))
	var size []float32
	t.s.Do(func() { size, _ = length(at.Sub(t.x), a.norm).Float32s() })
	for i := range size {
		near[i] = wrong[i] && float64(size[i]) <= float64(float32(a.eps))
		if keep[i] = 1; wrong[i] {
			keep[i] = fabBackOff
			far = far || !near[i]
		}
	}
	if far {
		t.s.Do(func() {
			back := t.x.Add(at.Sub(t.x).Mul(byImage(t.s.FromFloat32(keep, int64(len(keep))))))
			inside := byImage(t.s.FromBool(near, int64(len(near))))
			at.Copy_(inside.Where(*at, back))
		})
	}
	t.take(near, *at, step, at, target)
}

// move takes the step, in place.
func (a fab) move(t *trial, at, target torch.Tensor) {
	s, n := t.s, at.Size(0)
	w, df := a.plane(t, at, target)
	w = w.Flatten()
	x1, x0 := at.Flatten(), t.x.Flatten()
	// What is missing to equal logits, from here and from the original.
	missing := s.Cat(0, df.Neg(), w.Mul(x1.Sub(x0)).Sum(1).Sub(df))
	d := toPlane(s.Cat(0, x1, x0), s.Cat(0, w, w), missing, a.norm)
	d1, d2 := d.Narrow(0, 0, n), d.Narrow(0, n, n)
	a1, a2 := length(d1, a.norm).ClampMin(1e-8), length(d2, a.norm).ClampMin(1e-8)
	pull := a1.Div(a1.Add(a2)).Clamp(0, fabPull).Reshape(-1, 1)
	own := x1.Add(d1.MulScalar(fabBeyond)).Mul(pull.Neg().AddScalar(1))
	at.Copy_(own.Add(x0.Add(d2.MulScalar(fabBeyond)).Mul(pull)).Clamp_(0, 1).Reshape(at.Shape()...))
}

// plane is the gradient of z_t - z_y, and that difference [n], of the target or of the class whose plane is nearest.
func (a fab) plane(t *trial, at, target torch.Tensor) (w, df torch.Tensor) {
	if a.targeted {
		w, _, df = t.gradient(at, marginTo, target)
		return w, df
	}
	dual := L1
	if a.norm == L2 {
		dual = L2
	}
	var nearest torch.Tensor
	for c := range t.clean.Size(1) {
		class := t.s.Full(float64(c), torch.Int64, at.Size(0))
		g, _, diff := t.gradient(at, marginTo, class)
		dist := diff.Abs().Div(length(g, dual).AddScalar(1e-12))
		dist = class.Eq(t.y).Where(t.s.Full(math.Inf(1), torch.Float32, 1), dist)
		if c == 0 {
			w, df, nearest = g, diff, dist
			continue
		}
		closer := dist.Lt(nearest)
		w, df, nearest = byImage(closer).Where(g, w), closer.Where(diff, df), closer.Where(dist, nearest)
	}
	return w, df
}
