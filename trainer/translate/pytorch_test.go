package translate_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/trainer/translate"
)

// What PyTorch exports is read as what PyTorch computes, under the names of its state dict but for what it computes beforehand, and so is what rapt
// exports of that.
func TestPyTorch(t *testing.T) {
	for name, c := range map[string]struct {
		others string // of the state dict's names, those that are no tensors of the network
		wired  bool
	}{
		"plain": {"", true}, "plain-beside": {"", true}, "plain-open": {"", true}, "residual": {"mean std", true}, "residual-folded": {"-", true}, "others": {"out shift", true}, "dropping": {"", true}, "others-open": {"out shift", true},
		"plain-new": {"", true}, "residual-new": {"mean std", true}, "residual-new-folded": {"-", true}, "others-new": {"out shift", true}, "others-new-open": {"out shift", true}, "dropping-new": {"", true}, "shapes": {"", true}, "shapes-new": {"", true}, "hard": {"", true}, "hard-new": {"", true}, "normal": {"mean std", false}, "padded": {"", true}, "padded-open": {"", true}, "normal-new": {"mean std", false},
	} {
		var want struct {
			Images, Logits []float32
			Names          []string
		}
		text, err := os.ReadFile("testdata/" + strings.TrimSuffix(name, "-beside") + ".json")
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &want))
		run(t, func(s *torch.Session) {
			m := built(t, s, "testdata/"+name+".onnx")
			x := s.FromFloat32(want.Images, 2, m.Input[0], m.Input[1], m.Input[2])
			s.NoGrad(func() {
				near(t, s.FromFloat32(want.Logits, 2, 5), m.Forward(x, nn.Eval), 2e-6, name)
				near(t, s.FromFloat32(want.Logits, 2, 5), m.Forward(x, nn.Mode{Folded: nn.Fold(m.Module)}), 2e-6, name)
			})
			s.NoGrad(func() { near(t, s.FromFloat32(want.Logits, 2, 5), s.RunScript(scripted(t, s, m), x), 2e-6, name) })
			again := built(t, s, exported(t, m))
			s.NoGrad(func() { near(t, m.Forward(x, nn.Eval), again.Forward(x, nn.Eval), 1e-6, name) })
			if assert.Equal(t, c.wired, models.Wired(m), name) && c.wired {
				defer compacts(t, s, m, name) // which changes it
			}
			var lacks []string
			for _, n := range want.Names {
				if !slices.Contains(names(m), n) {
					lacks = append(lacks, n)
				}
			}
			if c.others != "-" {
				assert.Equal(t, c.others, strings.Join(lacks, " "), name)
			}
			if strings.HasPrefix(name, "residual") || strings.HasPrefix(name, "normal") {
				assert.InDeltaSlice(t, []float64{0.4, 0.5, 0.6}, m.Spec.Mean, 1e-6)
			}
		})
	}
}

// Where an exporter took batch norms into convolutions, that is said.
func TestFoldedIsSaid(t *testing.T) {
	for name, said := range map[string]bool{"residual": false, "residual-new": false, "residual-folded": true, "residual-new-folded": true, "plain": true} {
		net, err := translate.ONNX("testdata/" + name + ".onnx")
		require.NoError(t, err)
		assert.Equal(t, said, strings.Contains(strings.Join(net.Notes, "\n"), "convolutions have no batch norms behind them: where yours have"), name)
	}
}

// Dropout that a file has is dropped by in training, and a batch norm keeps its momentum.
func TestDropoutStays(t *testing.T) {
	for _, name := range []string{"dropping", "dropping-new"} {
		run(t, func(s *torch.Session) {
			m := built(t, s, "testdata/"+name+".onnx")
			x := s.Rand(s.NewGenerator(1), 2, 1, 8, 8)
			seen := map[string]bool{}
			for seed := range uint64(4) {
				y, err := m.Forward(x, nn.Mode{Train: true, Generator: s.NewGenerator(seed)}).Detach().Float32s()
				require.NoError(t, err)
				seen[fmt.Sprint(y)] = true
			}
			assert.Greater(t, len(seen), 1, name)
			nn.Walk(m.Module, func(_ string, one nn.Module) {
				if n, ok := one.(*nn.BatchNormModule); ok {
					assert.InDelta(t, 0.03, n.Momentum, 1e-9, name)
				}
			})
		})
		net, err := translate.ONNX("testdata/" + name + ".onnx")
		require.NoError(t, err)
		i := slices.IndexFunc(net.Graph.Nodes, func(n models.Node) bool { return n.Op == "dropout" })
		require.GreaterOrEqual(t, i, 0, name)
		assert.InDelta(t, 0.3, net.Graph.Nodes[i].Number, 1e-6, name)
	}
}

// What looks like something that rapt has, and is another function, is refused.
func TestLookAlikes(t *testing.T) {
	for name, want := range map[string]string{
		"raw":         "numbers of the file, of the shape [], are taken only to normalise all that the network sees",
		"clamp":       "it bounds numbers to [-Inf 6], and only 0 to 6",
		"twice":       "numbers of the file, of the shape [5], are taken only",
		"reflect":     `it pads by [0 0 1 1 0 0 1 1] (mode "reflect"), and only zeros`,
		"ones":        `it pads by [0 0 1 1 0 0 1 1] (mode "constant"), and only zeros`,
		"stripes":     "its input /Slice_output_0 is every 2-th row or column of maps",
		"squeeze-new": "it takes away all dimensions of 1",
		"alone":       "only the smaller of a ReLU's result and 6 (ReLU6) is taken",
		"clone-new":   "numbers of the file, of the shape [], are taken only to normalise all that the network sees",
		"least-new":   "only the smaller of a ReLU's result and 6 (ReLU6) is taken",
	} {
		_, err := translate.ONNX("testdata/refused-" + name + ".onnx")
		assert.ErrorContains(t, err, want, name)
	}
}
