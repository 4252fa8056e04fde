package datasets

import (
	"image"
	"math"
)

// colours turns YCbCr into RGB by tables in 16.16 fixed point, the luma's with a half for rounding.
type colours struct{ luma, red, greenB, greenR, blue [256]int32 }

// newColours makes the tables for luma that begins at black and is scaled, and the factors of Cr in red, of Cb and Cr in green (which
// take away) and of Cb in blue.
func newColours(black int, scale, red, greenB, greenR, blue float64) *colours {
	fixed := func(v float64) int32 { return int32(math.Round(v * 65536)) }
	c := new(colours)
	for i := range 256 {
		v := float64(i - 128)
		c.luma[i] = fixed(scale*float64(i-black)) + 1<<15
		c.red[i], c.greenB[i], c.greenR[i], c.blue[i] = fixed(red*v), fixed(-greenB*v), fixed(-greenR*v), fixed(blue*v)
	}
	return c
}

// saturate is the whole part of a fixed-point number, within a byte.
func saturate(v int32) byte {
	if uint32(v) < 1<<24 {
		return byte(v >> 16)
	}
	return byte(^(v >> 31))
}

// fromYCbCr converts to RGB. Where chroma was halved it is interpolated with a triangle filter, as libjpeg does ("fancy
// upsampling"), so that a training image has the colours that PIL gives it; image.YCbCr itself repeats each value.
func fromYCbCr(m *image.YCbCr, c *colours) picture {
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
			px, v, b, r := out[4*x:4*x+4:4*x+4], c.luma[l], cb[x], cr[x]
			px[0], px[1], px[2], px[3] = saturate(v+c.red[r]), saturate(v+c.greenB[b]+c.greenR[r]), saturate(v+c.blue[b]), 255
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
