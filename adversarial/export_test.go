package adversarial

import (
	"context"

	torch "rapt/cgo"
)

// For tests of the parts that attacks are made of.
var (
	Into        = into
	ToPlaneHost = toPlaneHost
	ToPlaneDev  = toPlaneDevice
	Checkpoints = checkpoints
	WindowShare = windowShare
	DLR         = dlr
	DLRTo       = dlrTo
	Margin      = margin
	Padded      = padded
)

// Window is the side of Square Attack's i-th window.
func Window(i, h, w int, n Norm) int { return square{norm: n}.window(i, h, w) }

// Eta is Square Attack's L2 pattern, as image id draws it.
func Eta(side int, id int64) []float32 {
	p := picture{1, side, side, 1, map[int][]float32{}}
	return p.eta(&search{draw: stream(1, "eta", 0, id)}, side)
}

// Climb runs one start of APGD on x, from start, and returns where the loss of those images that stand was largest, that loss, and which
// images were fooled.
func Climb(f Logits, b Batch, start torch.Tensor, n Norm, eps float64, steps int, key string) (best, most []float32, fooled []bool, err error) {
	a := build(key, Settings{Norm: n, Epsilon: eps, Steps: steps, Restarts: 1}).(apgd)
	r, err := attempt(context.Background(), a.name, f, b, 1, nil, func(t *trial) {
		c := newClimb(a, t, 0)
		c.at.Copy_(start)
		c.before.Copy_(start)
		c.best.Copy_(start)
		for i := 0; i <= steps && !t.stop(); i++ {
			c.step(i, i)
		}
		best, _ = c.best.Float32s()
		most, _ = c.most.Float32s()
	})
	return best, most, r.Fooled, err
}
