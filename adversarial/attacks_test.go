package adversarial_test

import (
	"cmp"
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
)

func parse(t *testing.T, name string, s adversarial.Settings) adversarial.Attack {
	t.Helper()
	a, err := adversarial.Parse(name, s)
	require.NoError(t, err)
	require.Len(t, a, 1)
	require.Equal(t, name, a[0].Name())
	return a[0]
}

// attack runs a and checks what holds for every attack: images in the ball, fooled ones wrong.
func attack(t *testing.T, s *torch.Session, a adversarial.Attack, f adversarial.Logits, b adversarial.Batch) adversarial.Result {
	t.Helper()
	r, err := a.Run(context.Background(), f, b, 1, nil)
	require.NoError(t, err)
	require.Equal(t, b.X.Shape(), r.Images.Shape())
	norm, eps := a.Ball()
	ok, err := adversarial.Inside(r.Images, b.X, norm, eps)
	require.NoError(t, err)
	require.True(t, ok, "%s: images outside the ball or [0, 1]", a.Name())
	var wrong []bool
	s.NoGrad(func() { wrong, err = f(r.Images).Argmax(1).Ne(b.Y).Bools() })
	require.NoError(t, err)
	require.Equal(t, wrong, r.Fooled, a.Name())
	for i, step := range r.Steps {
		require.Equal(t, r.Fooled[i], step >= 0, "%s: image %d, step %d", a.Name(), i, step)
	}
	return r
}

func upTo(n int) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i)
	}
	return ids
}

// plane2 is a linear network of two classes and images whose distance to its boundary is known: z_1 - z_0 = <w, x> + b.
type plane2 struct {
	f    adversarial.Logits
	w    []float64
	b    float64
	x    [][]float64
	data adversarial.Batch
}

func newPlane2(s *torch.Session, n, side int, low, high float64) plane2 {
	g := s.NewGenerator(11)
	d := int64(side * side)
	w := s.RandN(g, 2, d)
	x := s.Rand(g, int64(n), 1, int64(side), int64(side)).MulScalar(high - low).AddScalar(low)
	v, _ := w.Float32s()
	px, _ := x.Float32s()
	p := plane2{w: make([]float64, d)}
	for i := range p.w {
		p.w[i] = float64(v[int(d)+i]) - float64(v[i])
		p.b -= p.w[i] * (low + high) / 2
	}
	bias := s.FromFloat32([]float32{0, float32(p.b)}, 2)
	p.f = func(x torch.Tensor) torch.Tensor { return x.Flatten().Linear(w, bias) }
	y := make([]int64, n)
	for i := range n {
		row := make([]float64, d)
		for j := range row {
			row[j] = float64(px[i*int(d)+j])
		}
		p.x = append(p.x, row)
		if p.value(i) > 0 {
			y[i] = 1
		}
	}
	p.data = adversarial.Batch{X: x, Y: s.FromInt64(y, int64(n)), IDs: upTo(n)}
	return p
}

func (p plane2) value(i int) float64 {
	v := p.b
	for j, w := range p.w {
		v += w * p.x[i][j]
	}
	return v
}

// distance is how far image i is from the plane within [0, 1], by a bisection in float64; infinite where it cannot be reached.
func (p plane2) distance(i int, n adversarial.Norm) float64 {
	d := leastChange(p.x[i], p.w, -p.value(i), n)
	if d == nil {
		return math.Inf(1)
	}
	return norm64(d, n)
}

func norm64(d []float64, n adversarial.Norm) (v float64) {
	for _, e := range d {
		switch n {
		case adversarial.Linf:
			v = max(v, math.Abs(e))
		case adversarial.L2:
			v += e * e
		default:
			v += math.Abs(e)
		}
	}
	if n == adversarial.L2 {
		v = math.Sqrt(v)
	}
	return v
}

