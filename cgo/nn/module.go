// Package nn holds the layers of a network, over package torch.
//
// A network is a Module with named children. Its state dict has PyTorch's names and order. Whether it trains or
// is evaluated is an argument of Forward, not a state of the module: an attack inside a training step evaluates.
package nn

import torch "rapt/cgo"

// Mode is how Forward runs.
type Mode struct {
	Train     bool             // batch statistics in batch norm (and their running averages moved), dropout active
	Generator *torch.Generator // for dropout; needed only where a network has it
	Folded    Folded           // weights made ready for many calls; in evaluation only
	Trace     *Trace           // where convolutions and linear layers note what they would do, and compute nothing; nil: nowhere
}

// Eval is evaluation mode.
var Eval = Mode{}

// Module is a layer or a network.
type Module interface {
	Forward(x torch.Tensor, m Mode) torch.Tensor
	// Children are the parts, in the order of PyTorch's state dict; nil for a layer.
	Children() []Child
}

// Child is a part of a module under its name.
type Child struct {
	Name   string
	Module Module
}

// Kind tells layers apart where pruning and reports must.
type Kind int

// The kinds of layer that hold weights.
const (
	Conv Kind = iota
	Dense
	Norm
)

// Entry is one tensor of a state dict.
type Entry struct {
	Name   string        // PyTorch's, for example layer1.0.bn1.running_mean
	Tensor *torch.Tensor // the module's own field, so that it can be put in another's place
	Buffer bool          // not trained: running statistics
	Layer  string        // the layer's name, for example layer1.0.bn1
	Kind   Kind
}

// layer is a module that holds tensors itself.
type layer interface {
	Module
	kind() Kind
	entries() []Entry // names without the prefix
}

// StateDict lists a network's tensors with PyTorch's names, in PyTorch's order.
func StateDict(root Module) (out []Entry) {
	Walk(root, func(name string, m Module) {
		if l, ok := m.(layer); ok {
			for _, e := range l.entries() {
				e.Layer, e.Kind = name, l.kind()
				e.Name = join(name, e.Name)
				out = append(out, e)
			}
		}
	})
	return out
}

// Walk calls f for root and all its parts, each after the module that it is a part of, under its name in the state dict.
func Walk(root Module, f func(name string, m Module)) { visit(root, "", f) }

func visit(m Module, name string, f func(string, Module)) {
	f(name, m)
	for _, c := range m.Children() {
		visit(c.Module, join(name, c.Name), f)
	}
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// Parameters are the trained tensors of a state dict.
func Parameters(entries []Entry) []torch.Tensor {
	var out []torch.Tensor
	for _, e := range entries {
		if !e.Buffer {
			out = append(out, *e.Tensor)
		}
	}
	return out
}

// Buffers are the tensors of a state dict that are not trained.
func Buffers(entries []Entry) []torch.Tensor {
	var out []torch.Tensor
	for _, e := range entries {
		if e.Buffer {
			out = append(out, *e.Tensor)
		}
	}
	return out
}

// parameter makes a trained tensor of zeros that lives as long as its session.
func parameter(s *torch.Session, shape ...int64) torch.Tensor {
	t := filled(s, 0, torch.Float32, shape...).RequiresGrad_(true)
	s.Keep(t)
	return t
}

func buffer(s *torch.Session, v float64, d torch.DType, shape ...int64) torch.Tensor {
	t := filled(s, v, d, shape...)
	s.Keep(t)
	return t
}

// filled is a tensor of one value, which for shapes alone is stored once.
func filled(s *torch.Session, v float64, d torch.DType, shape ...int64) torch.Tensor {
	if s.ShapesOnly() {
		return s.Scope(func() torch.Tensor { return s.Full(v, d).Expand(shape...) })
	}
	return s.Full(v, d, shape...)
}
