package admm

import (
	"fmt"

	torch "rapt/cgo"
)

// Layer is one weight that is pruned or quantised.
type Layer struct {
	Name   string       // its state-dict name
	Weight torch.Tensor // the trained parameter itself; State reads it and never writes it
	Ratio  float64      // the fraction removed, in [0, 1)
	Quant  *Quant       // quantised instead of pruned
	Mask   torch.Tensor // quantised: 0 for the weights that were pruned before and stay zero; absent where none were
}

// Options of the method.
type Options struct {
	Type      Type
	Rho       float64 // the penalty's weight before the first update
	RhoGrowth float64 // rho is multiplied by it at every update; 1 keeps it
}

// State is the method between two updates: for each weight W the pruned copy Z and the scaled dual variable U.
type State struct {
	s       *torch.Session
	typ     Type
	growth  float64
	layers  []Layer
	rhos    []float64 // one for each layer, all equal
	w, z, u []torch.Tensor
}

// New starts with Z = Project(W) and U = 0. Z and U live as long as s.
func New(s *torch.Session, layers []Layer, o Options) *State {
	st := &State{s: s, typ: o.Type, growth: o.RhoGrowth, layers: layers, rhos: make([]float64, len(layers))}
	st.SetRho(o.Rho)
	for _, l := range layers {
		z, u := st.project(l, l.Weight), l.Weight.ZerosLike()
		s.Keep(z, u)
		st.w, st.z, st.u = append(st.w, l.Weight), append(st.z, z), append(st.u, u)
	}
	return st
}

// Rho is the penalty's weight now.
func (st *State) Rho() float64 {
	if len(st.rhos) == 0 {
		return 0
	}
	return st.rhos[0]
}

// SetRho changes the penalty's weight, as when a run is taken up again.
func (st *State) SetRho(rho float64) {
	for i := range st.rhos {
		st.rhos[i] = rho
	}
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
	Name              string
	Primal, PrimalRel float64 // ||W - Z||, what pruning W now would take away; the same over ||W||
	Dual, DualRel     float64 // ||Z - Z before||, how much the choice still moves; the same over ||W||
}

// Update ends an iteration (arXiv 1903.12561, Algorithm 1): rho grows, Z = Project(W + U), U = U + W - Z. The residuals
// of all layers are read from the device at once.
func (st *State) Update() ([]Residual, error) {
	st.SetRho(st.Rho() * st.growth)
	var norms []float32
	var err error
	st.s.NoGrad(func() {
		st.s.Do(func() {
			var all []torch.Tensor
			for i, w := range st.w {
				z := st.project(st.layers[i], w.Add(st.u[i]))
				gap := w.Sub(z)
				all = append(all, gap.Norm().Reshape(1), z.Sub(st.z[i]).Norm().Reshape(1), w.Norm().Reshape(1))
				st.z[i].Copy_(z)
				st.u[i].Add_(gap, 1)
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
	for i, l := range st.layers {
		primal, dual, size := float64(norms[3*i]), float64(norms[3*i+1]), float64(norms[3*i+2])
		out[i] = Residual{Name: l.Name, Primal: primal, Dual: dual}
		if size > 0 {
			out[i].PrimalRel, out[i].DualRel = primal/size, dual/size
		}
	}
	return out, nil
}

// Tensors are Z and U with their names in a checkpoint, z.conv1.weight and u.conv1.weight. They are the state's own:
// Copy_ into them restores it, with SetRho.
func (st *State) Tensors() (names []string, ts []torch.Tensor) {
	for i, l := range st.layers {
		names = append(names, "z."+l.Name, "u."+l.Name)
		ts = append(ts, st.z[i], st.u[i])
	}
	return names, ts
}

// Masks are those that pruning each W as it is now would apply, aligned with the layers, in the innermost scope.
func (st *State) Masks() []torch.Tensor {
	var out []torch.Tensor
	for i, w := range st.w {
		out = append(out, Mask(w, st.typ, st.layers[i].Ratio))
	}
	return out
}
