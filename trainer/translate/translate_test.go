package translate_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/models/modelstest"
	"rapt/onnx"
	"rapt/torchscript"
	"rapt/trainer/translate"
)

func run(t *testing.T, f func(s *torch.Session)) {
	t.Helper()
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		f(s)
		return s.Err()
	}))
}

// exported writes a network as rapt export does.
func exported(t *testing.T, m *models.Model) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.onnx")
	require.NoError(t, models.Record(m, func(r models.Recording) error {
		data, err := onnx.Write(onnx.Model{Name: "net", Steps: r.Steps, Images: r.Images, Logits: r.Logits, Names: r.Names})
		require.NoError(t, err)
		return os.WriteFile(path, data, 0o644)
	}))
	return path
}

// scripted is a network's TorchScript file as rapt export writes it.
func scripted(t *testing.T, s *torch.Session, m *models.Model) (data []byte) {
	t.Helper()
	require.NoError(t, models.Record(m, func(r models.Recording) (err error) {
		data, err = torchscript.Write(s, torchscript.Model{Steps: r.Steps, Images: r.Images, Logits: r.Logits, State: r.State})
		return err
	}))
	return data
}

// built is the network that a file holds, with its tensors.
func built(t *testing.T, s *torch.Session, path string) *models.Model {
	t.Helper()
	net, err := translate.ONNX(path)
	require.NoError(t, err)
	classes, err := net.Graph.Classes()
	require.NoError(t, err)
	m, err := models.New(s, models.Spec{Arch: models.Custom, Classes: classes, Graph: net.Graph.Text(), Mean: net.Mean, Std: net.Std}, nil)
	require.NoError(t, err)
	given := map[string]int{}
	for i, one := range net.Tensors {
		given[one.Name] = i
	}
	require.Len(t, given, len(m.State))
	for _, e := range m.State {
		require.Contains(t, given, e.Name)
		one := net.Tensors[given[e.Name]]
		require.Equal(t, e.Tensor.Shape(), append([]int64{}, one.Shape...), e.Name)
		if e.Buffer && e.Tensor.DType() == torch.Int64 {
			continue
		}
		v, err := one.Float32s()
		require.NoError(t, err)
		e.Tensor.Detach().Copy_(s.FromFloat32(v, one.Shape...))
	}
	return m
}

func near(t *testing.T, want, got torch.Tensor, tolerance float64, msg ...any) {
	t.Helper()
	off, err := got.Sub(want).Abs().Max().Item()
	require.NoError(t, err)
	size, err := want.Abs().Max().Item()
	require.NoError(t, err)
	require.LessOrEqual(t, off, tolerance*size, msg...)
}

// What rapt export writes is read as the same network: the same tensors, the same logits in every mode, the same gradients, the same costs, and
// channels that hang together in the same way.
func TestEveryKindOfNetwork(t *testing.T) {
	for _, sp := range modelstest.EveryKind {
		sp.Classes = 7
		run(t, func(s *torch.Session) {
			m, err := models.New(s, sp, nil)
			require.NoError(t, err)
			require.NoError(t, modelstest.Fill(s, m))
			c := built(t, s, exported(t, m))
			assert.Equal(t, names(m), names(c), sp.Arch)
			assert.InDeltaSlice(t, sp.Mean, c.Spec.Mean, 1e-7)
			x := modelstest.Input(s, m, 3)
			s.NoGrad(func() {
				near(t, m.Forward(x, nn.Eval), c.Forward(x, nn.Eval), 1e-5, sp.Arch)
				near(t, m.Forward(x, nn.Eval), c.Forward(x, nn.Mode{Folded: nn.Fold(c.Module)}), 1e-5, sp.Arch)
			})
			assert.Equal(t, costs(t, m), costs(t, c), sp.Arch)
			if sp.Arch != "wrn_28_4" { // whose first batch norm follows the first convolution alone: a graph shows that, its description does not say so
				assert.Equal(t, models.Wired(m), models.Wired(c), sp.Arch)
				if models.Wired(m) {
					assert.Equal(t, wires(m), wires(c), sp.Arch)
				}
				assert.Equal(t, models.Makers(m), models.Makers(c), sp.Arch)
			}
			loss := func(m *models.Model) []torch.Tensor {
				g := s.NewGenerator(1)
				const n = 16 // images: the statistics of few numbers, in maps of a pixel, make much of rounding
				l := m.Forward(modelstest.Input(s, m, n), nn.Mode{Train: true, Generator: g}).CrossEntropy(s.Arange(n).DivScalar(3).Floor().To(torch.Int64), torch.ReduceSum, 0)
				return []torch.Tensor{l, s.Grad(l, tensorOf(m, "weight"))[0]}
			}
			if sp.Arch == "googlenet" {
				return // its dropout draws other numbers
			}
			want, got := loss(m), loss(c)
			near(t, want[0].Detach(), got[0].Detach(), 1e-5, sp.Arch)
			near(t, want[1], got[1], 2e-3, sp.Arch)
			for i, b := range nn.Buffers(m.State) {
				near(t, b.To(torch.Float32).AddScalar(1), buffer(c, m, i).To(torch.Float32).AddScalar(1), 1e-4, sp.Arch)
			}
		})
	}
}

