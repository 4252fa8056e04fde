package trainer

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	"rapt/trainer/checkpoint"
)

// trainings are the methods with their settings, as --set gives them.
var trainings = map[string][]string{
	"pgd":        {"training.method=pgd"},
	"trades":     {"training.method=trades"},
	"mart":       {"training.method=mart"},
	"fgsm_rs":    {"training.method=fgsm_rs"},
	"free":       {"training.method=free", "training.replays=3"},
	"pgd-awp":    {"training.method=pgd", "training.awp_gamma=0.01"},
	"trades-awp": {"training.method=trades", "training.awp_gamma=0.005"},
	"mart-awp":   {"training.method=mart", "training.awp_gamma=0.005"},
}

// The gradients and sums of a team are what one member makes of each shard, added up: the mean over the whole batch.
func TestMethodsShareABatch(t *testing.T) {
	const batch, seed = 23, 5
	for name, sets := range trainings {
		if name == "pgd-awp" || name == "trades-awp" || name == "mart-awp" {
			continue // where the weights move to is the whole batch's matter: see below
		}
		t.Run(name, func(t *testing.T) {
			var want []float64
			var loss, right float64
			inside(t, func(p *pipeline) {
				o := p.begun(t).target
				for id := range 3 {
					if o.method == "free" {
						p.lead().noise.Fill_(0) // each shard's rows are untouched
					}
					require.NoError(t, p.team.each(func(m *member) error {
						return m.gradient(o, p.train, part{index: shard(first(batch), id, 3), total: batch, seed: seed + uint64(id)})
					}))
					for i, v := range values(t, p.lead().grads...) {
						if id == 0 {
							want = append(want, 0)
						}
						want[i] += v
					}
				}
				var err error
				loss, right, err = p.team.totals()
				require.NoError(t, err)
			}, append(sets, "run.workers=1")...)
			inside(t, func(p *pipeline) {
				got := p.gradients(t, p.begun(t).target, first(batch), seed)
				assert.InDeltaSlice(t, want, got, 2e-5)
				l, r, err := p.team.totals()
				require.NoError(t, err)
				assert.InEpsilon(t, loss, l, 1e-5)
				assert.InDelta(t, right, r, 1e-9)
			}, append(sets, "run.workers=3")...)
		})
	}
}

// begun is a pretrain stage at its beginning.
func (p *pipeline) begun(t *testing.T) *stage {
	t.Helper()
	st := &stage{name: "pretrain", section: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}
	require.NoError(t, p.begin(st))
	return st
}

// A team perturbs the weights as one member would, and the statistics of batch norm see the step that is meant alone.
func TestAWPOfATeam(t *testing.T) {
	for _, method := range []string{"pgd", "mart"} {
		var want, plain []float64
		sets := []string{"training.method=" + method, "adversary.random_start=false"}
		step := func(p *pipeline) []float64 {
			st := p.begun(t)
			before := values(t, p.lead().params...)
			require.NoError(t, p.gradient(st, first(23), 0, 0))
			p.team.reduce()
			assert.True(t, slices.Equal(before, values(t, p.lead().params...)), "the weights are back to the bit")
			return values(t, p.lead().grads...)
		}
		inside(t, func(p *pipeline) { plain = step(p) }, append(sets, "run.workers=1")...)
		sets = append(sets, "training.awp_gamma=0.05")
		inside(t, func(p *pipeline) { want = step(p) }, append(sets, "run.workers=1")...)
		inside(t, func(p *pipeline) { assert.InDeltaSlice(t, want, step(p), 2e-4) }, append(sets, "run.workers=3")...)
		far := 0.0
		for i := range want {
			far = max(far, math.Abs(want[i]-plain[i]))
		}
		assert.Greater(t, far, 1e-2, "it is not the gradient at the weights")
	}
	for _, workers := range []string{"run.workers=1", "run.workers=3"} {
		inside(t, func(p *pipeline) {
			st := p.begun(t)
			require.NoError(t, p.gradient(st, first(16), 0, 0))
			for _, m := range p.team.members {
				assert.Equal(t, 1.0, statisticsOf(t, m)[40], "batches that the first batch norm counted")
			}
		}, workers, "model.arch=lenet_bn", "training.awp_gamma=0.01")
	}
}

