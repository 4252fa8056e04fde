package trainer

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
)

func TestMembersShareABatch(t *testing.T) {
	natural := &objective{method: "natural"}
	var alone []float64
	inside(t, func(p *pipeline) { alone = p.gradients(t, natural, first(23), 1) })
	largest := 0.0
	for _, v := range alone {
		largest = max(largest, math.Abs(v))
	}
	require.Positive(t, largest)
	for _, workers := range []string{"run.workers=2", "run.workers=3"} {
		inside(t, func(p *pipeline) {
			assert.InDeltaSlice(t, alone, p.gradients(t, natural, first(23), 1), 1e-6*max(1, largest))
			loss, right, err := p.team.totals()
			require.NoError(t, err)
			wantLoss, wantRight := reference(t, p, natural, first(23))
			assert.InEpsilon(t, wantLoss, loss, 1e-5)
			assert.Equal(t, wantRight, right)
			loss, right, err = p.team.totals()
			require.NoError(t, err)
			assert.Zero(t, loss+right, "the sums are read once")
			assert.InDeltaSlice(t, alone, p.gradients(t, natural, first(23), 1), 1e-6*max(1, largest), "gradients do not pile up")
		}, workers)
	}
	inside(t, func(p *pipeline) { // more members than images: some have nothing to do
		p.gradients(t, natural, first(23), 1)
		few := p.gradients(t, natural, first(2), 1)
		inside(t, func(q *pipeline) { assert.InDeltaSlice(t, q.gradients(t, natural, first(2), 1), few, 1e-5) })
	}, "run.workers=3")
}

// reference is the loss of a batch, summed, and the right answers, in plain Go from the network's logits. It is for
// networks without batch norm.
func reference(t *testing.T, p *pipeline, o *objective, ids []int64) (loss, right float64) {
	t.Helper()
	m := p.lead()
	x, y := m.batch(p.train, ids)
	logits := values(t, m.model.Forward(x, nn.Eval))
	labels := values(t, y)
	for i, label := range labels {
		row := logits[10*i : 10*i+10]
		sum, best := 0.0, 0
		for j, v := range row {
			sum += math.Exp(v)
			if v > row[best] {
				best = j
			}
		}
		if best == int(label) {
			right++
		}
		for j, v := range row {
			target := o.labelSmoothing / 10
			if j == int(label) {
				target += 1 - o.labelSmoothing
			}
			loss -= target * (v - math.Log(sum))
		}
	}
	return loss, right
}

func TestLabelSmoothing(t *testing.T) {
	inside(t, func(p *pipeline) {
		var sharp float64
		for _, smoothing := range []float64{0, 0.1, 0.6} {
			o := &objective{method: "natural", labelSmoothing: smoothing}
			p.gradients(t, o, first(20), 1)
			loss, _, err := p.team.totals()
			require.NoError(t, err)
			want, _ := reference(t, p, o, first(20))
			assert.InEpsilon(t, want, loss, 1e-5)
			if smoothing == 0 {
				sharp = loss
			} else {
				assert.NotEqual(t, sharp, loss)
			}
		}
	})
}

func TestMixup(t *testing.T) {
	inside(t, func(p *pipeline) {
		m := p.lead()
		ids := first(6)
		x, y := m.batch(p.train, ids)
		pixels, labels := values(t, x), values(t, y)
		var shares []float64
		for seed := range uint64(300) {
			m.s.Do(func() {
				mixed, target := m.mixup(0.5, x, y, seed)
				soft := values(t, target)
				var share float64 // of the first image in the first mixture, as its label tells
				if labels[0] == labels[5] {
					t.Fatal("the test needs a first and a last image of two classes")
				}
				share = soft[int(labels[0])]
				shares = append(shares, share)
				if seed > 4 {
					return
				}
				got := values(t, mixed)
				size := len(pixels) / 6
				for i := range got {
					image, at := i/size, i%size
					require.InDelta(t, share*pixels[i]+(1-share)*pixels[(5-image)*size+at], got[i], 1e-6)
				}
				for i := range 6 {
					for c := range 10 {
						want := 0.0
						if c == int(labels[i]) {
							want += share
						}
						if c == int(labels[5-i]) {
							want += 1 - share
						}
						require.InDelta(t, want, soft[10*i+c], 1e-6)
					}
				}
				// The loss is that of the soft targets.
				m.gradient(&objective{method: "natural", mixupAlpha: 0.5}, p.train, part{index: ids, total: 6, seed: seed})
				loss, right, err := p.team.totals()
				require.NoError(t, err)
				logits := values(t, m.model.Forward(mixed, nn.Eval)) // log-probabilities
				want := 0.0
				for i := range logits {
					want -= soft[i] * logits[i]
				}
				require.InEpsilon(t, want, loss, 1e-5)
				require.LessOrEqual(t, right, 6.0)
			})
		}
		mean, square := 0.0, 0.0
		for _, s := range shares {
			mean += s / 300
			square += s * s / 300
		}
		assert.InDelta(t, 0.5, mean, 0.06, "the mean of Beta(1/2, 1/2)")
		assert.InDelta(t, 1.0/8, square-mean*mean, 0.02, "its variance")
	})
}

