package torch_test

import (
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"

	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

// In a region products are bfloat16, losses and gradients float32, and after it all is as before. The CPU's thin convolutions and
// its 2x2 pooling stay float32, as they are faster so.
func TestAutocastTypes(t *testing.T) {
	session(t, func(s *torch.Session) {
		g := s.NewGenerator(1)
		x, w := s.RandN(g, 4, 16, 8, 8), s.RandN(g, 16, 16, 3, 3).RequiresGrad_(true)
		fc, y := s.RandN(g, 10, 16*6*6).RequiresGrad_(true), s.FromInt64([]int64{1, 2, 3, 4}, 4)
		s.Autocast(torch.BFloat16, func() {
			h := x.Conv2d(w, torch.Tensor{}, torch.ConvOptions{})
			if torch.DistrustsOneDNN() { // all convolutions are the CPU's own kernels'
				require.Equal(t, torch.Float32, h.DType())
				h = h.To(torch.BFloat16)
			}
			require.Equal(t, torch.BFloat16, h.DType())
			require.Equal(t, torch.BFloat16, h.Relu().MaxPool2d(3, 2, 0).DType())
			if !s.Device().IsCUDA() {
				thin := s.RandN(g, 4, 1, 3, 3)
				require.Equal(t, torch.Float32, x.Narrow(1, 0, 1).Conv2d(thin, torch.Tensor{}, torch.ConvOptions{}).DType())
				require.Equal(t, torch.Float32, h.MaxPool2d(2, 2, 0).DType())
			}
			logits := h.Flatten().Linear(fc, torch.Tensor{})
			require.Equal(t, torch.BFloat16, logits.DType())
			require.Equal(t, torch.Float32, logits.LogSoftmax(1).DType())
			s.Autocast(torch.BFloat16, func() { require.Equal(t, torch.BFloat16, x.MatMul(x).DType()) })
			loss := logits.CrossEntropy(y, torch.ReduceSum, 0)
			require.Equal(t, torch.Float32, loss.DType())
			for _, grad := range s.Grad(loss, w, fc) {
				require.Equal(t, torch.Float32, grad.DType())
			}
		})
		require.Equal(t, torch.Float32, x.MatMul(x).DType())
		require.Equal(t, torch.BFloat16, x.To(torch.BFloat16).Softmax(1).DType(), "only a region changes types")
	})
}

// The short copy of a weight must not outlive the region: the weight changes between two of them.
func TestAutocastKeepsNoOldWeights(t *testing.T) {
	session(t, func(s *torch.Session) {
		x, w := s.Ones(1, 4), s.Ones(1, 4).RequiresGrad_(true)
		for _, v := range []float64{1, 2, 3} {
			s.NoGrad(func() { w.Fill_(v) })
			s.Autocast(torch.BFloat16, func() {
				near(t, []float64{4 * v}, x.Linear(w, torch.Tensor{}), 0)
				near(t, []float64{4 * v}, x.Linear(w, torch.Tensor{}), 0, "a second use")
			})
		}
	})
}

// Several gradients from one region, as an attack and the step after it take them. (16 channels: less are thin.)
func TestAutocastGradients(t *testing.T) {
	session(t, func(s *torch.Session) {
		g := s.NewGenerator(2)
		x, w := s.RandN(g, 8, 16, 12, 12), s.RandN(g, 16, 16, 5, 5).RequiresGrad_(true)
		at := x.Detach().RequiresGrad_(true)
		run := func() (out [][]float64) {
			for range 3 {
				loss := at.Conv2d(w, torch.Tensor{}, torch.ConvOptions{Padding: 2}).Relu().Square().Mean()
				out = append(out, values(t, s.Grad(loss, at)[0]))
			}
			return append(out, values(t, s.Grad(at.Conv2d(w, torch.Tensor{}, torch.ConvOptions{Padding: 2}).Relu().Square().Mean(), w)[0]))
		}
		bound := 0.02
		if !cpu.X86.HasAVX512BW { // PyTorch's own autocast is 2.11 % off on these very tensors there
			bound = 0.022
		}
		exact := run()
		var short [][]float64
		s.Autocast(torch.BFloat16, func() { short = run() })
		for i := range exact {
			off, size := 0.0, 0.0
			for j := range exact[i] {
				off += (exact[i][j] - short[i][j]) * (exact[i][j] - short[i][j])
				size += exact[i][j] * exact[i][j]
			}
			require.Less(t, math.Sqrt(off/size), bound, "gradient %d", i)
			require.True(t, off > 0 || torch.DistrustsOneDNN(), "computed in bfloat16")
		}
		again := run()
		if !torchtest.Device().IsCUDA() {
			require.Equal(t, exact, again, "as before once the region has ended")
		}
		for i := range exact { // a GPU adds up a weight's gradient in no certain order
			require.InDeltaSlice(t, exact[i], again[i], 1e-6, "as before once the region has ended")
		}
	})
}

func TestAutocastBatchNorm(t *testing.T) {
	session(t, func(s *torch.Session) {
		g := s.NewGenerator(3)
		x, w := s.RandN(g, 16, 2, 8, 8), s.RandN(g, 4, 2, 3, 3).RequiresGrad_(true)
		scale, shift := s.Ones(4).RequiresGrad_(true), s.Zeros(4).RequiresGrad_(true)
		mean, variance := s.Zeros(4), s.Ones(4)
		s.Autocast(torch.BFloat16, func() {
			h := x.Conv2d(w, torch.Tensor{}, torch.ConvOptions{}).BatchNorm(scale, shift, mean, variance, true, 0.1, 1e-5)
			for _, grad := range s.Grad(h.Square().Mean(), w, scale, shift) {
				require.Equal(t, torch.Float32, grad.DType())
			}
		})
		require.Equal(t, torch.Float32, mean.DType())
		require.NotEqual(t, make([]float64, 4), values(t, mean))
	})
}

func TestAutocastRefuses(t *testing.T) {
	refused(t, "Autocast", func(s *torch.Session) {
		s.Autocast(torch.Int64, func() { t.Error("must not run") })
	})
	refused(t, "Autocast", func(s *torch.Session) {
		s.Autocast(torch.Float16, func() { t.Error("not on the CPU") })
	})
	session(t, func(s *torch.Session) { // a panic leaves the region
		require.Panics(t, func() { s.Autocast(torch.BFloat16, func() { panic("x") }) })
		require.Equal(t, torch.Float32, s.Ones(2, 2).MatMul(s.Ones(2, 2)).DType())
	})
}

// A weight that is used twice in a region has one gradient, whatever regions another session begins and ends meanwhile: from libtorch 2 on all
// threads share what it would keep of weights.
func TestAutocastOfAnotherSession(t *testing.T) {
	stop := make(chan struct{})
	var other sync.WaitGroup
	defer other.Wait()
	defer close(stop)
	other.Go(func() {
		_ = torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
			for {
				select {
				case <-stop:
					return nil
				default:
					s.Autocast(torch.BFloat16, func() {})
				}
			}
		})
	})
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		gradient := func() (out []float32) {
			s.Do(func() {
				g := s.NewGenerator(1)
				a, b, w := s.RandN(g, 64, 256), s.RandN(g, 64, 256), s.RandN(g, 128, 256).RequiresGrad_(true)
				s.Autocast(torch.BFloat16, func() {
					loss := a.Linear(w, torch.Tensor{}).To(torch.Float32).Tanh().Sum().Add(b.Linear(w, torch.Tensor{}).To(torch.Float32).Tanh().Sum())
					out, _ = s.Grad(loss, w)[0].Float32s()
				})
			})
			return out
		}
		want := gradient()
		for range 100 {
			require.Equal(t, want, gradient())
		}
		return s.Err()
	}))
}
