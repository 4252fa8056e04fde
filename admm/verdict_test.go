package admm

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// history is a layer's course: at the end of each of the epochs its relative residuals, its energy and its rho.
func history(epochs []int, primal, dual, energy, rho []float64) (out []Iteration) {
	for i, e := range epochs {
		out = append(out, Iteration{Epoch: e, Rhos: []float64{rho[i]}, Residuals: []Residual{{Name: "fc1.weight", PrimalRel: primal[i], DualRel: dual[i], Energy: energy[i]}}})
	}
	return out
}

func flat(v float64) []float64 { return []float64{v, v, v} }

func TestVerdicts(t *testing.T) {
	epochs := []int{4, 8, 12}
	small := flat(0.001)
	for name, c := range map[string]struct {
		history []Iteration
		mode    RhoMode
		want    string
	}{
		"converged":                  {history(epochs, flat(0.01), flat(0.01), flat(0.5), flat(1)), Growth, ""},
		"was not, and is":            {history(epochs, []float64{0.5, 0.1, 0.009}, small, small, flat(1)), Growth, ""},
		"nears":                      {history(epochs, []float64{0.16, 0.08, 0.04}, small, small, flat(1)), Growth, "W is still 4 % of its norm away from Z, and nears it: about 8 more admm.epochs at the present rate"},
		"nears too slowly":           {history(epochs, []float64{0.41, 0.405, 0.4}, small, flat(0.05), flat(1)), Growth, "W stays 40 % of its norm away from Z: raise admm.rho about 50 times, or set admm.rho_mode to balance"},
		"stays":                      {history(epochs, flat(0.045), small, small, flat(1)), Fixed, "W stays 4.5 % of its norm away from Z: raise admm.rho about 5 times, or set admm.rho_mode to balance"},
		"stays, balanced":            {history(epochs, flat(0.02), small, small, flat(1)), Balance, "W stays 2 % of its norm away from Z with rho in balance: lower admm.lr"},
		"stays, still balancing":     {history(epochs, flat(0.02), small, small, []float64{1, 2, 4}), Balance, "W stays 2 % of its norm away from Z: raise admm.rho about 2 times, or give more admm.epochs or a smaller admm.update_every than 4, as balancing has not ended"},
		"goes away":                  {history(epochs, []float64{0.1, 0.5, 2}, small, small, flat(1)), Growth, "W stays 200 % of its norm away from Z: raise admm.rho about 100 times, or set admm.rho_mode to balance"},
		"energy stays":               {history(epochs, flat(0.5), small, flat(0.25), []float64{1, 1.5, 2.25}), Growth, "pruning now would cost 25 % of its energy, no less than before rho grew 2.25 times: it needs a lower ratio"},
		"energy stays, so does rho":  {history(epochs, flat(0.5), small, flat(0.25), flat(1)), Growth, "W stays 50 % of its norm away from Z: raise admm.rho about 50 times, or set admm.rho_mode to balance"},
		"energy falls":               {history(epochs, flat(0.5), small, []float64{0.5, 0.4, 0.3}, []float64{1, 2, 4}), Growth, "W stays 50 % of its norm away from Z: raise admm.rho about 50 times, or set admm.rho_mode to balance"},
		"Z changes":                  {history(epochs, flat(0.005), flat(0.03), small, flat(1)), Growth, "Z still changes by 3 % of W's norm: lower admm.rho, or raise admm.update_every above 4"},
		"Z changes, balanced":        {history(epochs, flat(0.005), flat(0.03), small, flat(1)), Balance, "Z still changes by 3 % of W's norm: raise admm.update_every above 4"},
		"Z changes ever less":        {history(epochs, flat(0.005), []float64{0.32, 0.16, 0.08}, small, flat(1)), Growth, "Z still changes by 8 % of W's norm, ever less: about 12 more admm.epochs at the present rate"},
		"Z changes much more than W": {history(epochs, flat(0.02), flat(0.5), small, flat(1)), Growth, "Z still changes by 50 % of W's norm: lower admm.rho, or raise admm.update_every above 4"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Judge(c.history, Course{Section: "admm", Epochs: 12, Updates: 3, UpdateEvery: 4, RhoMode: c.mode})
			last := c.history[2].Residuals[0]
			require.Equal(t, []Verdict{{"fc1.weight", c.want == "", last.PrimalRel, last.DualRel, last.Energy, c.want}}, got)
		})
	}
}

