package torch

import "slices"

// Step is an operation as Tape notes it.
type Step struct {
	Op     string    // the method's name
	In     []Tensor  // in the method's order; an absent one is the zero Tensor
	Out    Tensor    // what it made
	Ints   []int64   // sizes, in the method's order
	Floats []float64 // numbers, in the method's order
}

// Tape notes the operations that networks in evaluation are made of while f runs: convolutions, linear layers, batch norms, pooling,
// activations, sums and products, and changes of shape. Of others nothing is noted, so that what they make comes from nowhere.
func (s *Session) Tape(f func()) []Step {
	var steps []Step
	defer func(before *[]Step) { s.tape = before }(s.tape)
	s.tape = &steps
	f()
	return steps
}

func (s *Session) note(step Step) { *s.tape = append(*s.tape, step) }

// noted notes, where there is a tape, an operation on t alone, and gives what it made.
func (t Tensor) noted(op string, out Tensor, ints ...int64) Tensor {
	if t.s != nil && t.s.tape != nil {
		t.s.note(Step{Op: op, In: []Tensor{t}, Out: out, Ints: slices.Clone(ints)})
	}
	return out
}
