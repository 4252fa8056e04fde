package torch_test

import (
	"errors"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

func TestScopes(t *testing.T) {
	session(t, func(s *torch.Session) {
		outside := s.Ones(1)
		require.Equal(t, 1, s.Live())
		var inner, deep torch.Tensor
		kept := s.Scope(func() torch.Tensor {
			inner = s.Ones(2)
			both := s.ScopeN(func() []torch.Tensor {
				s.Ones(3)
				deep = s.Ones(4)
				return []torch.Tensor{s.Full(5, torch.Float32), deep.Neg()}
			})
			require.Len(t, both, 2)
			require.False(t, deep.Defined())
			require.True(t, both[1].Defined())
			require.Equal(t, 4, s.Live())
			return both[0]
		})
		require.False(t, inner.Defined())
		require.Equal(t, 2, s.Live())
		near(t, []float64{5}, s.Scope(func() torch.Tensor { return kept.Alias() }), 0)
		s.Do(func() { kept = s.Scope(func() torch.Tensor { return kept }) })
		require.True(t, kept.Defined(), "what an outer scope owns is not freed by an inner one that returns it")
		s.Do(func() {
			require.Equal(t, torch.Tensor{}, s.Scope(func() torch.Tensor { return torch.Tensor{} }))
			x := s.Ones(1)
			twice := s.ScopeN(func() []torch.Tensor { return []torch.Tensor{x, x} })
			require.True(t, twice[0].Defined() && twice[1].Defined())
		})
		require.True(t, outside.Defined())
	})
}

func TestKeepAndFree(t *testing.T) {
	session(t, func(s *torch.Session) {
		var a, b, c, d torch.Tensor
		s.Do(func() {
			a = s.Ones(1)
			s.Do(func() {
				b, c, d = s.Ones(2), s.Ones(3), s.Ones(4)
				s.Keep(a, c)
				s.Keep(c)
				s.Free(d, torch.Tensor{}, d)
				require.False(t, d.Defined())
				e := s.Ones(5) // takes d's place
				require.True(t, e.Defined())
				require.False(t, d.Defined(), "the old handle stays dead")
				require.Equal(t, []int64{5}, e.Shape())
			})
			require.False(t, b.Defined())
			require.True(t, a.Defined() && c.Defined())
		})
		require.True(t, a.Defined() && c.Defined())
		near(t, []float64{1, 1, 1}, c, 0)
		held := s.Live()
		for range 1000 {
			s.Free(s.Ones(1))
		}
		require.Equal(t, held, s.Live())
		s.Free(a, c)
		require.Equal(t, held-2, s.Live())
	})
}

func TestPanicInScope(t *testing.T) {
	session(t, func(s *torch.Session) {
		var lost torch.Tensor
		func() {
			defer func() { require.Equal(t, "inside", recover()) }()
			s.Do(func() {
				s.Do(func() {
					lost = s.Ones(1)
					panic("inside")
				})
			})
		}()
		require.False(t, lost.Defined())
		require.Zero(t, s.Live())
		kept := s.Scope(func() torch.Tensor { return s.Ones(1) })
		require.True(t, kept.Defined(), "scopes go on working")
	})
	before := torch.LiveTensors()
	require.PanicsWithValue(t, "in Run", func() {
		_ = torch.Run(torch.CPU, torch.Options{}, func(s *torch.Session) error {
			s.Ones(1)
			panic("in Run")
		})
	})
	require.Equal(t, before, torch.LiveTensors(), "Run frees on the way out")
}

func TestDeadHandles(t *testing.T) {
	freed := func(s *torch.Session) (x torch.Tensor) {
		s.Do(func() { x = s.Ones(2) })
		return x
	}
	for op, f := range map[string]func(s *torch.Session){
		"Relu":      func(s *torch.Session) { freed(s).Relu() },
		"Add":       func(s *torch.Session) { s.Ones(2).Add(freed(s)) },
		"Sub":       func(s *torch.Session) { s.Ones(2).Sub(torch.Tensor{}) },
		"Mul":       func(s *torch.Session) { torch.Tensor{}.Mul(s.Ones(2)) },
		"Fill_":     func(s *torch.Session) { freed(s).Fill_(1) },
		"Item":      func(s *torch.Session) { _, _ = freed(s).Item() },
		"Bytes":     func(s *torch.Session) { _, _ = freed(s).Bytes() },
		"Float32s":  func(s *torch.Session) { _, _ = freed(s).Float32s() },
		"Shape":     func(s *torch.Session) { freed(s).Shape() },
		"To":        func(s *torch.Session) { freed(s).To(torch.Float64) },
		"Flatten":   func(s *torch.Session) { freed(s).Flatten() },
		"Cat":       func(s *torch.Session) { s.Cat(0, s.Ones(2), freed(s)) },
		"Conv2d":    func(s *torch.Session) { s.Ones(1, 1, 2, 2).Conv2d(s.Ones(1, 1, 1, 1), freed(s), torch.ConvOptions{}) },
		"Grad":      func(s *torch.Session) { s.Grad(s.Ones(1), freed(s)) },
		"Keep":      func(s *torch.Session) { s.Keep(freed(s)) },
		"AddLists_": func(s *torch.Session) { s.AddLists_([]torch.Tensor{s.Ones(1)}, []torch.Tensor{freed(s)}, 1) },
		"Where":     func(s *torch.Session) { s.FromBool([]bool{true}, 1).Where(s.Ones(1), freed(s)) },
		"Borrow":    func(s *torch.Session) { s.Borrow(freed(s)) },
		"BatchNorm": func(s *torch.Session) {
			s.Ones(2, 2).BatchNorm(freed(s), torch.Tensor{}, torch.Tensor{}, torch.Tensor{}, true, 0.1, 1e-5)
		},
	} {
		require.ErrorIs(t, refused(t, op, f), torch.ErrClosed, op)
	}

	var absent torch.Tensor
	require.False(t, absent.Defined())
	require.Nil(t, absent.Session())
	require.Equal(t, -1, absent.Dim())
	require.Zero(t, absent.Numel())
	require.Nil(t, absent.Shape())
	require.Equal(t, torch.DType(-1), absent.DType())
	require.False(t, absent.RequiresGrad() || absent.IsContiguous())
	require.Equal(t, torch.Tensor{}, absent.Relu().Add(absent).Sum().Fill_(1))
	_, err := absent.Item()
	require.ErrorIs(t, err, torch.ErrClosed)
	_, err = absent.Float32s()
	require.ErrorIs(t, err, torch.ErrClosed)
	require.ErrorIs(t, absent.Err(), torch.ErrClosed)
}

func TestOtherSessionsTensors(t *testing.T) {
	err := refused(t, "Add", func(s *torch.Session) {
		_ = torch.Run(torch.CPU, torch.Options{}, func(other *torch.Session) error {
			s.Ones(2).Add(other.Ones(2))
			require.NoError(t, other.Err())
			return nil
		})
	})
	require.ErrorIs(t, err, torch.ErrClosed)

	var x torch.Tensor
	var ended *torch.Session
	before := torch.LiveTensors()
	require.NoError(t, torch.Run(torch.CPU, torch.Options{}, func(s *torch.Session) error {
		ended, x = s, s.Ones(2)
		return nil
	}))
	require.False(t, x.Defined())
	require.Equal(t, torch.Tensor{}, x.Relu())
	require.Equal(t, torch.Tensor{}, ended.Zeros(3))
	require.ErrorIs(t, ended.Err(), torch.ErrClosed)
	_, err = x.Item()
	require.ErrorIs(t, err, torch.ErrClosed)
	require.Equal(t, before, torch.LiveTensors(), "an ended session makes nothing")
}

func TestErrorsStick(t *testing.T) {
	before := torch.LiveTensors()
	err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		good := s.Ones(2)
		bad := good.Add(s.Ones(3))
		require.False(t, bad.Defined())
		first := s.Err()
		require.Error(t, first)
		live := s.Live()
		good.Reshape(17).MatMul(bad)
		s.Zeros(3)
		good.Fill_(9)
		s.NewGenerator(1).Seed(2)
		s.Fail(errors.New("another"))
		require.Equal(t, first, s.Err())
		require.Equal(t, first, good.Err())
		require.Equal(t, live, s.Live())
		_, err := good.Float32s()
		require.Equal(t, first, err)
		var asError *torch.Error
		require.ErrorAs(t, first, &asError)
		require.Equal(t, "Add", asError.Op)
		require.NotEmpty(t, asError.Msg)
		require.NotErrorIs(t, first, torch.ErrOutOfMemory)
		return nil
	})
	require.ErrorContains(t, err, "torch: Add: ", "Run gives the session's error where f gives none")
	require.Equal(t, before, torch.LiveTensors())
	own := errors.New("f's own")
	require.Equal(t, own, torch.Run(torch.CPU, torch.Options{}, func(s *torch.Session) error { s.Ones(2).Add(s.Ones(3)); return own }))
}

