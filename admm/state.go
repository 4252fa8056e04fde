package admm

import (
	"fmt"
	"slices"

	torch "rapt/cgo"
)

// Layer is one weight that is pruned or quantised.
type Layer struct {
	Name   string       // its state-dict name
	Weight torch.Tensor // the trained parameter itself; State reads it and never writes it
	Ratio  float64      // the fraction removed, in [0, 1)
	Group  int          // for CoupledFilter: layers of one number are pruned together, and have one ratio; 0 is alone
	Quant  *Quant       // quantised instead of pruned
	Mask   torch.Tensor // quantised: 0 for the weights that were pruned before and stay zero; absent where none were
}

// Options of the method.
type Options struct {
	Type      Type
	Rho       float64 // the penalty's weight before the first update
	RhoMode   RhoMode // Growth where it is empty
	RhoGrowth float64 // Growth alone: rho is multiplied by it at every update; 1 keeps it
	// Patterns are what Pattern's kernels share, as SelectPatterns gives them, and live as long as the State. Absent, they are chosen
	// from the layers' weights.
	Patterns torch.Tensor
}

// State is the method between two updates: for each weight W the pruned copy Z and the scaled dual variable U.
type State struct {
	s        *torch.Session
	typ      Type
	mode     RhoMode
	growth   float64
	layers   []Layer
	groups   [][]int   // the places of layers that are projected together
	rhos     []float64 // one for each layer; all equal but for Balance
	w, z, u  []torch.Tensor
	patterns torch.Tensor // of Pattern alone
}

// New starts with Z = Project(W) and U = 0, which, as the patterns that it selects, belong to the innermost scope of s.
func New(s *torch.Session, layers []Layer, o Options) *State {
	st := &State{s: s, typ: o.Type, mode: o.RhoMode, growth: o.RhoGrowth, layers: layers, groups: groups(o.Type, layers), rhos: make([]float64, len(layers)), patterns: o.Patterns}
	if st.mode == "" {
		st.mode = Growth
	}
	st.SetRho(o.Rho)
	for _, l := range layers {
		st.w = append(st.w, l.Weight)
	}
	var pruned []torch.Tensor
	for _, l := range layers {
		if l.Quant == nil {
			pruned = append(pruned, l.Weight)
		}
	}
	if st.typ == Pattern && !st.patterns.Defined() && len(pruned) > 0 {
		st.patterns = SelectPatterns(pruned...)
	}
	st.z, st.u = make([]torch.Tensor, len(layers)), make([]torch.Tensor, len(layers))
	for _, g := range st.groups {
		for i, z := range st.project(g, pick(g, st.w)) {
			st.z[g[i]], st.u[g[i]] = z, z.ZerosLike()
		}
	}
	return st
}

// pick are a group's own of the layers' tensors.
func pick(group []int, all []torch.Tensor) []torch.Tensor {
	out := make([]torch.Tensor, len(group))
	for i, at := range group {
		out[i] = all[at]
	}
	return out
}

// project is what a group's Z are made of its W + U by.
func (st *State) project(group []int, xs []torch.Tensor) []torch.Tensor {
	l := st.layers[group[0]]
	if l.Quant != nil {
		return []torch.Tensor{ProjectLevels(xs[0], *l.Quant, l.Mask)}
	}
	return st.s.ScopeN(func() (out []torch.Tensor) {
		for i, mask := range masks(st.typ, l, xs, st.patterns) {
			out = append(out, keep(xs[i], func() torch.Tensor { return mask }))
		}
		return out
	})
}

// AddGrad adds the penalty's gradient, rho (W - Z + U), to grads, which are aligned with the layers.
func (st *State) AddGrad(grads []torch.Tensor) {
	st.s.ADMMGrad_(grads, st.w, st.z, st.u, st.rhos)
}

