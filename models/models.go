// Package models holds the networks, by the original's names and with PyTorch's state-dict names.
package models

import (
	"fmt"
	"sort"
	"strings"

	"github.com/agnivade/levenshtein"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// Spec names a network.
type Spec struct {
	Arch    string // one of Names
	Width   int    // the width multiplier w, for networks that have one; 0 means 1
	Init    string // one of nn.Inits; empty means default
	Classes int
}

// Model is a network with its state dict at hand.
type Model struct {
	nn.Module
	Spec  Spec
	Input [3]int64   // [C, H, W] of one image, pixels in [0, 1]
	State []nn.Entry // PyTorch's names and order

	ChannelsLast bool // the convolutions' weights are laid out so; images should be too
}

type builder struct {
	input  [3]int64
	widths bool // takes a width multiplier
	make   func(s *torch.Session, sp Spec) nn.Module
}

var builders = map[string]builder{
	"lenet":     {[3]int64{1, 28, 28}, false, newLeNet},
	"lenet_bn":  {[3]int64{1, 28, 28}, false, newLeNetBN},
	"lenet_adv": {[3]int64{1, 28, 28}, true, newLeNetAdv},

	"resnet18_adv": {[3]int64{3, 32, 32}, true, newResNet18Adv},
}

// Names are the architectures, sorted.
func Names() []string {
	var out []string
	for name := range builders {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

// Check refuses a spec that New could not build.
func Check(sp Spec) error {
	b, ok := builders[sp.Arch]
	if !ok {
		return fmt.Errorf("unknown architecture %q%s: want one of %s", sp.Arch, nearest(sp.Arch), strings.Join(Names(), ", "))
	}
	if sp.Width < 0 || sp.Width > 1024 {
		return fmt.Errorf("width %d of %s is out of range: want 1 to 1024", sp.Width, sp.Arch)
	}
	if sp.Width > 1 && !b.widths {
		return fmt.Errorf("%s has no width multiplier: leave model.width out", sp.Arch)
	}
	if sp.Classes < 2 {
		return fmt.Errorf("%d classes are too few: want at least 2", sp.Classes)
	}
	return nil
}

func nearest(name string) string {
	for _, n := range Names() {
		if levenshtein.ComputeDistance(name, n) <= 2 {
			return fmt.Sprintf(" (did you mean %q?)", n)
		}
	}
	return ""
}

// InputOf is the [C, H, W] that an architecture takes.
func InputOf(arch string) [3]int64 { return builders[arch].input }

// New builds a network in session s. Its parameters come from g, and live as long as s.
// A nil g leaves them zero, for a network that is about to be loaded or bound.
func New(s *torch.Session, sp Spec, g *torch.Generator) (*Model, error) {
	if err := Check(sp); err != nil {
		return nil, err
	}
	sp.Width = max(sp.Width, 1)
	b := builders[sp.Arch]
	m := &Model{Module: b.make(s, sp), Spec: sp, Input: b.input}
	m.State = nn.StateDict(m.Module)
	if g != nil {
		if err := nn.Init(m.Module, sp.Init, g); err != nil {
			return nil, err
		}
	}
	return m, s.Err()
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
