package models_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
)

func TestWiringOfResNet(t *testing.T) {
	run(t, func(s *torch.Session) {
		m, err := models.New(s, models.Spec{Arch: "resnet18_adv", Width: 1, Classes: 10}, nil)
		require.NoError(t, err)
		var coupled [][]string
		for _, w := range models.Wiring(m) {
			if len(w.From) > 1 {
				coupled = append(coupled, w.From)
			}
		}
		assert.Equal(t, [][]string{
			{"conv1", "layer1.0.conv2", "layer1.1.conv2"},
			{"layer2.0.conv2", "layer2.0.shortcut.0", "layer2.1.conv2"},
			{"layer3.0.conv2", "layer3.0.shortcut.0", "layer3.1.conv2"},
			{"layer4.0.conv2", "layer4.0.shortcut.0", "layer4.1.conv2"},
		}, coupled)
	})
}

// A channel that no reader reads may hold anything: so the readers are all there. And each layer reads what it is said to.
func TestWiringHoldsInEveryNetwork(t *testing.T) {
	for _, arch := range models.Names() {
		run(t, func(s *torch.Session) {
			m, err := models.New(s, models.Spec{Arch: arch, Classes: 10}, s.NewGenerator(3))
			require.NoError(t, err)
			weight := map[string]torch.Tensor{}
			var layers, made []string
			for _, e := range m.State {
				if e.Name == e.Layer+".weight" && e.Kind != nn.Norm {
					weight[e.Layer] = e.Tensor.Detach()
					layers = append(layers, e.Layer)
				}
			}
			x := s.Rand(s.NewGenerator(4), 2, m.Input[0], m.Input[1], m.Input[2])
			logits := func() (v []float32) {
				s.NoGrad(func() { v, err = m.Forward(x, nn.Eval).Float32s() })
				require.NoError(t, err)
				return v
			}
			for _, wire := range models.Wiring(m) {
				made = append(made, wire.From...)
				if len(wire.To) == 0 {
					continue
				}
				channels := weight[wire.From[0]].Size(0)
				for _, layer := range wire.From {
					require.Equal(t, channels, weight[layer].Size(0), layer)
				}
				s.Do(func() {
					var kept []torch.Tensor
					for _, layer := range wire.To {
						w := weight[layer]
						kept = append(kept, w.Clone())
						wide := w.Size(1) / channels // of a linear layer behind a convolution: the channel's pixels
						w.Narrow(1, 1*wide, wide).Fill_(0)
					}
					before := logits()
					for _, layer := range wire.From {
						kept = append(kept, weight[layer].Clone())
						weight[layer].Narrow(0, 1, 1).Fill_(0.3)
						require.Equal(t, before, logits(), "%s: something else reads channel 1 of %s", arch, layer)
					}
					for i, layer := range wire.To {
						weight[layer].Copy_(kept[i])
						require.NotEqual(t, before, logits(), "%s: %s does not read %v", arch, layer, wire.From)
					}
					for i, layer := range wire.From {
						weight[layer].Copy_(kept[len(wire.To)+i])
					}
				})
			}
			slices.Sort(layers)
			slices.Sort(made)
			assert.Equal(t, layers, made, arch)
		})
	}
}
