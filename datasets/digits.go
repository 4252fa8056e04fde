package datasets

import (
	"context"
	"image"
	"math"
	"runtime"
	"sync"

	"golang.org/x/image/vector"
)

const (
	digitsTrain = 12000 // samples where Options gives no lower limit
	digitsTest  = 2000
	digitsSide  = 28
)

// loadDigits draws the embedded set: white digits on black from the Go fonts, distorted. Sample i of a
// part depends on the seed and i alone, so that a limit gives the first samples of the full set.
func loadDigits(_ context.Context, o Options) (*Parts, error) {
	faces, err := outlines()
	if err != nil {
		return nil, err
	}
	train := drawDigits(faces, o.Seed, domainDigitTrain, limited(digitsTrain, o.TrainLimit))
	test := drawDigits(faces, o.Seed, domainDigitTest, limited(digitsTest, o.TestLimit))
	return &Parts{Train: train, Test: test}, nil
}

func limited(n, limit int) int {
	if limit > 0 {
		return min(n, limit)
	}
	return n
}

func drawDigits(faces [][10]*outline, seed, domain uint64, n int) *Set {
	const size = digitsSide * digitsSide
	set := &Set{
		Name: "digits", N: n, C: 1, H: digitsSide, W: digitsSide, Classes: 10,
		Pixels: make([]byte, n*size), Labels: make([]uint16, n),
	}
	// Every ten samples hold each digit once, so that any limit leaves the classes balanced.
	for block := 0; block*10 < n; block++ {
		ten := []uint16{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
		shuffle(newStream(seed, domain+domainLabels, uint64(block)), ten)
		copy(set.Labels[block*10:], ten)
	}
	workers := min(runtime.GOMAXPROCS(0), n)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			b := newBrush()
			for i := w; i < n; i += workers {
				s := newStream(seed, domain, uint64(i))
				glyph := faces[s.below(uint64(len(faces)))][set.Labels[i]]
				b.draw(s, glyph, set.Pixels[i*size:(i+1)*size])
			}
		}()
	}
	wg.Wait()
	return set
}

// brush is one worker's scratch space.
type brush struct {
	raster     *vector.Rasterizer
	mask       *image.Alpha
	values     []float64
	row        []float64
	bent, edge []point
}

func newBrush() *brush {
	const n = digitsSide
	return &brush{
		raster: vector.NewRasterizer(n, n),
		mask:   image.NewAlpha(image.Rect(0, 0, n, n)),
		values: make([]float64, n*n),
		row:    make([]float64, n),
	}
}

// draw renders one distorted digit into out, [28*28].
func (b *brush) draw(s *stream, glyph *outline, out []byte) {
	place := newPlacement(s)
	b.bent = b.bent[:0]
	for _, contour := range glyph.contours {
		for _, p := range contour {
			b.bent = append(b.bent, place.apply(p))
		}
	}
	scale := fit(s, b.bent)
	grow := clamp((place.stroke-glyph.stroke*scale*place.size())/2, 1)
	b.raster.Reset(digitsSide, digitsSide)
	rest := b.bent
	for _, contour := range glyph.contours {
		b.edge = thicken(b.edge[:0], rest[:len(contour)], grow)
		rest = rest[len(contour):]
		b.raster.MoveTo(float32(b.edge[0].x), float32(b.edge[0].y))
		for _, p := range b.edge[1:] {
			b.raster.LineTo(float32(p.x), float32(p.y))
		}
		b.raster.ClosePath()
	}
	clear(b.mask.Pix)
	b.raster.Draw(b.mask, b.mask.Rect, image.Opaque, image.Point{})
	for i, v := range b.mask.Pix {
		b.values[i] = float64(v) / 255
	}
	b.blur(s.between(0, 0.12))
	// Gain above 1 saturates the strokes after the blur; the peak then sets how bright ink is.
	gain, peak, noise := s.between(1.5, 2.4), s.between(0.92, 1), s.between(0, 0.03)
	for i, v := range b.values {
		v = math.Min(v*gain, 1)*peak + noise*s.normal()
		out[i] = uint8(math.Round(255 * math.Min(math.Max(v, 0), 1)))
	}
}

