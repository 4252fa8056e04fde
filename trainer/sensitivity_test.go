package trainer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
	"rapt/trainer/config"
)

// Of a trained network one layer is pruned beforehand, to a twentieth, and trained on so: cutting that again costs nothing, and that is seen.
func TestSensitivityFindsWhatIsNotNeeded(t *testing.T) {
	inside(t, func(p *pipeline) {
		st := &stage{name: "retrain", conf: p.cfg.Retrain, plan: p.plan, mask: masking{from: pruneFirst}}
		require.NoError(t, p.begin(st))
		for i := range 150 {
			require.NoError(t, p.step(st, first(384)[24*(i%16):24*(i%16)+24], 0, i))
		}
		p.cfg.Prune.Ratios = nil
		p.cfg.Prune.Budget = config.Budget{Keep: 0.1, Method: "sensitivity"}
		m := p.lead()
		all := prunable(m.model)
		_, layers, err := budgetOf(p.cfg, admm.Irregular, m.model, all)
		require.NoError(t, err)
		before := values(t, m.params...)
		require.NoError(t, p.curves(context.Background(), all, layers))
		assert.Equal(t, before, values(t, m.params...), "the weights are as they were")
		loss := func(layer, at int) float64 { return layers[layer].Curve[at].Loss }
		for at := range 4 { // to 0.95
			assert.InDelta(t, 0, loss(2, at), 1e-9, "fc1 has these zeros already")
		}
		assert.Greater(t, loss(1, 3), 0.1, "conv2 is needed")
		for _, l := range layers {
			require.Len(t, l.Curve, 6)
			assert.Equal(t, layers[0].Curve[5], l.Curve[5], "of everything: all accuracy there is")
		}
		assert.Greater(t, loss(0, 5), 0.4, "it was trained")
		ratios, err := p.allocate(context.Background(), all)
		require.NoError(t, err)
		cost, even := 0.0, 0.0 // by the curves, of these ratios and of an even budget's
		for i, l := range layers {
			cost, even = cost+lossAt(l.Curve, ratios[i]), even+lossAt(l.Curve, 0.9)
		}
		assert.Less(t, cost, 0.05)
		assert.Greater(t, even, 0.3)
		assert.Less(t, lossAt(layers[1].Curve, ratios[1]), 0.02, "conv2 is cut no further than it costs nothing; where that is depends on the training, and so on libtorch's version")
		assert.Greater(t, ratios[2], 0.9)
		_, err = p.allocate(EndsAfter(2), all)
		require.ErrorIs(t, err, ErrInterrupted)
	}, "prune.ratio=0", "prune.ratios={fc1: 0.95}", "data.train_limit=484", "data.validation=100", "training.method=natural", "model.width=2", "retrain.lr=5e-3")
}

// lossAt is a curve's between its points, from 0 at a ratio of 0.
func lossAt(curve []admm.Point, ratio float64) float64 {
	before := admm.Point{}
	for _, p := range curve {
		if ratio <= p.Ratio {
			return before.Loss + (p.Loss-before.Loss)*(ratio-before.Ratio)/(p.Ratio-before.Ratio)
		}
		before = p
	}
	return before.Loss
}
