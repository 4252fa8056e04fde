package trainer

import (
	"context"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/admm"
	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// A step's gradient is that of the loss and the penalty together, as autograd has it.
func TestPenaltyInAStep(t *testing.T) {
	for _, workers := range []string{"run.workers=1", "run.workers=2"} {
		inside(t, func(p *pipeline) {
			st := &stage{name: "admm", conf: p.cfg.ADMM, plan: p.plan, admm: true}
			require.NoError(t, p.begin(st))
			m := p.lead()
			ids := first(24)
			require.NoError(t, p.step(st, ids, 0, 0)) // away from where W = Z on what is kept
			_, err := st.split.Update()               // U is no longer zero
			require.NoError(t, err)

			x, y := m.batch(p.train, ids)
			loss := m.model.Forward(x, nn.Eval).CrossEntropy(y, torch.ReduceMean, 0)
			plain := values(t, m.s.Grad(loss, m.params...)...)
			loss = m.model.Forward(x, nn.Eval).CrossEntropy(y, torch.ReduceMean, 0).Add(st.split.Penalty())
			want := values(t, m.s.Grad(loss, m.params...)...)
			assert.Greater(t, distance(want, plain), 0.01, "the penalty is felt")

			require.NoError(t, p.step(st, ids, 0, 1))
			got := values(t, m.grads...)
			assert.Less(t, distance(want, got), 1e-6*distance(plain, make([]float64, len(want))))
		}, workers, "training.method=natural", "admm.optimizer=sgd", "admm.rho=10", "prune.ratios={conv2: 0.5, fc2: 0}")
	}
}

func distance(a, b []float64) float64 {
	sum := 0.0
	for i := range a {
		sum += (a[i] - b[i]) * (a[i] - b[i])
	}
	return sum
}

func TestMeasurePrunedLeavesTheWeights(t *testing.T) {
	for _, sets := range [][]string{
		{"run.workers=2", "prune.ratio=0.97"},
		{"prune.sparsity_type=bn_filter", "prune.ratio=0.9", "model.arch=lenet_bn"},
	} {
		inside(t, func(p *pipeline) {
			m := p.lead()
			st := &stage{name: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}
			require.NoError(t, p.begin(st))
			for i := range 5 {
				require.NoError(t, p.step(st, first(48), 0, i))
			}
			before := values(t, m.params...)
			acc, err := p.measurePruned(context.Background(), st)
			require.NoError(t, err)
			assert.Equal(t, before, values(t, m.params...), "bit by bit")
			_, err = p.measurePruned(EndsAfter(0), st)
			require.ErrorIs(t, err, ErrInterrupted)
			assert.Equal(t, before, values(t, m.params...), "also when it is interrupted")

			measure := func() accuracies {
				a, err := p.team.measure(context.Background(), p.val, []adversarial.PGD{p.attack}, 1, key(p.cfg.Run.Seed, "validation"), nil)
				require.NoError(t, err)
				return a
			}
			whole := measure()
			p.plan.pruneNow(m).apply(m.s)
			assert.Equal(t, measure(), acc, "what it measured is the pruned model")
			assert.NotEqual(t, whole.loss, acc.loss)
			assert.NotEqual(t, before, values(t, m.params...))
		}, sets...)
	}
}

func TestRevived(t *testing.T) {
	inside(t, func(p *pipeline) {
		m := p.lead()
		st := &stage{name: "retrain", conf: p.cfg.Retrain, plan: p.plan, mask: masking{from: pruneFirst}}
		require.NoError(t, p.begin(st))
		count := func() float64 {
			n, err := st.masks.revived(m.s)
			require.NoError(t, err)
			return n
		}
		assert.Zero(t, count())
		require.Equal(t, "conv1_bn.weight", st.masks.names[0])
		shift := slices.Index(st.masks.names, "conv1_bn.bias")
		require.Positive(t, shift, "a dead channel has neither scale nor shift")
		mask := values(t, st.masks.masks[shift])
		for i, kept := range mask {
			if kept == 0 {
				m.s.NoGrad(func() { st.masks.params[shift].Narrow(0, int64(i), 1).Fill_(-1e-30) })
				break
			}
		}
		assert.Equal(t, 1.0, count())
		m.s.NoGrad(func() { st.masks.params[0].Fill_(3) })
		assert.Equal(t, 1+float64(admm.Pruned(20, 0.5)), count())
		err := p.endEpoch(context.Background(), st)
		require.ErrorContains(t, err, "pruned weights came back to life in stage retrain")
		st.masks.apply(m.s)
		assert.Zero(t, count())
	}, "model.arch=lenet_bn", "prune.sparsity_type=bn_filter", "prune.ratio=0.5")
}

// Steps of a masked stage move what is kept, and leave what is pruned at exactly zero.
func TestMaskedSteps(t *testing.T) {
	inside(t, func(p *pipeline) {
		st := &stage{name: "retrain", conf: p.cfg.Retrain, plan: p.plan, mask: masking{from: pruneFirst}}
		require.NoError(t, p.begin(st))
		before := values(t, st.masks.params...)
		for i := range 3 {
			require.NoError(t, p.step(st, first(24), 0, i))
		}
		after, kept := values(t, st.masks.params...), values(t, st.masks.masks...)
		moved := 0
		for i, k := range kept {
			switch {
			case k == 0:
				require.Zero(t, after[i])
			case after[i] != before[i]:
				moved++
			}
		}
		assert.Greater(t, moved, len(kept)/20)
		_, buffers, _ := st.opt.State() // momentum of the parameters, in their order
		for i, at := range p.plan.index {
			b := values(t, buffers[at])
			for j, k := range values(t, st.masks.masks[i]) {
				if k == 0 {
					require.Zero(t, b[j], "no momentum gathers for what is pruned")
				}
			}
		}
	}, "retrain.optimizer=sgd", "retrain.momentum=0.9", "retrain.nesterov=true", "retrain.weight_decay=0.01", "retrain.lr=0.1")
}
