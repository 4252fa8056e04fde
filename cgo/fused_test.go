package torch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// float32 lists, which the one-kernel optimizers take where there are any: both ways against the rules in float64.
func TestOptimizersInFloat32(t *testing.T) {
	defer func() { require.NoError(t, torch.SetFused(false)) }()
	for _, fused := range []bool{false, true} {
		require.NoError(t, torch.SetFused(fused))
		for _, o := range optimizers {
			session(t, func(s *torch.Session) {
				short := func(v []float64) []torch.Tensor {
					var out []torch.Tensor
					for _, p := range split(s, v, false) {
						out = append(out, p.To(torch.Float32))
					}
					return out
				}
				want := noise(51, 10)
				params := short(want)
				opt, rule := o.make(params), o.rule()
				for step := range 6 {
					grad, lr := noise(int64(60+step), 10), 0.1/float64(step+1)
					opt.Step(short(grad), lr)
					rule.step(want, grad, lr)
				}
				near(t, want[:6], params[0], 2e-6, o.name, fused)
				near(t, want[6:], params[1], 2e-6, o.name, fused)
			})
		}
	}
}

// Weights laid out with their channels innermost are updated to the same numbers, and their state is laid out like them.
func TestOptimizersOnChannelsLast(t *testing.T) {
	for _, o := range optimizers {
		session(t, func(s *torch.Session) {
			g := s.NewGenerator(1)
			plain := s.RandN(g, 4, 3, 5, 5)
			last := plain.ChannelsLast()
			require.False(t, last.IsContiguous())
			a, b := o.make([]torch.Tensor{plain}), o.make([]torch.Tensor{last})
			for range 3 {
				grad := s.RandN(g, 4, 3, 5, 5)
				a.Step([]torch.Tensor{grad.Clone()}, 0.1)
				b.Step([]torch.Tensor{grad.Clone()}, 0.1)
			}
			near(t, values(t, plain), last, 1e-6, o.name)
			_, state, _ := b.State()
			for _, x := range state {
				require.False(t, x.IsContiguous(), o.name)
			}
		})
	}
}

// Every layer may have its own rho; equal ones take another way to the same result.
func TestADMMGradForEachRho(t *testing.T) {
	session(t, func(s *torch.Session) {
		n := [4][]float64{noise(1, 10), noise(2, 10), noise(3, 10), noise(4, 10)}
		for _, rho := range [][]float64{{0.3, 0.3}, {0.3, 2}} {
			lists := [4][]torch.Tensor{}
			for i := range n {
				lists[i] = split(s, n[i], false)
			}
			s.ADMMGrad_(lists[0], lists[1], lists[2], lists[3], rho)
			want := make([]float64, 10)
			for i := range want {
				want[i] = n[0][i] + rho[i/6]*(n[1][i]-n[2][i]+n[3][i])
			}
			near(t, want[:6], lists[0][0], 1e-14)
			near(t, want[6:], lists[0][1], 1e-14)
			near(t, n[1][:6], lists[1][0], 0, "the weights are only read")
		}
	})
}
