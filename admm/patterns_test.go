package admm_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/admm"
	torch "rapt/cgo"
)

// All layers of a state share its patterns, which are restored with it.
func TestPatternsAreState(t *testing.T) {
	run(t, func(s *torch.Session) {
		g := s.NewGenerator(15)
		layers := []admm.Layer{{Name: "a", Weight: s.RandN(g, 8, 4, 3, 3), Ratio: 5. / 9}, {Name: "b", Weight: s.RandN(g, 16, 8, 3, 3), Ratio: 5. / 9}}
		o := admm.Options{Type: admm.Pattern, Rho: 1, RhoGrowth: 1}
		before := s.Live()
		one := admm.New(s, layers, o)
		require.Equal(t, before+5, s.Live(), "Z, U and the patterns")
		names, from := one.Tensors()
		require.Equal(t, []string{"z.a", "u.a", "z.b", "u.b", "patterns"}, names)
		require.Equal(t, values(t, admm.SelectPatterns(layers[0].Weight, layers[1].Weight)), values(t, from[4]))
		patterns := rowsOf(values(t, from[4]))
		check := func(masks []torch.Tensor) {
			for _, m := range masks {
				for _, kernel := range rowsOf(values(t, m)) {
					require.Contains(t, patterns, kernel)
				}
			}
		}
		check(admm.Masks(admm.Pattern, layers, from[4]))
		for seed := range uint64(5) {
			change(s, layers, seed) // the weights now propose others
		}
		_, err := one.Update()
		require.NoError(t, err)
		check(admm.Masks(admm.Pattern, layers, from[4]))
		require.Equal(t, patterns, rowsOf(values(t, from[4])), "an update keeps them")

		s.NoGrad(func() { layers[0].Weight.Scale_(-3); layers[1].Weight.Copy_(s.RandN(g, 16, 8, 3, 3)) })
		two := admm.New(s, layers, o)
		_, to := two.Tensors()
		require.NotEqual(t, patterns, rowsOf(values(t, to[4])))
		for i := range to {
			to[i].Copy_(from[i])
		}
		ra, err := one.Update()
		require.NoError(t, err)
		rb, err := two.Update()
		require.NoError(t, err)
		require.Equal(t, ra, rb)
		given := admm.New(s, layers, admm.Options{Type: admm.Pattern, Rho: 1, Patterns: from[4]})
		_, again := given.Tensors()
		check(admm.Masks(admm.Pattern, layers, again[4]))
	})
}

// Layers that are quantised in a network pruned by patterns have none, whatever their kernels.
func TestQuantisedLayersHaveNoPatterns(t *testing.T) {
	run(t, func(s *torch.Session) {
		layers := []admm.Layer{{Name: "fc", Weight: s.RandN(s.NewGenerator(1), 4, 8), Quant: &admm.Quant{Bits: 2}}}
		st := admm.New(s, layers, admm.Options{Type: admm.Pattern, Rho: 1, RhoGrowth: 1})
		names, _ := st.Tensors()
		require.Equal(t, []string{"z.fc", "u.fc"}, names)
		_, err := st.Update()
		require.NoError(t, err)
	})
}