func TestVerdictsOfShortStages(t *testing.T) {
	once := history([]int{3}, []float64{0.3}, []float64{0.1}, []float64{0.1}, []float64{1})
	none := Judge(once, Course{Section: "quantize_admm", Epochs: 3, UpdateEvery: 4})
	require.Equal(t, "Z and U were never updated: quantize_admm.epochs has to reach quantize_admm.update_every, which is 4", none[0].Advice)
	one := Judge(once, Course{Section: "admm", Epochs: 3, Updates: 1, UpdateEvery: 3})
	require.Equal(t, "one update does not show where it goes: more admm.epochs, or a smaller admm.update_every than 3", one[0].Advice)
	each := Judge(once, Course{Section: "admm", Epochs: 1, Updates: 1, UpdateEvery: 1})
	require.Equal(t, "one update does not show where it goes: more admm.epochs", each[0].Advice, "there is nothing below 1")
	require.Empty(t, Judge(nil, Course{}))
	stays := history([]int{1, 2, 3}, flat(0.5), flat(0), flat(0.25), []float64{1, 2, 4})
	bits := Judge(stays, Course{Section: "quantize_admm", Epochs: 3, Updates: 3, UpdateEvery: 1, Quantises: true})
	require.Equal(t, "quantising now would cost 25 % of its energy, no less than before rho grew 4 times: it needs more bits", bits[0].Advice)
}

// The number of epochs advised is where the same rate leads to 1 %.
func TestMoreEpochs(t *testing.T) {
	for _, c := range []struct {
		t      trend
		epochs int
		want   int
	}{{trend{0.16, 0.04, 4}, 100, 4}, {trend{0.04, 0.02, 1}, 1, 1}, {trend{0.5, 0.4, 2}, 10, 34}, {trend{0.5, 0.4, 2}, 8, 0}, {trend{0.1, 0.1, 2}, 100, 0},
		{trend{0.1, 0.2, 2}, 100, 0}, {trend{0, 0.2, 2}, 100, 0}, {trend{0.2, 0.1, 0}, 100, 0}} {
		n, ok := c.t.more(Course{Epochs: c.epochs})
		require.Equal(t, c.want, n, c)
		require.Equal(t, c.want > 0, ok)
		if ok {
			at := func(n int) float64 { return c.t.last * math.Pow(c.t.change(), float64(n)/float64(c.t.epochs)) }
			require.LessOrEqual(t, at(n), converged*(1+1e-9))
			require.Greater(t, at(n-1), converged)
		}
	}
}

// A checkpoint keeps the history as JSON: every bit of it has to come back.
func TestHistoryAsJSON(t *testing.T) {
	want := []Iteration{{Epoch: 3, Rhos: []float64{0.1 * 1.3, 1. / 3}, Residuals: []Residual{{"a", 1. / 3, 1. / 7, 1e-9, 1. / 11, 0.1 + 0.2}, {Name: "b"}}}}
	b, err := json.Marshal(want)
	require.NoError(t, err)
	var got []Iteration
	require.NoError(t, json.Unmarshal(b, &got))
	require.Equal(t, want, got)
}

func TestBalanced(t *testing.T) {
	for _, c := range []struct{ primal, dual, want float64 }{{1, 0, 4}, {10.1, 0.5, 4}, {9.9, 0.5, 2}, {1, 4.9, 2}, {1, 5.1, 1}, {0, 1, 1}, {0.005, 0, 2}} {
		require.Equal(t, c.want, balanced(2, Residual{Primal: c.primal, PrimalRel: c.primal, Dual: c.dual, DualRel: c.dual}), c)
	}
}
