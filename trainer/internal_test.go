package trainer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/trainer/metrics"

	"io"
)

// inside runs f in the middle of a run of these settings: data and model are there, no file is.
func inside(t *testing.T, f func(p *pipeline), sets ...string) {
	t.Helper()
	p := &pipeline{cfg: Settings(t, t.TempDir(), sets...), log: zap.NewNop(), progress: metrics.NewProgress(io.Discard, false)}
	devices, err := p.prepare(context.Background())
	require.NoError(t, err)
	require.NoError(t, gather(devices, p.cfg.Run.Threads(), p.build, func(tm *team) error {
		p.team = tm
		require.NoError(t, p.initial())
		p.train, err = tm.upload(p.parts.Train)
		require.NoError(t, err)
		p.val, err = tm.upload(p.parts.Validation)
		require.NoError(t, err)
		f(p)
		return nil
	}))
}

// first are the indices of a set's first n images.
func first(n int) []int64 {
	ids := make([]int64, n)
	for i := range ids {
		ids[i] = int64(i)
	}
	return ids
}

func (p *pipeline) lead() *member { return p.team.members[0] }

// values copies tensors to the host, one after the other.
func values(t *testing.T, ts ...torch.Tensor) []float64 {
	t.Helper()
	var out []float64
	for _, one := range ts {
		v, err := one.Detach().To(torch.Float64).Float64s()
		require.NoError(t, err)
		out = append(out, v...)
	}
	return out
}

// gradients of a batch on the whole team, as a step takes them.
func (p *pipeline) gradients(t *testing.T, o *objective, ids []int64, seed uint64) []float64 {
	t.Helper()
	n := len(p.team.members)
	require.NoError(t, p.team.each(func(m *member) error {
		return m.gradient(o, p.train, part{index: shard(ids, m.id, n), total: len(ids), seed: seed + uint64(m.id)})
	}))
	p.team.reduce()
	require.NoError(t, p.lead().s.Err())
	return values(t, p.lead().grads...)
}

// statisticsOf a member, with the number of batches it has seen.
func statisticsOf(t *testing.T, m *member) (out []float64) {
	t.Helper()
	require.NoError(t, onOwn(m, func() error {
		out = values(t, nn.Buffers(m.model.State)...)
		return nil
	}))
	return out
}