// Penalty is the sum of rho/2 ||W - Z + U||^2 over the layers, one element.
func (st *State) Penalty() torch.Tensor {
	return st.s.Scope(func() torch.Tensor {
		sum := st.s.Zeros()
		for i := range st.w {
			sum = sum.Add(st.w[i].Sub(st.z[i]).Add(st.u[i]).Square().Sum().MulScalar(st.rhos[i] / 2))
		}
		return sum
	})
}

// Residual says how far a layer is from having converged.
type Residual struct {
	Name      string  `json:"name"`
	Primal    float64 `json:"primal"`     // ||W - Z||
	PrimalRel float64 `json:"primal_rel"` // the same over ||W||
	Dual      float64 `json:"dual"`       // ||Z - Z before||, how much the choice still moves
	DualRel   float64 `json:"dual_rel"`   // the same over ||W||
	Energy    float64 `json:"energy"`     // ||W - Project(W)||^2 / ||W||^2: what pruning, or quantising, W now would take away
}

// Update ends an iteration (arXiv 1903.12561, Algorithm 1): rho grows, Z = Project(W + U), U = U + W - Z. With Balance rho moves last. The
// residuals of all layers are read from the device at once.
func (st *State) Update() ([]Residual, error) {
	if st.mode == Growth {
		st.SetRho(st.Rho() * st.growth)
	}
	now, err := st.measure(true)
	if err == nil && st.mode == Balance {
		st.balance(now)
	}
	return now, err
}

// Measure is what an update would find now, and changes nothing.
func (st *State) Measure() ([]Residual, error) { return st.measure(false) }

// measure takes the residuals of Z = Project(W + U), and moves Z and U there if it is told to.
func (st *State) measure(move bool) ([]Residual, error) {
	var norms []float32
	var err error
	st.s.NoGrad(func() {
		st.s.Do(func() {
			var all []torch.Tensor
			for _, g := range st.groups {
				all = append(all, st.s.ScopeN(func() []torch.Tensor { return st.group(g, move) })...)
			}
			if len(all) > 0 {
				norms, err = st.s.Cat(0, all...).Float32s()
			}
		})
	})
	if err != nil {
		return nil, fmt.Errorf("ADMM update: %w", err)
	}
	out := make([]Residual, len(st.layers))
	for at, i := range slices.Concat(st.groups...) {
		primal, dual, cut, size := float64(norms[4*at]), float64(norms[4*at+1]), float64(norms[4*at+2]), float64(norms[4*at+3])
		out[i] = Residual{Name: st.layers[i].Name, Primal: primal, Dual: dual}
		if size > 0 {
			out[i].PrimalRel, out[i].DualRel, out[i].Energy = primal/size, dual/size, cut/size*(cut/size)
		}
	}
	return out, nil
}

// group is measure for one: of each layer the norms of W - Z, Z - Z before, W - Project(W) and W.
func (st *State) group(g []int, move bool) (out []torch.Tensor) {
	ws := pick(g, st.w)
	xs := make([]torch.Tensor, len(g))
	for i, w := range ws {
		xs[i] = w.Add(st.u[g[i]])
	}
	norm := func(t torch.Tensor) torch.Tensor { return t.Norm().Reshape(1) }
	zs, cut := st.project(g, xs), st.project(g, ws)
	for i, at := range g {
		w, z := ws[i], zs[i]
		gap := w.Sub(z)
		out = append(out, st.s.Cat(0, norm(gap), norm(z.Sub(st.z[at])), norm(w.Sub(cut[i])), norm(w)))
		if move {
			st.z[at].Copy_(z)
			st.u[at].Add_(gap, 1)
		}
	}
	return out
}

// Tensors are Z and U with their names in a checkpoint, z.conv1.weight and u.conv1.weight, and for Pattern the patterns. They are the
// state's own: Copy_ into them restores it, with SetRhos.
func (st *State) Tensors() (names []string, ts []torch.Tensor) {
	for i, l := range st.layers {
		names = append(names, "z."+l.Name, "u."+l.Name)
		ts = append(ts, st.z[i], st.u[i])
	}
	if st.patterns.Defined() {
		names, ts = append(names, "patterns"), append(ts, st.patterns)
	}
	return names, ts
}
