package models_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/models/modelstest"
)

// filled is a network of the vectors' numbers.
func filled(t *testing.T, s *torch.Session, sp models.Spec) *models.Model {
	t.Helper()
	m, err := models.New(s, sp, nil)
	require.NoError(t, err)
	require.NoError(t, modelstest.Fill(s, m))
	return m
}

// tensor is one of a model's, to be written to.
func tensor(t *testing.T, m *models.Model, name string) torch.Tensor {
	t.Helper()
	for _, e := range m.State {
		if e.Name == name {
			return e.Tensor.Detach()
		}
	}
	require.Fail(t, "there is no "+name)
	return torch.Tensor{}
}

// empty zeroes the filters that of names, of layers whose channels others read.
func empty(t *testing.T, s *torch.Session, m *models.Model, of func(layer string, o int64) bool) {
	s.Do(func() {
		for _, w := range models.Wiring(m) {
			for _, layer := range w.From {
				weight := tensor(t, m, layer+".weight")
				for o := range weight.Size(0) {
					if len(w.To) > 0 && of(layer, o) {
						weight.Narrow(0, o, 1).Fill_(0)
					}
				}
			}
		}
	})
	require.NoError(t, s.Err())
}

func everyOther(_ string, o int64) bool { return o%2 == 1 }

// requireCompact compares what two networks compute, and gives the channels that are left.
func requireCompact(t *testing.T, s *torch.Session, m *models.Model, merge bool) (*models.Model, map[string]int64) {
	t.Helper()
	before, live := stateBytes(t, m), s.Live()
	small, err := models.Compact(m, merge)
	require.NoError(t, err)
	of := len(small.State)
	if len(m.Spec.Mean) > 0 {
		of += 2
	}
	require.Equal(t, live+of, s.Live(), "what was made on the way is freed")
	require.Equal(t, before, stateBytes(t, m), "the network itself stays")
	x := modelstest.Input(s, m, 3)
	s.NoGrad(func() { s.Do(func() { requireNear(t, m.Forward(x, nn.Eval), small.Forward(x, nn.Eval)) }) })
	channels := map[string]int64{}
	for _, e := range small.State {
		if e.Name == e.Layer+".weight" && e.Kind != nn.Norm {
			channels[e.Layer] = e.Tensor.Size(0)
		}
	}
	return small, channels
}

// lenet_adv's second convolution is padded, so one channel of 1 stands for those of the first that bias leaves a number. The linear layers'
// readers take that into their own biases.
func TestCompactOfLeNet(t *testing.T) {
	run(t, func(s *torch.Session) {
		m := filled(t, s, models.Spec{Arch: "lenet_adv", Width: 2, Classes: 10})
		empty(t, s, m, everyOther)
		s.Do(func() { // positive: ReLU lets it through
			for _, name := range []string{"conv1.bias", "conv2.bias", "fc1.bias"} {
				b := tensor(t, m, name)
				b.Copy_(b.Abs().AddScalar(0.05))
			}
		})
		small, channels := requireCompact(t, s, m, true)
		assert.Equal(t, map[string]int64{"conv1": 2 + 1, "conv2": 4, "fc1": 64, "fc2": 10}, channels)
		assert.Equal(t, map[string]int64{"conv1": 3, "conv2": 4, "fc1": 64}, small.Spec.Channels)
		assert.Equal(t, []int64{64, 4 * 49}, tensor(t, small, "fc1.weight").Shape())

		_, channels = requireCompact(t, s, m, false)
		assert.Equal(t, map[string]int64{"conv1": 4, "conv2": 4, "fc1": 64, "fc2": 10}, channels)

		s.Do(func() { tensor(t, m, "conv1.bias").Fill_(-0.1) }) // below 0 there is nothing to take over
		empty(t, s, m, func(layer string, o int64) bool { return layer == "conv1" && o > 0 })
		small, channels = requireCompact(t, s, m, true)
		assert.Equal(t, int64(1), channels["conv1"])

		again, same := requireCompact(t, s, small, true)
		assert.Equal(t, channels, same)
		assert.Equal(t, small.Spec.Channels, again.Spec.Channels)
		r, err := small.Replica(s)
		require.NoError(t, err)
		x := modelstest.Input(s, m, 2)
		requireNear(t, small.Forward(x, nn.Eval), r.Forward(x, nn.Mode{Folded: nn.Fold(r.Module)}))
		cost, err := models.Cost(small)
		require.NoError(t, err)
		assert.Equal(t, int64(28*28*25*1+14*14*25*1*4+4*49*64+640), cost.MACs)
	})
}