// tensorOf is the first convolution's weight, which has another name in every network.
func tensorOf(m *models.Model, suffix string) torch.Tensor {
	var all []string
	by := map[string]torch.Tensor{}
	for _, e := range m.State {
		if strings.HasSuffix(e.Name, suffix) && e.Kind == nn.Conv {
			all, by[e.Name] = append(all, e.Name), *e.Tensor
		}
	}
	slices.Sort(all)
	return by[all[0]]
}

// buffer is c's of the name of m's i-th.
func buffer(c, m *models.Model, i int) torch.Tensor {
	var name string
	for _, e := range m.State {
		if e.Buffer {
			if i == 0 {
				name = e.Name
			}
			i--
		}
	}
	for _, e := range c.State {
		if e.Name == name {
			return *e.Tensor
		}
	}
	return torch.Tensor{}
}

func names(m *models.Model) (out []string) {
	for _, e := range m.State {
		out = append(out, e.Name)
	}
	slices.Sort(out)
	return out
}

func costs(t *testing.T, m *models.Model) map[string]int64 {
	c, err := models.Cost(m)
	require.NoError(t, err)
	out := map[string]int64{"": c.MACs}
	for _, l := range c.Layers {
		out[l.Name] += l.MACs
	}
	return out
}

// wires are those of a model that are not whole, in no order.
func wires(m *models.Model) (out []string) {
	for _, w := range models.Wiring(m) {
		if w.Whole {
			continue
		}
		slices.Sort(w.From)
		to, norms := []string{}, []string{}
		for i, layer := range w.To {
			to = append(to, fmt.Sprintf("%s %d", layer, w.At[i]))
		}
		for _, n := range w.Norms {
			norms = append(norms, fmt.Sprintf("%s %d", n.Name, n.At))
		}
		slices.Sort(to)
		slices.Sort(norms)
		out = append(out, fmt.Sprint(w.From, w.Gates, to, norms, w.Last, w.Bent))
	}
	slices.Sort(out)
	return out
}

