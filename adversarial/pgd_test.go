package adversarial_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

// run gives f a session and fails on the session's error.
func run(t *testing.T, f func(s *torch.Session)) {
	t.Helper()
	require.NoError(t, torch.Run(torchtest.Device(), torch.Options{Threads: 1}, func(s *torch.Session) error {
		f(s)
		return nil
	}))
}

func values(t *testing.T, x torch.Tensor) []float32 {
	t.Helper()
	v, err := x.Float32s()
	require.NoError(t, err)
	return v
}

func requireClose(t *testing.T, want, got torch.Tensor, delta float64) {
	t.Helper()
	d, err := want.Sub(got).Abs().Max().Item()
	require.NoError(t, err)
	require.LessOrEqual(t, d, delta)
}

func requireInside(t *testing.T, p adversarial.PGD, x, x0 torch.Tensor) {
	t.Helper()
	ok, err := adversarial.Inside(x, x0, p.Norm, p.Epsilon)
	require.NoError(t, err)
	require.True(t, ok)
}

// linear is a network of one layer, logits = x W^T, with w of shape [classes, pixels].
func linear(w torch.Tensor) adversarial.Logits {
	return func(x torch.Tensor) torch.Tensor { return x.Flatten().Linear(w, torch.Tensor{}) }
}

// network has a convolution, so that its loss is not convex.
func network(s *torch.Session, g *torch.Generator) adversarial.Logits {
	c := s.RandN(g, 4, 2, 3, 3).RequiresGrad_(true)
	w := s.RandN(g, 10, 4*36).RequiresGrad_(true)
	return func(x torch.Tensor) torch.Tensor {
		return x.Conv2d(c, torch.Tensor{}, torch.ConvOptions{Padding: 1}).Relu().Flatten().Linear(w, torch.Tensor{})
	}
}

// With two classes and a linear network the loss grows along d = (weights of the other class) - (weights of y) alone,
// so the best image is known: x + eps sign(d), and for L2 x + eps d/||d||.
func TestLinearModelsOptimum(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(1)
		w := s.RandN(g, 2, 12)
		x := s.Rand(g, 5, 3, 2, 2)
		y := s.FromInt64([]int64{0, 1, 1, 0, 1}, 5)
		d := s.Cat(0, w.Narrow(0, 1, 1).Sub(w.Narrow(0, 0, 1)), w.Narrow(0, 0, 1).Sub(w.Narrow(0, 1, 1))).IndexSelect(0, y)

		linf := adversarial.PGD{Norm: adversarial.Linf, Epsilon: 0.3, StepSize: 0.05, Steps: 20, RandomStart: true}
		want := x.Add(d.Sign().MulScalar(0.3).Reshape(5, 3, 2, 2)).Clamp(0, 1)
		requireClose(t, want, linf.Perturb(linear(w), x, y, g), 1e-6)

		x = x.MulScalar(0.2).AddScalar(0.4) // away from 0 and 1, which would bend the path
		l2 := adversarial.PGD{Norm: adversarial.L2, Epsilon: 0.25, StepSize: 0.05, Steps: 20}
		want = x.Add(d.Div(d.NormKeep(1)).MulScalar(0.25).Reshape(5, 3, 2, 2))
		requireClose(t, want, l2.Perturb(linear(w), x, y, nil), 1e-6)
		l2.RandomStart, l2.Steps = true, 400 // from anywhere in the ball it slides round to the same point
		requireClose(t, want, l2.Perturb(linear(w), x, y, g), 1e-3)
	})
}

