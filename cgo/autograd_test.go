package torch_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// differences is the numerical gradient of f, which reads x afresh at each call.
func differences(t *testing.T, x torch.Tensor, f func() float64) []float64 {
	t.Helper()
	const h = 1e-6
	v := values(t, x.Detach())
	out := make([]float64, len(v))
	shape := x.Shape()
	s := x.Session()
	for i := range v {
		old := v[i]
		at := func(w float64) float64 {
			v[i] = w
			s.NoGrad(func() { x.Copy_(s.FromFloat64(v, shape...)) })
			return f()
		}
		out[i] = (at(old+h) - at(old-h)) / (2 * h)
		at(old)
	}
	return out
}

func TestGradOfNetwork(t *testing.T) {
	session(t, func(s *torch.Session) {
		leaf := func(seed int64, shape ...int64) torch.Tensor {
			n := int64(1)
			for _, d := range shape {
				n *= d
			}
			return s.FromFloat64(noise(seed, int(n)), shape...).RequiresGrad_(true)
		}
		x, label := leaf(31, 3, 2, 6, 6), s.FromInt64([]int64{0, 2, 1}, 3)
		conv, bias := leaf(32, 4, 2, 3, 3), leaf(33, 4)
		scale, shift := leaf(34, 4), leaf(35, 4)
		dense := leaf(36, 3, 4*3*3)
		loss := func() torch.Tensor {
			y := x.Conv2d(conv, bias, torch.ConvOptions{Padding: 1})
			y = y.BatchNorm(scale, shift, torch.Tensor{}, torch.Tensor{}, true, 0.1, 1e-5).Tanh().MaxPool2d(2, 2, 0)
			return y.Flatten().Linear(dense, torch.Tensor{}).CrossEntropy(label, torch.ReduceMean, 0.1)
		}
		inputs := []torch.Tensor{x, scale, shift, conv, dense}
		grads := s.Grad(loss(), inputs...)
		for i, in := range inputs {
			numeric := differences(t, in, func() float64 {
				var v float64
				s.Do(func() {
					var err error
					v, err = loss().Item()
					require.NoError(t, err)
				})
				return v
			})
			near(t, numeric, grads[i], 1e-7, i)
		}
		near(t, make([]float64, 4), s.Grad(loss(), bias)[0], 1e-12, "batch norm takes a bias away again")
	})
}

func TestGrad(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.FromFloat64([]float64{1, 2, 3}, 3).RequiresGrad_(true)
		w := s.FromFloat64([]float64{4, 5, 6}, 3).RequiresGrad_(true)
		require.Empty(t, s.Grad(x.Sum()))
		before := s.Live()
		g := s.Scope(func() torch.Tensor { return s.Grad(x.Square().Mul(w).Sum(), x)[0] })
		require.Equal(t, before+1, s.Live())
		near(t, []float64{8, 20, 36}, g, 0)
		require.False(t, g.RequiresGrad())

		var free torch.Tensor
		s.NoGrad(func() {
			free = x.Mul(w)
			s.NoGrad(func() {})
			require.False(t, x.Mul(w).RequiresGrad(), "the inner region's end does not end the outer")
			x.Shift_(1)
		})
		require.False(t, free.RequiresGrad())
		require.True(t, x.Mul(w).RequiresGrad())
		near(t, []float64{2, 3, 4}, x, 0)
		func() {
			defer func() { require.Equal(t, "stop", recover()) }()
			s.NoGrad(func() { panic("stop") })
		}()
		require.True(t, x.Mul(w).RequiresGrad(), "also after a panic")
	})
	refused(t, "Grad", func(s *torch.Session) { s.Grad(s.Ones(1).Sum(), s.Ones(1)) })
	refused(t, "Grad", func(s *torch.Session) {
		x := s.Ones(2).RequiresGrad_(true)
		s.Grad(x.MulScalar(2), x)
	})
	refused(t, "Grad", func(s *torch.Session) {
		x := s.Ones(2).RequiresGrad_(true)
		s.Grad(x.Sum(), x, s.Ones(2).RequiresGrad_(true))
	})
	refused(t, "Grad", func(s *torch.Session) {
		x := s.Ones(2).RequiresGrad_(true)
		y := x.Square().Sum()
		s.Grad(y, x)
		s.Grad(y, x)
	})
	refused(t, "Grad", func(s *torch.Session) { s.Grad(torch.Tensor{}, s.Ones(2)) })
	refused(t, "RequiresGrad_", func(s *torch.Session) { s.Arange(3).RequiresGrad_(true) })
}