func TestThrow(t *testing.T) {
	for kind, want := range []string{"plain std::runtime_error", "a c10::Error", "an unknown C++ exception", "out of memory"} {
		err := torch.Throw(kind)
		require.EqualError(t, err, "torch: throw: "+want)
		require.Equal(t, kind == 3, errors.Is(err, torch.ErrOutOfMemory))
	}
	require.ErrorIs(t, torch.Throw(5), torch.ErrOutOfMemory, "cuBLAS had too little memory")
	require.NotErrorIs(t, torch.Throw(6), torch.ErrOutOfMemory, "no engine, and no allocator has refused memory")
}

func TestThreads(t *testing.T) {
	for _, n := range []int{1, 2} {
		require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: n}, func(s *torch.Session) error {
			require.Equal(t, n, s.NumThreads())
			require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 3}, func(inner *torch.Session) error {
				require.Equal(t, 3, inner.NumThreads())
				return nil
			}))
			require.Equal(t, n, s.NumThreads(), "an inner session gives the thread back as it was")
			return nil
		}))
	}
	var group sync.WaitGroup
	counts := make([][]int, 2)
	for i := range counts {
		group.Add(1)
		go func() {
			defer group.Done()
			_ = torch.Run(torch.CPU, torch.Options{Threads: i + 1}, func(s *torch.Session) error {
				for range 20 {
					counts[i] = append(counts[i], s.NumThreads())
					s.Do(func() { s.Ones(64, 64).MatMul(s.Ones(64, 64)) })
				}
				return s.Err()
			})
		}()
	}
	group.Wait()
	for i, c := range counts {
		require.Len(t, c, 20)
		for _, n := range c {
			require.Equal(t, i+1, n, "sessions side by side keep their own number")
		}
	}
}