// leastChange is the least change of x in [0, 1] after which <w, x> has grown by missing; nil where there is none.
func leastChange(x, w []float64, missing float64, n adversarial.Norm) []float64 {
	if n == adversarial.L1 {
		return leastChangeL1(x, w, missing)
	}
	at := func(v float64) (d []float64, grown float64) {
		d = make([]float64, len(x))
		for i := range d {
			way := math.Copysign(1, missing) * math.Copysign(1, w[i])
			if w[i] == 0 {
				continue
			}
			room, size := x[i], v
			if way > 0 {
				room = 1 - x[i]
			}
			if n == adversarial.L2 {
				size = v * math.Abs(w[i])
			}
			d[i] = way * min(size, room)
			grown += math.Abs(w[i]) * min(size, room)
		}
		return d, grown
	}
	lo, hi := 0.0, 1e6
	if _, most := at(hi); most < math.Abs(missing) {
		return nil
	}
	for range 200 {
		mid := (lo + hi) / 2
		if _, grown := at(mid); grown < math.Abs(missing) {
			lo = mid
		} else {
			hi = mid
		}
	}
	d, _ := at(hi)
	return d
}

// leastChangeL1 moves the values of the largest weights, as far as they can go.
func leastChangeL1(x, w []float64, missing float64) []float64 {
	order := make([]int, len(w))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(math.Abs(w[j]), math.Abs(w[i])) })
	d := make([]float64, len(x))
	rest := math.Abs(missing)
	for _, i := range order {
		way := math.Copysign(1, missing*w[i])
		room := x[i]
		if way > 0 {
			room = 1 - x[i]
		}
		move := min(room, rest/math.Abs(w[i]))
		d[i] = way * move
		if rest -= math.Abs(w[i]) * move; rest <= 0 {
			return d
		}
	}
	return nil
}

// Each attack must fool the network where the ball reaches beyond the boundary, and cannot where it does not.
func TestLinearNetworksDistance(t *testing.T) {
	run(t, func(s *torch.Session) {
		const n = 24
		for _, c := range []struct {
			name  string
			norm  adversarial.Norm
			slack float64 // how much farther than the least distance the attack may have to go, as a factor
		}{
			{"pgd-100", adversarial.Linf, 1.001}, {"pgd-100-margin", adversarial.Linf, 1.001}, {"mim-100", adversarial.Linf, 1.001},
			{"fgsm", adversarial.Linf, 1.001}, {"apgd-ce", adversarial.Linf, 1.001}, {"fab", adversarial.Linf, 1.06},
			{"fab-t", adversarial.Linf, 1.06},
			{"pgd-100", adversarial.L2, 1.02}, {"apgd-ce", adversarial.L2, 1.02}, {"fab-t", adversarial.L2, 1.06}, {"cw-300", adversarial.L2, 1.03},
			{"pgd-400", adversarial.L1, 1.05},
		} {
			p := newPlane2(s, n, 6, 0.05, 0.95)
			var distances []float64
			for i := range n {
				distances = append(distances, p.distance(i, c.norm))
			}
			for i, d := range distances { // a ball just large enough for image i
				if i%6 != 0 || math.IsInf(d, 1) {
					continue
				}
				eps := d * c.slack
				r := attack(t, s, parse(t, c.name, adversarial.Settings{Norm: c.norm, Epsilon: eps, RandomStart: c.norm != adversarial.L1}), p.f, p.data)
				for j, d := range distances {
					if d > eps*1.00001 {
						require.False(t, r.Fooled[j], "%s %v: image %d is %g away, the ball's radius is %g", c.name, c.norm, j, d, eps)
					} else if d*c.slack <= eps*1.00001 {
						require.True(t, r.Fooled[j], "%s %v: image %d is %g away, the ball's radius is %g", c.name, c.norm, j, d, eps)
					}
				}
			}
		}
	})
}

