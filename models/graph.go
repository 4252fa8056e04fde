package models

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// Custom is the architecture of a network that is given as a Graph.
const Custom = "custom"

// Graph is a network as operations. Each works on what earlier ones made of the images; the last one makes the logits.
type Graph struct {
	Input [3]int64 `json:"input"` // [C, H, W] of one image
	Nodes []Node   `json:"nodes"`
}

// Node is an operation of a Graph. Ops has them, with what Ints and Number say.
type Node struct {
	Op     string  `json:"op"`
	From   []int   `json:"from"`             // the nodes whose results it works on; Images is the images
	Layer  string  `json:"layer,omitempty"`  // of conv, linear and norm: the name in the state dict
	Weight []int64 `json:"weight,omitempty"` // of conv and linear: the shape, [out, in/groups, k, k] or [out, in]
	Bias   bool    `json:"bias,omitempty"`   // of the same
	Ints   []int64 `json:"ints,omitempty"`
	Number float64 `json:"number,omitempty"`

	Momentum float64 `json:"momentum,omitempty"` // of norm: the share of a batch's statistics in the running ones; 0 is 0.1
}

// Images stands in From for the network's input.
const Images = -1

// The limits of what is taken for a network.
const (
	mostNodes = 1 << 14
	mostSize  = 1 << 26 // numbers of an image in a node's result
)

// Text is the graph as a checkpoint's metadata hold it.
func (g *Graph) Text() string {
	b, _ := json.Marshal(g) // numbers and text alone
	return string(b)
}

