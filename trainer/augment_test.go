package trainer

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// changed is what a change makes of an image [C, H, W] of bytes, pixel by pixel.
func changed(a *augmentation, one change, image []byte, c, h, w int) []float64 {
	out := make([]float64, c*h*w)
	for i := range c {
		for y := range h {
			for x := range w {
				fromY, fromX := y+one.down, x
				if one.mirrored {
					fromX = w - 1 - x
				}
				fromX += one.right
				top, left := one.holeY-a.cutout/2, one.holeX-a.cutout/2
				hole := y >= top && y < top+a.cutout && x >= left && x < left+a.cutout
				if fromY >= 0 && fromY < h && fromX >= 0 && fromX < w && !hole {
					out[(i*h+y)*w+x] = float64(float32(image[(i*h+fromY)*w+fromX]) / 255)
				}
			}
		}
	}
	return out
}

func TestAugmentation(t *testing.T) {
	for _, a := range []*augmentation{{crop: 4, flip: true}, {cutout: 7}, {crop: 2, flip: true, cutout: 4}, {flip: true}} {
		inside(t, func(p *pipeline) {
			m, set := p.lead(), p.parts.Train
			ids := []int64{5, 0, 17, 5, 3, 8, 40, 41}
			m.s.Do(func() {
				bytes, _ := m.bytes(p.train, ids)
				x := a.apply(m, bytes, ids, 99)
				require.Equal(t, []int64{8, int64(set.C), int64(set.H), int64(set.W)}, x.Shape())
				require.Equal(t, torch.Float32, x.DType())
				got := values(t, x)
				size := set.C * set.H * set.W
				for i, id := range ids {
					want := changed(a, a.of(99, id, set.H, set.W), set.Bytes()[int(id)*size:][:size], set.C, set.H, set.W)
					require.InDeltaSlice(t, want, got[i*size:(i+1)*size], 1e-7, "image %d", id)
				}
				require.Equal(t, got[:size], got[3*size:4*size], "what happens to an image does not depend on its place")
				// Nor on the batch, but on the epoch.
				require.Equal(t, got[2*size:4*size], values(t, a.apply(m, bytes.Narrow(0, 2, 2), ids[2:4], 99)))
				require.NotEqual(t, got, values(t, a.apply(m, bytes, ids, 100)))
			})
			require.NoError(t, m.s.Err())
		})
	}
}

// Each move, mirroring and centre is as likely as every other: chi-squared below five standard deviations above its mean.
func TestAugmentationIsUniform(t *testing.T) {
	a := &augmentation{crop: 3, flip: true, cutout: 5}
	const n = 40000
	count := map[string][]int{"down": make([]int, 7), "right": make([]int, 7), "mirrored": make([]int, 2), "y": make([]int, 12), "x": make([]int, 20)}
	for id := range int64(n) {
		one := a.of(7, id, 12, 20)
		count["down"][one.down+3]++
		count["right"][one.right+3]++
		if one.mirrored {
			count["mirrored"][1]++
		} else {
			count["mirrored"][0]++
		}
		count["y"][one.holeY]++
		count["x"][one.holeX]++
	}
	for name, counts := range count {
		chi, want := 0.0, n/float64(len(counts))
		for _, c := range counts {
			chi += (float64(c) - want) * (float64(c) - want) / want
		}
		free := float64(len(counts) - 1)
		require.Less(t, chi, free+5*math.Sqrt(2*free), name)
	}
}

// Training on changed images still gives the same gradient whatever the number of workers, and another one in the next epoch.
func TestAugmentedSteps(t *testing.T) {
	var all [][]float64
	for _, workers := range []string{"1", "2"} {
		inside(t, func(p *pipeline) {
			o := &objective{method: "natural", augment: &augmentation{crop: 2, flip: true, cutout: 6}}
			for _, epoch := range []uint64{1, 2} {
				n := len(p.team.members)
				require.NoError(t, p.team.each(func(m *member) error {
					return m.gradient(o, p.train, part{index: shard(first(16), m.id, n), total: 16, seed: 1, augment: epoch})
				}))
				p.team.reduce()
				all = append(all, values(t, p.lead().grads...))
			}
		}, "run.workers="+workers, "data.train_limit=100")
	}
	require.InDeltaSlice(t, all[0], all[2], 1e-5)
	require.InDeltaSlice(t, all[1], all[3], 1e-5)
	require.NotEqual(t, all[0], all[1])
}

func TestAugmentationIsRefused(t *testing.T) {
	for set, want := range map[string]string{
		"data.augment.crop=28":   "data.augment.crop is 28: images of 28 x 28 pixels can be moved by up to 27",
		"data.augment.cutout=29": "data.augment.cutout is 29: a square on images of 28 x 28 pixels has a side of up to 28",
	} {
		p := &pipeline{cfg: Settings(t, t.TempDir(), set)}
		_, err := p.prepare(context.Background())
		require.ErrorContains(t, err, want)
	}
}
