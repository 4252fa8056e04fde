package torch_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// The references follow PyTorch's documentation of torch.optim.SGD and torch.optim.Adam, in float64.

type sgdRule struct {
	momentum, decay float64
	nesterov        bool
	buf             []float64
}

func (r *sgdRule) step(p, grad []float64, lr float64) {
	first := r.buf == nil
	if first {
		r.buf = make([]float64, len(p))
	}
	for i, g := range grad {
		g += r.decay * p[i]
		if r.momentum != 0 {
			if first {
				r.buf[i] = g
			} else {
				r.buf[i] = r.momentum*r.buf[i] + g
			}
			if r.nesterov {
				g += r.momentum * r.buf[i]
			} else {
				g = r.buf[i]
			}
		}
		p[i] -= lr * g
	}
}

type adamRule struct {
	decay float64
	t     int
	m, v  []float64
}

func (r *adamRule) step(p, grad []float64, lr float64) {
	if r.t++; r.t == 1 {
		r.m, r.v = make([]float64, len(p)), make([]float64, len(p))
	}
	for i, g := range grad {
		g += r.decay * p[i]
		r.m[i] = 0.9*r.m[i] + 0.1*g
		r.v[i] = 0.999*r.v[i] + 0.001*g*g
		mhat := r.m[i] / (1 - math.Pow(0.9, float64(r.t)))
		vhat := r.v[i] / (1 - math.Pow(0.999, float64(r.t)))
		p[i] -= lr * mhat / (math.Sqrt(vhat) + 1e-8)
	}
}

var optimizers = []struct {
	name string
	make func(p []torch.Tensor) torch.Optimizer
	rule func() interface {
		step(p, grad []float64, lr float64)
	}
}{
	{"sgd", func(p []torch.Tensor) torch.Optimizer { return torch.SGD(p, 0, 0, false) }, sgdRules(0, 0, false)},
	{"decay", func(p []torch.Tensor) torch.Optimizer { return torch.SGD(p, 0, 0.1, false) }, sgdRules(0, 0.1, false)},
	{"momentum", func(p []torch.Tensor) torch.Optimizer { return torch.SGD(p, 0.9, 0, false) }, sgdRules(0.9, 0, false)},
	{"both", func(p []torch.Tensor) torch.Optimizer { return torch.SGD(p, 0.9, 0.1, false) }, sgdRules(0.9, 0.1, false)},
	{"nesterov", func(p []torch.Tensor) torch.Optimizer { return torch.SGD(p, 0.9, 0.1, true) }, sgdRules(0.9, 0.1, true)},
	{"adam", func(p []torch.Tensor) torch.Optimizer { return torch.Adam(p, 0) }, adamRules(0)},
	{"adam decay", func(p []torch.Tensor) torch.Optimizer { return torch.Adam(p, 0.1) }, adamRules(0.1)},
}

func sgdRules(momentum, decay float64, nesterov bool) func() interface {
	step(p, grad []float64, lr float64)
} {
	return func() interface {
		step(p, grad []float64, lr float64)
	} {
		return &sgdRule{momentum: momentum, decay: decay, nesterov: nesterov}
	}
}

func adamRules(decay float64) func() interface {
	step(p, grad []float64, lr float64)
} {
	return func() interface {
		step(p, grad []float64, lr float64)
	} {
		return &adamRule{decay: decay}
	}
}

// parameters are tensors of 3x2 and 4, each requiring a gradient, in float64 and as plain numbers.
func parameters(s *torch.Session) ([]torch.Tensor, []float64) {
	p := noise(51, 10)
	return split(s, p, true), p
}

func split(s *torch.Session, v []float64, grad bool) []torch.Tensor {
	return []torch.Tensor{s.FromFloat64(v[:6], 3, 2).RequiresGrad_(grad), s.FromFloat64(v[6:], 4).RequiresGrad_(grad)}
}

