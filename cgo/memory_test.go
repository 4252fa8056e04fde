package torch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// attack is a PGD attack on a small convolutional network, as a trainer writes it.
type attack struct {
	s                 *torch.Session
	g                 *torch.Generator
	conv1, conv2      *nn.Conv2dModule
	fc                *nn.LinearModule
	clean, adv, label torch.Tensor
}

func (a *attack) Forward(x torch.Tensor, m nn.Mode) torch.Tensor {
	x = a.conv1.Forward(x, m).Relu().MaxPool2d(2, 2, 0)
	x = a.conv2.Forward(x, m).Relu().MaxPool2d(2, 2, 0)
	return a.fc.Forward(x.Flatten(), m)
}

func (a *attack) Children() []nn.Child {
	return []nn.Child{{Name: "conv1", Module: a.conv1}, {Name: "conv2", Module: a.conv2}, {Name: "fc", Module: a.fc}}
}

func newAttack(s *torch.Session) *attack {
	a := &attack{s: s, g: s.NewGenerator(1)}
	same := torch.ConvOptions{Padding: 2}
	a.conv1, a.conv2, a.fc = nn.Conv2d(s, 1, 8, 5, same, true), nn.Conv2d(s, 8, 16, 5, same, true), nn.Linear(s, 16*7*7, 10, true)
	s.Do(func() {
		s.Fail(nn.Init(a, "default", a.g))
		label := make([]int64, 16)
		for i := range label {
			label[i] = int64(i % 10)
		}
		a.clean, a.label = s.Rand(a.g, 16, 1, 28, 28), s.FromInt64(label, 16)
		a.adv = a.clean.Clone().RequiresGrad_(true)
		s.Keep(a.clean, a.label, a.adv)
	})
	return a
}

// restart begins a new attack at a random point of the ball.
func (a *attack) restart() {
	a.s.NoGrad(func() {
		a.s.Do(func() {
			noise := a.s.Empty(torch.Float32, a.clean.Shape()...).Uniform_(a.g, -0.3, 0.3)
			a.adv.Copy_(a.clean.Add(noise).Clamp(0, 1))
		})
	})
}

func (a *attack) step() {
	a.s.Do(func() {
		loss := a.Forward(a.adv, nn.Eval).CrossEntropy(a.label, torch.ReduceMean, 0)
		grad := a.s.Grad(loss, a.adv)
		a.adv.PGDStep_(grad[0], a.clean, 0.01, 0.3, false)
	})
}

func TestAttackHoldsNoTensors(t *testing.T) {
	before := torch.LiveTensors()
	session(t, func(s *torch.Session) {
		a := newAttack(s)
		a.step()
		held, process := s.Live(), torch.LiveTensors()
		require.Equal(t, 3+6, held, "the images, labels and attack, and the network's parameters")
		for i := range 200 {
			if i%10 == 0 {
				a.restart()
			}
			a.step()
			require.NoError(t, s.Err())
			require.Equal(t, held, s.Live(), "step %d", i)
			require.Equal(t, process, torch.LiveTensors(), "step %d", i)
		}
		s.NoGrad(func() {
			s.Do(func() {
				moved, err := a.adv.Sub(a.clean).Abs().Max().Item()
				require.NoError(t, err)
				require.Greater(t, moved, 0.01)
				require.LessOrEqual(t, moved, 0.3+1e-6)
			})
		})
	})
	require.Equal(t, before, torch.LiveTensors())
}

func TestASessionKeepsNoMoreThanItMay(t *testing.T) {
	for _, most := range []int64{1 << 20, 64 << 20} {
		require.NoError(t, torch.Run(torch.CPU, torch.Options{Keep: most}, func(s *torch.Session) error {
			for range 3 {
				s.Do(func() {
					for range 20 {
						s.Ones(1 << 20) // 4 MiB
					}
				})
				require.LessOrEqual(t, torch.Kept(), most)
			}
			if most > 4<<20 && torch.Kept() != 0 { // under AddressSanitizer nothing is kept
				require.Greater(t, torch.Kept(), most/2)
			}
			return s.Err()
		}))
		require.Zero(t, torch.Kept(), "the outermost session ended")
	}
}