func TestDevices(t *testing.T) {
	for name, want := range map[string]torch.Device{"cpu": torch.CPU, "cuda": torch.CUDA(0), "cuda:0": torch.CUDA(0), "cuda:3": torch.CUDA(3)} {
		d, err := torch.NewDevice(name)
		require.NoError(t, err)
		require.Equal(t, want, d)
	}
	for _, name := range []string{"", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "cpu:0"} {
		_, err := torch.NewDevice(name)
		require.ErrorContains(t, err, "cpu, cuda or cuda:N", name)
	}
	require.Equal(t, "cuda:1", torch.CUDA(1).String())
	require.Equal(t, "cpu", torch.CPU.String())
	require.Regexp(t, `^\d+\.\d+`, torch.Version())
	require.Contains(t, torch.BuildInfo(), "PyTorch built with")

	ran := false
	for _, d := range []torch.Device{torch.CUDA(torch.CUDADeviceCount()), torch.CUDA(-1), torch.CUDA(300)} {
		err := torch.Run(d, torch.Options{Threads: 1}, func(*torch.Session) error { ran = true; return nil })
		require.Error(t, err)
		require.False(t, ran, "no session without its device")
		if torch.BuiltWithCUDA() {
			require.ErrorContains(t, err, "no CUDA device")
		} else {
			require.ErrorContains(t, err, "is built for the CPU only")
		}
	}
	if torch.BuiltWithCUDA() {
		t.Skip("the rest is about a libtorch without CUDA")
	}
	require.Zero(t, torch.CUDADeviceCount())
	_, err := torch.CUDADeviceName(0)
	require.ErrorContains(t, err, "is built for the CPU only")
	require.ErrorContains(t, torch.EmptyCUDACache(), "is built for the CPU only")
	session(t, func(s *torch.Session) {
		require.Equal(t, torch.CPU, s.Device())
		require.Equal(t, torch.CPU, s.Ones(1).Device())
		_, err := s.CUDAMemory()
		require.ErrorContains(t, err, "is built for the CPU only")
		require.ErrorContains(t, s.ResetCUDAPeak(), "is built for the CPU only")
		require.NoError(t, s.Synchronize())
	})
	err = refused(t, "ToDevice", func(s *torch.Session) { s.Ones(1).ToDevice(torch.CUDA(0)) })
	require.ErrorContains(t, err, "is built for the CPU only")
}