// The kernels' updates, in float32 and with sizes that fill no vectors.
func TestOptimizersByKernels(t *testing.T) {
	const n = 77
	eachKernels(t, func(name string) {
		for _, o := range optimizers {
			session(t, func(s *torch.Session) {
				f := func(v []float64) torch.Tensor { return s.FromFloat64(v, n).To(torch.Float32) }
				want := noise(51, n)
				p := f(want)
				opt, rule := o.make([]torch.Tensor{p}), o.rule()
				for step := range 5 {
					grad, lr := noise(int64(60+step), n), 0.1/float64(step+1)
					s.Do(func() { opt.Step([]torch.Tensor{f(grad)}, lr) })
					rule.step(want, grad, lr)
				}
				near(t, want, p, 1e-5, name, o.name)
			})
		}
		session(t, func(s *torch.Session) {
			g, w, z, u := noise(1, n), noise(2, n), noise(3, n), noise(4, n)
			f := func(v []float64) []torch.Tensor { return []torch.Tensor{s.FromFloat64(v, n).To(torch.Float32)} }
			got := f(g)
			s.ADMMGrad_(got, f(w), f(z), f(u), []float64{0.3})
			for i := range g {
				g[i] += 0.3 * (w[i] - z[i] + u[i])
			}
			near(t, g, got[0], 1e-5, name)
		})
	})
}

func TestOptimizers(t *testing.T) {
	for _, o := range optimizers {
		session(t, func(s *torch.Session) {
			params, want := parameters(s)
			opt, rule := o.make(params), o.rule()
			check := func(step int) {
				near(t, want[:6], params[0], 1e-12, o.name, step)
				near(t, want[6:], params[1], 1e-12, o.name, step)
			}
			for step := range 6 {
				grad, lr := noise(int64(60+step), 10), 0.1/float64(step+1)
				s.Do(func() { opt.Step(split(s, grad, false), lr) })
				rule.step(want, grad, lr)
				check(step)
			}
			require.True(t, params[0].RequiresGrad())

			// Saved and put into another optimizer, it goes on the same way.
			names, tensors, steps := opt.State()
			require.EqualValues(t, 6, steps)
			require.Len(t, tensors, len(names))
			again := o.make(params)
			names2, tensors2, _ := again.State()
			require.Equal(t, names, names2)
			s.CopyLists_(tensors2, tensors)
			again.SetSteps(steps)
			grad := noise(70, 10)
			again.Step(split(s, grad, false), 0.05)
			rule.step(want, grad, 0.05)
			check(7)

			// Reset begins anew, whatever was in the state.
			for _, b := range tensors2 {
				b.Fill_(math.NaN())
			}
			again.Reset()
			fresh := o.rule()
			for step := range 2 {
				grad := noise(int64(80+step), 10)
				again.Step(split(s, grad, false), 0.05)
				fresh.step(want, grad, 0.05)
				check(8 + step)
			}
		})
	}
}

func TestOptimizerState(t *testing.T) {
	session(t, func(s *torch.Session) {
		p, _ := parameters(s)
		names, _, _ := torch.SGD(p, 0.9, 0, false).State()
		require.Equal(t, []string{"momentum.0", "momentum.1"}, names)
		names, _, _ = torch.Adam(p, 0).State()
		require.Equal(t, []string{"exp_avg.0", "exp_avg.1", "exp_avg_sq.0", "exp_avg_sq.1"}, names)
		names, _, _ = torch.SGD(p, 0, 0, false).State()
		require.Empty(t, names)
	})
	session(t, func(s *torch.Session) {
		for _, o := range optimizers { // nothing to train is no error, and no crash
			none := o.make(nil)
			none.Step(nil, 0.1)
			none.Reset()
			o.make([]torch.Tensor{{}}).Step(nil, 0.1)
		}
	})
	refused(t, "SGD", func(s *torch.Session) {
		p, _ := parameters(s)
		torch.SGD(p, 0.9, 0, false).Step(p[:1], 0.1)
	})
	refused(t, "Adam", func(s *torch.Session) {
		p, _ := parameters(s)
		torch.Adam(p, 0).Step([]torch.Tensor{p[1], p[0]}, 0.1)
	})
	refused(t, "Adam", func(s *torch.Session) {
		p, _ := parameters(s)
		torch.Adam(p, 0).Step([]torch.Tensor{p[0], {}}, 0.1)
	})
}

