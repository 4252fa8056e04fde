package models

import (
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// Costs are what one image costs a network, going forward. Only convolutions and linear layers count.
type Costs struct {
	MACs        int64 // multiply-adds
	Activations int64 // numbers: the image, and what each layer makes
	Layers      []LayerCost
}

// LayerCost is one layer's part.
type LayerCost struct {
	Name    string  // conv1
	In, Out []int64 // shapes without the batch's dimension
	MACs    int64
}

// Cost sends one image of zeros through the model, in evaluation mode, and counts.
func Cost(m *Model) (Costs, error) {
	s := m.State[0].Tensor.Session()
	trace := &nn.Trace{}
	s.NoGrad(func() {
		s.Do(func() {
			m.Forward(s.Zeros(1, m.Input[0], m.Input[1], m.Input[2]), nn.Mode{Trace: trace})
		})
	})
	names := map[torch.Tensor]string{}
	for _, e := range m.State {
		names[*e.Tensor] = e.Layer
	}
	c := Costs{Activations: m.Input[0] * m.Input[1] * m.Input[2]}
	for _, l := range trace.Layers {
		one := LayerCost{Name: names[l.Weight], In: l.In[1:], Out: l.Out[1:], MACs: l.MACs}
		c.Layers = append(c.Layers, one)
		c.MACs += l.MACs
		c.Activations += count(one.Out)
	}
	return c, s.Err()
}

func count(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}
