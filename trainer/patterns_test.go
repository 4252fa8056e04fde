package trainer

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/trainer/checkpoint"
)

// A network with 3x3 convolutions; no embedded data set has its images, so no whole run is made.
var patterned = []string{"model.arch=resnet18_adv", "prune.sparsity_type=pattern", "prune.ratio=5/9", "training.method=natural", "data.batch_size=2"}

// requirePatterned asserts that each 3x3 kernel's mask is one of the patterns.
func requirePatterned(t *testing.T, patterns torch.Tensor, masks []torch.Tensor) {
	t.Helper()
	var known [][]float64
	for p := range slices.Chunk(values(t, patterns), 9) {
		known = append(known, p)
	}
	require.Len(t, known, 8)
	for _, m := range masks {
		require.Equal(t, []int64{3, 3}, m.Shape()[2:])
		for kernel := range slices.Chunk(values(t, m), 9) {
			if !slices.ContainsFunc(known, func(p []float64) bool { return slices.Equal(p, kernel) }) {
				require.Fail(t, "a kernel keeps what no pattern does", "%v", kernel)
			}
		}
	}
}

// An ADMM stage's patterns are part of its state, and the stage after it prunes by them and not by what its weights propose.
func TestPatternsAcrossStages(t *testing.T) {
	probe(t, ProbeOptions{Stage: "admm", Images: 4}, func(b *Probe) {
		st, p := b.st, b.p
		convolutions := 0
		for _, l := range st.plan.layers {
			assert.InDelta(t, 5./9, l.Ratio, 1e-15)
			if len(l.Weight.Shape()) == 4 {
				convolutions++
			}
		}
		assert.Equal(t, 17, convolutions)
		assert.Len(t, st.plan.layers, 17, "all 3x3 convolutions and nothing else")
		requirePatterned(t, st.plan.patterns, st.plan.pruneNow(p.lead()).masks)
		names, tensors := st.stateTensors()
		at := slices.Index(names, "patterns")
		require.GreaterOrEqual(t, at, 0)

		// As if ADMM had ended with other patterns than the weights now propose.
		given := values(t, st.plan.patterns)
		slices.Reverse(given)
		p.lead().s.NoGrad(func() { tensors[at].Copy_(p.lead().s.FromFloat64(given, 8, 9)) })
		assert.Equal(t, given, values(t, st.plan.patterns), "the plan's are the state's")
		state, err := p.stateFile(st)
		require.NoError(t, err)
		p.run, err = checkpoint.OpenRun(filepath.Join(t.TempDir(), "run"), checkpoint.Options{})
		require.NoError(t, err)
		defer p.run.Close()
		require.NoError(t, p.run.SaveCheckpoint("admm", "last", &checkpoint.File{}, st.saved, state))

		plan := *st.plan
		next := &stage{name: "retrain", from: "admm", plan: &plan, mask: masking{from: pruneFirst}}
		require.NoError(t, p.usePatterns(next))
		assert.Equal(t, given, values(t, plan.patterns))
		requirePatterned(t, plan.patterns, plan.pruneNow(p.lead()).masks)
		next.from = "pretrain"
		require.NoError(t, p.usePatterns(next))
		assert.NotEqual(t, given, values(t, plan.patterns), "a stage that follows no ADMM asks the weights")
		var weights []torch.Tensor
		for _, l := range plan.layers {
			weights = append(weights, l.Weight)
		}
		assert.Equal(t, values(t, admm.SelectPatterns(weights...)), values(t, plan.patterns))
	}, patterned...)
}