func TestLists(t *testing.T) {
	session(t, func(s *torch.Session) {
		a, b := split(s, noise(91, 10), true), split(s, noise(92, 10), false)
		x, y := noise(91, 10), noise(92, 10)
		check := func(what string, f func(x, y float64) float64) {
			for i := range x {
				x[i] = f(x[i], y[i])
			}
			near(t, x[:6], a[0], 1e-14, what)
			near(t, x[6:], a[1], 1e-14, what)
		}
		s.AddLists_(a, b, -0.5)
		check("AddLists_", func(x, y float64) float64 { return x - 0.5*y })
		s.MulLists_(a, b)
		check("MulLists_", func(x, y float64) float64 { return x * y })
		s.ScaleList_(a, 3)
		check("ScaleList_", func(x, _ float64) float64 { return 3 * x })
		s.CopyLists_(a, b)
		check("CopyLists_", func(_, y float64) float64 { return y })
		s.AddLists_(nil, nil, 1)

		w, z, u := split(s, noise(93, 10), true), split(s, noise(94, 10), false), split(s, noise(95, 10), false)
		g, rho := split(s, noise(96, 10), false), []float64{0.5, 2}
		want, wv, zv, uv := noise(96, 10), noise(93, 10), noise(94, 10), noise(95, 10)
		for i := range want {
			want[i] += rho[i/6] * (wv[i] - zv[i] + uv[i])
		}
		var penalty torch.Tensor // the closed form is the gradient of the penalty
		for i := range w {
			p := w[i].Sub(z[i]).Add(u[i]).Square().Sum().MulScalar(rho[i] / 2)
			if i == 0 {
				penalty = p
			} else {
				penalty = penalty.Add(p)
			}
		}
		auto := s.Grad(penalty, w...)
		s.AddLists_(auto, g, 1)
		s.ADMMGrad_(g, w, z, u, rho)
		for i, part := range [][]float64{want[:6], want[6:]} {
			near(t, part, g[i], 1e-14)
			near(t, part, auto[i], 1e-14, "autograd")
		}
	})
	two := func(s *torch.Session) []torch.Tensor { return split(s, noise(1, 10), false) }
	refused(t, "AddLists_", func(s *torch.Session) { s.AddLists_(two(s), two(s)[:1], 1) })
	refused(t, "MulLists_", func(s *torch.Session) { s.MulLists_(two(s), []torch.Tensor{s.Ones(1), s.Ones(7)}) })
	refused(t, "AddLists_", func(s *torch.Session) { s.AddLists_([]torch.Tensor{s.Ones(2, 3)}, []torch.Tensor{s.Ones(3)}, 1) })
	refused(t, "CopyLists_", func(s *torch.Session) { s.CopyLists_(two(s), []torch.Tensor{s.Ones(1), {}}) })
	refused(t, "ADMMGrad_", func(s *torch.Session) { s.ADMMGrad_(two(s), two(s), two(s), two(s), []float64{1}) })
	for i := range 3 {
		refused(t, "ADMMGrad_", func(s *torch.Session) {
			all := [][]torch.Tensor{two(s), two(s), two(s)}
			all[i] = []torch.Tensor{s.Ones(5), s.Ones(5)}
			s.ADMMGrad_(two(s), all[0], all[1], all[2], []float64{1, 1})
		})
	}
}

func ExampleSGD() {
	err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		x := s.FromFloat64([]float64{3}, 1).RequiresGrad_(true)
		opt := torch.SGD([]torch.Tensor{x}, 0, 0, false)
		for range 3 {
			s.Do(func() { opt.Step(s.Grad(x.Square().Sum(), x), 0.25) })
		}
		v, err := x.Detach().Item()
		fmt.Println(v)
		return err
	})
	fmt.Println(err)
	// Output:
	// 0.375
	// <nil>
}
