package admm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/admm"
	torch "rapt/cgo"
)

func TestRhoModes(t *testing.T) {
	run(t, func(s *torch.Session) {
		for mode, want := range map[admm.RhoMode]float64{"": 0.2 * 1.5 * 1.5, admm.Growth: 0.2 * 1.5 * 1.5, admm.Fixed: 0.2} {
			layers := someLayers(s)
			st := admm.New(s, layers, admm.Options{Type: admm.Irregular, Rho: 0.2, RhoMode: mode, RhoGrowth: 1.5})
			for range 2 {
				_, err := st.Update()
				require.NoError(t, err)
			}
			require.InEpsilon(t, want, st.Rho(), 1e-12, mode)
			require.Equal(t, []float64{st.Rho(), st.Rho()}, st.Rhos())
		}
	})
}

// Each layer's rho goes its own way: doubled where W is far from Z, halved where Z jumps about, and kept in between or at the end.
// The dual variable rho U stays what it was.
func TestBalance(t *testing.T) {
	run(t, func(s *torch.Session) {
		weight := func(v ...float32) torch.Tensor { return s.FromFloat32(v, 1, int64(len(v))) }
		layers := []admm.Layer{
			{Name: "far", Weight: weight(1, 2, 3, 4), Ratio: 0.5},
			{Name: "jumps", Weight: weight(0, 0, 3, 4), Ratio: 0.5},
			{Name: "between", Weight: weight(1, 1, 3, 4), Ratio: 0.5},
		}
		st := admm.New(s, layers, admm.Options{Type: admm.Irregular, Rho: 0.5, RhoMode: admm.Balance})
		_, zu := st.Tensors()
		for i := range layers { // U, so that its scaling shows; it is in the direction of W and changes no choice
			zu[2*i+1].Fill_(0.125)
		}
		// Z goes from (0, 0, 3, 4) to W's new half: ||W - Z|| is 0.1, rho ||Z - Z before|| is 0.5 * 7.1.
		layers[1].Weight.Copy_(weight(3.125, 4.125, 0, 0.1))
		layers[2].Weight.Copy_(weight(1, 1, 5, 4)) // ||W - Z|| = 1.4 and 0.5 * 2 are within a factor of ten
		zu[0].Copy_(weight(0, 0, 3.125, 4.125))
		now, err := st.Update()
		require.NoError(t, err)
		require.InDelta(t, 0, now[0].Dual, 1e-7, "its dual residual is zero, and its primal one is not")
		require.Greater(t, now[1].Dual*0.5, 10*now[1].Primal)
		rhos := st.Rhos()
		require.Equal(t, []float64{1, 0.25, 0.5}, rhos)
		require.Equal(t, 1.0, st.Rho(), "the largest")
		for i, l := range layers {
			// U + W - Z at the old rho, times old over new.
			want := values(t, l.Weight.Sub(zu[2*i]).AddScalar(0.125).MulScalar(0.5/rhos[i]))
			require.InDeltaSlice(t, want, values(t, zu[2*i+1]), 1e-6, l.Name)
		}
	})
}

func TestBalanceKeepsWhatHasConverged(t *testing.T) {
	run(t, func(s *torch.Session) {
		w := s.FromFloat32([]float32{0.001, 0, 3, 4}, 1, 4) // 0.02 % of its norm away from Z, which does not move at all
		st := admm.New(s, []admm.Layer{{Name: "w", Weight: w, Ratio: 0.5}}, admm.Options{Type: admm.Irregular, Rho: 0.5, RhoMode: admm.Balance})
		r, err := st.Update()
		require.NoError(t, err)
		require.Zero(t, r[0].Dual)
		require.Positive(t, r[0].Primal)
		require.Equal(t, 0.5, st.Rho())
	})
}

// A state with a rho for each layer is restored with them.
func TestRestoreRhos(t *testing.T) {
	run(t, func(s *torch.Session) {
		layers := someLayers(s)
		o := admm.Options{Type: admm.Irregular, Rho: 1e-3, RhoMode: admm.Balance}
		a := admm.New(s, layers, o)
		a.SetRhos([]float64{0.3, 0.7})
		require.Equal(t, []float64{0.3, 0.7}, a.Rhos())
		a.Rhos()[0] = 9
		require.Equal(t, 0.7, a.Rho(), "Rhos is a copy")
		change(s, layers, 1)
		_, err := a.Update()
		require.NoError(t, err)
		b := admm.New(s, layers, o)
		_, from := a.Tensors()
		_, to := b.Tensors()
		for i := range to {
			to[i].Copy_(from[i])
		}
		b.SetRhos(a.Rhos())
		change(s, layers, 2)
		ga, gb := []torch.Tensor{s.Zeros(8, 4, 3, 3), s.Zeros(10, 72)}, []torch.Tensor{s.Zeros(8, 4, 3, 3), s.Zeros(10, 72)}
		a.AddGrad(ga)
		b.AddGrad(gb)
		for i := range ga {
			require.Equal(t, values(t, ga[i]), values(t, gb[i]))
		}
		ra, err := a.Update()
		require.NoError(t, err)
		rb, err := b.Update()
		require.NoError(t, err)
		require.Equal(t, ra, rb)
		require.Equal(t, a.Rhos(), b.Rhos())
	})
}

// Measure finds what an update would, and changes nothing.
func TestMeasure(t *testing.T) {
	run(t, func(s *torch.Session) {
		layers := someLayers(s)
		st := admm.New(s, layers, admm.Options{Type: admm.Irregular, Rho: 1, RhoGrowth: 1.3})
		change(s, layers, 1)
		_, err := st.Update()
		require.NoError(t, err)
		change(s, layers, 2)
		_, zu := st.Tensors()
		var before [][]float32
		for _, x := range zu {
			before = append(before, values(t, x))
		}
		live := s.Live()
		measured, err := st.Measure()
		require.NoError(t, err)
		require.Equal(t, live, s.Live())
		require.Equal(t, 1.3, st.Rho())
		for i, x := range zu {
			require.Equal(t, before[i], values(t, x))
		}
		updated, err := st.Update()
		require.NoError(t, err)
		require.Equal(t, updated, measured)
		for i, r := range measured {
			require.Positive(t, r.Dual)
			w := values(t, layers[i].Weight)
			whole, cut := 0.0, distance(w, values(t, admm.Mask(layers[i].Weight, admm.Irregular, layers[i].Ratio)))
			for _, v := range w {
				whole += float64(v) * float64(v)
			}
			require.InEpsilon(t, cut/whole, r.Energy, 1e-5, "the energy that pruning W now would cut")
		}
	})
}
