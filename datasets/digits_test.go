package datasets

import (
	"context"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDigitsAreDeterministic(t *testing.T) {
	o := Options{Dataset: "digits", TrainLimit: 300, TestLimit: 100, Validation: 0.1, Seed: 5}
	first, err := Load(context.Background(), o)
	require.NoError(t, err)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	second, err := Load(context.Background(), o)
	require.NoError(t, err)
	assert.Equal(t, first, second, "the same seed, whatever the number of workers")

	o.Seed = 6
	other, err := Load(context.Background(), o)
	require.NoError(t, err)
	assert.NotEqual(t, first.SHA256, other.SHA256)
}

func TestDigitsSizesAndLimits(t *testing.T) {
	full, err := Load(context.Background(), Options{Dataset: "digits", Seed: 1, Validation: 1000})
	require.NoError(t, err)
	assert.Equal(t, 11000, full.Train.N)
	assert.Equal(t, 1000, full.Validation.N)
	assert.Equal(t, 2000, full.Test.N)
	limited, err := Load(context.Background(), Options{Dataset: "digits", Seed: 1, TrainLimit: 200, TestLimit: 55})
	require.NoError(t, err)
	assert.Equal(t, 0, limited.Validation.N)
	assert.Equal(t, full.Test.Head(55).Bytes(), limited.Test.Bytes(), "a limit gives the first samples of the full set")
	assert.Equal(t, full.Test.Labels[:55], limited.Test.Labels)

	var counts [10]int
	for _, label := range limited.Train.Labels {
		counts[label]++
	}
	assert.Equal(t, [10]int{20, 20, 20, 20, 20, 20, 20, 20, 20, 20}, counts)
	assert.NotEqual(t, limited.Train.Bytes()[:784], limited.Test.Bytes()[:784])
}

func TestDigitsLookLikeInkOnBlack(t *testing.T) {
	parts, err := Load(context.Background(), Options{Dataset: "digits", Seed: 2, TrainLimit: 500, TestLimit: 1})
	require.NoError(t, err)
	s := parts.Train
	size := s.C * s.H * s.W
	seen := map[string]bool{}
	for i := range s.N {
		image := s.Bytes()[i*size : (i+1)*size]
		bright, dark, border := 0, 0, 0
		for p, v := range image {
			if v > 200 {
				bright++
			}
			if v < 50 {
				dark++
			}
			if y, x := p/28, p%28; v > 128 && (y == 0 || x == 0 || y == 27 || x == 27) {
				border++
			}
		}
		assert.Greater(t, bright, 15, "sample %d has ink", i)
		assert.Greater(t, dark, 784*4/10, "sample %d has background", i)
		assert.Zero(t, border, "sample %d is not cut off", i)
		seen[string(image)] = true
	}
	assert.Len(t, seen, s.N, "no two samples are equal")
}

// TestOutlines checks the parsed fonts: every digit has the contours of its shape, 1 high and centred.
func TestOutlines(t *testing.T) {
	faces, err := outlines()
	require.NoError(t, err)
	require.Len(t, faces, len(faceData))
	for f, face := range faces {
		for digit, shape := range face {
			top, bottom := 1.0, -1.0
			for _, contour := range shape.contours {
				for _, p := range contour {
					top, bottom = min(top, p.y), max(bottom, p.y)
				}
			}
			assert.InDelta(t, -0.5, top, 1e-9)
			assert.InDelta(t, 0.5, bottom, 1e-9)
			switch digit {
			case 1, 2, 3, 5, 7:
				assert.Len(t, shape.contours, 1, "face %d digit %d", f, digit)
			case 6, 9, 4:
				assert.Len(t, shape.contours, 2, "face %d digit %d", f, digit)
			case 8, 0: // the zeros are slashed
				assert.GreaterOrEqual(t, len(shape.contours), 2, "face %d digit %d", f, digit)
			}
		}
	}
}

func TestThickenGrowsTheOutsideAndShrinksHoles(t *testing.T) {
	faces, err := outlines()
	require.NoError(t, err)
	area := func(contour []point) (sum float64) { // the shoelace formula; the sign is the direction
		for i, p := range contour {
			q := contour[(i+1)%len(contour)]
			sum += (p.x*q.y - q.x*p.y) / 2
		}
		return sum
	}
	for f := range faces {
		six := faces[f][6].contours
		for c, contour := range six { // the outside, then the hole
			before, after := area(contour), area(thicken(nil, contour, 0.02))
			assert.Equal(t, c == 0, math.Abs(after) > math.Abs(before), "face %d contour %d", f, c)
		}
	}
}

func BenchmarkDigits(b *testing.B) {
	for b.Loop() {
		if _, err := Load(context.Background(), Options{Dataset: "digits", Seed: 1}); err != nil {
			b.Fatal(err)
		}
	}
}
