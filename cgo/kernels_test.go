package torch_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// eachKernels runs f with every set of kernels that this processor has, and with libtorch's.
func eachKernels(t *testing.T, f func(name string)) {
	t.Helper()
	t.Cleanup(func() { require.NoError(t, torch.SetKernels("best")) })
	ran := 0
	for _, name := range []string{"avx512", "avx2", "base", "off"} {
		if err := torch.SetKernels(name); err != nil {
			require.ErrorContains(t, err, "this processor has no kernels named "+name)
			continue
		}
		ran++
		f(name)
	}
	require.GreaterOrEqual(t, ran, 2, "base and off are everywhere")
}

func TestUnknownKernels(t *testing.T) {
	require.ErrorContains(t, torch.SetKernels("sse9"), "this processor has no kernels named sse9")
}

// pooled is the maximum of each 2x2 window of planes [n, h, w], and where it is: the first of equals.
func pooled(x []float32, n, h, w int) (y []float32, at []int) {
	for p := range n {
		for r := 0; r+1 < h; r += 2 {
			for c := 0; c+1 < w; c += 2 {
				best := (p*h+r)*w + c
				for _, i := range []int{best + 1, best + w, best + w + 1} {
					if x[i] > x[best] || math.IsNaN(float64(x[i])) && !math.IsNaN(float64(x[best])) {
						best = i
					}
				}
				y, at = append(y, x[best]), append(at, best)
			}
		}
	}
	return y, at
}

func TestMaxPool2x2(t *testing.T) {
	eachKernels(t, func(name string) {
		for _, size := range [][2]int{{2, 2}, {3, 5}, {4, 6}, {8, 8}, {7, 15}, {28, 28}, {14, 14}, {5, 34}, {2, 67}} {
			h, w := size[0], size[1]
			session(t, func(s *torch.Session) {
				what := fmt.Sprint(name, size)
				raw := make([]float32, 6*h*w)
				for i := range raw {
					raw[i] = float32((i*7919)%13) - 6 // with many equals
				}
				x := s.FromFloat32(raw, 2, 3, int64(h), int64(w)).RequiresGrad_(true)
				y := x.MaxPool2d(2, 2, 0)
				want, at := pooled(raw, 6, h, w)
				got, err := y.Detach().Float32s()
				require.NoError(t, err)
				require.Equal(t, want, got, what)
				up := make([]float32, len(want))
				grad := make([]float32, len(raw))
				for i := range up {
					up[i] = float32(i + 1)
					grad[at[i]] = up[i]
				}
				g, err := s.Grad(y.Mul(s.FromFloat32(up, y.Shape()...)).Sum(), x)[0].Float32s()
				require.NoError(t, err)
				require.Equal(t, grad, g, what)
			})
		}
	})
}

// ReLU as part of the pooling is ReLU behind it, also where padding or size keep it from being one operation.
func TestMaxPoolRelu(t *testing.T) {
	eachKernels(t, func(name string) {
		for _, size := range []int64{2, 3} {
			session(t, func(s *torch.Session) {
				x := s.RandN(s.NewGenerator(4), 2, 3, 9, 22).RequiresGrad_(true)
				want, got := x.MaxPool2d(size, 2, 0).Relu(), x.MaxPool2dRelu(size, 2, 0)
				near(t, values(t, want.Detach()), got, 0, name)
				up := s.RandN(s.NewGenerator(5), want.Shape()...)
				near(t, values(t, s.Grad(want.Mul(up).Sum(), x)[0]), s.Grad(got.Mul(up).Sum(), x)[0], 0, name)
			})
		}
	})
}

func TestMaxPoolKeepsNaN(t *testing.T) {
	nan := float32(math.NaN())
	eachKernels(t, func(name string) {
		session(t, func(s *torch.Session) {
			raw := make([]float32, 2*20)
			raw[3], raw[30], raw[25] = nan, nan, 5
			y, err := s.FromFloat32(raw, 1, 1, 2, 20).MaxPool2d(2, 2, 0).Float32s()
			require.NoError(t, err)
			require.True(t, math.IsNaN(float64(y[1])) && math.IsNaN(float64(y[5])), "%s: %v", name, y)
			require.Equal(t, float32(5), y[2])
		})
	})
}