func TestAWPOfASmallBatch(t *testing.T) {
	inside(t, func(p *pipeline) { // more members than images: some have nothing to do
		require.NoError(t, p.gradient(p.begun(t), first(2), 0, 0))
		p.team.reduce()
		largest := 0.0
		for _, v := range values(t, p.lead().grads...) {
			largest = max(largest, math.Abs(v))
		}
		assert.Positive(t, largest)
	}, "training.awp_gamma=0.01", "run.workers=3")
}

func TestAWPBeginsAfterItsWarmup(t *testing.T) {
	inside(t, func(p *pipeline) {
		st := p.begun(t)
		for epoch, on := range []bool{false, false, true} {
			p.useAWP(st, epoch)
			assert.Equal(t, on, st.target.awp != nil, "epoch %d", epoch)
		}
		st.section = "retrain"
		p.useAWP(st, 0)
		assert.NotNil(t, st.target.awp, "later stages start from a trained model")
	}, "training.awp_gamma=0.01", "training.awp_warmup=2")
}

// Free updates the weights once a replay, and its noise goes on from batch to batch, inside the ball.
func TestFreeReplays(t *testing.T) {
	inside(t, func(p *pipeline) {
		st := p.begun(t)
		require.NoError(t, p.step(st, first(24), 0, 0))
		_, _, steps := st.opt.State()
		assert.EqualValues(t, 3, steps)
		one := values(t, p.lead().noise)
		require.NoError(t, p.step(st, first(12), 0, 1))
		two := values(t, p.lead().noise)
		size := len(one) / 24
		assert.False(t, slices.Equal(one[:12*size], two[:12*size]), "of a smaller batch the first rows move")
		assert.True(t, slices.Equal(one[12*size:], two[12*size:]))
		moved := 0
		for _, v := range one {
			require.LessOrEqual(t, math.Abs(v), 0.2+1e-7)
			if v != 0 {
				moved++
			}
		}
		assert.Greater(t, moved, len(one)/2, "both members' rows")
		loss, right, err := p.team.totals()
		require.NoError(t, err)
		assert.InDelta(t, 36*2.3, loss, 12, "each image counts once: the loss of guessing is 2.3")
		assert.LessOrEqual(t, right, 36.0)
	}, "training.method=free", "training.replays=3", "run.workers=2")
}

// withRun gives p a run's folder, for what saves.
func withRun(t *testing.T, p *pipeline) {
	t.Helper()
	var err error
	p.run, err = checkpoint.OpenRun(filepath.Join(t.TempDir(), "run"), checkpoint.Options{Resume: true})
	require.NoError(t, err)
	t.Cleanup(func() { p.run.Close() })
}

// A fall of validation accuracy by guard_drop takes the stage back to its best model, with half the step or to its end.
func TestGuard(t *testing.T) {
	for _, c := range []struct{ method, mode string }{{"fgsm_rs", "lower"}, {"fgsm_rs", "stop"}, {"pgd", "stop"}} {
		mode := c.mode
		inside(t, func(p *pipeline) {
			withRun(t, p)
			st := p.begun(t)
			require.NoError(t, p.step(st, first(24), 0, 0))
			st.saved.Epoch = 1
			require.NoError(t, p.choose(st, 0.6))
			weights := func() []float64 { return values(t, p.lead().params...) }
			var best []float64
			require.NoError(t, p.averaged(st, func() error { best = weights(); return nil }))
			require.NoError(t, p.step(st, first(24), 0, 1))
			robust := func(share float64) accuracies {
				return accuracies{clean: 0.9, robust: map[string]float64{p.attack.Name(): share}}
			}
			require.NoError(t, p.guard(st, robust(0.41)))
			assert.False(t, slices.Equal(best, weights()), "19 points are no collapse")
			assert.Nil(t, st.saved.Collapsed)
			require.NoError(t, p.guard(st, robust(0.39)))
			assert.True(t, slices.Equal(best, weights()), "the chosen model is in hand")
			require.NoError(t, p.averaged(st, func() error { assert.True(t, slices.Equal(best, weights()), "and is its own average"); return nil }))
			_, momentum, steps := st.opt.State()
			assert.Zero(t, steps)
			for _, v := range values(t, momentum...) {
				require.Zero(t, v)
			}
			acc, err := p.validate(context.Background(), st) // as after an interruption
			require.NoError(t, err)
			assert.Equal(t, 0.39, acc.robust[p.attack.Name()])
			st.saved.Epoch = 2
			require.NoError(t, p.choose(st, 0.39))
			assert.Equal(t, []any{0.6, 1, 1, mode == "stop"}, []any{st.saved.Best, st.saved.BestEpoch, st.saved.Collapses, st.saved.Stopped})
			assert.Nil(t, st.saved.Collapsed)
			want := 1.25 * 0.2
			if c.method == "pgd" {
				want = 0.1
			}
			if mode == "lower" {
				want /= 2
			}
			assert.InEpsilon(t, want, p.objectiveOf(st).attack.StepSize, 1e-9, "as the stage goes on")
			assert.InEpsilon(t, want, st.target.attack.StepSize, 1e-9)
		}, "training.method="+c.method, "training.guard="+mode, "training.ema_decay=0.5")
	}
}

