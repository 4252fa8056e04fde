package admm

import (
	"fmt"
	"math"
)

// Iteration is what the residuals were after an epoch of the stage, at an update of Z and U or, at the stage's end, between two.
type Iteration struct {
	Epoch     int        `json:"epoch"` // epochs ended, from 1
	Rhos      []float64  `json:"rhos"`  // after it, aligned with Residuals
	Residuals []Residual `json:"residuals"`
}

// Course is what Judge has to know of a stage beside its last iterations.
type Course struct {
	Section     string // of the config, for the advice: admm
	Epochs      int    // of the stage
	Updates     int    // of Z and U in it
	UpdateEvery int    // epochs between two
	RhoMode     RhoMode
	Quantises   bool // instead of pruning
}

// Verdict says whether a layer has converged, and if not what may help.
type Verdict struct {
	Name      string
	Converged bool // both relative residuals are at most 1 %
	PrimalRel float64
	DualRel   float64
	Energy    float64
	Advice    string // one sentence; empty where the layer has converged
}

const (
	converged  = 0.01 // of ||W||
	muchEnergy = 0.1  // of a layer's; more is not a few small weights
	patience   = 4    // more epochs are advised up to so many times those that were given
)

func (r Residual) converged() bool { return r.PrimalRel <= converged && r.DualRel <= converged }

// Judge gives a verdict on each layer from the last iterations of an ADMM stage, oldest first, of which the last one is where the stage
// ended. The advice goes by how the residuals moved over them.
func Judge(history []Iteration, c Course) []Verdict {
	if len(history) == 0 {
		return nil
	}
	var out []Verdict
	for i, r := range history[len(history)-1].Residuals {
		v := Verdict{Name: r.Name, Converged: r.converged(), PrimalRel: r.PrimalRel, DualRel: r.DualRel, Energy: r.Energy}
		if !v.Converged {
			v.Advice = advise(history, i, c)
		}
		out = append(out, v)
	}
	return out
}

func advise(history []Iteration, layer int, c Course) string {
	r := history[len(history)-1].Residuals[layer]
	primal := course(history, func(it Iteration) float64 { return it.Residuals[layer].PrimalRel })
	dual := course(history, func(it Iteration) float64 { return it.Residuals[layer].DualRel })
	switch {
	case c.Updates == 0:
		return fmt.Sprintf("Z and U were never updated: %s.epochs has to reach %s.update_every, which is %d", c.Section, c.Section, c.UpdateEvery)
	case len(history) < 2:
		return fmt.Sprintf("one update does not show where it goes: more %s.epochs%s", c.Section, orSooner(c, ", or"))
	case r.PrimalRel <= converged || r.DualRel > balanceMu*r.PrimalRel:
		return adviseDual(r, dual, c)
	}
	if n, ok := primal.more(c); ok {
		return fmt.Sprintf("W is still %s of its norm away from Z, and nears it: about %d more %s.epochs at the present rate", percent(r.PrimalRel), n, c.Section)
	}
	energy := course(history, func(it Iteration) float64 { return it.Residuals[layer].Energy })
	rho := course(history, func(it Iteration) float64 { return it.Rhos[layer] })
	if r.Energy > muchEnergy && energy.change() > 0.9 && rho.change() >= balanceTau {
		does, easier := "pruning", "a lower ratio"
		if c.Quantises {
			does, easier = "quantising", "more bits"
		}
		return fmt.Sprintf("%s now would cost %s of its energy, no less than before rho grew %.3g times: it needs %s", does, percent(r.Energy), rho.change(), easier)
	}
	other := fmt.Sprintf("set %s.rho_mode to balance", c.Section)
	if c.RhoMode == Balance {
		if rho.change() <= 1 { // it would only be brought back
			return fmt.Sprintf("W stays %s of its norm away from Z with rho in balance: lower %s.lr", percent(r.PrimalRel), c.Section)
		}
		other = fmt.Sprintf("give more %s.epochs%s, as balancing has not ended", c.Section, orSooner(c, " or"))
	}
	return fmt.Sprintf("W stays %s of its norm away from Z: raise %s.rho about %d times, or %s", percent(r.PrimalRel), c.Section, raise(r.PrimalRel/converged), other)
}

// orSooner offers more frequent updates beside something else, where they are not in each epoch already.
func orSooner(c Course, or string) string {
	if c.UpdateEvery <= 1 {
		return ""
	}
	return fmt.Sprintf("%s a smaller %s.update_every than %d", or, c.Section, c.UpdateEvery)
}

func adviseDual(r Residual, dual trend, c Course) string {
	if n, ok := dual.more(c); ok {
		return fmt.Sprintf("Z still changes by %s of W's norm, ever less: about %d more %s.epochs at the present rate", percent(r.DualRel), n, c.Section)
	}
	help := fmt.Sprintf("lower %s.rho, or raise %s.update_every above %d", c.Section, c.Section, c.UpdateEvery)
	if c.RhoMode == Balance {
		help = fmt.Sprintf("raise %s.update_every above %d", c.Section, c.UpdateEvery)
	}
	return fmt.Sprintf("Z still changes by %s of W's norm: %s", percent(r.DualRel), help)
}

// trend is how a number moved from the first to the last of the iterations.
type trend struct {
	first, last float64
	epochs      int // between the two
}

func course(history []Iteration, of func(Iteration) float64) trend {
	first, last := history[0], history[len(history)-1]
	return trend{of(first), of(last), last.Epoch - first.Epoch}
}

// change is the last as a multiple of the first.
func (t trend) change() float64 {
	if t.first == 0 {
		return 1
	}
	return t.last / t.first
}

// more is how many epochs bring a residual to where it counts as converged, if it goes on to shrink by the same factor an epoch. It is
// not ok where it does not shrink, or would take longer than there is patience for.
func (t trend) more(c Course) (n int, ok bool) {
	if t.epochs <= 0 || t.change() >= 1 {
		return 0, false
	}
	need := math.Ceil(float64(t.epochs) * math.Log(converged/t.last) / math.Log(t.change()))
	if need > float64(patience*c.Epochs) {
		return 0, false
	}
	return max(1, int(need)), true
}

// raise rounds a factor up to one that is easy to type, and not so large that training may not bear it.
func raise(factor float64) int {
	for _, step := range []int{2, 5, 10, 20, 50} {
		if factor <= float64(step) {
			return step
		}
	}
	return 100
}

func percent(x float64) string { return fmt.Sprintf("%.3g %%", 100*x) }