func clamp(x, lo, hi float64) float64 { return max(lo, min(hi, x)) }

func TestPGDStep(t *testing.T) {
	const n, d, step, eps = 4, 6, 0.07, 0.2
	origin, grad := noise(41, n*d), noise(42, n*d)
	x := make([]float64, n*d)
	for i := range x {
		origin[i] = clamp(0.5+origin[i]/3, 0, 1)
		x[i] = clamp(origin[i]+0.15*math.Sin(float64(i)), 0, 1)
	}
	grad[3] = 0
	linf, l2 := make([]float64, n*d), make([]float64, n*d)
	for i := range x {
		sign := truth(grad[i] > 0) - truth(grad[i] < 0)
		linf[i] = clamp(origin[i]+clamp(x[i]+step*sign-origin[i], -eps, eps), 0, 1)
	}
	for row := 0; row < n*d; row += d {
		length := func(v []float64) (sum float64) {
			for _, e := range v {
				sum += e * e
			}
			return math.Sqrt(sum)
		}
		norm, moved := length(grad[row:row+d]), make([]float64, d)
		for i := range moved {
			moved[i] = x[row+i] + step*grad[row+i]/norm - origin[row+i]
		}
		shrink := min(1, eps/length(moved))
		for i := range moved {
			l2[row+i] = clamp(origin[row+i]+shrink*moved[i], 0, 1)
		}
	}
	session(t, func(s *torch.Session) {
		g, x0 := s.FromFloat64(grad, n, 2, 3), s.FromFloat64(origin, n, 2, 3)
		a := s.FromFloat64(x, n, 2, 3).RequiresGrad_(true)
		before := s.Live()
		near(t, linf, a.PGDStep_(g, x0, step, eps, false), 1e-14)
		require.True(t, a.RequiresGrad(), "a leaf as before")
		near(t, l2, s.FromFloat64(x, n, 2, 3).PGDStep_(g, x0, step, eps, true), 1e-10)
		near(t, origin, s.FromFloat64(x, n, 2, 3).PGDStep_(g, x0, step, 0, false), 0, "no ball")
		near(t, values(t, x0), s.FromFloat64(origin, n, 2, 3).PGDStep_(g.MulScalar(0), x0, step, eps, true), 0, "no gradient, no step")
		short := s.FromFloat64(x, n, 2, 3).To(torch.Float32)
		near(t, l2, short.PGDStep_(g.To(torch.Float32).MulScalar(1e-30), x0.To(torch.Float32), step, eps, true), 1e-5, "a gradient whose squares are 0")
		require.Positive(t, s.Live()-before)
	})
	for _, l2 := range []bool{false, true} {
		refused(t, "PGDStep_", func(s *torch.Session) { s.Ones(2, 3).PGDStep_(s.Ones(3), s.Ones(2, 3), 1, 1, l2) })
		refused(t, "PGDStep_", func(s *torch.Session) { s.Ones(2, 3).PGDStep_(s.Ones(2, 3), s.Ones(1, 3), 1, 1, l2) })
		refused(t, "PGDStep_", func(s *torch.Session) { s.Ones(2, 3).PGDStep_(s.Ones(2, 3), torch.Tensor{}, 1, 1, l2) })
	}
	refused(t, "PGDStep_", func(s *torch.Session) { s.Ones(3).PGDStep_(s.Ones(3), s.Ones(3), 1, 1, true) })
}