// While attacking, batch norm evaluates or trains as asked; the training step itself always trains.
func TestBatchNormWhileAttacking(t *testing.T) {
	attack := adversarial.PGD{Norm: adversarial.Linf, Epsilon: 0.2, StepSize: 0.1, Steps: 3}
	after := map[bool][]float64{}
	grads := map[bool][]float64{}
	for _, train := range []bool{false, true} {
		inside(t, func(p *pipeline) {
			grads[train] = p.gradients(t, &objective{attack: attack, attackTrain: train}, first(16), 1)
			after[train] = statisticsOf(t, p.lead())
			batches := 1.0 // running means and variances of 20, 50 and 500 channels, and what was seen, thrice
			if train {
				batches = 4
			}
			for _, at := range []int{40, 40 + 1 + 100, 40 + 1 + 100 + 1 + 1000} {
				assert.Equal(t, batches, after[train][at])
			}
		}, "model.arch=lenet_bn")
	}
	assert.NotEqual(t, grads[false], grads[true])
	assert.NotEqual(t, after[false], after[true])
	var natural []float64
	inside(t, func(p *pipeline) {
		p.gradients(t, &objective{method: "natural"}, first(16), 1)
		natural = statisticsOf(t, p.lead())
	}, "model.arch=lenet_bn")
	assert.NotEqual(t, natural, after[false], "trained on adversarial images, not on natural ones")
}

func TestMembersAgreeOnStatistics(t *testing.T) {
	inside(t, func(p *pipeline) {
		before := statisticsOf(t, p.lead())
		var own [][]float64
		require.NoError(t, p.team.each(func(m *member) error {
			return m.gradient(&objective{method: "natural"}, p.train, part{index: shard(first(16), m.id, 3), total: 16, seed: 1})
		}))
		for _, m := range p.team.members {
			own = append(own, statisticsOf(t, m))
		}
		assert.NotEqual(t, own[0], own[1], "each has seen other images")
		p.team.reduce()
		lead := statisticsOf(t, p.lead())
		assert.NotEqual(t, before, lead)
		for i := range 40 { // of the first layer: 20 means, 20 variances
			assert.InDelta(t, (own[0][i]+own[1][i]+own[2][i])/3, lead[i], 1e-6)
		}
		for _, m := range p.team.members[1:] {
			theirs := statisticsOf(t, m)
			assert.Equal(t, lead[:40], theirs[:40])
			assert.Equal(t, lead[41:141], theirs[41:141])
		}
	}, "model.arch=lenet_bn", "run.workers=3")
}

// What is trained on lies in the ball of the norm that was asked for.
func TestAttackOfTraining(t *testing.T) {
	for _, sets := range [][]string{
		{"adversary.norm=L2", "adversary.epsilon=1.5", "adversary.step_size=0.8"},
		{"adversary.norm=Linf", "adversary.epsilon=0.15"},
	} {
		inside(t, func(p *pipeline) {
			st := &stage{name: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}
			require.NoError(t, p.begin(st))
			assert.False(t, st.target.natural())
			assert.Equal(t, float64(p.cfg.Adversary.Epsilon), st.target.attack.Epsilon)
			m := p.lead()
			x, y := m.batch(p.train, first(8))
			m.gen.Seed(5)
			adv := st.target.attack.Perturb(func(x torch.Tensor) torch.Tensor { return m.model.Forward(x, nn.Eval) }, x, y, m.gen)
			moved := adv.Sub(x).Abs()
			far := moved.Max()
			if p.cfg.Adversary.Norm == "L2" {
				far = moved.Flatten().Norm(1).Max()
			}
			d, err := far.Item()
			require.NoError(t, err)
			epsilon := float64(p.cfg.Adversary.Epsilon)
			assert.LessOrEqual(t, d, epsilon+1e-5)
			assert.Greater(t, d, 0.9*epsilon, "the attack goes to the ball's edge")
			// And the objective trains on exactly that.
			want, err := m.model.Forward(adv, nn.Eval).CrossEntropy(y, torch.ReduceSum, 0).Item()
			require.NoError(t, err)
			p.gradients(t, st.target, first(8), 5)
			loss, _, err := p.team.totals()
			require.NoError(t, err)
			assert.InEpsilon(t, want, loss, 1e-6)
		}, sets...)
	}
}
