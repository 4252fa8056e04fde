package trainer

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/torchtest"
	"rapt/datasets"
)

// onDevice puts a run on the GPU that tests are to use, if any.
func onDevice(sets ...string) []string {
	return append(slices.Clone(sets), "run.device="+torchtest.Device().String())
}

// losses of each of the first steps of a training on the digits.
func losses(t *testing.T, steps int, sets ...string) []float64 {
	return lossesFrom(t, nil, steps, sets...)
}

// lossesFrom starts at a state dict's bytes, where there are any.
func lossesFrom(t *testing.T, state [][]byte, steps int, sets ...string) (out []float64) {
	t.Helper()
	inside(t, func(p *pipeline) {
		st := &stage{name: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}
		require.NoError(t, p.begin(st))
		setState(p.lead(), state)
		batch := p.cfg.Data.BatchSize
		order := datasets.Order(1, 0, p.train.n)
		require.NoError(t, p.team.useOrder(order))
		for i := range steps {
			at := i % (p.train.n / batch) * batch
			require.NoError(t, p.step(st, order[at:at+batch], 0, i))
			sum, _, err := p.team.totals()
			require.NoError(t, err)
			out = append(out, sum/float64(batch))
		}
		p.team.stopRecording()
	}, append(onDevice("data.train_limit=1000", "data.batch_size=64", "model.width=4", "adversary.epsilon=0.1", "adversary.step_size=0.03", "adversary.steps=5",
		"pretrain.optimizer=adam", "pretrain.lr=1e-3", "pretrain.momentum=0", "pretrain.nesterov=false", "pretrain.lr_schedule=constant"), sets...)...)
	return out
}

func setState(m *member, state [][]byte) {
	for i, bytes := range state {
		to := *m.model.State[i].Tensor
		m.s.Do(func() { to.Detach().Copy_(m.s.FromBytes(bytes, to.DType(), to.Shape()...)) })
	}
}

// apart is by how much two curves differ, relative to the first: at most, and on average.
func apart(want, got []float64) (worst, mean float64) {
	for i := range want {
		off := math.Abs(got[i]-want[i]) / max(want[i], 0.1)
		worst, mean = max(worst, off), mean+off/float64(len(want))
	}
	return worst, mean
}

// Fifty steps in bfloat16 lose what fifty steps in float32 do, to within 6 % at every step and 1.5 % on average. (The attack's sign
// steps make more of the rounding than its size.)
func TestBFloat16TrainsAlike(t *testing.T) {
	Compares(t)
	for _, method := range []string{"training.method=pgd", "training.method=natural"} {
		want := losses(t, 50, method)
		require.Less(t, want[49], 0.7*want[0], "it learns")
		got := losses(t, 50, method, "run.precision=bf16")
		require.NotEqual(t, want, got, "bfloat16 is used")
		worst, mean := apart(want, got)
		t.Logf("%s: losses differ by %.2g at most, %.2g on average", method, worst, mean)
		assert.LessOrEqual(t, worst, 0.06, method)
		assert.LessOrEqual(t, mean, 0.015, method)
	}
}

// A run in bfloat16 has float32 weights, optimizer and statistics, and evaluates them as any other run does, to the bit.
func TestBFloat16EvaluatesInFloat32(t *testing.T) {
	sets := onDevice("model.arch=lenet_bn", "run.deterministic=true")
	attacks := []adversarial.PGD{{Norm: adversarial.Linf, Epsilon: 0.1, StepSize: 0.05, Steps: 3, RandomStart: true}}
	measured := func(p *pipeline) accuracies {
		acc, err := p.team.measure(context.Background(), p.val, attacks, 10, 1, nil)
		require.NoError(t, err)
		return acc
	}
	var state [][]byte
	var short accuracies
	inside(t, func(p *pipeline) {
		st := &stage{name: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}
		require.NoError(t, p.begin(st))
		for i := range 6 {
			require.NoError(t, p.step(st, first(24), 0, i))
		}
		for _, e := range p.lead().model.State {
			require.NotEqual(t, torch.BFloat16, e.Tensor.DType(), e.Name)
			b, err := e.Tensor.Detach().Bytes()
			require.NoError(t, err)
			state = append(state, b)
		}
		_, buffers, _ := st.opt.State()
		for _, b := range append(buffers, p.lead().grads...) {
			require.Equal(t, torch.Float32, b.DType())
		}
		short = measured(p)
	}, append(slices.Clone(sets), "run.precision=bf16")...)
	inside(t, func(p *pipeline) {
		setState(p.lead(), state)
		if p.lead().s.Device().IsCUDA() { // there a layout of its own has convolutions of its own
			require.InDelta(t, short.loss, measured(p).loss, 1e-4)
			return
		}
		require.Equal(t, short, measured(p))
	}, sets...)
}

func TestPrecisionIsRecorded(t *testing.T) {
	inside(t, func(p *pipeline) {
		assert.Equal(t, "no: only GPUs have them", p.graphs(torch.CPU))
		cuda := p.graphs(torch.CUDA(0))
		if err := torch.CUDAGraphs(); err != nil {
			assert.Equal(t, "no: "+err.Error(), cuda)
		} else {
			assert.Equal(t, "yes", cuda)
		}
		p.cfg.Run.CUDAGraphs = false
		assert.Equal(t, "no: run.cuda_graphs is false", p.graphs(torch.CUDA(0)))
		require.NoError(t, p.begin(&stage{name: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}))
		assert.Nil(t, p.lead().recorder)
	})
}

// An epoch's order is on the device once; whatever is cut from it is found there, and anything else is sent.
func TestIndices(t *testing.T) {
	inside(t, func(p *pipeline) {
		m := p.lead()
		order := []int64{5, 3, 1, 4, 2, 0}
		m.order, m.uploaded = order, m.s.FromInt64([]int64{50, 30, 10, 40, 20, 0}, 6) // other numbers, to tell the two apart
		for _, c := range []struct {
			index []int64
			want  []float64
		}{
			{order, []float64{50, 30, 10, 40, 20, 0}},
			{order[1:3], []float64{30, 10}},
			{shard(order[2:6], 1, 2), []float64{20, 0}},
			{slices.Clone(order[1:3]), []float64{3, 1}},
			{order[1:3:3], []float64{3, 1}},
			{[]int64{7}, []float64{7}},
			{nil, nil},
		} {
			assert.Equal(t, c.want, values(t, m.indices(c.index)))
		}
	})
}
