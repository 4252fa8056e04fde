package datasets

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gobolditalic"
	"golang.org/x/image/font/gofont/goitalic"
	"golang.org/x/image/font/gofont/gomedium"
	"golang.org/x/image/font/gofont/gomediumitalic"
	"golang.org/x/image/font/gofont/gomono"
	"golang.org/x/image/font/gofont/gomonobold"
	"golang.org/x/image/font/gofont/gomonobolditalic"
	"golang.org/x/image/font/gofont/gomonoitalic"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

type point struct{ x, y float64 }

// outline is a digit's shape: closed contours of short straight pieces, y downwards, centred on the
// bounding box and scaled to a height of 1. Holes run against the outside.
type outline struct {
	contours [][]point
	stroke   float64 // the mean width of its strokes: the inked area over half the length of its edge
}

// faceData holds the embedded fonts. The small-caps faces are left out: their digits are goregular's.
var faceData = [][]byte{
	goregular.TTF, goitalic.TTF, gomedium.TTF, gomediumitalic.TTF, gobold.TTF, gobolditalic.TTF,
	gomono.TTF, gomonoitalic.TTF, gomonobold.TTF, gomonobolditalic.TTF,
}

// outlines returns the digits 0 to 9 of every face; they are parsed once.
var outlines = sync.OnceValues(func() ([][10]*outline, error) {
	faces := make([][10]*outline, len(faceData))
	for i, data := range faceData {
		font, err := sfnt.Parse(data)
		if err != nil {
			return nil, fmt.Errorf("digits: parsing embedded font %d: %w", i, err)
		}
		for digit := range faces[i] {
			if faces[i][digit], err = loadOutline(font, rune('0'+digit)); err != nil {
				return nil, fmt.Errorf("digits: reading %d from embedded font %d: %w", digit, i, err)
			}
		}
	}
	return faces, nil
})

func loadOutline(font *sfnt.Font, r rune) (*outline, error) {
	var buf sfnt.Buffer
	index, err := font.GlyphIndex(&buf, r)
	if err != nil {
		return nil, err
	}
	segments, err := font.LoadGlyph(&buf, index, fixed.I(1024), nil)
	if err != nil {
		return nil, err
	}
	var out [][]point
	var pen point
	for _, s := range segments {
		to := [3]point{toPoint(s.Args[0]), toPoint(s.Args[1]), toPoint(s.Args[2])}
		if s.Op == sfnt.SegmentOpMoveTo {
			out = append(out, nil)
			pen = to[0]
			continue
		}
		piece := flatten(pen, s.Op, to)
		out[len(out)-1] = append(out[len(out)-1], piece...)
		pen = piece[len(piece)-1]
	}
	normalise(out)
	return &outline{contours: out, stroke: strokeWidth(out)}, nil
}

func toPoint(p fixed.Point26_6) point { return point{float64(p.X) / 64, float64(p.Y) / 64} }

// flatten cuts a segment into 8 straight pieces (lines too: distortion bends them later) and returns
// their end points.
func flatten(from point, op sfnt.SegmentOp, to [3]point) []point {
	const pieces = 8
	out := make([]point, pieces)
	for i := range out {
		t := float64(i+1) / pieces
		u := 1 - t
		switch op {
		case sfnt.SegmentOpLineTo:
			out[i] = point{u*from.x + t*to[0].x, u*from.y + t*to[0].y}
		case sfnt.SegmentOpQuadTo:
			a, b, c := u*u, 2*u*t, t*t
			out[i] = point{a*from.x + b*to[0].x + c*to[1].x, a*from.y + b*to[0].y + c*to[1].y}
		case sfnt.SegmentOpCubeTo:
			a, b, c, d := u*u*u, 3*u*u*t, 3*u*t*t, t*t*t
			out[i] = point{
				a*from.x + b*to[0].x + c*to[1].x + d*to[2].x,
				a*from.y + b*to[0].y + c*to[1].y + d*to[2].y,
			}
		}
	}
	return out
}

// strokeWidth relies on holes counting as negative area.
func strokeWidth(contours [][]point) float64 {
	area, edge := 0.0, 0.0
	for _, contour := range contours {
		from := contour[len(contour)-1]
		for _, to := range contour {
			area += (from.x*to.y - to.x*from.y) / 2
			edge += math.Hypot(to.x-from.x, to.y-from.y)
			from = to
		}
	}
	return math.Abs(area) / (edge / 2)
}

// normalise centres the contours on their bounding box and scales them to a height of 1.
func normalise(contours [][]point) {
	lo, hi := bounds(slices.Concat(contours...))
	scale := 1 / (hi.y - lo.y)
	for _, contour := range contours {
		for i, p := range contour {
			contour[i] = point{(p.x - (lo.x+hi.x)/2) * scale, (p.y - (lo.y+hi.y)/2) * scale}
		}
	}
}
