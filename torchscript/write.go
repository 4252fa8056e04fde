// Package torchscript writes a network as a file that torch.jit.load reads: PyTorch in Python and in C++, without the network's class.
package torchscript

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	torch "rapt/cgo"
)

// Model is a network to be written. A batch's size is left open.
type Model struct {
	Metadata map[string]string // kept in the file, as the extra file metadata.json
	Steps    []torch.Step
	Images   torch.Tensor  // [1, ...]: the input, as it was given to the first step
	Logits   torch.Tensor  // [1, ...]: the output
	State    []torch.Named // what steps use beside each other's outputs, and whatever else is to be in the module's state dict
}

// Write gives the file's bytes. Its module computes what was recorded, whatever its mode: train() changes nothing.
func Write(s *torch.Session, m Model) ([]byte, error) {
	source, err := source(m)
	if err != nil {
		return nil, err
	}
	meta, err := json.Marshal(m.Metadata)
	if err != nil {
		return nil, err
	}
	return s.Script(source, m.State, string(meta))
}

// source is the method forward.
func source(m Model) (string, error) {
	w := &writer{values: map[torch.Tensor]string{m.Images: "images"}}
	for _, e := range m.State {
		if err := writable(e.Name); err != nil {
			return "", err
		}
		w.values[e.Tensor] = attribute(e.Name)
	}
	fmt.Fprintln(&w.text, "def forward(self, images: Tensor) -> Tensor:")
	for _, step := range m.Steps {
		if err := w.step(step); err != nil {
			return "", err
		}
	}
	logits, ok := w.values[m.Logits]
	if !ok {
		return "", fmt.Errorf("the logits are made by an operation that cannot be written as TorchScript")
	}
	fmt.Fprintf(&w.text, "  return %s\n", logits)
	return w.text.String(), nil
}

// reserved are names that Python and modules of PyTorch have for themselves.
var reserved = strings.Fields("forward training torch _c _modules _parameters _buffers _concrete_type _initializing " +
	"and as assert async await break class continue def del elif else except False finally for from global if import in is lambda None nonlocal not or pass " +
	"raise return True try while with yield")

// writable refuses names that TorchScript's text or PyTorch's modules have no place for.
func writable(name string) error {
	if strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return fmt.Errorf("the tensor %q cannot be written as TorchScript, whose names are of ASCII, without quotes and backslashes", name)
	}
	for part := range strings.SplitSeq(name, ".") {
		if slices.Contains(reserved, part) {
			return fmt.Errorf("the tensor %q cannot be written as TorchScript: %s is a name that Python or PyTorch's modules have for themselves", name, part)
		}
	}
	return nil
}

// attribute is a tensor of the module by its dotted name, whose parts need not be identifiers.
func attribute(name string) string {
	out := "self"
	for part := range strings.SplitSeq(name, ".") {
		out = fmt.Sprintf("getattr(%s, %s)", out, strconv.Quote(part))
	}
	return out
}

// writer turns steps into lines.
type writer struct {
	text   strings.Builder
	values map[torch.Tensor]string
	made   int
}

func (w *writer) step(step torch.Step) error {
	form, ok := forms[step.Op]
	if !ok {
		return fmt.Errorf("the network uses %s, which cannot be written as TorchScript", step.Op)
	}
	var in []string
	for _, t := range step.In {
		value, ok := w.values[t]
		if t == (torch.Tensor{}) {
			value, ok = "None", true // an absent bias
		}
		if !ok {
			return fmt.Errorf("an input of %s was made by an operation that cannot be written as TorchScript", step.Op)
		}
		in = append(in, value)
	}
	w.made++
	out := "x" + strconv.Itoa(w.made)
	fmt.Fprintf(&w.text, "  %s = %s\n", out, form(in, step))
	w.values[step.Out] = out
	return nil
}