// A network of its own is made smaller as the same one of rapt's is.
func TestCompact(t *testing.T) {
	for _, sp := range []models.Spec{{Arch: "lenet_adv", Width: 2}, {Arch: "resnet18_adv", Width: 1}, {Arch: "preact_resnet18", Input: [3]int64{3, 8, 8}}, {Arch: "mobilenetv2", Input: [3]int64{3, 8, 8}},
		{Arch: "googlenet", Input: [3]int64{3, 8, 8}}, {Arch: "senet18", Input: [3]int64{3, 8, 8}}, {Arch: "densenet_cifar", Input: [3]int64{3, 8, 8}}, {Arch: "resnext29_2x64d", Input: [3]int64{3, 8, 8}}, {Arch: "shufflenetv2_0.5", Input: [3]int64{3, 8, 8}}} {
		sp.Classes = 10
		run(t, func(s *torch.Session) {
			m, err := models.New(s, sp, nil)
			require.NoError(t, err)
			require.NoError(t, modelstest.Fill(s, m))
			s.Do(func() {
				for _, w := range models.Wiring(m) {
					for _, layer := range w.From {
						for _, e := range m.State {
							if e.Name == layer+".weight" && len(w.To) > 0 {
								weight := e.Tensor.Detach()
								for o := int64(1); o < weight.Size(0); o += 2 {
									weight.Narrow(0, o, 1).Fill_(0)
								}
							}
						}
					}
				}
			})
			c := built(t, s, exported(t, m))
			want, err := models.Compact(m, true)
			require.NoError(t, err)
			got, err := models.Compact(c, true)
			require.NoError(t, err)
			assert.Equal(t, want.Spec.Channels, got.Spec.Channels, sp.Arch)
			x := modelstest.Input(s, m, 3)
			s.NoGrad(func() { near(t, m.Forward(x, nn.Eval), got.Forward(x, nn.Eval), 1e-4, sp.Arch) })
			again := built(t, s, exported(t, got)) // what is left is a network of its own, too
			s.NoGrad(func() { near(t, got.Forward(x, nn.Eval), again.Forward(x, nn.Eval), 1e-5, sp.Arch) })
		})
	}
}

// A model that holds anything is refused, or is a network: nothing panics, and shapes alone take no memory.
func FuzzONNX(f *testing.F) {
	files, err := filepath.Glob("testdata/*.onnx")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "m.onnx")
		require.NoError(t, os.WriteFile(path, data, 0o644))
		if net, err := translate.ONNX(path); err == nil {
			sketch(t, net.Graph.Text())
		}
	})
}

// FuzzGraph is the same of what a checkpoint's metadata say.
func FuzzGraph(f *testing.F) {
	files, err := filepath.Glob("testdata/*.onnx")
	require.NoError(f, err)
	for _, file := range files {
		if net, err := translate.ONNX(file); err == nil {
			f.Add(net.Graph.Text())
		}
	}
	f.Add(`{"input":[1,4,4],"nodes":[{"op":"flatten","from":[-1]},{"op":"slice","from":[0],"ints":[1,3,2]}]}`)
	f.Add(`{"input":[1,4,4],"nodes":[{"op":"reshape","from":[-1],"ints":[2,8]},{"op":"transpose","from":[0],"ints":[0,2,1]},{"op":"cat","from":[1,1],"ints":[2]},{"op":"flatten","from":[2]}]}`)
	f.Fuzz(sketch)
}

// sketch makes the network of a graph for its shapes alone.
func sketch(t *testing.T, text string) {
	g, err := models.ParseGraph(text)
	if err != nil {
		return
	}
	classes, err := g.Classes()
	require.NoError(t, err)
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1, ShapesOnly: true}, func(s *torch.Session) error {
		m, err := models.New(s, models.Spec{Arch: models.Custom, Classes: classes, Graph: text}, nil)
		require.NoError(t, err)
		models.Wiring(m)
		models.Makers(m)
		return nil
	}))
}