func TestPatience(t *testing.T) {
	inside(t, func(p *pipeline) {
		withRun(t, p)
		st := p.begun(t)
		for i, score := range []float64{0.2, 0.5, 0.4, 0.5, 0.3, 0.1} {
			st.saved.Epoch = i + 1
			require.NoError(t, p.choose(st, score))
			assert.Equal(t, i == 5, st.saved.Stopped, "epoch %d", i+1)
		}
		assert.Equal(t, 4, st.saved.BestEpoch, "the later of two equals")
		st = p.begun(t)
		st.admm = true
		for i, score := range []float64{0.5, 0.4, 0.3, 0.2, 0.1} {
			st.saved.Epoch = i + 1
			require.NoError(t, p.choose(st, score))
			assert.False(t, st.saved.Stopped, "ADMM goes to its end")
		}
		assert.Equal(t, 5, st.saved.BestEpoch)
	}, "training.patience=2", "pretrain.epochs=20")
}

// Near the image there is a gradient to follow: the TRADES attack goes to the ball's edge, and its images are what is learnt from.
func TestAttackOfTRADES(t *testing.T) {
	inside(t, func(p *pipeline) {
		st, m := p.begun(t), p.lead()
		in := m.prepare(st.target, p.train, part{index: first(8), total: 8, seed: 3})
		near := values(t, in.start.Sub(in.x))
		mean, square := 0.0, 0.0
		for _, v := range near {
			mean, square = mean+v/float64(len(near)), square+v*v/float64(len(near))
		}
		assert.InDelta(t, 0, mean, 1e-4)
		assert.InDelta(t, 1e-6, square, 1e-7)
		m.perturb(st.target, in)
		ok, err := adversarial.Inside(in.start, in.x, adversarial.Linf, 0.2)
		require.NoError(t, err)
		assert.True(t, ok)
		far, err := in.start.Sub(in.x).Abs().Max().Item()
		require.NoError(t, err)
		assert.Greater(t, far, 0.15)
	}, "training.method=trades")
}

// Steps in bfloat16 lose what steps in float32 do: the losses are computed in float32 from what the network gives.
func TestMethodsInBFloat16(t *testing.T) {
	Compares(t)
	for name, sets := range trainings {
		t.Run(name, func(t *testing.T) {
			sets := append(slices.Clone(sets), "model.width=1")
			want, got := losses(t, 6, sets...), losses(t, 6, append(sets, "run.precision=bf16")...)
			require.NotEqual(t, want, got, "bfloat16 is used")
			worst, mean := apart(want, got)
			assert.LessOrEqual(t, worst, 0.06)
			assert.LessOrEqual(t, mean, 0.02)
		})
	}
}

// A plan reckons a step of the natural baseline by the passes that the method's step takes beside it.
func TestPassesOfMethods(t *testing.T) {
	for name, want := range map[string]float64{"pgd": 3, "trades": 4, "mart": 4, "fgsm_rs": 2, "free": 3, "pgd-awp": 4, "trades-awp": 6, "mart-awp": 6} {
		p := &pipeline{cfg: Settings(t, t.TempDir(), trainings[name]...), attack: adversarial.PGD{Steps: 2, Epsilon: 0.2}}
		assert.Equal(t, want, p.methodPasses(), name)
	}
	p := &pipeline{cfg: Settings(t, t.TempDir(), "training.method=trades", "training.ema_decay=0.9", "training.awp_gamma=0.01")}
	assert.EqualValues(t, 3, p.copies())
	assert.EqualValues(t, 2, p.objectiveOf(&stage{}).graphs())
}