// ParseGraph reads what Text wrote, and refuses what is no network.
func ParseGraph(text string) (*Graph, error) {
	g := &Graph{}
	d := json.NewDecoder(strings.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(g); err != nil {
		return nil, fmt.Errorf("the network's graph cannot be read: %w", err)
	}
	_, err := g.Classes()
	return g, err
}

// Classes is how many the network tells apart; an error where it is no network.
func (g *Graph) Classes() (int, error) {
	shapes, err := g.Shapes()
	if err != nil {
		return 0, err
	}
	last := shapes[len(shapes)-1]
	if len(last) != 1 || last[0] < 2 || last[0] > 1<<20 {
		return 0, fmt.Errorf("the network ends in numbers of the shape %v for an image, where a list of logits is needed, one for each of at least 2 classes", last)
	}
	names := map[string]bool{}
	for _, n := range g.Nodes {
		if n.Layer != "" && names[n.Layer] {
			return 0, fmt.Errorf("the network has two layers of the name %q", n.Layer)
		}
		names[n.Layer] = true
	}
	return int(last[0]), nil
}

// Shapes are those of the nodes' results for one image.
func (g *Graph) Shapes() (out [][]int64, err error) {
	if len(g.Nodes) == 0 || len(g.Nodes) > mostNodes {
		return nil, fmt.Errorf("the network has %d operations, where 1 to %d are taken", len(g.Nodes), mostNodes)
	}
	for _, d := range g.Input {
		if d < 1 || d > 1<<16 {
			return nil, fmt.Errorf("the network takes images of %v, where channels, height and width from 1 on are needed", g.Input)
		}
	}
	for range g.Nodes {
		shape, err := g.Next(out)
		if err != nil {
			return nil, err
		}
		out = append(out, shape)
	}
	return out, nil
}

// Next is the shape of the result that comes after those of these shapes.
func (g *Graph) Next(shapes [][]int64) ([]int64, error) {
	i := len(shapes)
	n := g.Nodes[i]
	op, ok := ops[n.Op]
	if !ok {
		return nil, fmt.Errorf("operation %d of the network is %.40q, which there is not", i, n.Op)
	}
	var in [][]int64
	for _, from := range n.From {
		if from < Images || from >= i {
			return nil, fmt.Errorf("operation %d of the network, %s, works on the result of operation %d", i, n.Op, from)
		}
		if from == Images {
			in = append(in, g.Input[:])
		} else {
			in = append(in, shapes[from])
		}
	}
	if len(in) == 0 || op.inputs > 0 && len(in) != op.inputs || len(n.Ints) < op.ints {
		return nil, fmt.Errorf("operation %d of the network, %s, lacks what it works on, or its settings", i, n.Op)
	}
	shape, err := op.shape(n, in)
	if err == nil {
		err = fits(shape)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", g.name(i), err)
	}
	return shape, nil
}

// name is what messages call a node.
func (g *Graph) name(i int) string {
	if n := g.Nodes[i]; n.Layer != "" {
		return fmt.Sprintf("%s (%s)", n.Layer, n.Op)
	}
	return fmt.Sprintf("operation %d of the network, %s", i, g.Nodes[i].Op)
}

func fits(shape []int64) error {
	size := int64(1)
	for _, d := range shape {
		if d < 1 || d > mostSize || size*d > mostSize {
			return fmt.Errorf("it would make numbers of the shape %v for an image", shape)
		}
		size *= d
	}
	return nil
}

// graphed is a Graph as a module.
type graphed struct {
	*Graph
	children []nn.Child
	layers   []nn.Module // by node; nil for an operation without weights
	uses     []int       // how many nodes work on a node's result; the last node's is the network's, too
	reader   []int       // the last of them
	shapes   [][]int64   // of the nodes' results, for an image
	done     []int       // by node: the one whose result it makes along with its own; -1 for one that is made along
}

// module makes the network in a session, with weights of zero.
func (g *Graph) module(s *torch.Session) nn.Module {
	shapes, _ := g.Shapes() // has been looked at
	m := &graphed{Graph: g, shapes: shapes, layers: make([]nn.Module, len(g.Nodes)), uses: make([]int, len(g.Nodes)), reader: make([]int, len(g.Nodes)), done: make([]int, len(g.Nodes))}
	for i, n := range g.Nodes {
		m.done[i] = i
		for _, from := range n.From {
			if from != Images {
				m.uses[from]++
				m.reader[from] = i
			}
		}
		switch n.Op {
		case "conv":
			groups := n.Ints[3]
			m.layers[i] = nn.Conv2d(s, n.Weight[1]*groups, n.Weight[0], n.Weight[2], torch.ConvOptions{Stride: n.Ints[0], Padding: n.Ints[1], Dilation: n.Ints[2], Groups: groups}, n.Bias)
		case "linear":
			m.layers[i] = nn.Linear(s, n.Weight[1], n.Weight[0], n.Bias)
		case "norm":
			norm := nn.BatchNorm2d(s, shapes[i][0])
			norm.Eps = n.Number
			if n.Momentum > 0 {
				norm.Momentum = n.Momentum
			}
			m.layers[i] = norm
		}
	}
	m.uses[len(m.uses)-1]++
	m.list()
	m.merge()
	return m
}

// list puts a batch norm right after the layer that it follows, and those that follow something else at the beginning: that is how package nn
// and Makers tell.
func (m *graphed) list() {
	var free, rest []nn.Child
	child := func(i int) nn.Child { return nn.Child{Name: m.Nodes[i].Layer, Module: m.layers[i]} }
	for i, n := range m.Nodes {
		switch n.Op {
		case "norm":
			if m.makerOf(i) < 0 {
				free = append(free, child(i))
			}
		case "conv", "linear":
			rest = append(rest, child(i))
			if next := m.only(i, "norm"); next >= 0 {
				rest = append(rest, child(next))
			}
		}
	}
	m.children = append(free, rest...)
}

// makerOf is the layer whose result the batch norm i is alone in reading, or -1.
func (m *graphed) makerOf(i int) int {
	from := m.Nodes[i].From[0]
	if from == Images || m.uses[from] != 1 || m.Nodes[from].Op != "conv" && m.Nodes[from].Op != "linear" {
		return -1
	}
	return from
}

// only is the node that alone works on i's result, if it is an op, or -1.
func (m *graphed) only(i int, op string) int {
	if m.uses[i] != 1 || i == len(m.Nodes)-1 || m.Nodes[m.reader[i]].Op != op {
		return -1
	}
	return m.reader[i]
}

// merge finds what is done at once: a convolution with its batch norm and ReLU, a linear layer, a sum or max pooling with ReLU.
func (m *graphed) merge() {
	take := func(i int, ops ...string) {
		for _, op := range ops {
			if next := m.only(m.done[i], op); next >= 0 {
				m.done[i], m.done[next] = next, -1
			}
		}
	}
	for i, n := range m.Nodes {
		if m.done[i] < 0 {
			continue
		}
		switch n.Op {
		case "conv":
			take(i, "norm", "relu")
			if m.done[i] == i || m.Nodes[m.done[i]].Op == "relu" && m.Nodes[m.Nodes[m.done[i]].From[0]].Op == "conv" {
				m.undo(i) // ReLU alone saves nothing here
			}
		case "linear", "maxpool":
			take(i, "relu")
		case "relu":
			take(i, "maxpool")
		case "add":
			if a, b := n.From[0], n.From[1]; a != Images && b != Images && slices.Equal(m.shapes[a], m.shapes[b]) {
				take(i, "relu")
			}
		}
	}
}

// undo has node i make its own result alone.
func (m *graphed) undo(i int) {
	if m.done[i] != i {
		m.done[m.done[i]], m.done[i] = m.done[i], i
	}
}

// Children implements nn.Module.
func (m *graphed) Children() []nn.Child { return m.children }

// Forward implements nn.Module.
func (m *graphed) Forward(x torch.Tensor, mode nn.Mode) torch.Tensor {
	made := make([]torch.Tensor, len(m.Nodes))
	for i, n := range m.Nodes {
		if m.done[i] < 0 {
			continue
		}
		if x.Session() == nil || x.Session().Err() != nil {
			return torch.Tensor{} // sizes are 0 then
		}
		in := make([]torch.Tensor, len(n.From))
		for k, from := range n.From {
			if in[k] = x; from != Images {
				in[k] = made[from]
			}
		}
		made[m.done[i]] = m.run(i, in, mode)
	}
	return made[len(made)-1]
}

// run is node i, with those that are done along with it.
func (m *graphed) run(i int, in []torch.Tensor, mode nn.Mode) torch.Tensor {
	n, last := m.Nodes[i], m.Nodes[m.done[i]]
	both := m.done[i] != i
	relu := both && last.Op == "relu"
	switch l := m.layers[i].(type) {
	case *nn.Conv2dModule:
		norm := m.done[i]
		if relu {
			norm = last.From[0]
		}
		if norm != i {
			return nn.ConvNorm(in[0], l, m.layers[norm].(*nn.BatchNormModule), mode, relu)
		}
		return l.Forward(in[0], mode)
	case *nn.LinearModule:
		if relu {
			return nn.LinearRelu(in[0], l, mode)
		}
		return l.Forward(in[0], mode)
	case *nn.BatchNormModule:
		return l.Forward(in[0], mode)
	}
	switch {
	case both && n.Op == "add":
		return in[0].AddRelu(in[1])
	case both && n.Op == "relu": // as well before the maximum as after it
		return in[0].MaxPool2dRelu(last.Ints[0], last.Ints[1], last.Ints[2])
	case both:
		return in[0].MaxPool2dRelu(n.Ints[0], n.Ints[1], n.Ints[2])
	}
	return ops[n.Op].run(n, in, mode)
}