// The change onto a plane within the box, against a bisection in float64.
func TestToPlane(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(3)
		const n, d = 40, 50
		x := s.Rand(g, n, d).MulScalar(1.6).SubScalar(0.3).Clamp(0, 1) // many values are 0 or 1
		w := s.RandN(g, n, d)
		w = w.Mul(s.Rand(g, n, d).GtScalar(0.2).To(torch.Float32)) // and many weights 0
		missing := s.RandN(g, n).MulScalar(4)
		xs, ws, ms := values(t, x), values(t, w), values(t, missing)
		for k := range 4 {
			norm := []adversarial.Norm{adversarial.Linf, adversarial.L2}[k%2]
			toPlane := adversarial.ToPlaneHost
			if k > 1 {
				toPlane = adversarial.ToPlaneDev
			}
			got := values(t, toPlane(x, w, missing, norm))
			for i := range n {
				row := func(v []float32) []float64 {
					out := make([]float64, d)
					for j := range out {
						out[j] = float64(v[i*d+j])
					}
					return out
				}
				want := leastChange(row(xs), row(ws), float64(ms[i]), norm)
				require.NotNil(t, want)
				for j := range want {
					require.InDelta(t, want[j], got[i*d+j], 2e-6, "%v, row %d, value %d", norm, i, j)
				}
			}
			tiny := toPlane(x, w.MulScalar(1e-25), missing.MulScalar(1e-25), norm) // as a saturated network's gradients are
			requireClose(t, s.FromFloat32(got, n, d), tiny, 1e-5)
			far := values(t, toPlane(x, w, missing.Sign().MulScalar(1e4), norm)) // cannot be reached
			for k, v := range far {
				way := float64(ms[k/d]) * float64(ws[k])
				want := 0.0
				if way > 0 {
					want = 1 - float64(xs[k])
				} else if way < 0 {
					want = -float64(xs[k])
				}
				require.InDelta(t, want, v, 1e-6, "%v: all the room there is", norm)
			}
		}
	})
}

// The projections, against float64. That of L1 and the box is checked by its own condition: one amount by which all magnitudes shrink.
func TestInto(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(5)
		const n, d = 30, 48
		x0 := s.Rand(g, n, 3, 4, 4).MulScalar(1.6).SubScalar(0.3).Clamp(0, 1)
		x := x0.Add(s.RandN(g, n, 3, 4, 4).MulScalar(0.4))
		from, to := values(t, x0), values(t, x)
		for _, eps := range []float64{0.05, 0.7, 5, 1000} {
			linf := values(t, adversarial.Into(x, x0, adversarial.Linf, eps))
			l2 := values(t, adversarial.Into(x, x0, adversarial.L2, eps))
			l1 := values(t, adversarial.Into(x, x0, adversarial.L1, eps))
			for i := range n {
				delta := make([]float64, d)
				for j := range delta {
					delta[j] = float64(to[i*d+j]) - float64(from[i*d+j])
				}
				scale := min(1, eps/norm64(delta, adversarial.L2))
				shrunk := shrinkL1(delta, from[i*d:(i+1)*d], eps)
				for j, v := range delta {
					k := i*d + j
					clamp := func(v float64) float64 { return min(max(v, 0), 1) }
					require.InDelta(t, clamp(float64(from[k])+min(max(v, -eps), eps)), linf[k], 1e-6)
					require.InDelta(t, clamp(float64(from[k])+v*scale), l2[k], 1e-6)
					require.InDelta(t, float64(from[k])+shrunk[j], l1[k], 2e-6, "L1, radius %g, image %d", eps, i)
				}
			}
		}
	})
}

// shrinkL1 solves the L1 projection within the box by sorting its kinks, in float64.
func shrinkL1(delta []float64, origin []float32, eps float64) []float64 {
	at := func(shrink float64) (out []float64, sum float64) {
		out = make([]float64, len(delta))
		for i, v := range delta {
			room := float64(origin[i])
			if v > 0 {
				room = 1 - room
			}
			size := min(max(math.Abs(v)-shrink, 0), room)
			out[i] = math.Copysign(size, v)
			sum += size
		}
		return out, sum
	}
	lo, hi := 0.0, 100.0
	if out, sum := at(0); sum <= eps {
		return out
	}
	for range 200 {
		if _, sum := at((lo + hi) / 2); sum > eps {
			lo = (lo + hi) / 2
		} else {
			hi = (lo + hi) / 2
		}
	}
	out, _ := at(hi)
	return out
}

