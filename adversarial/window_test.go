package adversarial

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Where both windows are the whole image, L2's change gives each channel the same share of the ball, whatever it had before: as in the published
// AutoAttack, the windows' norm is taken over all channels.
func TestMoveSharesTheBallEvenly(t *testing.T) {
	p := picture{3, 5, 5, 0.3, map[int][]float32{}}
	im := &search{x: make([]float32, p.size()), draw: stream(1, "move", 0, 7)}
	out := make([]float32, p.size())
	for i := range out {
		im.x[i] = 0.5
		out[i] = 0.5
		if i < 25 {
			out[i] += 0.01 // only the first channel has changed yet
		}
	}
	p.move(im, out, 5)
	for c := range p.c {
		var norm float64
		for i := 25 * c; i < 25*(c+1); i++ {
			norm += sq(out[i] - im.x[i])
		}
		assert.InDelta(t, 0.3/math.Sqrt(3), math.Sqrt(norm), 1e-5, "channel %d", c)
	}
}
