package nn_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	F "rapt/cgo/nn/functional"
)

func session(t *testing.T, f func(s *torch.Session)) {
	t.Helper()
	before := torch.LiveTensors()
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error { f(s); return s.Err() }))
	require.Equal(t, before, torch.LiveTensors(), "tensors left behind")
}

func values(t *testing.T, x torch.Tensor) []float64 {
	t.Helper()
	v, err := x.To(torch.Float64).Float64s()
	require.NoError(t, err)
	return v
}

// block is a network of every kind of layer, nested once.
type block struct {
	conv *nn.Conv2dModule
	bn   *nn.BatchNormModule
}

func (b *block) Forward(x torch.Tensor, m nn.Mode) torch.Tensor {
	return F.Relu(b.bn.Forward(b.conv.Forward(x, m), m))
}
func (b *block) Children() []nn.Child {
	return []nn.Child{{Name: "conv", Module: b.conv}, {Name: "bn", Module: b.bn}}
}

type network struct {
	first, second *block
	fc            *nn.LinearModule
	out           *nn.BatchNormModule
}

func (n *network) Forward(x torch.Tensor, m nn.Mode) torch.Tensor {
	x = n.second.Forward(F.MaxPool2d(n.first.Forward(x, m), 2), m)
	return n.out.Forward(n.fc.Forward(x.Flatten(), m), m)
}
func (n *network) Children() []nn.Child {
	return []nn.Child{{Name: "block.0", Module: n.first}, {Name: "block.1", Module: n.second}, {Name: "fc", Module: n.fc}, {Name: "out", Module: n.out}}
}

func newNetwork(s *torch.Session) *network {
	same := torch.ConvOptions{Padding: 1}
	return &network{
		first:  &block{nn.Conv2d(s, 3, 8, 3, same, true), nn.BatchNorm2d(s, 8)},
		second: &block{nn.Conv2d(s, 8, 16, 3, torch.ConvOptions{Padding: 1, Groups: 4}, false), nn.BatchNorm2d(s, 16)},
		fc:     nn.Linear(s, 16*4*4, 10, true),
		out:    nn.BatchNorm1d(s, 10),
	}
}

func TestStateDict(t *testing.T) {
	session(t, func(s *torch.Session) {
		entries := nn.StateDict(newNetwork(s))
		type row struct {
			name, layer string
			kind        nn.Kind
			buffer      bool
			shape       []int64
		}
		var got []row
		for _, e := range entries {
			got = append(got, row{e.Name, e.Layer, e.Kind, e.Buffer, e.Tensor.Shape()})
		}
		norm := func(layer string, c int64) []row {
			return []row{
				{layer + ".weight", layer, nn.Norm, false, []int64{c}}, {layer + ".bias", layer, nn.Norm, false, []int64{c}},
				{layer + ".running_mean", layer, nn.Norm, true, []int64{c}}, {layer + ".running_var", layer, nn.Norm, true, []int64{c}},
				{layer + ".num_batches_tracked", layer, nn.Norm, true, []int64{}},
			}
		}
		want := []row{{"block.0.conv.weight", "block.0.conv", nn.Conv, false, []int64{8, 3, 3, 3}},
			{"block.0.conv.bias", "block.0.conv", nn.Conv, false, []int64{8}}}
		want = append(want, norm("block.0.bn", 8)...)
		want = append(want, row{"block.1.conv.weight", "block.1.conv", nn.Conv, false, []int64{16, 2, 3, 3}})
		want = append(want, norm("block.1.bn", 16)...)
		want = append(want, row{"fc.weight", "fc", nn.Dense, false, []int64{10, 256}}, row{"fc.bias", "fc", nn.Dense, false, []int64{10}})
		want = append(want, norm("out", 10)...)
		require.Equal(t, want, got)
		require.Len(t, nn.Parameters(entries), 11)
		require.Len(t, nn.Buffers(entries), 9)
		for _, p := range nn.Parameters(entries) {
			require.True(t, p.RequiresGrad())
		}
		for _, b := range nn.Buffers(entries) {
			require.False(t, b.RequiresGrad())
		}
		for _, e := range nn.StateDict(nn.Linear(s, 2, 3, true)) {
			require.Contains(t, []string{"weight", "bias"}, e.Name, "a layer alone has no prefix")
		}
	})
}

func TestModulesOutliveScopes(t *testing.T) {
	session(t, func(s *torch.Session) {
		var n *network
		s.Do(func() { n = newNetwork(s) })
		g := s.NewGenerator(1)
		held := s.Live()
		require.NoError(t, nn.Init(n, "default", g))
		require.NoError(t, nn.Init(n, "orthogonal", g))
		require.Equal(t, held, s.Live(), "Init leaves nothing behind")
		s.Do(func() {
			require.Equal(t, []int64{5, 10}, n.Forward(s.Ones(5, 3, 8, 8), nn.Eval).Shape())
		})
		require.Equal(t, held, s.Live())
	})
}