func TestSchedules(t *testing.T) {
	require.Equal(t, []int{22, 41, 57, 70, 80, 87, 93, 99}, adversarial.Checkpoints(100))
	require.Equal(t, []int{1, 2, 3}, adversarial.Checkpoints(3))
	for i, want := range map[int]float64{0: .8, 10: .8, 11: .4, 50: .4, 51: .2, 200: .2, 201: .1, 500: .1, 501: .05, 1000: .05, 1001: .025,
		2000: .025, 2001: .0125, 4000: .0125, 4001: .00625, 6000: .00625, 6001: .8 / 256, 8000: .8 / 256, 8001: .8 / 512} {
		require.InDelta(t, want, adversarial.WindowShare(i), 1e-12, "query %d", i)
	}
	require.Equal(t, 25, adversarial.Window(0, 28, 28, adversarial.Linf))
	require.Equal(t, 2, adversarial.Window(4500, 28, 28, adversarial.Linf))
	require.Equal(t, 25, adversarial.Window(0, 28, 28, adversarial.L2))
	require.Equal(t, 3, adversarial.Window(4500, 28, 28, adversarial.L2))
	require.Equal(t, 1, adversarial.Window(9000, 4, 4, adversarial.Linf))
}

// The pattern of 5: rows 0 and 1 are a bump of 2x5, the others the negative of one of 3x5.
func TestEta(t *testing.T) {
	rings := func(rows, cols int, v ...float64) []float64 {
		require.Len(t, v, rows*cols)
		l := norm64(v, adversarial.L2) * math.Sqrt2
		for i := range v {
			v[i] /= l
		}
		return v
	}
	a, b := 1.0, 0.25
	c := 1.0 / 9
	upper := rings(2, 5, c, b+c, b+c, b+c, c, c, b+c, a+b+c, b+c, c)
	lower := rings(3, 5, c, b+c, b+c, b+c, c, c, b+c, a+b+c, b+c, c, c, b+c, b+c, b+c, c)
	seen := map[bool]bool{}
	for id := range int64(20) {
		got := adversarial.Eta(5, id)
		lying := math.Abs(float64(got[1])-upper[1]) > 1e-6
		seen[lying] = true
		for i := range got {
			k := i
			if lying {
				k = i%5*5 + i/5
			}
			want := 0.0
			if k < 10 {
				want = upper[k]
			} else {
				want = -lower[k-10]
			}
			require.InDelta(t, want, got[i], 1e-6)
		}
	}
	require.Len(t, seen, 2, "upright and lying ones")
}

func TestLosses(t *testing.T) {
	run(t, func(s *torch.Session) {
		z := s.FromFloat32([]float32{4, 1, 3, 2, -1, 0, 5, 2, 2.5, 1}, 2, 5)
		y, target := s.FromInt64([]int64{0, 3}, 2), s.FromInt64([]int64{3, 0}, 2)
		near := func(want []float64, got torch.Tensor) {
			t.Helper()
			for i, v := range values(t, got) {
				require.InDelta(t, want[i], v, 1e-6)
			}
		}
		near([]float64{-1, 2.5}, adversarial.Margin(z, y, target))
		near([]float64{-(4.0 - 3) / (4 - 2), -(2.5 - 5) / (5 - 2)}, adversarial.DLR(z, y, target))
		near([]float64{-(4.0 - 2) / (4 - (2+1)/2.0), -(2.5 - 0) / (5 - (2+1)/2.0)}, adversarial.DLRTo(z, y, target))
	})
}