// A channel that only its own block reads, which adds to it, is read by nothing that matters.
func TestCompactOfACycle(t *testing.T) {
	run(t, func(s *torch.Session) {
		m := filled(t, s, models.Spec{Arch: "resnet18_adv", Width: 2, Classes: 10})
		s.Do(func() {
			tensor(t, m, "layer4.1.conv1.weight").Fill_(0)
			tensor(t, m, "linear.weight").Fill_(0)
			tensor(t, m, "bn1.num_batches_tracked").Fill_(7)
		})
		small, channels := requireCompact(t, s, m, true)
		for layer, n := range channels {
			if layer != "linear" {
				assert.Equal(t, int64(1), n, layer)
			}
		}
		counted, err := tensor(t, small, "bn1.num_batches_tracked").Item()
		require.NoError(t, err)
		assert.Equal(t, 7.0, counted)

		m = filled(t, s, models.Spec{Arch: "resnet18_adv", Width: 2, Classes: 10})
		s.Do(func() { tensor(t, m, "linear.weight").Narrow(1, 5, 8).Fill_(0) }) // only layer4.1 reads these, and adds to them
		_, channels = requireCompact(t, s, m, true)
		assert.Equal(t, int64(64), channels["layer4.1.conv2"], "it adds to others, too")
		assert.Equal(t, int64(64), channels["conv1"]*8)
	})
}

// Without merge a weight stays as it was as long as any layer reads its channel: it may be on a level, which 0 need not be.
func TestCompactChangesNoWeightThatIsLeft(t *testing.T) {
	run(t, func(s *torch.Session) {
		m := filled(t, s, models.Spec{Arch: "resnet18_adv", Width: 1, Classes: 10})
		s.Do(func() { // a sum's constant channels: read by a padded convolution and by the shortcut's, which is not
			for _, l := range []string{"conv1", "layer1.0.conv2", "layer1.1.conv2"} {
				tensor(t, m, l+".weight").Narrow(0, 1, 2).Fill_(0)
			}
			b := tensor(t, m, "bn1.bias")
			b.Copy_(b.Abs().AddScalar(0.5))
		})
		small, channels := requireCompact(t, s, m, false)
		assert.Equal(t, int64(4), channels["conv1"], "all are still read")
		for _, l := range []string{"layer2.0.conv1", "layer2.0.shortcut.0", "layer1.0.conv1"} {
			assert.Zero(t, difference(t, tensor(t, m, l+".weight"), tensor(t, small, l+".weight")), l)
		}
		_, channels = requireCompact(t, s, m, true)
		assert.Equal(t, int64(3), channels["conv1"])
	})
}

func difference(t *testing.T, a, b torch.Tensor) float64 {
	t.Helper()
	off, err := a.Sub(b).Abs().Max().Item()
	require.NoError(t, err)
	return off
}

// A channel that no reader reads goes, and so does what it alone read.
func TestCompactOfWhatNothingReads(t *testing.T) {
	run(t, func(s *torch.Session) {
		m := filled(t, s, models.Spec{Arch: "lenet_bn", Classes: 10})
		s.Do(func() {
			tensor(t, m, "fc2.weight").Narrow(1, 100, 400).Fill_(0)
			fc1 := tensor(t, m, "fc1.weight")
			fc1.Narrow(0, 0, 100).Narrow(1, 16*7, 16*43).Fill_(0) // the rows that are read read seven channels of conv2
			tensor(t, m, "conv2.weight").Narrow(0, 0, 7).Narrow(1, 5, 15).Fill_(0)
		})
		_, channels := requireCompact(t, s, m, true)
		assert.Equal(t, map[string]int64{"conv1": 5, "conv2": 7, "fc1": 100, "fc2": 10}, channels)
	})
}