// One step against the same in float64, written out.
func TestOneStep(t *testing.T) {
	const n, d, classes, eps, step = 3, 8, 4, 0.2, 0.07
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(2)
		wt, xt := s.RandN(g, classes, d), s.Rand(g, n, 2, 2, 2)
		w, x, y := values(t, wt), values(t, xt), []int64{1, 3, 0}
		for _, norm := range []adversarial.Norm{adversarial.Linf, adversarial.L2} {
			got := values(t, adversarial.PGD{Norm: norm, Epsilon: eps, StepSize: step, Steps: 1}.
				Perturb(linear(wt), xt, s.FromInt64(y, n), nil))
			for i := range n {
				logits := make([]float64, classes)
				sum, length := 0.0, 0.0
				for c := range logits {
					for j := range d {
						logits[c] += float64(w[c*d+j]) * float64(x[i*d+j])
					}
					sum += math.Exp(logits[c])
				}
				grad := make([]float64, d)
				for j := range grad {
					for c := range logits {
						grad[j] += math.Exp(logits[c]) / sum * float64(w[c*d+j])
					}
					grad[j] -= float64(w[int(y[i])*d+j])
					length += grad[j] * grad[j]
				}
				for j := range grad {
					move := step * grad[j] / math.Sqrt(length)
					if norm == adversarial.Linf {
						move = math.Copysign(step, grad[j])
					}
					want := min(1, max(0, float64(x[i*d+j])+move))
					require.InDelta(t, want, got[i*d+j], 1e-6, "%v, image %d, pixel %d", norm, i, j)
				}
			}
		}
	})
}

func TestStaysInsideAndRaisesTheLoss(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(3)
		f := network(s, g)
		x := s.Rand(g, 16, 2, 6, 6).MulScalar(1.6).SubScalar(0.3).Clamp(0, 1) // many pixels are 0 or 1
		before := x.Clone()
		y := s.Rand(g, 16).MulScalar(10).To(torch.Int64)
		loss := func(x torch.Tensor) float64 {
			v, err := f(x).CrossEntropy(y, torch.ReduceSum, 0).Item()
			require.NoError(t, err)
			return v
		}
		for _, p := range []adversarial.PGD{
			{Norm: adversarial.Linf, Epsilon: 0.1, StepSize: 0.02, Steps: 10},
			{Norm: adversarial.Linf, Epsilon: 0.3, StepSize: 0.5, Steps: 5, RandomStart: true},
			{Norm: adversarial.L2, Epsilon: 0.5, StepSize: 0.1, Steps: 10, RandomStart: true},
			{Norm: adversarial.L2, Epsilon: 3, StepSize: 1, Steps: 10},
		} {
			got := p.Perturb(f, x, y, g)
			requireInside(t, p, got, x)
			require.Greater(t, loss(got), loss(x)+1)
			require.False(t, got.RequiresGrad())
			require.Equal(t, x.Shape(), got.Shape())
		}
		require.Equal(t, values(t, before), values(t, x), "the images themselves stay")
	})
}

func TestRandomStart(t *testing.T) {
	run(t, func(s *torch.Session) {
		const n, d = 4000, 3
		x := s.Full(0.5, torch.Float32, n, 1, 1, d)
		start := func(p adversarial.PGD, seed uint64) []float32 {
			return values(t, p.Perturb(nil, x, torch.Tensor{}, s.NewGenerator(seed)).SubScalar(0.5))
		}
		linf := adversarial.PGD{Norm: adversarial.Linf, Epsilon: 0.1, RandomStart: true}
		l2 := adversarial.PGD{Norm: adversarial.L2, Epsilon: 0.1, RandomStart: true}
		require.Equal(t, start(linf, 5), start(linf, 5))
		require.NotEqual(t, start(linf, 5), start(linf, 6))

		// Uniform in the cube: mean 0, mean square eps^2/3.
		var mean, square float64
		for _, v := range start(linf, 1) {
			require.LessOrEqual(t, math.Abs(float64(v)), 0.1+1e-6)
			mean += float64(v) / (n * d)
			square += float64(v*v) / (n * d)
		}
		require.InDelta(t, 0, mean, 0.003)
		require.InDelta(t, 0.01/3, square, 1e-4)

		// Uniform in the ball: the direction's mean is 0, and (r/eps)^d is uniform in [0, 1].
		at := start(l2, 1)
		var centre [d]float64
		var volume, volume2 float64
		for i := range n {
			var r2 float64
			for j := range d {
				v := float64(at[i*d+j])
				centre[j] += v / n
				r2 += v * v
			}
			u := math.Pow(math.Sqrt(r2)/0.1, d)
			require.LessOrEqual(t, u, 1+1e-5)
			volume += u / n
			volume2 += u * u / n
		}
		for j := range d {
			require.InDelta(t, 0, centre[j], 0.004)
		}
		require.InDelta(t, 0.5, volume, 0.02)
		require.InDelta(t, 1.0/3, volume2, 0.02)

		edge := s.Zeros(8, 1, 4, 4)
		for _, p := range []adversarial.PGD{linf, l2} {
			requireInside(t, p, p.Perturb(nil, edge, torch.Tensor{}, s.NewGenerator(1)), edge)
		}
	})
}