func TestBatchNormModes(t *testing.T) {
	session(t, func(s *torch.Session) {
		n := newNetwork(s)
		require.NoError(t, nn.Init(n, "default", s.NewGenerator(1)))
		buffers := func() (all []float64) {
			for _, b := range nn.Buffers(nn.StateDict(n)) {
				all = append(all, values(t, b)...)
			}
			return all
		}
		x := s.Rand(s.NewGenerator(2), 4, 3, 8, 8)
		start := buffers()
		n.Forward(x, nn.Eval)
		require.Equal(t, start, buffers(), "evaluation moves no statistics")
		for i := range 3 {
			n.Forward(x, nn.Mode{Train: true})
			require.Equal(t, []float64{float64(i + 1)}, values(t, n.out.NumBatchesTracked))
		}
		require.NotEqual(t, start, buffers())
	})
}

func TestFunctional(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.FromFloat32([]float32{-1, 2, 3, -4}, 1, 1, 2, 2)
		require.Equal(t, []float64{0, 2, 3, 0}, values(t, F.Relu(x)))
		require.Equal(t, []float64{3}, values(t, F.MaxPool2d(x, 2)))
		logits := s.FromFloat64([]float64{0, 0}, 1, 2)
		require.InDeltaSlice(t, []float64{-math.Ln2, -math.Ln2}, values(t, F.LogSoftmax(logits, 1)), 1e-15)
		require.InDelta(t, math.Ln2, values(t, F.CrossEntropy(logits, s.FromInt64([]int64{1}, 1)))[0], 1e-15)
		require.Equal(t, values(t, x), values(t, F.Dropout(x, 0, s.NewGenerator(1))))
	})
}

// A trace tells the shapes that computing would give, whatever the options, and computes nothing.
func TestTraceHasTheShapesOfComputing(t *testing.T) {
	session(t, func(s *torch.Session) {
		x := s.Rand(s.NewGenerator(1), 2, 4, 11, 8)
		for _, o := range []torch.ConvOptions{{}, {Padding: 2}, {Stride: 2, Padding: 1}, {Stride: 3}, {Dilation: 2}, {Dilation: 2, Padding: 1, Stride: 2}, {Groups: 4, Padding: 1}} {
			for _, k := range []int64{1, 2, 3} {
				c := nn.Conv2d(s, 4, 8, k, o, true)
				require.NoError(t, nn.Init(c, "normal", s.NewGenerator(2)))
				trace := &nn.Trace{}
				y := c.Forward(x, nn.Mode{Trace: trace})
				require.Equal(t, c.Forward(x, nn.Eval).Shape(), y.Shape(), "%d %+v", k, o)
				require.Equal(t, y.Shape(), trace.Layers[0].Out)
				for _, v := range values(t, y) {
					require.Zero(t, v)
				}
			}
		}
	})
}

func TestShapesOnly(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1, ShapesOnly: true}, func(s *torch.Session) error {
		huge := nn.Linear(s, 1<<21, 1<<21, true) // 16 TiB, had it numbers
		require.Equal(t, []int64{1 << 21, 1 << 21}, huge.Weight.Shape())
		trace := &nn.Trace{}
		require.Equal(t, []int64{3, 1 << 21}, huge.Forward(s.Zeros(1, 1).Expand(3, 1<<21), nn.Mode{Trace: trace}).Shape())
		require.EqualValues(t, 3<<42, trace.Layers[0].MACs)
		return s.Err()
	}))
}

func TestTrace(t *testing.T) {
	session(t, func(s *torch.Session) {
		n := newNetwork(s)
		trace := &nn.Trace{}
		n.Forward(s.Zeros(2, 3, 8, 8), nn.Mode{Trace: trace})
		require.Equal(t, []nn.Traced{
			{Weight: n.first.conv.Weight, In: []int64{2, 3, 8, 8}, Out: []int64{2, 8, 8, 8}, MACs: 2 * 8 * 8 * 8 * 27},
			{Weight: n.second.conv.Weight, In: []int64{2, 8, 4, 4}, Out: []int64{2, 16, 4, 4}, MACs: 2 * 16 * 4 * 4 * 2 * 9}, // four groups
			{Weight: n.fc.Weight, In: []int64{2, 256}, Out: []int64{2, 10}, MACs: 2 * 256 * 10},
		}, trace.Layers)
	})
}