// bn_filter switches channels off by their batch norm: the convolution's weights are still there.
func TestCompactOfDeadBatchNorm(t *testing.T) {
	run(t, func(s *torch.Session) {
		m := filled(t, s, models.Spec{Arch: "vgg16_adv", Width: 1, Classes: 10})
		s.Do(func() {
			for _, n := range []string{"features.1", "features.4", "features.41"} {
				tensor(t, m, n+".weight").Narrow(0, 1, 2).Fill_(0)
				tensor(t, m, n+".bias").Narrow(0, 1, 2).Fill_(0)
			}
		})
		_, channels := requireCompact(t, s, m, false)
		assert.Equal(t, int64(2), channels["features.0"])
		assert.Equal(t, int64(2), channels["features.3"])
		assert.Equal(t, int64(32), channels["features.37"])
		assert.Equal(t, int64(30), channels["features.40"])
	})
}

// A depthwise convolution that sees 0 makes the same of every image, as one without weights does.
func TestCompactOfDepthwise(t *testing.T) {
	run(t, func(s *torch.Session) {
		m := filled(t, s, models.Spec{Arch: "mobilenet", Classes: 10, Input: [3]int64{3, 8, 8}})
		s.Do(func() {
			for _, n := range []string{"layers.2.bn2", "layers.5.bn1"} { // behind a 1x1 convolution, and behind a depthwise one
				tensor(t, m, n+".weight").Narrow(0, 4, 6).Fill_(0)
				tensor(t, m, n+".bias").Narrow(0, 4, 6).Fill_(0)
			}
			tensor(t, m, "layers.7.conv1.weight").Narrow(0, 4, 6).Fill_(0)
		})
		_, channels := requireCompact(t, s, m, false)
		for layer, n := range map[string]int64{"layers.2.conv2": 122, "layers.3.conv1": 122, "layers.4.conv2": 250, "layers.5.conv1": 250, "layers.6.conv2": 506, "layers.7.conv1": 506,
			"layers.7.conv2": 512} {
			assert.Equal(t, n, channels[layer], layer)
		}
	})
}

// Where layers are added a channel goes only if all of them drop it; each of the blocks' own goes alone.
func TestCompactOfResNet(t *testing.T) {
	run(t, func(s *torch.Session) {
		m := filled(t, s, models.Spec{Arch: "resnet18_adv", Width: 1, Classes: 10, Mean: []float64{0.4, 0.5, 0.6}, Std: []float64{0.2, 0.25, 0.3}})
		empty(t, s, m, func(layer string, o int64) bool {
			return strings.HasSuffix(layer, ".conv1") && o%2 == 1 || strings.HasPrefix(layer, "layer4") && !strings.HasSuffix(layer, ".conv1") && o > 27 ||
				layer == "conv1" && o > 2
		})
		_, channels := requireCompact(t, s, m, true)
		for layer, n := range channels {
			whole := tensor(t, m, layer+".weight").Size(0)
			switch {
			case strings.HasSuffix(layer, ".conv1"):
				assert.Contains(t, []int64{whole / 2, whole/2 + 1}, n, layer)
			case strings.HasPrefix(layer, "layer4"): // read by the classes' layer, whose bias takes what is left, and by padded convolutions
				assert.Contains(t, []int64{28, 29}, n, layer)
			default:
				assert.Equal(t, whole, n, layer)
			}
		}
	})
}

// Every network whose wires are known stays the same function, however its channels are emptied.
func TestCompactOfEveryWiredNetwork(t *testing.T) {
	for _, arch := range []string{"lenet", "lenet_bn", "vgg16_ori_adv", "vgg16_1by16", "resnet18_1by16", "resnet50", "mobilenet", "mobilenetv2", "preact_resnet18", "preact_resnet50", "wrn_28_4",
		"densenet_cifar", "googlenet", "senet18", "resnext29_2x64d", "shufflenetv2_0.5", "dpn26"} {
		for _, input := range models.InputsOf(arch) {
			if strings.Contains(arch, "net50") || strings.Contains(arch, "net18") || slices.Contains([]string{"mobilenet", "mobilenetv2", "wrn_28_4", "googlenet", "densenet_cifar", "resnext29_2x64d", "shufflenetv2_0.5", "dpn26"}, arch) {
				input = [3]int64{3, 8, 8}
			}
			run(t, func(s *torch.Session) {
				m := filled(t, s, models.Spec{Arch: arch, Classes: 10, Input: input})
				empty(t, s, m, everyOther)
				_, channels := requireCompact(t, s, m, true)
				for _, w := range models.Wiring(m) {
					if len(w.To) == 0 {
						continue
					}
					whole := tensor(t, m, w.From[0]+".weight").Size(0)
					if !w.Bent {
						assert.LessOrEqual(t, channels[w.From[0]], (whole+1)/2+1, "%s %v", arch, w.From)
					}
					assert.False(t, slices.ContainsFunc(w.From, func(l string) bool { return channels[l] != channels[w.From[0]] }), "%s %v", arch, w.From)
				}
			})
		}
	}
}