func TestSwitches(t *testing.T) {
	require.NoError(t, torch.SetDeterministic(true))
	t.Cleanup(func() { require.NoError(t, torch.SetDeterministic(false)) })
	require.NoError(t, torch.SetTF32(false))
	require.NoError(t, torch.SetCuDNN(false, false))
	session(t, func(s *torch.Session) {
		a := newAttack(s)
		a.step()
		first := a.adv.Clone()
		s.NoGrad(func() { a.adv.Copy_(a.clean) })
		a.step()
		require.True(t, same(t, first, a.adv), "a training step runs, and repeats itself, under the switch")
	})
}

func TestWarnings(t *testing.T) {
	session(t, func(s *torch.Session) {
		before := s.Warnings()
		if !torchtest.Device().IsCUDA() { // there libtorch warns of recordings that failed, as tests before this one have them
			require.Empty(t, before)
		}
		require.NoError(t, torch.Warn())
		require.NoError(t, torch.Warn())
		require.Equal(t, []string{"a warning", "a warning"}, s.Warnings(), "the first line of each")
		require.Empty(t, s.Warnings(), "told once")

		err := torch.Run(torch.CUDA(999), torch.Options{}, func(*torch.Session) error { return nil })
		require.Error(t, err)
		require.NoError(t, torch.Warn())
		require.Len(t, s.Warnings(), 1, "a session that fails to begin leaves the thread as it was")

		other := make(chan []string)
		go func() {
			_ = torch.Run(torch.CPU, torch.Options{}, func(s *torch.Session) error {
				got := s.Warnings()
				if err := torch.Warn(); err != nil {
					return err
				}
				other <- append(got, s.Warnings()...)
				return nil
			})
		}()
		require.Len(t, <-other, 1)
		require.Empty(t, s.Warnings(), "each session hears its own")
	})
}

func TestBorrow(t *testing.T) {
	session(t, func(s *torch.Session) {
		weights := s.FromFloat64([]float64{1, 2, 3}, 3).RequiresGrad_(true)
		const workers, steps = 2, 20
		ready, work, done := make(chan error), make([]chan int, workers), make(chan float64)
		for w := range workers {
			work[w] = make(chan int)
			go func() {
				_ = torch.Run(torch.CPU, torch.Options{Threads: 1}, func(own *torch.Session) error {
					mine := own.Borrow(weights).RequiresGrad_(true)
					own.Keep(mine)
					ready <- own.Err()
					for range work[w] {
						own.Do(func() {
							sum, _ := own.Grad(mine.Square().Sum(), mine)[0].Sum().Item()
							done <- sum
						})
					}
					return own.Err()
				})
				done <- -1
			}()
			require.NoError(t, <-ready) // the owner does nothing while one borrows
		}
		total := 6.0
		for step := range steps {
			for w := range workers {
				work[w] <- step
			}
			for range workers {
				require.InDelta(t, 2*total, <-done, 1e-9, "each sees the owner's last update")
			}
			s.NoGrad(func() { weights.Shift_(1) })
			total += 3
		}
		for w := range workers {
			close(work[w])
			require.EqualValues(t, -1, <-done)
		}
		require.True(t, weights.Defined())
		near(t, []float64{1 + steps, 2 + steps, 3 + steps}, weights, 0)
	})
}
