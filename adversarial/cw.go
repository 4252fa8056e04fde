package adversarial

import (
	"context"
	"math"

	torch "rapt/cgo"
)

// cw is the L2 attack of Carlini & Wagner (arXiv 1608.04644, sections V and VI): the least change whose margin is negative, found by Adam on
// ||change||^2 + c max(-margin, 0) over w, the image being (tanh w + 1)/2, and by nine steps of a search for the least c that does. An
// image is fooled when the change found lies inside the ball.
type cw struct {
	name  string
	eps   float64
	steps int // of Adam for each c
}

const (
	cwSearch = 9
	cwFirst  = 1e-3 // the first c
	cwRate   = 0.01 // Adam's
)

func (a cw) Name() string          { return a.name }
func (a cw) Ball() (Norm, float64) { return L2, a.eps }

func (a cw) Run(ctx context.Context, f Logits, b Batch, seed uint64, progress func(int, float64)) (Result, error) {
	return attempt(ctx, a.name, f, b, seed, progress, func(t *trial) {
		s, n := t.s, int64(len(t.rows))
		c, lo, hi := s.Full(cwFirst, torch.Float32, n), s.Zeros(n), s.Full(1e10, torch.Float32, n)
		for k := 0; k < cwSearch && !t.stop(); k++ {
			a.descend(t, k, &c, &lo, &hi)
		}
		best := into(t.best, t.x, L2, a.eps)
		s.Free(t.best)
		t.best = best
	})
}

// descend is one run of Adam; then c goes up tenfold or to the middle of what is known.
func (a cw) descend(t *trial, k int, c, lo, hi *torch.Tensor) {
	s := t.s
	var w, m, v, won torch.Tensor
	s.Free(t.best)
	t.best = t.x.Clone()
	out := s.ScopeN(func() []torch.Tensor {
		u := t.x.MulScalar(2).SubScalar(1).MulScalar(0.999999) // atanh(1) is infinite
		w := u.AddScalar(1).Div(u.Neg().AddScalar(1)).Log().MulScalar(0.5)
		return []torch.Tensor{w, w.ZerosLike(), w.ZerosLike(), s.Zeros(t.x.Size(0))}
	})
	w, m, v, won = out[0], out[1], out[2], out[3]
	moving := s.Ones(t.x.Size(0))
	cost := s.Full(1e20, torch.Float32, t.x.Size(0))
	for i := 0; i <= a.steps && !t.stop(); i++ {
		var near []bool
		still := 1.0
		x := s.Scope(func() torch.Tensor {
			g, x, wrong, total := a.look(t, w, *c)
			won.Copy_(won.Maximum(wrong.To(torch.Float32).Mul(moving)))
			near, _ = wrong.LogicalAnd(length(x.Sub(t.x), L2).LeScalar(a.eps)).Bools()
			t.best.Copy_(x)
			if every := max(a.steps/10, 1); i%every == 0 { // an image whose loss has stopped to fall is done with this c
				moving.Mul_(total.Lt(cost.MulScalar(0.9999)).To(torch.Float32))
				cost.Copy_(total)
				still, _ = moving.Any().Item()
			}
			m.Scale_(0.9).Add_(g, 0.1)
			v.Scale_(0.999).Add_(g.Square(), 0.001)
			return x
		})
		t.take(near, x, k*(a.steps+1)+i, &w, &m, &v, &won, &moving, &cost, c, lo, hi)
		s.Free(x)
		if still == 0 || t.stop() {
			break
		}
		s.Do(func() {
			rate := cwRate / (1 - math.Pow(0.9, float64(i+1)))
			w.Add_(m.Div(v.DivScalar(1-math.Pow(0.999, float64(i+1))).Sqrt().AddScalar(1e-8)).Mul(byImage(moving)), -rate)
		})
		t.report((float64(k) + float64(i+1)/float64(a.steps+1)) / cwSearch)
	}
	s.Do(func() {
		yes := won.GtScalar(0)
		hi.Copy_(yes.Where(c.Minimum(*hi), *hi))
		lo.Copy_(yes.Where(*lo, c.Maximum(*lo)))
		c.Copy_(hi.LtScalar(1e9).Where(lo.Add(*hi).MulScalar(0.5), c.MulScalar(10)))
	})
	s.Free(w, m, v, won, moving, cost)
}

// look is the gradient for w of the images' costs, the images themselves, which of them are wrong, and the costs.
func (a cw) look(t *trial, w, c torch.Tensor) (g, x, wrong, cost torch.Tensor) {
	w = w.Detach().RequiresGrad_(true)
	x = w.Tanh().AddScalar(1).MulScalar(0.5)
	z := t.net(x)
	cost = x.Sub(t.x).Flatten().Square().Sum(1).Add(margin(z, t.y, torch.Tensor{}).Neg().ClampMin(0).Mul(c))
	g = t.s.Grad(cost.Sum(), w)[0]
	return g, x.Detach(), z.Argmax(1).Ne(t.y), cost.Detach()
}