// blur smooths by the kernel [w, 1-2w, w] along both axes, in place.
func (b *brush) blur(w float64) {
	for axis := range 2 {
		step, line := 1, digitsSide
		if axis == 1 {
			step, line = digitsSide, 1
		}
		for l := range digitsSide {
			at := b.values[l*line:]
			for i := range b.row {
				b.row[i] = at[i*step]
			}
			for i, v := range b.row {
				sum := (1 - 2*w) * v
				if i > 0 {
					sum += w * b.row[i-1]
				}
				if i+1 < len(b.row) {
					sum += w * b.row[i+1]
				}
				at[i*step] = sum
			}
		}
	}
}

// placement is the random geometry of one sample: an elastic distortion in the outline's own
// coordinates, then a linear map to pixels (fit moves it into the image).
type placement struct {
	waves          [3]wave
	xx, xy, yx, yy float64 // pixels per unit of the outline
	stroke         float64 // the width of a stroke, in pixels
}

// wave is one smooth displacement field of the elastic distortion.
type wave struct{ fx, fy, phase, dx, dy float64 }

func newPlacement(s *stream) *placement {
	p := &placement{}
	for i := range p.waves {
		angle := s.between(0, 2*math.Pi)
		frequency := s.between(3, 7) // radians per glyph height
		p.waves[i] = wave{
			fx: frequency * math.Cos(angle), fy: frequency * math.Sin(angle), phase: s.between(0, 2*math.Pi),
			dx: 0.04 * s.normal(), dy: 0.04 * s.normal(),
		}
	}
	height := s.between(18, 24)
	width := height * s.between(0.8, 1.3)
	turn := clamp(8*math.Pi/180*s.normal(), 0.5)
	shear := clamp(0.15*s.normal(), 0.5)
	sin, cos := math.Sincos(turn)
	p.xx, p.xy = cos*width, (cos*shear-sin)*height
	p.yx, p.yy = sin*width, (sin*shear+cos)*height
	p.stroke = s.between(0.11, 0.18) * height
	return p
}

// size returns the pixels per unit of the outline, the mean over all directions.
func (p *placement) size() float64 { return math.Sqrt(math.Abs(p.xx*p.yy - p.xy*p.yx)) }

func clamp(v, limit float64) float64 { return math.Max(-limit, math.Min(limit, v)) }

func (p *placement) apply(at point) point {
	bent := at
	for _, w := range p.waves {
		v := math.Sin(w.fx*at.x + w.fy*at.y + w.phase)
		bent.x += w.dx * v
		bent.y += w.dy * v
	}
	return point{p.xx*bent.x + p.xy*bent.y, p.yx*bent.x + p.yy*bent.y}
}

// fit shrinks points, in pixels, where they are too large for the image with a margin, and moves them
// near its middle. It returns the factor they shrank by.
func fit(s *stream, points []point) (scale float64) {
	const margin = 2.5
	const room = digitsSide - 2*margin
	lo, hi := bounds(points)
	scale = math.Min(1, room/math.Max(hi.x-lo.x, hi.y-lo.y))
	shift := func(lo, hi float64) float64 {
		slack := (room - (hi-lo)*scale) / 2
		return margin + slack + clamp(1.2*s.normal(), slack) - lo*scale
	}
	dx, dy := shift(lo.x, hi.x), shift(lo.y, hi.y)
	for i, p := range points {
		points[i] = point{p.x*scale + dx, p.y*scale + dy}
	}
	return scale
}

// bounds returns the corners of the points' bounding box.
func bounds(points []point) (lo, hi point) {
	lo, hi = point{math.Inf(1), math.Inf(1)}, point{math.Inf(-1), math.Inf(-1)}
	for _, p := range points {
		lo = point{math.Min(lo.x, p.x), math.Min(lo.y, p.y)}
		hi = point{math.Max(hi.x, p.x), math.Max(hi.y, p.y)}
	}
	return lo, hi
}

// thicken appends the closed contour moved outwards by d pixels (inwards where d is negative). Fonts
// keep the ink on one side along a contour, so that a hole shrinks while the outside grows.
func thicken(out, contour []point, d float64) []point {
	n := len(contour)
	for i, p := range contour {
		before, after := contour[(i+n-1)%n], contour[(i+1)%n]
		dx, dy := after.x-before.x, after.y-before.y
		length := math.Hypot(dx, dy)
		if length < 1e-9 {
			out = append(out, p)
			continue
		}
		out = append(out, point{p.x + d*dy/length, p.y - d*dx/length})
	}
	return out
}
