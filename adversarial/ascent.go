package adversarial

import (
	"context"
	"math/rand/v2"

	torch "rapt/cgo"
)

// ascent is gradient ascent on a loss inside a ball:
//   - FGSM: one step of eps from the image (Goodfellow et al., arXiv 1412.6572);
//   - PGD: many steps (Madry et al., arXiv 1706.06083), the network's mistakes on the way counting too. In L1 a step goes to the hundredth of
//     the values with the largest gradients that the box lets move (Tramer & Boneh, arXiv 1904.13000, section 4.1);
//   - MI-FGSM: along the sum of unit gradients so far (Dong et al., arXiv 1710.06081).
//
// Every restart runs on the images that stand. Targeted, a restart aims at each wrong class in turn, the likeliest first (up to nine).
type ascent struct {
	name      string
	norm      Norm
	eps, step float64
	steps     int
	restarts  int
	random    bool // start from a point of the ball, not from the image
	momentum  bool
	loss      loss
	targeted  bool
}

func (a ascent) Name() string          { return a.name }
func (a ascent) Ball() (Norm, float64) { return a.norm, a.eps }

func (a ascent) Run(ctx context.Context, f Logits, b Batch, seed uint64, progress func(int, float64)) (Result, error) {
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

func (a ascent) round(t *trial, r, rounds int) {
	s := t.s
	var target, g, speed torch.Tensor
	if a.targeted {
		target = t.runnerUp(2 + r%t.targets())
	}
	at := a.start(t, r)
	if a.momentum {
		speed = at.ZerosLike()
	}
	for i := 0; !t.stop(); i++ {
		var wrong []bool
		g = s.Scope(func() (g torch.Tensor) {
			var z torch.Tensor
			if i < a.steps {
				g, z, _ = t.gradient(at, a.loss, target)
			} else {
				z = t.logits(at)
			}
			wrong = t.wrong(z)
			return g
		})
		t.take(wrong, at, r*a.steps+i, &at, &target, &g, &speed)
		if i == a.steps || t.stop() {
			break
		}
		s.Do(func() { a.move(t, at, g, speed) })
		s.Free(g)
		t.report((float64(r) + float64(i+1)/float64(a.steps)) / float64(rounds))
	}
	s.Free(g, target, speed, t.best)
	t.best = at
}

func (a ascent) start(t *trial, r int) torch.Tensor {
	return t.s.Scope(func() torch.Tensor {
		if !a.random {
			return t.x.Clone()
		}
		return t.x.Add(t.noise(r, func(out []float32, g *rand.Rand) { inBall(out, a.norm, a.eps, g) })).Clamp_(0, 1)
	})
}

// move goes one step up g, in place.
func (a ascent) move(t *trial, at, g, speed torch.Tensor) {
	if a.momentum {
		g = speed.Add_(unit(g, L1), 1)
	}
	if a.norm != L1 {
		at.PGDStep_(g, t.x, a.step, a.eps, a.norm == L2)
		return
	}
	stuck := at.LeScalar(0).LogicalAnd(g.LtScalar(0)).Where(g.ZerosLike(), g)
	g = at.GeScalar(1).LogicalAnd(stuck.GtScalar(0)).Where(g.ZerosLike(), stuck)
	k := max(1, g.Numel()/g.Size(0)/100)
	top, _ := g.Abs().Flatten().TopK(k, 1, true)
	chosen := g.Abs().Ge(byImage(top.Narrow(1, k-1, 1))).To(torch.Float32).Mul(g.Sign())
	at.Copy_(into(at.Add(unit(chosen, L1).MulScalar(a.step)), t.x, L1, within(a.eps)))
}

// within is a little less than eps: a sum over thousands of values rounds to more than single ones do.
func within(eps float64) float64 { return eps * (1 - 1e-6) }
