package nn_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

func moments(v []float64) (mean, variance, largest float64) {
	for _, x := range v {
		mean += x / float64(len(v))
		largest = max(largest, math.Abs(x))
	}
	for _, x := range v {
		variance += (x - mean) * (x - mean) / float64(len(v))
	}
	return mean, variance, largest
}

// Variances and bounds of torch.nn.init's schemes, gain 1 for xavier and ReLU's for kaiming.
func TestInitStatistics(t *testing.T) {
	for _, scheme := range []struct {
		name            string
		variance, bound func(in, out float64) float64
		mean            float64
	}{
		// PyTorch's layers: kaiming_uniform_(a=sqrt(5)), so U(-1/sqrt(in), 1/sqrt(in)).
		{"default", func(in, _ float64) float64 { return 1 / (3 * in) }, func(in, _ float64) float64 { return 1 / math.Sqrt(in) }, 0},
		{"uniform", func(_, _ float64) float64 { return 1.0 / 12 }, func(_, _ float64) float64 { return 1 }, 0.5},
		{"normal", func(_, _ float64) float64 { return 1 }, nil, 0},
		{"xavier_uniform", func(in, out float64) float64 { return 2 / (in + out) }, func(in, out float64) float64 { return math.Sqrt(6 / (in + out)) }, 0},
		{"xavier_normal", func(in, out float64) float64 { return 2 / (in + out) }, nil, 0},
		{"kaiming_uniform", func(in, _ float64) float64 { return 2 / in }, func(in, _ float64) float64 { return math.Sqrt(6 / in) }, 0},
		{"kaiming_normal", func(in, _ float64) float64 { return 2 / in }, nil, 0},
	} {
		session(t, func(s *torch.Session) {
			conv := nn.Conv2d(s, 32, 64, 5, torch.ConvOptions{Groups: 2}, true)
			dense := nn.Linear(s, 300, 200, true)
			g := s.NewGenerator(11)
			require.NoError(t, nn.Init(conv, scheme.name, g))
			require.NoError(t, nn.Init(dense, scheme.name, g))
			for _, l := range []struct {
				weight, bias torch.Tensor
				in, out      float64
			}{{conv.Weight, conv.Bias, 16 * 25, 64 * 25}, {dense.Weight, dense.Bias, 300, 200}} {
				weights := values(t, l.weight)
				want := scheme.variance(l.in, l.out)
				mean, variance, largest := moments(weights)
				require.InDelta(t, scheme.mean, mean, 5*math.Sqrt(want/float64(len(weights))), scheme.name)
				require.InDelta(t, want, variance, 0.05*want, scheme.name)
				if scheme.bound != nil {
					bound := scheme.bound(l.in, l.out)
					require.LessOrEqual(t, largest, bound*(1+1e-6), scheme.name)
					require.Greater(t, largest, 0.99*bound, scheme.name)
				}
				bound := 1 / math.Sqrt(l.in)
				_, _, largest = moments(values(t, l.bias))
				require.LessOrEqual(t, largest, bound*(1+1e-6), "biases are PyTorch's default under every scheme")
				require.Greater(t, largest, 0.8*bound)
				require.True(t, l.weight.RequiresGrad())
			}
		})
	}
}

func TestOrthogonal(t *testing.T) {
	session(t, func(s *torch.Session) {
		g := s.NewGenerator(12)
		for _, l := range []*nn.LinearModule{nn.Linear(s, 30, 12, true), nn.Linear(s, 12, 30, false), nn.Linear(s, 9, 9, false)} {
			require.NoError(t, nn.Init(l, "orthogonal", g))
			w := l.Weight.Detach().To(torch.Float64)
			rows, cols := w.Size(0), w.Size(1)
			product := w.Permute(1, 0).MatMul(w) // of the columns
			if rows <= cols {
				product = w.MatMul(w.Permute(1, 0))
			}
			n := int(min(rows, cols))
			for i, v := range values(t, product) {
				want := 0.0
				if i/n == i%n {
					want = 1
				}
				require.InDelta(t, want, v, 1e-6, "%d x %d", rows, cols)
			}
		}
		conv := nn.Conv2d(s, 4, 8, 3, torch.ConvOptions{}, true)
		require.NoError(t, nn.Init(conv, "orthogonal", g))
		w := conv.Weight.Detach().Reshape(8, 36)
		for i, v := range values(t, w.MatMul(w.Permute(1, 0))) {
			require.InDelta(t, map[bool]float64{true: 1}[i/8 == i%8], v, 1e-5, "a filter is a row")
		}
	})
}

func TestInitOfNetwork(t *testing.T) {
	session(t, func(s *torch.Session) {
		n := newNetwork(s)
		state := func(seed uint64) (all []float64) {
			require.NoError(t, nn.Init(n, "default", s.NewGenerator(seed)))
			for _, p := range nn.Parameters(nn.StateDict(n)) {
				all = append(all, values(t, p)...)
			}
			return all
		}
		first := state(1)
		require.Equal(t, first, state(1), "the same seed, the same weights")
		require.NotEqual(t, first, state(2))
		for _, bn := range []*nn.BatchNormModule{n.first.bn, n.out} {
			for _, v := range values(t, bn.Weight) {
				require.EqualValues(t, 1, v)
			}
			for _, v := range values(t, bn.Bias) {
				require.Zero(t, v)
			}
			for _, v := range values(t, bn.RunningVar) {
				require.EqualValues(t, 1, v)
			}
		}
		require.ErrorContains(t, nn.Init(n, "xavier", s.NewGenerator(1)), "xavier_uniform")
		require.NoError(t, s.Err())
	})
}

func TestInitAfterAnError(t *testing.T) {
	for name, size := range map[string]int64{"before": 3, "in the network": -3} {
		err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
			g := s.NewGenerator(1)
			if name == "before" {
				l := nn.Linear(s, 2, size, true)
				s.Ones(2).Add(s.Ones(3))
				require.Error(t, nn.Init(l, "orthogonal", g))
				return nil
			}
			require.Error(t, nn.Init(nn.Linear(s, 2, size, true), "orthogonal", g))
			return nil
		})
		require.ErrorContains(t, err, "torch: ", name)
	}
}
