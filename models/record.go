package models

import (
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// Recording is what a model does with a batch, as operations on tensors that have names or come from earlier operations.
type Recording struct {
	Steps  []torch.Step
	Images torch.Tensor            // [1, C, H, W]
	Logits torch.Tensor            // [1, classes]
	Names  map[torch.Tensor]string // of the state dict, and of data.mean and data.std where pixels are normalised
	State  []torch.Named           // the same, in the state dict's order
}

// Record calls f with what m does in evaluation mode with one image. The recording's tensors are gone after it.
func Record(m *Model, f func(Recording) error) (err error) {
	s := m.State[0].Tensor.Session()
	s.NoGrad(func() {
		s.Do(func() {
			r := Recording{Images: s.Zeros(1, m.Input[0], m.Input[1], m.Input[2]), Names: map[torch.Tensor]string{}}
			r.Steps = s.Tape(func() { r.Logits = m.Forward(r.Images, nn.Eval) })
			for _, e := range m.State {
				r.State = append(r.State, torch.Named{Name: e.Name, Tensor: *e.Tensor, Buffer: e.Buffer})
			}
			if m.mean.Defined() {
				r.State = append(r.State, torch.Named{Name: "data.mean", Tensor: m.mean, Buffer: true}, torch.Named{Name: "data.std", Tensor: m.std, Buffer: true})
			}
			for _, e := range r.State {
				r.Names[e.Tensor] = e.Name
			}
			if err = s.Err(); err == nil {
				err = f(r)
			}
		})
	})
	return err
}
