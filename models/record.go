package models

import (
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// Recording is what a model does with a batch, as operations on tensors that have names or come from earlier operations.
type Recording struct {
	Steps  []torch.Step
	Images torch.Tensor // [1, C, H, W]
	Logits torch.Tensor
	Values []Value // the state dict but for the counters, and data.mean and data.std where pixels are normalised
}

// Value is a tensor under its name.
type Value struct {
	Name   string
	Tensor torch.Tensor
}

// Record calls f with what m does in evaluation mode with one image. The recording's tensors are gone after it.
func Record(m *Model, f func(Recording) error) (err error) {
	s := m.State[0].Tensor.Session()
	s.NoGrad(func() {
		s.Do(func() {
			r := Recording{Images: s.Zeros(1, m.Input[0], m.Input[1], m.Input[2])}
			r.Steps = s.Tape(func() { r.Logits = m.Forward(r.Images, nn.Eval) })
			for _, e := range m.State {
				if e.Tensor.DType() == torch.Float32 {
					r.Values = append(r.Values, Value{e.Name, *e.Tensor})
				}
			}
			if m.mean.Defined() {
				r.Values = append(r.Values, Value{"data.mean", m.mean}, Value{"data.std", m.std})
			}
			if err = s.Err(); err == nil {
				err = f(r)
			}
		})
	})
	return err
}