// Broken and foreign models are refused with what is wrong.
func TestRefused(t *testing.T) {
	whole, err := os.ReadFile("testdata/plain.onnx")
	require.NoError(t, err)
	for want, change := range map[string]func(b []byte) []byte{
		"it is no ONNX model: it holds no graph":     func([]byte) []byte { return nil },
		"it is no ONNX model, or a broken one":       func(b []byte) []byte { return b[:len(b)/2] },
		"Tinh /Relu":                                 func(b []byte) []byte { return bytes.Replace(b, []byte("\"\x04Relu"), []byte("\"\x04Tinh"), 1) },
		"Conv /conv1/Conv: its input imagez is none": func(b []byte) []byte { return bytes.Replace(b, []byte("\n\x06images"), []byte("\n\x06imagez"), 1) },
		"its output logitz is made by none": func(b []byte) []byte {
			i := bytes.LastIndex(b, []byte("logits"))
			return slices.Concat(b[:i], []byte("logitz"), b[i+6:])
		},
		"conv1.weight: it holds numbers of the type 9": func(b []byte) []byte {
			return bytes.Replace(b, []byte("\x10\x01B\x0cconv1.weight"), []byte("\x10\x09B\x0cconv1.weight"), 1)
		},
	} {
		changed := change(slices.Clone(whole))
		require.NotEqual(t, whole, changed, want)
		path := filepath.Join(t.TempDir(), "m.onnx")
		require.NoError(t, os.WriteFile(path, changed, 0o644))
		_, err := translate.ONNX(path)
		assert.ErrorContains(t, err, want)
	}
	apart, err := os.ReadFile("testdata/plain-beside.onnx")
	require.NoError(t, err)
	for want, change := range map[string]func(b []byte) []byte{
		"plain.weights: no such file":          func(b []byte) []byte { return b },
		"only files beside the model are read": func(b []byte) []byte { return bytes.ReplaceAll(b, []byte("plain.weights"), []byte("../in.weights")) },
		"are said to be at 0 to 900 of plain.weights, which": func(b []byte) []byte {
			return bytes.Replace(b, []byte("length\x12\x03400"), []byte("length\x12\x03900"), 1)
		},
	} {
		path := filepath.Join(t.TempDir(), "m.onnx")
		require.NoError(t, os.WriteFile(path, change(slices.Clone(apart)), 0o644))
		if strings.Contains(want, "said to be") {
			require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(path), "plain.weights"), make([]byte, 500), 0o644))
		}
		_, err := translate.ONNX(path)
		assert.ErrorContains(t, err, want)
	}
	_, err = translate.ONNX("testdata/none.onnx")
	assert.ErrorIs(t, err, os.ErrNotExist)
}

// Graphs that are no network are refused with the operation that is wrong.
func TestGraphsThatAreNone(t *testing.T) {
	for nodes, want := range map[string]string{
		``:                          "the network has 0 operations",
		`{"op":"relu","from":[-1]}`: "the network ends in numbers of the shape [2 6 6]",
		`{"op":"fly","from":[-1]}`:  `operation 0 of the network is "fly", which there is not`,
		`{"op":"relu","from":[0]}`:  "operation 0 of the network, relu, works on the result of operation 0",
		`{"op":"relu","from":[]}`:   "lacks what it works on",
		`{"op":"maxpool","from":[-1],"ints":[2]}`:                                   "lacks what it works on, or its settings",
		`{"op":"maxpool","from":[-1],"ints":[7,1,0]}`:                               "operation 0 of the network, maxpool: a window of 7 pixels is larger than maps of 6 x 6",
		`{"op":"reshape","from":[-1],"ints":[-2,-36]}`:                              "cannot become [-2 -36]",
		`{"op":"slice","from":[-1],"ints":[1,1,2]}`:                                 "there are no 2 numbers from 1 on in dimension 1",
		`{"op":"transpose","from":[-1],"ints":[1,0,2,3]}`:                           "cannot be put in the order",
		`{"op":"linear","from":[-1],"layer":"a","weight":[5,72]}`:                   "a (linear): a weight of [5 72] does not fit numbers of the shape [2 6 6]",
		`{"op":"conv","from":[-1],"layer":"a","weight":[5,3,1,1],"ints":[1,0,1,1]}`: "a (conv): a weight of [5 3 1 1] in 1 groups does not fit 2 channels",
		`{"op":"conv","from":[-1],"layer":"a","weight":[5,2,1,1],"ints":[0,0,1,1]}`: "settings that are no less than 1",
		`{"op":"flatten","from":[-1]},{"op":"linear","from":[0],"layer":"a","weight":[5,72]},{"op":"linear","from":[1],"layer":"a","weight":[5,5]}`: `two layers of the name "a"`,
	} {
		_, err := models.ParseGraph(`{"input":[2,6,6],"nodes":[` + nodes + `]}`)
		assert.ErrorContains(t, err, want, nodes)
	}
	_, err := models.ParseGraph(`{"input":[2,6,6],"nodes":[],"more":1}`)
	assert.ErrorContains(t, err, "the network's graph cannot be read")
	assert.ErrorContains(t, models.Check(models.Spec{Arch: models.Custom, Classes: 3}), "the network's graph cannot be read")
}
