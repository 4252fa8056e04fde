package admm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

func someLayers(s *torch.Session) []admm.Layer {
	g := s.NewGenerator(7)
	return []admm.Layer{
		{Name: "conv1.weight", Weight: s.RandN(g, 8, 4, 3, 3).RequiresGrad_(true), Ratio: 0.75},
		{Name: "fc1.weight", Weight: s.RandN(g, 10, 72).RequiresGrad_(true), Ratio: 0.9},
	}
}

// change moves the weights, as training does between two updates.
func change(s *torch.Session, layers []admm.Layer, seed uint64) {
	g := s.NewGenerator(seed)
	s.NoGrad(func() {
		s.Do(func() {
			for _, l := range layers {
				l.Weight.Add_(s.RandN(g, l.Weight.Shape()...), 0.1)
			}
		})
	})
}

func TestClosedFormGradientIsAutograds(t *testing.T) {
	run(t, func(s *torch.Session) {
		layers := someLayers(s)
		st := admm.New(s, layers, admm.Options{Type: admm.Column, Rho: 0.2, RhoGrowth: 1.5})
		change(s, layers, 1)
		_, err := st.Update()
		require.NoError(t, err)
		change(s, layers, 2) // now W, Z and U all differ

		w := []torch.Tensor{layers[0].Weight, layers[1].Weight}
		want := s.Grad(st.Penalty(), w...)
		got := []torch.Tensor{s.Ones(8, 4, 3, 3), s.Ones(10, 72)}
		st.AddGrad(got)
		for i := range want {
			require.Greater(t, item(t, want[i].Norm()), 0.1)
			require.Less(t, item(t, got[i].SubScalar(1).Sub(want[i]).Abs().Max()), 1e-6)
		}
		require.InDelta(t, 0.3, st.Rho(), 1e-12)
	})
}

// With the weights pulled to Z - U alone, the primal residual vanishes.
func TestUpdatesConvergeWithoutALoss(t *testing.T) {
	run(t, func(s *torch.Session) {
		layers := someLayers(s)
		st := admm.New(s, layers, admm.Options{Type: admm.Irregular, Rho: 1, RhoGrowth: 1})
		names, zu := st.Tensors()
		require.Equal(t, []string{"z.conv1.weight", "u.conv1.weight", "z.fc1.weight", "u.fc1.weight"}, names)
		var last []admm.Residual
		for range 3 {
			s.NoGrad(func() {
				for i, l := range layers {
					l.Weight.Copy_(zu[2*i].Sub(zu[2*i+1]))
				}
			})
			var err error
			last, err = st.Update()
			require.NoError(t, err)
		}
		for i, r := range last {
			require.Equal(t, layers[i].Name, r.Name)
			require.InDelta(t, 0, r.PrimalRel, 1e-6)
			require.InDelta(t, 0, r.DualRel, 1e-6)
		}
		for i, m := range admm.Masks(admm.Irregular, layers, torch.Tensor{}) {
			require.Equal(t, kept(t, zu[2*i]), kept(t, m))
			n := m.Numel()
			require.Equal(t, float64(n-admm.Pruned(n, layers[i].Ratio)), item(t, m.Sum()))
		}
	})
}

// A state that is restored from its tensors and rho goes on exactly as the first.
func TestRestore(t *testing.T) {
	run(t, func(s *torch.Session) {
		layers := someLayers(s)
		o := admm.Options{Type: admm.Filter, Rho: 1e-3, RhoGrowth: 1.3}
		a := admm.New(s, layers, o)
		for seed := range uint64(2) {
			change(s, layers, seed)
			_, err := a.Update()
			require.NoError(t, err)
		}
		b := admm.New(s, layers, o)
		_, from := a.Tensors()
		_, to := b.Tensors()
		for i := range to {
			to[i].Copy_(from[i])
		}
		b.SetRho(a.Rho())
		change(s, layers, 9)
		ra, err := a.Update()
		require.NoError(t, err)
		rb, err := b.Update()
		require.NoError(t, err)
		require.Equal(t, ra, rb)
		require.Equal(t, a.Rho(), b.Rho())
		for i := range to {
			require.Equal(t, values(t, from[i]), values(t, to[i]))
		}
	})
}

func TestStateHoldsZAndUAlone(t *testing.T) {
	run(t, func(s *torch.Session) {
		layers := someLayers(s)
		before := s.Live()
		var st *admm.State
		s.Do(func() { admm.New(s, layers, admm.Options{Type: admm.Filter, Rho: 1, RhoGrowth: 1.3}) })
		require.Equal(t, before, s.Live(), "they end with the scope that made them")
		st = admm.New(s, layers, admm.Options{Type: admm.Filter, Rho: 1, RhoGrowth: 1.3})
		require.Equal(t, before+4, s.Live())
		grads := []torch.Tensor{s.Zeros(8, 4, 3, 3), s.Zeros(10, 72)}
		before = s.Live()
		for range 50 {
			_, err := st.Update()
			require.NoError(t, err)
			st.AddGrad(grads)
		}
		require.Equal(t, before, s.Live())
		s.Do(func() { st.Penalty(); admm.Masks(admm.Filter, layers, torch.Tensor{}) })
		require.Equal(t, before, s.Live())
	})
}

func TestZeroWeightsGiveFiniteResiduals(t *testing.T) {
	run(t, func(s *torch.Session) {
		st := admm.New(s, []admm.Layer{{Name: "w", Weight: s.Zeros(4, 4), Ratio: 0.5}}, admm.Options{Type: admm.Filter, Rho: 1, RhoGrowth: 1})
		r, err := st.Update()
		require.NoError(t, err)
		require.Equal(t, []admm.Residual{{Name: "w"}}, r)
	})
}

func TestUpdateReportsTheSessionsError(t *testing.T) {
	err := torch.Run(torchtest.Device(), torch.Options{Threads: 1}, func(s *torch.Session) error {
		layers := someLayers(s)
		st := admm.New(s, layers, admm.Options{Type: admm.Filter, Rho: 1, RhoGrowth: 1})
		s.Free(layers[0].Weight)
		_, err := st.Update()
		return err
	})
	require.ErrorIs(t, err, torch.ErrClosed)
	require.ErrorContains(t, err, "ADMM update")
}

// Z, U and masks lie in memory as the weight does, so that they are updated together in few launches.
func TestLaidOutAsTheWeight(t *testing.T) {
	run(t, func(s *torch.Session) {
		plain := someLayers(s)
		last := someLayers(s)
		for i := range last {
			if last[i].Weight.Dim() == 4 {
				last[i].Weight = last[i].Weight.Detach().ChannelsLast().RequiresGrad_(true)
			}
		}
		for _, typ := range admm.Types {
			a, b := admm.New(s, plain, admm.Options{Type: typ, Rho: 1, RhoGrowth: 1}), admm.New(s, last, admm.Options{Type: typ, Rho: 1, RhoGrowth: 1})
			_, err := a.Update()
			require.NoError(t, err)
			_, err = b.Update()
			require.NoError(t, err)
			_, zu := a.Tensors()
			_, zu2 := b.Tensors()
			for i := range zu {
				require.Equal(t, values(t, zu[i]), values(t, zu2[i]), typ)
			}
			require.False(t, zu2[0].IsContiguous() || zu2[1].IsContiguous() || admm.Masks(typ, last, torch.Tensor{})[0].IsContiguous(), typ)
			require.True(t, zu[0].IsContiguous() && admm.Masks(typ, plain, torch.Tensor{})[0].IsContiguous(), typ)
		}
	})
}