// Channels that are 0 for every image, as coupled filters leave them, all go, however they are added, joined and weighed, and nothing else does.
func TestCompactOfCoupledFilters(t *testing.T) {
	for _, arch := range []string{"lenet_adv", "resnet18_1by16", "mobilenetv2", "preact_resnet18", "densenet_cifar", "googlenet", "senet18", "resnext29_2x64d", "shufflenetv2_0.5"} {
		input := [3]int64{3, 8, 8}
		if arch == "lenet_adv" {
			input = [3]int64{1, 28, 28}
		}
		for _, merge := range []bool{true, false} {
			run(t, func(s *torch.Session) {
				m := filled(t, s, models.Spec{Arch: arch, Classes: 10, Input: input})
				require.NoError(t, modelstest.Drop(s, m, func(ch int64) bool { return ch%3 == 1 }))
				_, channels := requireCompact(t, s, m, merge)
				for _, w := range models.Wiring(m) {
					for _, layer := range slices.Concat(w.From, w.Gates) {
						if whole := tensor(t, m, layer+".weight").Size(0); len(w.To) > 0 {
							assert.Equal(t, whole-(whole+1)/3, channels[layer], "%s %s", arch, layer)
						}
					}
				}
			})
		}
	}
}

// A batch norm without scale before a block hides the channel from that block alone.
func TestCompactOfPreActivation(t *testing.T) {
	run(t, func(s *torch.Session) {
		m := filled(t, s, models.Spec{Arch: "wrn_28_4", Classes: 10, Input: [3]int64{3, 8, 8}})
		s.Do(func() {
			for _, n := range []string{"block1.layer.0.bn1", "block2.layer.1.bn1", "block2.layer.1.bn2"} {
				tensor(t, m, n+".weight").Narrow(0, 3, 5).Fill_(0)
				tensor(t, m, n+".bias").Narrow(0, 3, 5).Fill_(0)
			}
		})
		small, channels := requireCompact(t, s, m, false)
		assert.Equal(t, int64(16-5), channels["conv1"], "the first block reads by its batch norm alone")
		assert.Equal(t, int64(128-5), channels["block2.layer.1.conv1"])
		assert.Equal(t, int64(128), channels["block2.layer.0.conv2"], "others see what it adds to")
		assert.Equal(t, []int64{11}, tensor(t, small, "block1.layer.0.bn1.running_var").Shape())
		assert.Equal(t, []models.Wire{{From: []string{"conv1"}, To: []string{"block1.layer.0.conv1", "block1.layer.0.convShortcut"}, At: []int64{0, 0}, Norms: []models.Norm{{Name: "block1.layer.0.bn1"}}}}, models.Wiring(m)[:1])
	})
}

func TestCompactRefuses(t *testing.T) {
	run(t, func(s *torch.Session) {
		_, err := models.Compact(filled(t, s, models.Spec{Arch: "shufflenetg2", Classes: 10, Input: [3]int64{3, 8, 8}}), true)
		require.ErrorIs(t, err, models.ErrNotWired)
	})
	for _, c := range []struct {
		channels map[string]int64
		want     string
	}{
		{map[string]int64{"conv1": 0}, "conv1 of resnet18_adv has 1 to 4 channels, not 0"},
		{map[string]int64{"layer1.0.conv1": 5}, "layer1.0.conv1 of resnet18_adv has 1 to 4 channels, not 5"},
		{map[string]int64{"layer1.0.conv2": 3}, "conv1 and layer1.0.conv2 of resnet18_adv share their channels: they have 4 and 3"},
		{map[string]int64{"linear": 3}, `resnet18_adv has no layer "linear" whose channels can be taken out`},
		{map[string]int64{"bn1": 3}, `resnet18_adv has no layer "bn1" whose channels can be taken out`},
	} {
		run(t, func(s *torch.Session) {
			_, err := models.New(s, models.Spec{Arch: "resnet18_adv", Classes: 10, Channels: c.channels}, nil)
			require.EqualError(t, err, c.want)
		})
	}
}
