package adversarial

import (
	"context"
	"math/rand/v2"

	torch "rapt/cgo"
)

// apgd is Auto-PGD (Croce & Hein, arXiv 2003.01690, section 3): gradient ascent with momentum whose step starts at 2 eps and is halved,
// image by image, at checkpoints where too few of the last steps raised the loss. Targeted, it aims at up to nine classes in turn, the
// likeliest wrong one first.
type apgd struct {
	name     string
	norm     Norm
	eps      float64
	steps    int
	restarts int
	eot      int // gradients that are averaged at each point, for networks that draw random numbers
	loss     loss
	targeted bool
}

func (a apgd) Name() string          { return a.name }
func (a apgd) Ball() (Norm, float64) { return a.norm, a.eps }

func (a apgd) Run(ctx context.Context, f Logits, b Batch, seed uint64, progress func(int, float64)) (Result, error) {
	return attempt(ctx, a.name, f, b, seed, progress, func(t *trial) {
		rounds := a.restarts
		if a.targeted {
			rounds *= t.targets()
		}
		for r := 0; r < rounds && !t.stop(); r++ {
			c := newClimb(a, t, r)
			for i := 0; i <= a.steps && !t.stop(); i++ {
				c.step(i, r*(a.steps+1)+i)
				t.report((float64(r) + float64(i+1)/float64(a.steps+1)) / float64(rounds))
			}
			t.s.Free(t.best)
			t.best = c.best.Clone()
			c.free()
		}
	})
}

const (
	apgdMomentum = 0.75 // of the new step against the last one
	apgdRaises   = 0.75 // the share of steps that must raise the loss
)

// checkpoints are the numbers of steps after which APGD looks back, for n steps: 22, 41, 57, .. of 100.
func checkpoints(n int) []int {
	var out []int
	k, least, fewer := max(22*n/100, 1), max(6*n/100, 1), max(3*n/100, 1)
	for at := k; at <= n; at += k {
		out = append(out, at)
		k = max(k-fewer, least)
	}
	return out
}

// climb is one start of APGD on the images that stand. All tensors are by image.
type climb struct {
	apgd
	t      *trial
	checks map[int]int // steps since the one before, by checkpoint

	target      torch.Tensor
	lo, hi      torch.Tensor // Linf: the ball and the box
	at, before  torch.Tensor // this step's point and the last one's
	grad        torch.Tensor
	best, gbest torch.Tensor // where the loss was largest, and its gradient
	// [n]: the loss there, at the last checkpoint, and at the last step; how often it rose since; 1 where the step was halved
	most, checked, last, rises, halved torch.Tensor
	size                               torch.Tensor // of the step, [n]
}

func newClimb(a apgd, t *trial, r int) *climb {
	c := &climb{apgd: a, t: t, checks: map[int]int{}}
	last := 0
	for _, at := range checkpoints(a.steps) {
		c.checks[at], last = at-last, at
	}
	if a.targeted {
		c.target = t.runnerUp(2 + r%t.targets())
	}
	s, n := t.s, int64(len(t.rows))
	out := s.ScopeN(func() []torch.Tensor {
		var lo, hi torch.Tensor
		var d torch.Tensor
		if a.norm == Linf {
			lo, hi = t.x.AddScalar(-a.eps).Clamp_(0, 1), t.x.AddScalar(a.eps).Clamp_(0, 1)
			d = t.noise(r, func(out []float32, g *rand.Rand) { uniform(out, g) })
		} else {
			d = t.noise(r, func(out []float32, g *rand.Rand) { normal(out, g) })
		}
		at := t.x.Add(unit(d, a.norm).MulScalar(a.eps)).Clamp_(0, 1)
		return []torch.Tensor{lo, hi, at, at.Clone(), at.Clone()}
	})
	c.lo, c.hi, c.at, c.before, c.best = out[0], out[1], out[2], out[3], out[4]
	c.size, c.halved = s.Full(2*a.eps, torch.Float32, n), s.Ones(n)
	c.last, c.rises = s.Zeros(n), s.Zeros(n)
	return c
}