func TestNoStepsWithoutRandomStartGivesTheImage(t *testing.T) {
	run(t, func(s *torch.Session) {
		x := s.Rand(s.NewGenerator(1), 2, 1, 3, 3)
		got := adversarial.PGD{Epsilon: 0.1}.Perturb(nil, x, torch.Tensor{}, nil)
		require.Equal(t, values(t, x), values(t, got))
		got.Fill_(0)
		require.NotEqual(t, values(t, x), values(t, got), "a copy, not the image")
	})
}

func TestOneHotProbabilitiesAreClasses(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(4)
		f := network(s, g)
		x := s.Rand(g, 6, 2, 6, 6)
		y := s.FromInt64([]int64{0, 9, 3, 3, 7, 1}, 6)
		hot := s.Zeros(6, 10).Scatter(1, y.Reshape(6, 1), 1)
		p := adversarial.PGD{Norm: adversarial.L2, Epsilon: 0.5, StepSize: 0.1, Steps: 7}
		requireClose(t, p.Perturb(f, x, y, nil), p.Perturb(f, x, hot, nil), 1e-5)
	})
}

// The loss is the sum over the batch: an image alone is moved as it is in company.
func TestImagesDoNotDependOnTheirBatch(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(6)
		f := network(s, g)
		x, y := s.Rand(g, 4, 2, 6, 6), s.FromInt64([]int64{2, 5, 5, 8}, 4)
		p := adversarial.PGD{Norm: adversarial.L2, Epsilon: 0.5, StepSize: 0.1, Steps: 7}
		all := p.Perturb(f, x, y, nil)
		for i := range int64(4) {
			one := p.Perturb(f, x.Narrow(0, i, 1), y.Narrow(0, i, 1), nil)
			requireClose(t, all.Narrow(0, i, 1), one, 1e-4)
		}
	})
}

func TestMemoryIsFlat(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(7)
		inner := network(s, g)
		x, y := s.Rand(g, 4, 2, 6, 6), s.FromInt64([]int64{1, 2, 3, 4}, 4)
		var live []int
		f := func(x torch.Tensor) torch.Tensor {
			live = append(live, s.Live())
			return inner(x)
		}
		before, process := s.Live(), torch.LiveTensors()
		for _, norm := range []adversarial.Norm{adversarial.Linf, adversarial.L2} {
			p := adversarial.PGD{Norm: norm, Epsilon: 0.3, StepSize: 0.01, Steps: 200, RandomStart: true}
			s.Free(p.Perturb(f, x, y, g))
		}
		require.Equal(t, before, s.Live())
		require.Equal(t, process, torch.LiveTensors())
		require.Len(t, live, 400)
		for _, n := range live {
			require.Equal(t, live[0], n)
		}
	})
}

