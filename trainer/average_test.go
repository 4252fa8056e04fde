package trainer

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	"rapt/trainer/checkpoint"
)

// The average after some steps against the same sums in float64, weights and batch norm's statistics alike.
func TestAverageFollowsTheSteps(t *testing.T) {
	inside(t, func(p *pipeline) {
		st := &stage{name: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}
		require.NoError(t, p.begin(st))
		want := values(t, st.average.raw...)
		assert.Equal(t, want, values(t, st.average.mean...))
		for i := range 40 {
			require.NoError(t, p.step(st, first(12), 0, i))
			d := min(0.7, (1+float64(i))/(10+float64(i)))
			for j, v := range values(t, st.average.raw...) {
				want[j] = d*want[j] + (1-d)*v
			}
		}
		got := values(t, st.average.mean...)
		assert.InDeltaSlice(t, want, got, 1e-5)
		raw := values(t, st.average.raw...)
		assert.NotEqual(t, raw, got)
		require.Len(t, st.average.names, len(p.lead().params)+6, "means and variances of three batch norms")

		// Inside, the average is the model, for every member; outside the raw one is.
		statistics := func() (all [][]float64) {
			for _, m := range p.team.members {
				all = append(all, statisticsOf(t, m))
			}
			return all
		}
		before := statistics()
		require.NoError(t, p.averaged(st, func() error {
			assert.Equal(t, got, values(t, st.average.raw...))
			assert.NotEqual(t, before, statistics())
			assert.Equal(t, statistics()[0], statistics()[1])
			return nil
		}))
		assert.Equal(t, raw, values(t, st.average.raw...))
		assert.Equal(t, before, statistics())
	}, "training.ema_decay=0.7", "model.arch=lenet_bn", "run.workers=2", "training.method=natural")
}

// What is validated is the average: a model judged inside averaged has the average's accuracy.
func TestAverageIsWhatIsJudged(t *testing.T) {
	inside(t, func(p *pipeline) {
		st := &stage{name: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}
		require.NoError(t, p.begin(st))
		loss := func() (l float64) {
			acc, err := p.team.measure(context.Background(), p.train, []adversarial.PGD{}, 100, 1, nil)
			require.NoError(t, err)
			return acc.loss
		}
		started := loss()
		for i := range 30 {
			require.NoError(t, p.step(st, first(48), 0, i))
		}
		raw, mean := loss(), 0.0
		require.NoError(t, p.averaged(st, func() error { mean = loss(); return nil }))
		assert.Less(t, raw, started)
		assert.Less(t, mean, started)
		assert.Greater(t, math.Abs(mean-raw), 1e-4)
	}, "training.ema_decay=0.9", "training.method=natural")
}

// A stage's last model is judged as its average, as the best one is.
func TestWithAverage(t *testing.T) {
	model := &checkpoint.File{Tensors: []checkpoint.Tensor{checkpoint.F32("a", []int64{2}, []float32{1, 2}), checkpoint.F32("b", []int64{1}, []float32{3})}}
	state := &checkpoint.File{Tensors: []checkpoint.Tensor{checkpoint.F32("a", []int64{2}, []float32{7, 8}), checkpoint.F32("ema.a", []int64{2}, []float32{5, 6})}}
	got := withAverage(model, state)
	for i, want := range [][]float32{{5, 6}, {3}} {
		v, err := got.Tensors[i].Float32s()
		require.NoError(t, err)
		assert.Equal(t, want, v)
	}
	v, err := model.Tensors[0].Float32s()
	require.NoError(t, err)
	assert.Equal(t, []float32{1, 2}, v, "the file itself stays")
	assert.Equal(t, model.Tensors, withAverage(model, nil).Tensors)
}
