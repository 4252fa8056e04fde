// Package models holds the networks, by the original's names and with PyTorch's state-dict names.
package models

import (
	"strings"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// Spec names a network.
type Spec struct {
	Arch      string    // one of Names, or Custom
	Width     int       // the width multiplier w, for networks that have one; 0 means 1
	Init      string    // one of nn.Inits; empty means default
	Classes   int       // at least 2
	Input     [3]int64  // [C, H, W] of one image; zero means the architecture's usual
	Graph     string    // of a custom network: its Graph's Text
	Mean, Std []float64 // per channel: the network sees (pixels - Mean) / Std; empty means the pixels as they are

	// Channels that are left of a layer, by its name, where some were taken out: see Compact. The others have theirs.
	Channels map[string]int64
}

// Model is a network with its state dict at hand.
type Model struct {
	nn.Module
	Spec  Spec
	Input [3]int64   // [C, H, W] of one image, pixels in [0, 1]
	State []nn.Entry // PyTorch's names and order

	ChannelsLast bool // the convolutions' weights are laid out so; images should be too

	mean, std torch.Tensor // [1, C, 1, 1]; absent where pixels are not normalised
}

// New builds a network in session s. Its parameters come from g, and live as long as s.
// A nil g leaves them zero, for a network that is about to be loaded or bound.
func New(s *torch.Session, sp Spec, g *torch.Generator) (*Model, error) {
	a, err := find(&sp)
	if err != nil {
		return nil, err
	}
	m := &Model{Spec: sp, Input: sp.Input}
	if len(sp.Channels) == 0 {
		m.Module = a.make(s, sp)
	} else if err := m.narrow(s, a.make); err != nil {
		return nil, err
	}
	m.State = nn.StateDict(m.Module)
	if len(sp.Mean) > 0 {
		m.mean, m.std = perChannel(s, sp.Mean), perChannel(s, sp.Std)
	}
	if g != nil {
		if err := nn.Init(m.Module, sp.Init, g); err != nil {
			return nil, err
		}
	}
	return m, s.Err()
}

// free frees the network's tensors, which its session would keep.
func (m *Model) free() {
	s := m.State[0].Tensor.Session()
	for _, e := range m.State {
		s.Free(*e.Tensor)
	}
	s.Free(m.mean, m.std)
}

func perChannel(s *torch.Session, v []float64) torch.Tensor {
	t := s.Scope(func() torch.Tensor { return s.FromFloat64(v, 1, int64(len(v)), 1, 1).To(torch.Float32) })
	s.Keep(t)
	return t
}

// Forward maps images [N, C, H, W], pixels in [0, 1], to logits [N, classes]. It normalises them first where the spec says so, so that
// gradients and an attack's epsilon are those of pixels.
func (m *Model) Forward(x torch.Tensor, mode nn.Mode) torch.Tensor {
	if m.mean != (torch.Tensor{}) {
		x = x.Sub(m.mean).Div(m.std)
	}
	return m.Module.Forward(x, mode)
}

// Parameters counts the trained numbers.
func (m *Model) Parameters() int64 {
	var n int64
	for _, p := range nn.Parameters(m.State) {
		n += p.Numel()
	}
	return n
}

// ResetBuffers puts running statistics back to where they start: mean 0, variance 1.
func (m *Model) ResetBuffers() {
	for _, e := range m.State {
		switch {
		case !e.Buffer:
		case strings.HasSuffix(e.Name, "running_var"):
			e.Tensor.Fill_(1)
		default:
			e.Tensor.Fill_(0)
		}
	}
}

// ToChannelsLast lays the convolutions' weights out with their channels innermost. Shapes and values stay.
func (m *Model) ToChannelsLast() {
	m.ChannelsLast = true
	for _, e := range m.State {
		if e.Buffer || e.Tensor.Dim() != 4 {
			continue
		}
		old, s := *e.Tensor, e.Tensor.Session()
		w := s.Scope(func() torch.Tensor { return old.Detach().ChannelsLast().Detach() })
		s.Keep(w.RequiresGrad_(true))
		s.Free(old)
		*e.Tensor = w
	}
}

// Replica builds the same network in another session of the same device: its parameters are m's own storage, so an
// update of m is seen at once; its buffers are copies. The replica's gradients are its own.
func (m *Model) Replica(s *torch.Session) (*Model, error) {
	r, err := New(s, m.Spec, nil)
	if err != nil {
		return nil, err
	}
	for i := range r.State {
		src := s.Borrow(*m.State[i].Tensor)
		if r.State[i].Buffer {
			r.State[i].Tensor.Copy_(src)
			continue
		}
		src.RequiresGrad_(true)
		s.Keep(src)
		s.Free(*r.State[i].Tensor)
		*r.State[i].Tensor = src
	}
	return r, s.Err()
}

// Twin builds the same network in a session of any device, with parameters and buffers of its own, laid out as m's are. Its parameters are
// zero, to be copied from m's.
func (m *Model) Twin(s *torch.Session) (*Model, error) {
	t, err := New(s, m.Spec, nil)
	if err != nil {
		return nil, err
	}
	if m.ChannelsLast {
		t.ToChannelsLast()
	}
	return t, s.Err()
}