func (c *climb) held() []*torch.Tensor {
	return []*torch.Tensor{&c.target, &c.lo, &c.hi, &c.at, &c.before, &c.grad, &c.best, &c.gbest, &c.most, &c.checked, &c.last, &c.rises, &c.halved, &c.size}
}

func (c *climb) free() {
	for _, h := range c.held() {
		c.t.s.Free(*h)
	}
}

// step does step i, step 0 being the start alone; done counts those of all rounds.
func (c *climb) step(i, done int) {
	s := c.t.s
	if i > 0 {
		s.Do(func() { c.move(i) })
	}
	var wrong []bool
	out := s.ScopeN(func() []torch.Tensor {
		g, z, l := c.look()
		wrong = c.t.wrong(z)
		return []torch.Tensor{g, l}
	})
	s.Free(c.grad)
	c.grad = out[0]
	l := out[1]
	c.t.take(wrong, c.at, done, append(c.held(), &l)...)
	switch {
	case c.t.stop():
	case i == 0:
		c.gbest, c.most, c.checked = c.grad.Clone(), l.Clone(), l.Clone()
	default:
		s.Do(func() { c.note(i, l) })
	}
	s.Free(l)
}

// look takes the gradient at the point, with logits and losses.
func (c *climb) look() (g, z, l torch.Tensor) {
	g, z, l = c.t.gradient(c.at, c.loss, c.target)
	for range c.eot - 1 {
		var more torch.Tensor
		more, z, l = c.t.gradient(c.at, c.loss, c.target)
		g.Add_(more, 1)
	}
	if c.eot > 1 {
		g.Scale_(1 / float64(c.eot))
	}
	return g, z, l
}

// move takes a step along the gradient and the last move.
func (c *climb) move(i int) {
	inside := func(x torch.Tensor) torch.Tensor {
		if c.norm == Linf {
			return x.Maximum(c.lo).Minimum(c.hi)
		}
		return into(x, c.t.x, L2, c.eps)
	}
	fresh := apgdMomentum
	if i == 1 {
		fresh = 1
	}
	along := c.grad.Sign()
	if c.norm == L2 {
		along = unit(c.grad, L2)
	}
	z := inside(c.at.Add(along.Mul(byImage(c.size))))
	past := c.at.Sub(c.before)
	c.before.Copy_(c.at)
	c.at.Copy_(inside(c.at.Add(z.Sub(c.at).MulScalar(fresh)).Add(past.MulScalar(1 - fresh))))
}

// note keeps the best point, and at checkpoints halves the steps of images that do not get on, which go back to their best point.
func (c *climb) note(i int, l torch.Tensor) {
	// The published code compares the first step's loss with 0, not with the start's.
	c.rises.Add_(l.Gt(c.last).To(torch.Float32), 1)
	c.last.Copy_(l)
	better := l.Gt(c.most)
	c.best.Copy_(byImage(better).Where(c.at, c.best))
	c.gbest.Copy_(byImage(better).Where(c.grad, c.gbest))
	c.most.Copy_(better.Where(l, c.most))
	k, now := c.checks[i]
	if !now {
		return
	}
	few := c.rises.LeScalar(float64(k) * apgdRaises).To(torch.Float32)
	idle := c.halved.EqScalar(0).LogicalAnd(c.checked.Ge(c.most)).To(torch.Float32)
	c.halved.Copy_(few.Maximum(idle))
	c.checked.Copy_(c.most)
	c.rises.Fill_(0)
	c.size.Mul_(c.halved.MulScalar(-0.5).AddScalar(1))
	back := byImage(c.halved.GtScalar(0))
	c.at.Copy_(back.Where(c.best, c.at))
	c.grad.Copy_(back.Where(c.gbest, c.grad))
}
