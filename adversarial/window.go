package adversarial

import "math"

// picture makes Square Attack's changes of an image [c, h, w].
type picture struct {
	c, h, w int
	eps     float64
	etas    map[int][]float32 // L2's patterns by side
}

func (p picture) size() int { return p.c * p.h * p.w }

// corner draws where a window of that side starts. As in the published code its last place is never drawn.
func (p picture) corner(im *search, side int) (top, left int) {
	return im.draw.IntN(max(p.h-side, 1)), im.draw.IntN(max(p.w-side, 1))
}

// edge is v moved by eps one way, within [0, 1].
func (p picture) edge(v, way float32) float32 { return min(max(v+way*float32(p.eps), 0), 1) }

// stripes is Linf's start: each column of each channel at one edge of the ball.
func (p picture) stripes(im *search, out []float32) {
	for c := range p.c {
		for col := range p.w {
			way := sign(im.draw)
			for row := range p.h {
				i := (c*p.h+row)*p.w + col
				out[i] = p.edge(im.x[i], way)
			}
		}
	}
}

// repaint moves a window to one edge of the ball, by channel, and says whether that changed anything.
func (p picture) repaint(im *search, out []float32, side int) (changed bool) {
	top, left := p.corner(im, side)
	for c := range p.c {
		way := sign(im.draw)
		for row := top; row < top+side; row++ {
			from := (c*p.h+row)*p.w + left
			x, o := im.x[from:from+side], out[from:from+side]
			for i, v := range x {
				if v = p.edge(v, way); v != o[i] {
					o[i], changed = v, true
				}
			}
		}
	}
	return changed
}

// tiles is L2's start: patterns side by side, of the whole length eps.
func (p picture) tiles(im *search, out []float32) {
	side := max(p.h/5, 1)
	first := (p.h - 5*side) / 2
	for i := range out {
		out[i] = 0
	}
	for top := max(first, 0); top+side <= p.h; top += side {
		for left := max(first, 0); left+side <= p.w; left += side {
			eta := p.eta(im, side)
			for c := range p.c {
				way := sign(im.draw)
				p.each(c, top, left, side, func(i, k int) { out[i] = way * eta[k] })
			}
		}
	}
	p.place(im, out)
}

// move is L2's change: the second window's share of the change goes, and what that and the ball leave is put into the first window.
func (p picture) move(im *search, out []float32, side int) bool {
	top, left := p.corner(im, side)
	top2, left2 := p.corner(im, side)
	eta := p.eta(im, side)
	var whole float64
	for i, v := range im.x {
		out[i] -= v
		whole += sq(out[i])
	}
	spare := max(p.eps*p.eps-whole, 0) / float64(p.c)
	fresh := make([]float64, side*side)
	var both float64 // over all channels, as in AutoAttack; the paper's own code takes each channel's
	for c := range p.c {
		p.each(c, top, left, side, func(i, _ int) { both += sq(out[i]) })
		p.each(c, top2, left2, side, func(i, _ int) {
			row, col := i/p.w%p.h, i%p.w
			if row < top || row >= top+side || col < left || col >= left+side {
				both += sq(out[i])
			}
		})
	}
	for c := range p.c {
		var first, norm float64
		p.each(c, top, left, side, func(i, _ int) { first += sq(out[i]) })
		way := sign(im.draw)
		p.each(c, top, left, side, func(i, k int) {
			fresh[k] = float64(way*eta[k]) + float64(out[i])/(1e-12+math.Sqrt(first))
			norm += fresh[k] * fresh[k]
		})
		scale := math.Sqrt(spare+both) / (1e-12 + math.Sqrt(norm))
		p.each(c, top2, left2, side, func(i, _ int) { out[i] = 0 })
		p.each(c, top, left, side, func(i, k int) { out[i] = float32(fresh[k] * scale) })
	}
	p.place(im, out)
	return true
}

// place scales a change to the length eps and adds it to the image.
func (p picture) place(im *search, out []float32) {
	var whole float64
	for _, v := range out {
		whole += sq(v)
	}
	scale := p.eps / (1e-12 + math.Sqrt(whole))
	for i, v := range out {
		out[i] = min(max(im.x[i]+float32(float64(v)*scale), 0), 1)
	}
}

// each calls f with the place in the image and in the window of every pixel of a window in channel c.
func (p picture) each(c, top, left, side int, f func(i, k int)) {
	for row := range side {
		for col := range side {
			f((c*p.h+top+row)*p.w+left+col, row*side+col)
		}
	}
}

// eta is the pattern of L2's windows (section 3.3 of the paper): a bump over one half and its negative over the other, of length 1; upright
// or lying, as im draws.
func (p picture) eta(im *search, side int) []float32 {
	lying := sign(im.draw) > 0
	key := side
	if lying {
		key = -side
	}
	if v, ok := p.etas[key]; ok {
		return v
	}
	v := append(bump(side/2, side), bump(side-side/2, side)...)
	for i := range v {
		if i >= side/2*side {
			v[i] = -v[i]
		}
	}
	normalise(v)
	out := make([]float32, len(v))
	for i, e := range v {
		if lying {
			i = i%side*side + i/side
		}
		out[i] = float32(e)
	}
	p.etas[key] = out
	return out
}

// bump is a [rows, cols] pattern that falls from its middle in square rings, of length 1.
func bump(rows, cols int) []float64 {
	v := make([]float64, rows*cols)
	for k := range max(rows, cols)/2 + 1 {
		r0, c0 := rows/2-k, cols/2-k
		for r := max(r0, 0); r < min(r0+2*k+1, rows); r++ {
			for c := max(c0, 0); c < min(c0+2*k+1, cols); c++ {
				v[r*cols+c] += 1 / float64((k+1)*(k+1))
			}
		}
	}
	normalise(v)
	return v
}

func normalise(v []float64) {
	var sum float64
	for _, e := range v {
		sum += e * e
	}
	if sum > 0 {
		for i := range v {
			v[i] /= math.Sqrt(sum)
		}
	}
}

func sq(v float32) float64 { return float64(v) * float64(v) }
