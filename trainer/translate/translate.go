// Package translate makes networks of rapt from ONNX models, operation by operation.
package translate

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"rapt/models"
	"rapt/onnx"
	"rapt/trainer/checkpoint"
)

// Network is what an ONNX model was found to be.
type Network struct {
	Graph     models.Graph
	Tensors   []checkpoint.Tensor // under names as PyTorch has them
	Mean, Std []float64           // of the images, where the model normalises them; else nil
	Notes     []string            // what was guessed, a sentence each
}

// ONNX reads a model.
func ONNX(path string) (*Network, error) {
	g, err := onnx.Read(path)
	if err != nil {
		return nil, err
	}
	t := &translation{from: g, at: map[string]int{g.Input: models.Images}, sizes: map[string][]int64{}, pairs: map[string][][2]int64{}, strides: map[string]strided{}, sequences: map[string]sequence{}, zeros: map[string]bool{}, weights: map[string]string{}, turned: map[string]string{}, linear: map[int]bool{}, noted: map[string]bool{}}
	if len(g.Shape) != 4 || slices.Contains(g.Shape[1:], 0) {
		return nil, fmt.Errorf("its input %s has the shape %v, where [N, channels, height, width] is needed, all but N fixed", g.Input, g.Shape)
	}
	copy(t.Graph.Input[:], g.Shape[1:])
	t.read = map[string]int{g.Output: 1}
	for _, n := range g.Nodes {
		for _, in := range n.In {
			t.read[in]++
		}
	}
	for _, n := range g.Nodes {
		if err := t.node(n); err != nil {
			return nil, fmt.Errorf("%s %s: %w", n.Op, cmp.Or(n.Name, n.Out[0]), err)
		}
	}
	return t.end()
}

// translation is a model on its way.
type translation struct {
	Network
	from      *onnx.Graph
	shapes    [][]int64             // of the nodes' results
	at        map[string]int        // the nodes that make the values
	sizes     map[string][]int64    // values that say a shape; 0 is the batch's size
	pairs     map[string][][2]int64 // the same, on the way through pad's exporter
	strides   map[string]strided
	sequences map[string]sequence
	zeros     map[string]bool   // tensors that are 0 over and over
	read      map[string]int    // by how many operations; being the output counts
	weights   map[string]string // the layers that tensors have been used for
	turned    map[string]string // transposed tensors, and the names that they had
	linear    map[int]bool      // linear layers from MatMul, which may get a bias yet
	noted     map[string]bool
}

// end checks the whole.
func (t *translation) end() (*Network, error) {
	last, ok := t.at[t.from.Output]
	if !ok || last == models.Images {
		return nil, fmt.Errorf("its output %s is made by none of its operations", t.from.Output)
	}
	t.leaveOut(last)
	if t.Mean != nil || t.Std != nil {
		t.note("the images are normalised, (pixels - mean) / std, as data.mean and data.std say; they are part of the network, and no tensors of it")
		for len(t.Mean) < len(t.Std) {
			t.Mean = append(t.Mean, 0)
		}
		for len(t.Std) < len(t.Mean) {
			t.Std = append(t.Std, 1)
		}
	}
	has := func(op string) bool {
		return slices.ContainsFunc(t.Graph.Nodes, func(n models.Node) bool { return n.Op == op })
	}
	if has("conv") && !has("norm") {
		t.noteFolded()
	}
	_, err := t.Graph.Classes()
	return &t.Network, err
}

// leaveOut takes the operations out that do not lead to node last, which is the network's output: their layers could not be trained.
func (t *translation) leaveOut(last int) {
	lead := make([]bool, len(t.Graph.Nodes))
	lead[last] = true
	place, kept, gone := make([]int, len(lead)), []models.Node{}, map[string]bool{}
	for i, n := range slices.Backward(t.Graph.Nodes) {
		for _, from := range n.From {
			if lead[i] && from != models.Images {
				lead[from] = true
			}
		}
	}
	for i, n := range t.Graph.Nodes {
		if !lead[i] {
			gone[n.Layer] = true
			continue
		}
		n.From = slices.Clone(n.From)
		for k, from := range n.From {
			if from != models.Images {
				n.From[k] = place[from]
			}
		}
		place[i] = len(kept)
		kept = append(kept, n)
	}
	if n := len(t.Graph.Nodes) - len(kept); n > 0 {
		t.note("%d of its operations do not lead to its output, and are left out", n)
	}
	t.Graph.Nodes = kept
	t.Tensors = slices.DeleteFunc(t.Tensors, func(one checkpoint.Tensor) bool { return gone[one.Name[:strings.LastIndexByte(one.Name, '.')]] })
}

// note says something once, whatever its first numbers and names were.
func (t *translation) note(format string, args ...any) {
	if !t.noted[format] {
		t.noted[format] = true
		t.Notes = append(t.Notes, fmt.Sprintf(format, args...))
	}
}

