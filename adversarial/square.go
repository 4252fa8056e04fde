package adversarial

import (
	"context"
	"math"
	"math/rand/v2"

	torch "rapt/cgo"
)

// square is Square Attack (Andriushchenko et al., arXiv 1912.00049): random search that sees nothing but logits. Each query changes a square
// window of the image, and is kept where the margin z_y - max_{j != y} z_j shrinks. Windows are drawn by image. A query that would
// change nothing is counted, and not asked.
type square struct {
	name     string
	norm     Norm
	eps      float64
	queries  int
	restarts int
}

func (a square) Name() string          { return a.name }
func (a square) Ball() (Norm, float64) { return a.norm, a.eps }

func (a square) Run(ctx context.Context, f Logits, b Batch, seed uint64, progress func(int, float64)) (Result, error) {
	return attempt(ctx, a.name, f, b, seed, progress, func(t *trial) {
		for r := 0; r < a.restarts && !t.stop(); r++ {
			a.restart(t, r)
		}
	})
}

// windowShare is the share of the image that query i changes (table 5 of the paper, with p = 0.8): halved again and again.
func windowShare(i int) float64 {
	share := 0.8
	for _, after := range []int{10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000} {
		if i > after {
			share /= 2
		}
	}
	return share
}

// window is the side of that window for an h x w image.
func (a square) window(i, h, w int) int {
	s := int(math.RoundToEven(math.Sqrt(windowShare(i) * float64(h*w))))
	if a.norm == L2 {
		s = max(s, 3)
		s += 1 - s%2
	}
	return min(max(s, 1), h, w)
}

// search is one image under the attack. Pixels are in the order [C, H, W].
type search struct {
	x, best []float32
	y       int64
	margin  float32 // at best
	draw    *rand.Rand
}

func (a square) restart(t *trial, r int) {
	shape := t.x.Shape()
	p := picture{int(shape[1]), int(shape[2]), int(shape[3]), a.eps, map[int][]float32{}}
	from, propose := p.stripes, p.repaint
	if a.norm == L2 {
		from, propose = p.tiles, p.move
	}
	all := a.open(t, r)
	tries := make([]float32, len(all)*p.size())
	for i := -1; i < a.queries && !t.stop(); i++ { // -1: the start
		var asked []*search
		side := a.window(max(i, 0), p.h, p.w)
		for _, im := range all {
			try := tries[len(asked)*p.size():][:p.size()]
			if i < 0 {
				from(im, try)
				im.margin = float32(math.Inf(1))
				asked = append(asked, im)
			} else if copy(try, im.best); propose(im, try, side) {
				asked = append(asked, im)
			}
		}
		all = a.ask(t, all, asked, tries[:len(asked)*p.size()], shape, r*(a.queries+1)+i+1)
		t.report((float64(r) + float64(i+2)/float64(a.queries+1)) / float64(a.restarts))
	}
	t.s.Free(t.best)
	t.best = a.collect(t, all, shape)
}

// open reads the images that stand.
func (a square) open(t *trial, r int) []*search {
	x, _ := t.x.Float32s()
	y, _ := t.y.Int64s()
	all := make([]*search, len(y))
	each := len(x) / max(len(y), 1)
	for i := range all {
		own := x[i*each : (i+1)*each]
		all[i] = &search{x: own, best: append([]float32(nil), own...), y: y[i], draw: stream(t.seed, t.name, r, t.ids[t.rows[i]])}
	}
	return all
}

// ask asks the network about the tries of the images asked, keeps what is better, and returns the images that still stand.
func (a square) ask(t *trial, all, asked []*search, tries []float32, shape []int64, step int) []*search {
	if len(asked) == 0 {
		return all
	}
	n, each := int64(len(asked)), len(tries)/len(asked)
	var z []float32
	t.s.Do(func() { z, _ = t.logits(t.s.FromFloat32(tries, n, shape[1], shape[2], shape[3])).Float32s() })
	if t.s.Err() != nil {
		return all
	}
	classes := len(z) / len(asked)
	fooled := map[*search]bool{}
	for i, im := range asked {
		margin, wrong := lead(z[i*classes:(i+1)*classes], im.y)
		if margin < im.margin || wrong {
			im.margin = margin
			copy(im.best, tries[i*each:(i+1)*each])
		}
		if wrong {
			fooled[im] = true
		}
	}
	if len(fooled) == 0 {
		return all
	}
	at := a.collect(t, all, shape)
	flags, rest := make([]bool, len(all)), all[:0]
	for i, im := range all {
		if flags[i] = fooled[im]; !fooled[im] {
			rest = append(rest, im)
		}
	}
	t.take(flags, at, step)
	t.s.Free(at)
	return rest
}

// lead is how far the logit of class y is above all others, and whether the network's answer is another.
func lead(z []float32, y int64) (margin float32, wrong bool) {
	top, other := 0, float32(math.Inf(-1))
	for c, v := range z {
		if v > z[top] {
			top = c
		}
		if int64(c) != y && v > other {
			other = v
		}
	}
	return z[y] - other, int64(top) != y
}

// collect is the best images as a tensor.
func (a square) collect(t *trial, all []*search, shape []int64) torch.Tensor {
	var v []float32
	for _, im := range all {
		v = append(v, im.best...)
	}
	return t.s.FromFloat32(v, int64(len(all)), shape[1], shape[2], shape[3])
}