func TestInside(t *testing.T) {
	run(t, func(s *torch.Session) {
		x0 := s.Full(0.5, torch.Float32, 2, 1, 2, 2)
		move := func(v ...float32) torch.Tensor { return x0.Add(s.FromFloat32(v, 2, 1, 2, 2)) }
		for _, c := range []struct {
			name     string
			x        torch.Tensor
			eps      float64
			linf, l2 bool
		}{
			{"the image", x0, 0, true, true},
			{"the corner of the cube", move(0.1, 0.1, -0.1, 0.1, 0, 0, 0, 0), 0.1, true, false},
			{"the corner, in a larger ball", move(0.1, 0.1, -0.1, 0.1, 0, 0, 0, 0), 0.2, true, true},
			{"one image too far", move(0, 0, 0, 0, 0, 0.1001, 0, 0), 0.1, false, false},
			{"above 1", move(0.6, 0, 0, 0, 0, 0, 0, 0), 1, false, false},
			{"below 0", move(-0.6, 0, 0, 0, 0, 0, 0, 0), 1, false, false},
			{"not a number", move(float32(math.NaN()), 0, 0, 0, 0, 0, 0, 0), 1, false, false},
			{"infinite", move(float32(math.Inf(1)), 0, 0, 0, 0, 0, 0, 0), math.Inf(1), false, false},
		} {
			linf, err := adversarial.Inside(c.x, x0, adversarial.Linf, c.eps)
			require.NoError(t, err)
			require.Equal(t, c.linf, linf, "%s, Linf", c.name)
			l2, err := adversarial.Inside(c.x, x0, adversarial.L2, c.eps)
			require.NoError(t, err)
			require.Equal(t, c.l2, l2, "%s, L2", c.name)
		}
	})
}

func TestMistakesAreErrors(t *testing.T) {
	p := adversarial.PGD{Epsilon: 0.1, StepSize: 0.1, Steps: 3}
	try := func(f func(s *torch.Session, g *torch.Generator, net adversarial.Logits, x torch.Tensor)) error {
		return torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
			g := s.NewGenerator(1)
			f(s, g, network(s, g), s.Rand(g, 2, 2, 6, 6))
			return nil
		})
	}
	require.ErrorContains(t, try(func(s *torch.Session, g *torch.Generator, net adversarial.Logits, x torch.Tensor) {
		p.Perturb(net, x, s.FromInt64([]int64{1, 10}, 2), g)
	}), "CrossEntropy", "a label out of range")
	require.ErrorContains(t, try(func(s *torch.Session, _ *torch.Generator, net adversarial.Logits, x torch.Tensor) {
		p := p
		p.RandomStart = true
		p.Perturb(net, x, s.FromInt64([]int64{1, 2}, 2), nil)
	}), "generator")
	require.ErrorIs(t, try(func(s *torch.Session, g *torch.Generator, net adversarial.Logits, x torch.Tensor) {
		s.Free(x)
		p.Perturb(net, x, s.FromInt64([]int64{1, 2}, 2), g)
	}), torch.ErrClosed)
	require.False(t, p.Perturb(nil, torch.Tensor{}, torch.Tensor{}, nil).Defined())
	_, err := adversarial.Inside(torch.Tensor{}, torch.Tensor{}, adversarial.Linf, 1)
	require.ErrorIs(t, err, torch.ErrClosed)
}

func TestNames(t *testing.T) {
	for _, name := range []string{"Linf", "linf", "LINF", "inf", "l_inf", "L_Inf"} {
		n, err := adversarial.ParseNorm(name)
		require.NoError(t, err)
		require.Equal(t, adversarial.Linf, n)
	}
	for _, name := range []string{"L2", "l2", "2"} {
		n, err := adversarial.ParseNorm(name)
		require.NoError(t, err)
		require.Equal(t, adversarial.L2, n)
	}
	n, err := adversarial.ParseNorm("L1")
	require.NoError(t, err)
	require.Equal(t, adversarial.L1, n)
	_, err = adversarial.ParseNorm("L0")
	require.EqualError(t, err, `unknown norm "L0": want Linf, L2 or L1`)
	require.Equal(t, "Linf L2 L1", adversarial.Linf.String()+" "+adversarial.L2.String()+" "+adversarial.L1.String())
	require.Equal(t, "pgd-40", adversarial.PGD{Steps: 40}.Name())
}
