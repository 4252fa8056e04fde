package torch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

func TestNoGraphWithoutAGPU(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		g, err := s.Capture(func() { t.Error("must not run") })
		require.Nil(t, g)
		if torch.CUDAGraphs() != nil {
			require.EqualError(t, err, "torch: Capture: CUDA graphs need a libtorch of 2.1 or newer with CUDA")
		} else {
			require.ErrorContains(t, err, "a session on a GPU is needed")
		}
		g.Close()
		return s.Err() // none: the session goes on
	}))
}

// What would spoil a recording is refused by name before it does.
func TestWhatARecordingRefuses(t *testing.T) {
	for op, f := range map[string]func(s *torch.Session, x torch.Tensor, g *torch.Generator){
		"Item":        func(s *torch.Session, x torch.Tensor, g *torch.Generator) { _, _ = x.Sum().Item() },
		"Float32s":    func(s *torch.Session, x torch.Tensor, g *torch.Generator) { _, _ = x.Float32s() },
		"Bytes":       func(s *torch.Session, x torch.Tensor, g *torch.Generator) { _, _ = x.Bytes() },
		"FromInt64":   func(s *torch.Session, x torch.Tensor, g *torch.Generator) { s.FromInt64([]int64{1}, 1) },
		"Uniform_":    func(s *torch.Session, x torch.Tensor, g *torch.Generator) { x.Uniform_(g, 0, 1) },
		"Dropout":     func(s *torch.Session, x torch.Tensor, g *torch.Generator) { x.Dropout(0.5, g) },
		"Synchronize": func(s *torch.Session, x torch.Tensor, g *torch.Generator) { _ = s.Synchronize() },
	} {
		err := refused(t, op, func(s *torch.Session) {
			x, g := s.Ones(3), s.NewGenerator(1)
			s.SetCapturing(true)
			f(s, x, g)
		})
		require.EqualError(t, err, "torch: "+op+": not while a graph is captured")
	}
}

func TestGraphReplays(t *testing.T) {
	torchtest.CUDA(t)
	session(t, func(s *torch.Session) {
		x, w := s.Ones(4, 4), s.Ones(4, 4).RequiresGrad_(true)
		step := func() []torch.Tensor {
			y := x.MatMul(w)
			return []torch.Tensor{y, s.Grad(y.Square().Sum(), w)[0]}
		}
		for range 3 {
			s.Do(func() { step() })
		}
		live := s.Live()
		var out []torch.Tensor
		g, err := s.Capture(func() { out = step() })
		require.NoError(t, err)
		require.Greater(t, s.Live(), live, "the recording's tensors live")
		for v := range 5 {
			x.Fill_(float64(v))
			g.Replay()
			want := step()
			require.True(t, same(t, want[0], out[0]), "value %d", v)
			require.True(t, same(t, want[1], out[1]), "gradient %d", v)
		}
		g.Close()
		g.Close()
		require.False(t, out[0].Defined())
		s.Do(func() { near(t, []float64{16 * 16}, step()[0].Sum(), 1e-6) })
	})
	err := torch.Run(torchtest.Device(), torch.Options{}, func(s *torch.Session) error {
		g, err := s.Capture(func() { s.Ones(2).Add(s.Ones(2)) })
		require.NoError(t, err)
		g.Close()
		g.Replay()
		return s.Err()
	})
	require.ErrorIs(t, err, torch.ErrClosed)
}

// After a failure, by an operation or by a panic, the session goes on, and can record again.
func TestGraphThatFails(t *testing.T) {
	torchtest.CUDA(t)
	session(t, func(s *torch.Session) {
		x := s.Ones(3)
		for name, f := range map[string]func(){
			"a shape": func() { x.Add(s.Ones(4)) },
			"a wait":  func() { _, _ = x.Item() },
			"a wait that CUDA finds": func() {
				s.SetCapturing(false)
				_, _ = x.Item()
			},
		} {
			before := s.Live()
			g, err := s.Capture(f)
			require.Error(t, err, name)
			require.Nil(t, g)
			require.NoError(t, s.Err(), name)
			require.Equal(t, before, s.Live(), name)
		}
		require.Panics(t, func() { _, _ = s.Capture(func() { panic("x") }) })
		_, err := s.Capture(func() { _, _ = s.Capture(func() {}) })
		require.NoError(t, err, "a capture inside is refused, the outer one is not hurt by it")
		g, err := s.Capture(func() { x.Shift_(1) })
		require.NoError(t, err)
		g.Replay()
		near(t, []float64{2, 2, 2}, x, 0)
		require.NoError(t, torch.EmptyCUDACache(), "the allocator knows that no recording is under way")
	})
}

// The bfloat16 copies of the weights are made anew by each replay.
func TestGraphInAutocast(t *testing.T) {
	torchtest.CUDA(t)
	session(t, func(s *torch.Session) {
		x, w := s.Ones(2, 4), s.Ones(3, 4).RequiresGrad_(true)
		out := s.Zeros(2, 3)
		step := func() {
			s.Autocast(torch.BFloat16, func() {
				y := x.Linear(w, torch.Tensor{})
				s.NoGrad(func() { out.Copy_(y) })
			})
		}
		step()
		g, err := s.Capture(step)
		require.NoError(t, err)
		for _, v := range []float64{2, 3} {
			s.NoGrad(func() { w.Fill_(v) })
			g.Replay()
			near(t, []float64{4 * v, 4 * v, 4 * v, 4 * v, 4 * v, 4 * v}, out, 0)
		}
	})
}
