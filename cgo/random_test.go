package torch_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

func draw(t *testing.T, s *torch.Session, g *torch.Generator) []float64 {
	var v []float64
	s.Do(func() { v = append(values(t, s.Rand(g, 50)), values(t, s.RandN(g, 50))...) })
	return v
}

func TestGenerators(t *testing.T) {
	session(t, func(s *torch.Session) {
		a, b, c := s.NewGenerator(1), s.NewGenerator(1), s.NewGenerator(2)
		first := draw(t, s, a)
		require.Equal(t, first, draw(t, s, b), "the same seed, the same numbers")
		require.NotEqual(t, first, draw(t, s, c))
		second := draw(t, s, a)
		require.NotEqual(t, first, second)
		b.Seed(1)
		require.Equal(t, first, draw(t, s, b))
		require.Equal(t, second, draw(t, s, b))

		state, err := a.State()
		require.NoError(t, err)
		before := s.Live()
		third := draw(t, s, a)
		require.NoError(t, c.SetState(state))
		require.Equal(t, third, draw(t, s, c), "another generator goes on from a's state")
		require.NoError(t, a.SetState(state))
		require.Equal(t, third, draw(t, s, a))
		require.Equal(t, before, s.Live(), "states leave no tensors")

		s.Do(func() { s.RandN(a, 3) }) // an odd number of normals leaves one in reserve
		state, err = a.State()
		require.NoError(t, err)
		want := draw(t, s, a)
		require.NoError(t, a.SetState(state))
		require.Equal(t, want, draw(t, s, a))
	})
}

func TestGeneratorsOfSessions(t *testing.T) {
	var want []float64
	session(t, func(s *torch.Session) { want = draw(t, s, s.NewGenerator(5)) })
	const sessions = 4
	results := make(chan []float64, sessions)
	for range sessions { // at the same time, each with its own stream
		go func() {
			var got []float64
			_ = torch.Run(torchtest.Device(), torch.Options{Threads: 1}, func(s *torch.Session) error {
				g, other := s.NewGenerator(5), s.NewGenerator(6)
				for range 50 {
					s.Do(func() { s.Rand(other, 100) })
				}
				x, err := s.Cat(0, s.Rand(g, 50), s.RandN(g, 50)).To(torch.Float64).Float64s()
				got = x
				return err
			})
			results <- got
		}()
	}
	for range sessions {
		require.Equal(t, want, <-results)
	}
}

func TestDistributions(t *testing.T) {
	const n = 100_000
	session(t, func(s *torch.Session) {
		g := s.NewGenerator(3)
		x := s.Empty(torch.Float64, n)
		for _, d := range []struct {
			name           string
			fill           func()
			mean, variance float64
			lo, hi         float64
		}{
			{"uniform", func() { x.Uniform_(g, -1, 3) }, 1, 16.0 / 12, -1, 3},
			{"normal", func() { x.Normal_(g, -2, 0.5) }, -2, 0.25, math.Inf(-1), math.Inf(1)},
			{"bernoulli", func() { x.Bernoulli_(g, 0.3) }, 0.3, 0.21, 0, 1},
		} {
			d.fill()
			v := values(t, x)
			mean, variance := moments(v)
			require.InDelta(t, d.mean, mean, 5*math.Sqrt(d.variance/n), d.name)
			require.InDelta(t, d.variance, variance, 0.03*d.variance, d.name)
			for _, e := range v {
				require.True(t, e >= d.lo && e <= d.hi, d.name)
			}
		}
		leaf := s.Ones(4).RequiresGrad_(true)
		leaf.Uniform_(g, 0, 1)
		require.True(t, leaf.RequiresGrad(), "filling a parameter leaves it one")
	})
}

func moments(v []float64) (mean, variance float64) {
	for _, x := range v {
		mean += x / float64(len(v))
	}
	for _, x := range v {
		variance += (x - mean) * (x - mean) / float64(len(v))
	}
	return mean, variance
}

func TestRefusedRandom(t *testing.T) {
	refused(t, "Uniform_", func(s *torch.Session) { s.Ones(2).Uniform_(nil, 0, 1) })
	refused(t, "Uniform_", func(s *torch.Session) { s.Ones(2).Uniform_(s.NewGenerator(1), 1, 0) })
	refused(t, "Normal_", func(s *torch.Session) { s.RandN(nil, 2) })
	refused(t, "Normal_", func(s *torch.Session) { s.Ones(2).Normal_(s.NewGenerator(1), 0, -1) })
	refused(t, "Normal_", func(s *torch.Session) { s.Arange(2).Normal_(s.NewGenerator(1), 0, 1) })
	refused(t, "Bernoulli_", func(s *torch.Session) { s.Ones(2).Bernoulli_(s.NewGenerator(1), 1.5) })
	refused(t, "Bernoulli_", func(s *torch.Session) {
		_ = torch.Run(torch.CPU, torch.Options{}, func(other *torch.Session) error {
			s.Ones(2).Bernoulli_(other.NewGenerator(1), 0.5)
			return nil
		})
	})
	session(t, func(s *torch.Session) {
		g := s.NewGenerator(1)
		require.ErrorContains(t, g.SetState(nil), "SetState")
		require.ErrorContains(t, g.SetState([]byte{1, 2, 3}), "SetState")
		require.NoError(t, s.Err(), "a bad state does not end the session")
		draw(t, s, g)
	})
	var g *torch.Generator
	_, err := g.State()
	require.ErrorContains(t, err, "State")
	require.NoError(t, torch.Run(torch.CPU, torch.Options{}, func(s *torch.Session) error { g = s.NewGenerator(1); return nil }))
	_, err = g.State()
	require.ErrorIs(t, err, torch.ErrClosed)
	require.ErrorIs(t, g.SetState([]byte{1}), torch.ErrClosed)
	g.Seed(2) // no crash
}
