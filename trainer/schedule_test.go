package trainer

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"

	"rapt/trainer/config"
)

func TestLearningRate(t *testing.T) {
	type at struct {
		epoch      int
		done, want float64
	}
	for name, c := range map[string]struct {
		stage config.Stage
		at    []at
	}{
		"constant": {config.Stage{Epochs: 5, LR: 0.2, LRSchedule: "constant"}, []at{{0, 0, 0.2}, {4, 0.99, 0.2}}},
		"multistep": {config.Stage{Epochs: 10, LR: 0.8, LRSchedule: "multistep", Milestones: []int{2, 5}, Gamma: 0.5},
			[]at{{0, 0, 0.8}, {1, 0.9, 0.8}, {2, 0, 0.4}, {4, 0.5, 0.4}, {5, 0, 0.2}, {9, 0.9, 0.2}}},
		"cosine": {config.Stage{Epochs: 4, LR: 1, LRSchedule: "cosine"},
			[]at{{0, 0, 1}, {1, 0, 0.5 + math.Sqrt2/4}, {2, 0, 0.5}, {3, 0, 0.5 - math.Sqrt2/4}, {1, 1.0 / 3, 0.75}}},
		"warm-up": {config.Stage{Epochs: 10, LR: 0.4, LRSchedule: "constant", WarmupEpochs: 2},
			[]at{{0, 0, 0.002}, {0, 0.5, 0.1}, {1, 0, 0.2}, {1, 0.5, 0.3}, {2, 0, 0.4}, {9, 0, 0.4}}},
		"warm-up and cosine": {config.Stage{Epochs: 6, LR: 0.4, LRSchedule: "cosine", WarmupEpochs: 2},
			[]at{{1, 0, 0.2}, {2, 0, 0.4}, {4, 0, 0.2}, {4, 2.0 / 3, 0.1}}},
		"warm-up and multistep": {config.Stage{Epochs: 6, LR: 0.4, LRSchedule: "multistep", Milestones: []int{3}, Gamma: 0.1, WarmupEpochs: 1},
			[]at{{0, 0.5, 0.2}, {2, 0, 0.4}, {3, 0, 0.04}}},
		// A tenth after each third of the three epochs, and anew with the next update.
		"admm of three": {config.Stage{Epochs: 6, LR: 0.3, LRSchedule: "admm", UpdateEvery: 3},
			[]at{{0, 0, 0.3}, {1, 0, 0.03}, {2, 0.9, 0.003}, {3, 0, 0.3}, {5, 0, 0.003}}},
		"admm of four": {config.Stage{Epochs: 8, LR: 0.3, LRSchedule: "admm", UpdateEvery: 4},
			[]at{{0, 0, 0.3}, {1, 0, 0.3}, {2, 0, 0.03}, {3, 0, 0.003}, {4, 0, 0.3}}},
		// Half cosines from 1/25 to 1 in the first 3 of 10 epochs, and to 1/250,000 in the other 7.
		"one cycle": {config.Stage{Epochs: 10, LR: 2, LRSchedule: "one_cycle"},
			[]at{{0, 0, 0.08}, {1, 0.5, 1.04}, {1, 0, 0.08 + 1.92/4}, {3, 0, 2}, {6, 0.5, 1 + 4e-6}, {5, 1.0 / 3, 2 - (2-8e-6)/4}}},
		"piecewise": {config.Stage{Epochs: 5, LR: 0.2, LRSchedule: "piecewise"},
			[]at{{0, 0, 0.001}, {0, 0.5, 0.05}, {1, 0, 0.1}, {2, 0, 0.2}, {3, 0.5, 0.1}, {4, 0.75, 0.2 / 12}}},
		"admm of one": {config.Stage{Epochs: 2, LR: 0.3, LRSchedule: "admm", UpdateEvery: 1}, []at{{0, 0.9, 0.3}, {1, 0, 0.3}}},
		"admm of twenty": {config.Stage{Epochs: 40, LR: 0.3, LRSchedule: "admm", UpdateEvery: 20},
			[]at{{6, 0.9, 0.3}, {7, 0, 0.03}, {13, 0, 0.03}, {14, 0, 0.003}, {20, 0, 0.3}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, a := range c.at {
				assert.InEpsilon(t, a.want, learningRate(c.stage, a.epoch, a.done), 1e-9, "epoch %d, %g of it", a.epoch, a.done)
			}
			for epoch := range c.stage.Epochs {
				for done := 0.0; done < 1; done += 1.0 / 16 {
					assert.Positive(t, learningRate(c.stage, epoch, done), "epoch %d, %g of it", epoch, done)
				}
			}
		})
	}
}

func TestKey(t *testing.T) {
	seen := map[uint64][]any{}
	for _, place := range [][]any{{}, {"a"}, {"a", 1}, {"a", 11}, {"a", 1, 1}, {"a1"}, {"a", 1, 2}, {"b", 1}} {
		for _, seed := range []uint64{1, 2, 11} {
			k := key(seed, place...)
			assert.Nil(t, seen[k], "two places have one seed")
			seen[k] = []any{seed, place}
			assert.Equal(t, k, key(seed, place...))
		}
	}
}

func TestShard(t *testing.T) {
	for total := range 12 {
		var batch []int64
		for i := range total {
			batch = append(batch, int64(i))
		}
		for n := 1; n <= 5; n++ {
			var all []int64
			for id := range n {
				part := shard(batch, id, n)
				assert.InDelta(t, float64(total)/float64(n), len(part), 1)
				all = append(all, part...)
			}
			assert.Equal(t, batch, all, "%d images for %d members", total, n)
		}
	}
}