// The sign step is the same arithmetic in one pass: the same bits as libtorch's operations.
func TestPGDStepBits(t *testing.T) {
	var want []float32
	t.Cleanup(func() { require.NoError(t, torch.SetKernels("best")) })
	step := func(s *torch.Session) []float32 {
		g := s.NewGenerator(3)
		x0, grad := s.Rand(g, 1, 1, 7, 29), s.RandN(g, 1, 1, 7, 29)
		grad.Narrow(3, 0, 3).Fill_(0)
		x := s.Rand(g, 1, 1, 7, 29)
		for range 3 {
			x.PGDStep_(grad, x0, 0.07, 0.11, false)
		}
		v, err := x.Float32s()
		require.NoError(t, err)
		return v
	}
	require.NoError(t, torch.SetKernels("off"))
	session(t, func(s *torch.Session) { want = step(s) })
	eachKernels(t, func(name string) {
		session(t, func(s *torch.Session) { require.Equal(t, want, step(s), name) })
	})
}

func TestAddRelu(t *testing.T) {
	eachKernels(t, func(name string) {
		session(t, func(s *torch.Session) {
			a := s.FromFloat32([]float32{1, -3, 2, 0, -1, 5}, 1, 6).RequiresGrad_(true)
			b := s.FromFloat32([]float32{1, 1, -2, 0.5, -1, float32(math.NaN())}, 1, 6).RequiresGrad_(true)
			y := a.AddRelu(b)
			v, err := y.Detach().Float32s()
			require.NoError(t, err)
			require.Equal(t, []float32{2, 0, 0, 0.5, 0}, v[:5], name)
			require.True(t, math.IsNaN(float64(v[5])), name)
			up := s.FromFloat32([]float32{1, 2, 3, 4, 5, 0}, 1, 6)
			for _, g := range s.Grad(y.Narrow(1, 0, 5).Mul(up.Narrow(1, 0, 5)).Sum(), a, b) {
				near(t, []float64{1, 0, 0, 4, 0, 0}, g, 0, name)
			}
		})
	})
	refused(t, "AddRelu", func(s *torch.Session) { s.Ones(2, 3).AddRelu(s.Ones(3)) })
}

// A block that a tensor frees serves the next one of its size, and no two tensors that are alive at once.
func TestFreedMemoryServesAgain(t *testing.T) {
	session(t, func(s *torch.Session) {
		for round := range 3 {
			s.Do(func() {
				var all []torch.Tensor
				for i := range 20 {
					all = append(all, s.Full(float64(100*round+i), torch.Float32, 1000+int64(i), 37))
				}
				for i, x := range all {
					n, err := x.NeScalar(float64(100*round + i)).CountNonzero().Item()
					require.NoError(t, err)
					require.Zero(t, n)
				}
			})
		}
	})
}

// Packed weights against the plain product in float64: sizes around the kernels' blocks, with and without bias and ReLU.
func TestLinearPacked(t *testing.T) {
	refused(t, "PackLinear", func(s *torch.Session) { s.Ones(3).PackLinear() })
	refused(t, "LinearPacked", func(s *torch.Session) {
		w := s.Ones(4, 3)
		s.Ones(2, 3).LinearPacked(s.Ones(5, 3).PackLinear(), w, torch.Tensor{}, false)
	})
	eachKernels(t, func(name string) {
		for _, k := range [][3]int{{1, 1, 1}, {5, 3, 10}, {6, 96, 64}, {7, 97, 65}, {13, 200, 130}, {32, 64, 10}} {
			n, in, out := k[0], k[1], k[2]
			xs, ws, bs, us := noise(1, n*in), noise(2, out*in), noise(3, out), noise(4, n*out)
			for _, relu := range []bool{false, true} {
				y, gx := make([]float64, n*out), make([]float64, n*in)
				for i := range y {
					r, c := i/out, i%out
					y[i] = bs[c]
					for j := range in {
						y[i] += xs[r*in+j] * ws[c*in+j]
					}
					if relu && y[i] <= 0 {
						y[i] = 0
						continue
					}
					for j := range in {
						gx[r*in+j] += us[i] * ws[c*in+j]
					}
				}
				session(t, func(s *torch.Session) {
					what := fmt.Sprint(name, k, relu)
					f := func(v []float64, shape ...int64) torch.Tensor { return s.FromFloat64(v, shape...).To(torch.Float32) }
					x, w, b := f(xs, int64(n), int64(in)).RequiresGrad_(true), f(ws, int64(out), int64(in)).RequiresGrad_(true), f(bs, int64(out))
					got := x.LinearPacked(w.PackLinear(), w, b, relu)
					near(t, y, got, 1e-4, what)
					near(t, gx, s.Grad(got.Mul(f(us, int64(n), int64(out))).Sum(), x)[0], 1e-4, what)
					if !relu {
						near(t, values(t, x.Linear(w, torch.Tensor{}).Detach().To(torch.Float64)), x.LinearPacked(w.PackLinear(), w, torch.Tensor{}, false), 1e-4, what)
					}
				})
			}
		}
	})
}
