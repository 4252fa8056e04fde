package models_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/models/modelstest"
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

func TestWiringOfMobileNetV2(t *testing.T) {
	run(t, func(s *torch.Session) {
		m, err := models.New(s, models.Spec{Arch: "mobilenetv2", Classes: 10}, nil)
		require.NoError(t, err)
		all := models.Wiring(m)
		assert.Equal(t, []models.Wire{
			{From: []string{"conv1"}, To: []string{"layers.0.conv1", "layers.0.shortcut.0"}, At: []int64{0, 0}},
			{From: []string{"layers.0.conv1", "layers.0.conv2"}, To: []string{"layers.0.conv3"}, At: []int64{0}, Last: true}, // depthwise: each channel on its own
			{From: []string{"layers.0.conv3", "layers.0.shortcut.0"}, To: []string{"layers.1.conv1", "layers.1.shortcut.0"}, At: []int64{0, 0}},
		}, all[:3])
		assert.Equal(t, models.Wire{From: []string{"linear"}}, all[len(all)-1])
	})
}

// unwired are the networks all of whose channels are shuffled, split or grouped.
var unwired = []string{"pnasneta", "pnasnetb", "shufflenetg2", "shufflenetg3"}

// A channel that no reader reads may hold anything: so the readers are all there. And each layer reads what it is said to.
func TestWiringHoldsInEveryNetwork(t *testing.T) {
	var none []string
	for _, arch := range models.Names() {
		for _, input := range models.InputsOf(arch) {
			switch arch {
			case "vgg11", "vgg13", "vgg16", "vgg19", "resnet18", "resnet34", "resnet101", "resnet152", "resnet18_adv_wide", "preact_resnet34", "wrn_28_10", "wrn_34_10",
				"densenet121", "dpn92", "resnext29_32x4d", "resnext29_4x64d", "resnext29_8x64d", "shufflenetv2_1", "shufflenetv2_1.5", "shufflenetv2_2":
				continue // the descriptions of vgg16_adv, resnet18_adv, resnet50, preact_resnet18, wrn_28_4, densenet_cifar, dpn26, resnext29_2x64d and shufflenetv2_0.5 with other counts and widths
			case "lenet", "lenet_bn", "lenet_adv", "vgg16_1by8", "vgg16_1by16", "vgg16_1by32", "vgg16_adv", "vgg16_ori_adv":
			default:
				input = [3]int64{3, 8, 8} // the wires are the same, and it takes less time
			}
			sp := models.Spec{Arch: arch, Classes: 10, Input: input}
			if !isWired(t, sp) {
				none = append(none, arch)
				continue
			}
			run(t, func(s *torch.Session) {
				m, err := models.New(s, sp, nil)
				require.NoError(t, err)
				require.NoError(t, modelstest.Fill(s, m))
				checkWires(t, s, m, models.Wiring(m))
			})
		}
	}
	assert.Equal(t, unwired, none)
}

func isWired(t *testing.T, sp models.Spec) (yes bool) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{ShapesOnly: true}, func(s *torch.Session) error {
		m, err := models.New(s, sp, nil)
		yes = err == nil && models.Wired(m)
		return err
	}))
	return yes
}

func checkWires(t *testing.T, s *torch.Session, m *models.Model, wires []models.Wire) {
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
		var err error
		s.NoGrad(func() { s.Do(func() { v, err = m.Forward(x, nn.Eval).Float32s() }) })
		require.NoError(t, err)
		return v
	}
	channels := map[string]int64{} // that a layer reads
	for _, wire := range wires {
		for _, layer := range wire.To {
			channels[layer] += weight[wire.From[0]].Size(0)
		}
	}
	for _, wire := range wires {
		made = append(append(made, wire.From...), wire.Gates...)
		if len(wire.To) > 0 {
			s.Do(func() { checkWire(t, m.Spec.Arch, wire, weight, channels, logits) })
		}
	}
	slices.Sort(layers)
	slices.Sort(made)
	assert.Equal(t, layers, made, m.Spec.Arch)
}

func checkWire(t *testing.T, arch string, wire models.Wire, weight map[string]torch.Tensor, read map[string]int64, logits func() []float32) {
	makers := slices.Concat(wire.From, wire.Gates)
	for _, layer := range makers {
		require.Equal(t, weight[wire.From[0]].Size(0), weight[layer].Size(0), layer)
	}
	var kept []torch.Tensor
	for i, layer := range wire.To {
		w := weight[layer]
		kept = append(kept, w.Clone())
		wide := w.Size(1) / read[layer] // of a linear layer behind a convolution: the channel's pixels
		w.Narrow(1, (wire.At[i]+1)*wide, wide).Fill_(0)
	}
	before := logits()
	for _, layer := range makers {
		kept = append(kept, weight[layer].Clone())
		weight[layer].Narrow(0, 1, 1).Fill_(0.3)
		require.Equal(t, before, logits(), "%s: something else reads channel 1 of %s", arch, layer)
	}
	for i, layer := range wire.To {
		weight[layer].Copy_(kept[i])
		after := logits()
		if slices.Equal(before, after) { // ReLU may have cut the channel off: not so with the other sign
			weight[wire.From[0]].Narrow(0, 1, 1).Scale_(-1)
			after = logits()
		}
		require.NotEqual(t, before, after, "%s: %s does not read %v", arch, layer, wire.From)
	}
	for i, layer := range makers {
		weight[layer].Copy_(kept[len(wire.To)+i])
	}
}

// In a pre-activation network a batch norm at a block's beginning is no layer's: it scales a sum.
func TestMakers(t *testing.T) {
	require.NoError(t, torch.Run(torch.CPU, torch.Options{ShapesOnly: true}, func(s *torch.Session) error {
		m, err := models.New(s, models.Spec{Arch: "preact_resnet18", Classes: 10}, nil)
		require.NoError(t, err)
		makers := models.Makers(m)
		assert.Equal(t, "layer1.1.conv1", makers["layer1.1.bn2"])
		assert.NotContains(t, makers, "layer1.1.bn1")
		assert.NotContains(t, makers, "layer1.0.bn1")
		for _, arch := range models.Names() { // a maker has as many channels as its norm
			m, err := models.New(s, models.Spec{Arch: arch, Classes: 10}, nil)
			require.NoError(t, err)
			rows := map[string]int64{}
			for _, e := range m.State {
				if e.Name == e.Layer+".weight" {
					rows[e.Layer] = e.Tensor.Size(0)
				}
			}
			for norm, layer := range models.Makers(m) {
				assert.Equal(t, rows[layer], rows[norm], "%s: %s and %s", arch, layer, norm)
			}
		}
		return nil
	}))
}
