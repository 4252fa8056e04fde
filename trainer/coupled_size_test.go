package trainer

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/datasets"
	"rapt/models"
	"rapt/trainer/metrics"
)

// What coupled_filter removes can be taken out to the last channel, as the plan says, whatever the other numbers are.
func TestCoupledFiltersCanBeTakenOut(t *testing.T) {
	Compares(t)
	for arch, sets := range map[string][]string{ // one of each kind
		"lenet_adv":       nil,
		"vgg16_adv":       {"model.width=1"},
		"resnet18_adv":    {"model.width=2"},
		"preact_resnet18": nil,
		"mobilenet":       nil,
		"mobilenetv2":     nil,
	} {
		t.Run(arch, func(t *testing.T) {
			onDrawn(t, func(p *pipeline) {
				lead := p.lead()
				gen := lead.s.NewGenerator(1)
				lead.s.NoGrad(func() {
					for _, e := range lead.model.State { // as training leaves them
						if strings.HasSuffix(e.Name, "bias") || strings.HasSuffix(e.Name, "running_mean") {
							e.Tensor.Copy_(lead.s.RandN(gen, e.Tensor.Shape()...))
						}
					}
				})
				plan, err := p.describe(prunable(lead.model))
				require.NoError(t, err)
				require.Less(t, plan.Parameters.Shrunk, plan.Parameters.Before/4)
				p.plan.pruneNow(lead).apply(lead.s)
				nonzero := int64(0)
				for _, e := range lead.model.State {
					if !e.Buffer {
						n, err := e.Tensor.CountNonzero().Item()
						require.NoError(t, err)
						nonzero += int64(n)
					}
				}
				assert.InDelta(t, plan.Parameters.After, nonzero, 3, "a weight may be drawn 0")
				small, err := models.Compact(lead.model, false)
				require.NoError(t, err)
				assert.Equal(t, plan.Parameters.Shrunk, small.Parameters())
				cost, err := models.Cost(small)
				require.NoError(t, err)
				assert.Equal(t, plan.MACs.Shrunk, cost.MACs)
			}, append(sets, "model.arch="+arch, "prune.sparsity_type=coupled_filter", "prune.ratio=0.75")...)
		})
	}
}

// onDrawn has a pipeline with a network of any input, which is never trained.
func onDrawn(t *testing.T, f func(p *pipeline), sets ...string) {
	p := &pipeline{cfg: Settings(t, t.TempDir(), sets...), log: zap.NewNop(), progress: metrics.NewProgress(io.Discard, false)}
	require.NoError(t, p.architecture(probeClasses, models.InputsOf(p.cfg.Model.Arch)[0]))
	set := drawn(1, 40, p.spec.Input, probeClasses)
	p.parts = &datasets.Parts{Train: set, Validation: set, Test: set}
	devices, err := p.ready()
	require.NoError(t, err)
	require.NoError(t, gather(devices, 1, p.build, func(tm *team) error {
		p.team = tm
		require.NoError(t, p.initial())
		f(p)
		return p.lead().s.Err()
	}))
}

// Zeros that were there before hold what follows them only where that is zero, too, and a batch norm behind a sum only where all that are added are.
func TestHeldZerosLeaveConstants(t *testing.T) {
	onDrawn(t, func(p *pipeline) {
		lead := p.lead()
		param := func(name string) torch.Tensor {
			return lead.params[prunable(lead.model).places[name]]
		}
		empty := func(name string, rows int64) {
			lead.s.NoGrad(func() { param(name).Narrow(0, 0, rows).Fill_(0) })
		}
		lead.s.NoGrad(func() {
			for _, e := range lead.model.State {
				if strings.HasSuffix(e.Name, "bias") {
					e.Tensor.Fill_(0.1)
				}
			}
		})
		empty("conv1.weight", 5) // of a sum with layer1.0.conv2 and layer1.1.conv2
		empty("layer1.0.conv1.weight", 6)
		empty("layer1.0.bn2.bias", 7)
		empty("layer1.0.bn2.weight", 2)
		empty("layer1.0.bn1.weight", 3)
		empty("layer1.0.bn1.bias", 3)
		for _, from := range []maskFrom{itsZeros, pruneFirst} {
			k, err := p.masksOf(&stage{plan: p.plan, mask: masking{from: from}})
			require.NoError(t, err)
			zeros := func(name string) (n float64) {
				if mask := k.of(name); mask != (torch.Tensor{}) {
					n, err = mask.EqScalar(0).Sum().Item()
					require.NoError(t, err)
				}
				return n
			}
			assert.Equal(t, 5.*3*9, zeros("conv1.weight"))
			assert.Equal(t, 6.*64*9, zeros("layer1.0.conv1.weight"))
			assert.Equal(t, 6., zeros("layer1.0.bn2.bias"), "of the seven that are zero, one follows a channel that lives")
			assert.Equal(t, 2., zeros("layer1.0.bn2.weight"), "the others scale a channel that may be a constant")
			assert.Zero(t, zeros("layer1.0.bn1.weight"), "the sum has its channels from the others")
			assert.Zero(t, zeros("layer1.0.bn1.bias"))
		}
		pruned, err := p.masksOf(&stage{plan: p.plan, mask: masking{from: pruneFirst}})
		require.NoError(t, err)
		gone, err := pruned.of("layer4.1.bn2.bias").EqScalar(0).Sum().Item()
		require.NoError(t, err)
		assert.EqualValues(t, admm.Pruned(512, 0.5), gone, "what is pruned now takes its own along")
	}, "model.arch=preact_resnet18", "prune.sparsity_type=coupled_filter", "prune.ratio=0", "prune.ratios={layer4.1.conv1: 0.5}", "prune.hold_zeros=true")
}
