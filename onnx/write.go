package onnx

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	torch "rapt/cgo"
)

// Model is a network to be written. A batch's size is left open.
type Model struct {
	Name, Version string            // of the model and of the program that writes it
	Metadata      map[string]string // kept in the file
	Steps         []torch.Step
	Images        torch.Tensor            // [1, ...]: the input, as it was given to the first step
	Logits        torch.Tensor            // [1, ...]: the output
	Names         map[torch.Tensor]string // float32; what steps use beside each other's outputs
	Codes         map[string]Codes        // of those that are quantised, by their names: the file holds a byte a weight of them
}

// Write gives the file's bytes. The input is called images and the output logits.
func Write(m Model) ([]byte, error) {
	w := &writer{quantised: m.Codes, names: map[torch.Tensor]string{m.Images: "images"}, taken: map[string]bool{"images": true, "logits": true}}
	for _, step := range m.Steps {
		if err := w.step(step, step.Out == m.Logits, m.Names); err != nil {
			return nil, err
		}
	}
	if w.names[m.Logits] != "logits" {
		return nil, fmt.Errorf("the logits are made by an operation that cannot be written as ONNX")
	}
	w.graph.text(2, m.Name)
	w.graph.bytes(11, value("images", m.Images.Shape()))
	w.graph.bytes(12, value("logits", m.Logits.Shape()))
	var out, set message
	out.number(1, irVersion)
	out.text(2, "rapt")
	out.text(3, m.Version)
	out.bytes(7, w.graph)
	set.text(1, "")
	set.number(2, opset)
	out.bytes(8, set)
	for _, key := range slices.Sorted(maps.Keys(m.Metadata)) {
		var entry message
		entry.text(1, key)
		entry.text(2, m.Metadata[key])
		out.bytes(14, entry)
	}
	return out, nil
}

// writer turns steps into nodes.
type writer struct {
	graph     message
	quantised map[string]Codes
	names     map[torch.Tensor]string
	taken     map[string]bool
	made      int
}

// step adds the nodes of one operation.
func (w *writer) step(step torch.Step, last bool, values map[torch.Tensor]string) error {
	form, ok := forms[step.Op]
	if !ok {
		return fmt.Errorf("the network uses %s, which cannot be written as ONNX", step.Op)
	}
	var in []string
	for _, t := range step.In {
		if t == (torch.Tensor{}) {
			continue // an absent bias, the last input
		}
		name, err := w.named(t, values)
		if err != nil {
			return fmt.Errorf("an input of %s: %w", step.Op, err)
		}
		in = append(in, name)
	}
	nodes, err := form(w, step)
	if err != nil {
		return err
	}
	for i, n := range nodes {
		out := w.fresh(n.op)
		if last && i == len(nodes)-1 {
			out = "logits"
		}
		w.graph.bytes(1, node(n.op, append(in, n.more...), out, n.attributes...))
		in = []string{out}
	}
	w.names[step.Out] = in[0]
	return nil
}

// named is the name of a tensor that a step made or, taken into the file where it is used first, of a value.
func (w *writer) named(t torch.Tensor, values map[torch.Tensor]string) (string, error) {
	if name, ok := w.names[t]; ok {
		return name, nil
	}
	name, ok := values[t]
	if !ok {
		return "", fmt.Errorf("it was made by an operation that cannot be written as ONNX")
	}
	if codes, ok := w.quantised[name]; ok {
		w.codes(name, t, codes)
	} else {
		data, err := t.Detach().Bytes()
		if err != nil {
			return "", err
		}
		w.graph.bytes(5, tensor(name, typeFloat, t.Shape(), data))
	}
	w.names[t], w.taken[name] = name, true
	return name, nil
}

// constant is a list of whole numbers that a node reads.
func (w *writer) constant(v ...int64) string {
	name := w.fresh("sizes")
	w.graph.bytes(5, tensor(name, typeInt64, []int64{int64(len(v))}, int64s(v)))
	return name
}

// number is a float32 that a node reads.
func (w *writer) number(v float64) string {
	name := w.fresh("number")
	w.graph.bytes(5, tensor(name, typeFloat, nil, binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v)))))
	return name
}

// fresh is a name that nothing has.
func (w *writer) fresh(what string) string {
	for {
		w.made++
		if name := what + "_" + strconv.Itoa(w.made); !w.taken[name] {
			w.taken[name] = true
			return name
		}
	}
}