func (t *translation) noteFolded() {
	t.note("convolutions have no batch norms behind them: where yours have, the export took them into the convolutions, and what is trained here is without; docs/networks.md says how to keep them")
}

// add makes value by one more node.
func (t *translation) add(value string, n models.Node) error {
	t.Graph.Nodes = append(t.Graph.Nodes, n)
	t.at[value] = len(t.Graph.Nodes) - 1
	shape, err := t.Graph.Next(t.shapes) // at once, so that the message names the operation
	t.shapes = append(t.shapes, shape)
	return err
}

// input is the node that makes a value.
func (t *translation) input(n onnx.Node, i int) (int, error) {
	if i >= len(n.In) {
		return 0, fmt.Errorf("it lacks an input")
	}
	at, ok := t.at[n.In[i]]
	if half, some := t.strides[n.In[i]]; some {
		return 0, fmt.Errorf("its input %s is every %d-th row or column of maps, and only of both at once are they taken", n.In[i], half.step)
	}
	if !ok {
		return 0, fmt.Errorf("its input %s is none that images lead to", n.In[i])
	}
	return at, nil
}

// numbers are a tensor of the file that an operation works with.
func (t *translation) numbers(n onnx.Node, i int) (onnx.Tensor, bool, error) {
	if i >= len(n.In) || n.In[i] == "" {
		return onnx.Tensor{}, false, nil
	}
	tensor, ok := t.from.Tensors[n.In[i]]
	if !ok {
		return tensor, false, nil
	}
	if err := tensor.Err(); err != nil {
		return tensor, false, fmt.Errorf("%s: %w", n.In[i], err)
	}
	return tensor, true, nil
}

// shapeOf is that of a node's result, for an image.
func (t *translation) shapeOf(at int) []int64 {
	if at == models.Images {
		return t.Graph.Input[:]
	}
	return t.shapes[at]
}

// setting is an attribute that is a number, or what it is where it is absent.
func setting(n onnx.Node, name string, absent int64) int64 {
	if v, ok := n.Ints[name]; ok && len(v) == 1 {
		return v[0]
	}
	return absent
}

// alike is the one number that an attribute's list repeats.
func alike(n onnx.Node, name string, absent int64) (int64, error) {
	v, ok := n.Ints[name]
	if !ok || len(v) == 0 {
		return absent, nil
	}
	if slices.ContainsFunc(v, func(x int64) bool { return x != v[0] }) {
		return 0, fmt.Errorf("its %s are %v, and all of one size are needed", name, v)
	}
	return v[0], nil
}

// layerName is a layer's in the state dict: that of its weight, or where an exporter gave that none, of the module that the operation stands for.
func (t *translation) layerName(n onnx.Node, weight string) string {
	if was, ok := t.turned[weight]; ok {
		weight = was
	}
	if name, ok := strings.CutSuffix(weight, ".weight"); ok && name != "" {
		return name
	}
	parts := strings.Split(strings.Trim(n.Name, "/"), "/") // /layer1/layer1.0/conv1/Conv
	name := ""
	for _, p := range parts[:len(parts)-1] {
		if name != "" && strings.HasPrefix(p, name+".") {
			name = p
		} else {
			name = strings.TrimPrefix(name+"."+p, ".")
		}
	}
	if name == "" || t.weights[name] != "" {
		name = strings.ToLower(n.Op) + strconv.Itoa(len(t.Graph.Nodes))
	}
	t.note("the file gives some weights no names, as exporters do that take batch norms into convolutions: they are called by their modules, such as %s.weight", name)
	return name
}

// layer adds a layer and its tensors. A file may hold one tensor for several layers; rapt trains each layer's own.
func (t *translation) layer(value string, n models.Node, tensors map[string]onnx.Tensor) error {
	if t.weights[n.Layer] != "" {
		return fmt.Errorf("the weight of %s is used twice, and rapt's layers each have their own", n.Layer)
	}
	t.weights[n.Layer] = value
	for _, name := range []string{"weight", "bias", "running_mean", "running_var"} {
		if one, ok := tensors[name]; ok {
			if len(one.Floats) == 0 {
				return fmt.Errorf("%s.%s holds no float32", n.Layer, name)
			}
			t.Tensors = append(t.Tensors, checkpoint.F32(n.Layer+"."+name, one.Shape, one.Floats))
		}
	}
	if n.Op == "norm" {
		t.Tensors = append(t.Tensors, checkpoint.I64(n.Layer+".num_batches_tracked", nil, []int64{0}))
	}
	return t.add(value, n)
}

// bias adds that of a linear layer that had none.
func (t *translation) bias(layer string, v onnx.Tensor) error {
	t.Tensors = append(t.Tensors, checkpoint.F32(layer+".bias", v.Shape, v.Floats))
	return nil
}
