package datasets

import "image"

// fromYCbCr converts to RGB. Where chroma was halved it is interpolated with a triangle filter, as libjpeg does ("fancy
// upsampling"), so that a training image has the colours that PIL gives it; image.YCbCr itself repeats each value.
func fromYCbCr(m *image.YCbCr, rgb func(y, cb, cr uint8) (r, g, b uint8)) picture {
	w, h := m.Rect.Dx(), m.Rect.Dy()
	p := newPicture(w, h, 4)
	up := newChroma(m)
	cb, cr := make([]byte, w+1), make([]byte, w+1)
	for y := range h {
		up.row(cb, m.Cb, y)
		up.row(cr, m.Cr, y)
		luma := m.Y[y*m.YStride : y*m.YStride+w]
		out := p.pix[4*y*w : 4*(y+1)*w]
		for x, l := range luma {
			px := out[4*x : 4*x+4]
			px[0], px[1], px[2] = rgb(l, cb[x], cr[x])
			px[3] = 255
		}
	}
	return p
}

// chroma enlarges the planes of an image's chroma.
type chroma struct {
	w, h   int // of the chroma planes
	stride int
	dx, dy int // how many pixels a value stands for
	sums   []int
}

func newChroma(m *image.YCbCr) *chroma {
	c := &chroma{stride: m.CStride, dx: 1, dy: 1}
	switch m.SubsampleRatio {
	case image.YCbCrSubsampleRatio422:
		c.dx = 2
	case image.YCbCrSubsampleRatio420:
		c.dx, c.dy = 2, 2
	case image.YCbCrSubsampleRatio440:
		c.dy = 2
	case image.YCbCrSubsampleRatio411:
		c.dx = 4
	case image.YCbCrSubsampleRatio410:
		c.dx, c.dy = 4, 2
	}
	c.w, c.h = (m.Rect.Dx()+c.dx-1)/c.dx, (m.Rect.Dy()+c.dy-1)/c.dy
	c.sums = make([]int, c.w)
	return c
}

// row fills out with the values of a plane for row y of the image. Interpolated are halved rows and columns of planes that are
// not tiny, as in libjpeg; all else is repeated.
func (c *chroma) row(out, plane []byte, y int) {
	near := plane[y/c.dy*c.stride:][:c.w]
	switch {
	case c.dx == 1 && c.dy == 1:
		copy(out, near)
	case c.dx == 2 && c.w > 2:
		far := near
		if c.dy == 2 {
			far = plane[min(max(y/2+y%2*2-1, 0), c.h-1)*c.stride:][:c.w]
		}
		for i, v := range near {
			c.sums[i] = 3*int(v) + int(far[i])
		}
		c.widen(out)
	default:
		for x := range len(out) - 1 {
			out[x] = near[x/c.dx]
		}
	}
}

// widen makes two pixels of each sum (of four values), three parts its own and one the neighbour's.
func (c *chroma) widen(out []byte) {
	low, high := 8, 7 // libjpeg rounds this way and that in turn
	if c.dy == 1 {
		low, high = 4, 8
	}
	last := len(c.sums) - 1
	for i, v := range c.sums {
		left, right := c.sums[max(i-1, 0)], c.sums[min(i+1, last)]
		out[2*i] = byte((3*v + left + low) >> 4)
		if 2*i+1 < len(out) {
			out[2*i+1] = byte((3*v + right + high) >> 4)
		}
	}
}
