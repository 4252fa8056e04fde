package trainer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
)

// inRoom runs f as if the device took so many bytes of images.
func inRoom(bytes int64, f func()) {
	before := roomFor
	defer func() { roomFor = before }()
	roomFor = func(torch.Device) int64 { return bytes }
	f()
}

// A set that does not fit the device gives the same batches, steps and accuracies as one that lies there.
func TestStreaming(t *testing.T) {
	type result struct {
		weights []float64
		acc     accuracies
	}
	train := func(streams bool) (r result) {
		inside(t, func(p *pipeline) {
			require.Equal(t, streams, p.train.host != nil)
			st, err := p.only("pretrain")
			require.NoError(t, err)
			p.lead().s.Do(func() {
				require.NoError(t, p.begin(st))
				for i := range 4 {
					p.next = first(48)[12*((i+1)%4):][:12]
					if i == 2 {
						p.next = first(8) // another batch than the one that comes
					}
					require.NoError(t, p.step(st, first(48)[12*i:][:12], 0, i))
				}
				r.weights = values(t, p.lead().params...)
				r.acc, err = p.team.measure(context.Background(), p.val, []adversarial.PGD{p.attack}, 7, 1, nil)
				require.NoError(t, err)
			})
		}, "run.workers=2", "data.augment.crop=2")
		return r
	}
	inRoom(1<<40, func() {
		want := train(false)
		inRoom(1000, func() {
			require.Equal(t, want, train(true))
			Apart(t, func() { require.Equal(t, want, train(true), "each member has its own") }, torch.CPU, torch.CPU)
		})
	})
}

// A run whose images stream says so, and what is left half-way is waited for.
func TestStreamedRunEndsInOrder(t *testing.T) {
	before := torch.LiveTensors()
	inRoom(1000, func() {
		inside(t, func(p *pipeline) {
			for _, m := range p.team.members {
				require.NoError(t, onOwn(m, func() error {
					m.fetch(p.train, first(40))
					m.fetch(p.train, first(30))
					return m.s.Err()
				}))
			}
		}, "run.workers=2")
	})
	require.Equal(t, before, torch.LiveTensors())
}
