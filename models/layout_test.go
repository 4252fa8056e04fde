package models_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/models/modelstest"
)

func stateBytes(t *testing.T, m *models.Model) (all [][]byte) {
	for _, e := range m.State {
		b, err := e.Tensor.Detach().Bytes()
		require.NoError(t, err)
		all = append(all, b)
	}
	return all
}

// Laid out with its channels innermost a network is the same network, and its checkpoint has the same bytes.
func TestChannelsLast(t *testing.T) {
	for _, sp := range []models.Spec{{Arch: "lenet_bn", Classes: 10}, {Arch: "resnet18_adv", Width: 1, Classes: 10}} {
		run(t, func(s *torch.Session) {
			m, err := models.New(s, sp, nil)
			require.NoError(t, err)
			require.NoError(t, modelstest.Fill(s, m))
			x := modelstest.Input(s, m, 4)
			want, before := m.Forward(x, nn.Eval), stateBytes(t, m)
			live := s.Live()
			m.ToChannelsLast()
			require.Equal(t, live, s.Live())
			require.True(t, m.ChannelsLast)
			require.True(t, reflect.DeepEqual(before, stateBytes(t, m)))
			last := 0
			for _, p := range nn.Parameters(m.State) {
				require.True(t, p.RequiresGrad())
				if !p.IsContiguous() {
					last++
				}
			}
			require.Positive(t, last)
			off, err := m.Forward(x.ChannelsLast(), nn.Eval).Sub(want).Abs().Max().Item()
			require.NoError(t, err)
			require.Less(t, off, 1e-4)
		})
	}
}

// A seed gives a network the same weights however they are laid out.
func TestInitInAnyLayout(t *testing.T) {
	for _, scheme := range nn.Inits {
		var drawn [2][][]byte
		for i := range drawn {
			run(t, func(s *torch.Session) {
				m, err := models.New(s, models.Spec{Arch: "lenet_bn", Classes: 10}, nil)
				require.NoError(t, err)
				if i == 1 {
					m.ToChannelsLast()
				}
				require.NoError(t, nn.Init(m.Module, scheme, s.NewGenerator(1)))
				drawn[i] = stateBytes(t, m)
			})
		}
		require.True(t, reflect.DeepEqual(drawn[0], drawn[1]), scheme)
	}
}

// A twin computes what its original does once the weights are copied, is laid out as that, and has storage of its own.
func TestTwin(t *testing.T) {
	run(t, func(s *torch.Session) {
		m, err := models.New(s, models.Spec{Arch: "resnet18_adv", Width: 2, Classes: 10, Mean: []float64{.1, .2, .3}, Std: []float64{.4, .5, .6}}, s.NewGenerator(1))
		require.NoError(t, err)
		for _, last := range []bool{false, true} {
			if last {
				m.ToChannelsLast()
			}
			twin, err := m.Twin(s)
			require.NoError(t, err)
			assert.Equal(t, last, twin.ChannelsLast)
			for i, e := range twin.State {
				assert.Equal(t, m.State[i].Tensor.IsContiguous(), e.Tensor.IsContiguous(), e.Name)
				e.Tensor.Detach().Copy_(m.State[i].Tensor.Detach())
			}
			x := modelstest.Input(s, m, 2)
			same := m.Forward(x, nn.Eval).Eq(twin.Forward(x, nn.Eval)).All()
			v, err := same.Item()
			require.NoError(t, err)
			assert.Equal(t, 1.0, v)
			s.NoGrad(func() { twin.State[0].Tensor.Fill_(0) })
			v, err = m.State[0].Tensor.Detach().Abs().Sum().Item()
			require.NoError(t, err)
			assert.NotZero(t, v)
		}
	})
}
