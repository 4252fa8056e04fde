package admm

import "slices"

// RhoMode says how the penalty's weight moves at an update.
type RhoMode string

// The modes.
const (
	Growth  RhoMode = "growth"  // all layers' rho times Options.RhoGrowth, before Z and U move; U stays, as in the original
	Fixed   RhoMode = "fixed"   // it stays
	Balance RhoMode = "balance" // each layer's own, by its residuals (Boyd et al., Distributed Optimization and Statistical Learning via ADMM, 2011, section 3.4.1)
)

// mu and tau of residual balancing, as Boyd et al. have them.
const (
	balanceMu  = 10
	balanceTau = 2
)

// balanced is the rho that keeps the primal residual ||W - Z|| and the dual one, rho ||Z - Z before||, within a factor of mu. A layer
// that has converged keeps its rho: its dual residual may be exactly zero, against which any primal one is large.
func balanced(rho float64, r Residual) float64 {
	dual := rho * r.Dual
	switch {
	case r.converged():
		return rho
	case r.Primal > balanceMu*dual:
		return rho * balanceTau
	case dual > balanceMu*r.Primal:
		return rho / balanceTau
	}
	return rho
}

// balance moves each layer's rho, and its scaled dual variable the other way: U is the dual variable over rho.
func (st *State) balance(now []Residual) {
	st.s.NoGrad(func() {
		for i, r := range now {
			if rho := balanced(st.rhos[i], r); rho != st.rhos[i] {
				st.u[i].Scale_(st.rhos[i] / rho)
				st.rhos[i] = rho
			}
		}
	})
}

// Rho is the penalty's weight now: of the layers' the largest, where they differ.
func (st *State) Rho() float64 {
	if len(st.rhos) == 0 {
		return 0
	}
	return slices.Max(st.rhos)
}

// Rhos are the penalty's weights now, aligned with the layers.
func (st *State) Rhos() []float64 { return slices.Clone(st.rhos) }

// SetRho gives every layer the same weight of the penalty.
func (st *State) SetRho(rho float64) {
	for i := range st.rhos {
		st.rhos[i] = rho
	}
}

// SetRhos gives each layer its own, as when a run is taken up again. U stays.
func (st *State) SetRhos(rhos []float64) { copy(st.rhos, rhos) }
