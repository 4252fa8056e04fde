// Package modelstest fills networks by the rule of the reference vectors, so that tests need no stored weights.
package modelstest

import (
	"fmt"
	"math"
	"strings"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
)

// inputStream is the rule's number for the input; a tensor's is its place in the state dict.
const inputStream = 1000

// uniform is u(t, i) in [-1, 1): the top 24 bits of splitmix64 of t and i.
func uniform(t, i uint64) float64 {
	z := (t<<32 + i) + 0x9E3779B97F4A7C15
	z = (z ^ z>>30) * 0xBF58476D1CE4E5B9
	z = (z ^ z>>27) * 0x94D049BB133111EB
	z ^= z >> 31
	return float64(z>>40)/(1<<23) - 1
}

// Fill sets every tensor of m's state: biases 0.1u, running_mean 0.1u, running_var 1 + 0.5|u|, batch-norm weights
// 1 + 0.2u, num_batches_tracked 0, other weights u sqrt(6 / fan_in).
func Fill(s *torch.Session, m *models.Model) error {
	s.NoGrad(func() {
		s.Do(func() {
			for t, e := range m.State {
				value := rule(e)
				data := make([]float32, e.Tensor.Numel())
				for i := range data {
					data[i] = float32(value(uniform(uint64(t), uint64(i))))
				}
				e.Tensor.Copy_(s.FromFloat32(data, e.Tensor.Shape()...))
			}
		})
	})
	if err := s.Err(); err != nil {
		return fmt.Errorf("filling %s: %w", m.Spec.Arch, err)
	}
	return nil
}

func rule(e nn.Entry) func(u float64) float64 {
	switch name := e.Name[strings.LastIndexByte(e.Name, '.')+1:]; {
	case name == "num_batches_tracked":
		return func(float64) float64 { return 0 }
	case name == "running_var":
		return func(u float64) float64 { return 1 + 0.5*math.Abs(u) }
	case name == "running_mean" || name == "bias":
		return func(u float64) float64 { return 0.1 * u }
	case e.Kind == nn.Norm:
		return func(u float64) float64 { return 1 + 0.2*u }
	}
	fanIn := float64(e.Tensor.Numel() / e.Tensor.Size(0))
	return func(u float64) float64 { return u * math.Sqrt(6/fanIn) }
}

// Input is the rule's batch of n images for m, in [0, 1).
func Input(s *torch.Session, m *models.Model, n int64) torch.Tensor {
	shape := append([]int64{n}, m.Input[:]...)
	data := make([]float32, n*shape[1]*shape[2]*shape[3])
	for i := range data {
		data[i] = float32((uniform(inputStream, uint64(i)) + 1) / 2)
	}
	return s.FromFloat32(data, shape...)
}
