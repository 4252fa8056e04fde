package trainer

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	"rapt/datasets"
	"rapt/models"
	"rapt/trainer/metrics"
)

// What coupled_filter removes can be taken out to the last channel, as the plan says, whatever the other numbers are.
func TestCoupledFiltersCanBeTakenOut(t *testing.T) {
	for arch, sets := range map[string][]string{
		"lenet_adv":       nil,
		"vgg16_adv":       {"model.width=1"},
		"resnet18_adv":    {"model.width=2"},
		"preact_resnet18": nil,
		"mobilenet":       nil,
		"mobilenetv2":     nil,
	} {
		t.Run(arch, func(t *testing.T) {
			p := &pipeline{cfg: Settings(t, t.TempDir(), append(sets, "model.arch="+arch, "prune.sparsity_type=coupled_filter", "prune.ratio=0.75")...),
				log: zap.NewNop(), progress: metrics.NewProgress(io.Discard, false)}
			require.NoError(t, p.architecture(probeClasses, models.InputsOf(arch)[0]))
			set := drawn(1, 40, p.spec.Input)
			p.parts = &datasets.Parts{Train: set, Validation: set, Test: set}
			dev, err := p.ready()
			require.NoError(t, err)
			require.NoError(t, gather(dev, 1, p.build, func(tm *team) error {
				p.team = tm
				require.NoError(t, p.initial())
				lead := tm.members[0]
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
				return nil
			}))
		})
	}
}
