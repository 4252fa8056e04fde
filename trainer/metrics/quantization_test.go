package metrics

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stored writes codes out as pairs of distance and code, with fillers, and reads them again.
func stored(codes []int8, width int) (pairs [][2]int, back []int8) {
	gap := 0
	for _, c := range codes {
		gap++
		switch {
		case c != 0:
			pairs, gap = append(pairs, [2]int{gap, int(c)}), 0
		case gap == 1<<width:
			pairs, gap = append(pairs, [2]int{gap, 0}), 0
		}
	}
	for len(pairs) > 0 && pairs[len(pairs)-1][1] == 0 {
		pairs = pairs[:len(pairs)-1] // nothing follows them
	}
	back = make([]int8, len(codes))
	at := -1
	for _, p := range pairs {
		at += p[0]
		back[at] = int8(p[1])
	}
	return pairs, back
}

func TestIndexBitsAgainstAnEncoder(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, share := range []float64{0.5, 0.1, 0.01, 0.001, 0} {
		codes := make([]int8, 5000)
		for i := range codes {
			if random.Float64() < share {
				codes[i] = int8(1 - 2*random.IntN(2))
			}
		}
		l := QuantizedLayer{Bits: 3}
		l.Measure(codes, true)
		least := int64(1) << 40
		for width := 2; width <= 16; width++ {
			pairs, back := stored(codes, width)
			require.Equal(t, codes, back)
			least = min(least, int64(len(pairs)*(width+3)))
		}
		assert.Equal(t, least, l.BitsData+l.IndexBits, share)
		assert.Equal(t, 3*l.Nonzero, l.BitsData)
	}
}

func TestSummariseQuantization(t *testing.T) {
	dense := QuantizedLayer{Name: "conv1.weight", Bits: 2, Levels: 3, Scale: 0.5}
	dense.Measure([]int8{0, 1, -1, 0}, false)
	assert.Equal(t, []int64{4, 2, 8, 0}, []int64{dense.Weights, dense.Nonzero, dense.BitsData, dense.IndexBits})
	pruned := QuantizedLayer{Name: "fc1.weight", Bits: 1, Levels: 2, Scale: 0.25}
	pruned.Measure([]int8{0, 1, 0, 0, 0, 0, -1, 0}, true)
	// Two bits reach 4 places on: distances 2, then 4 (a filler) and 1. Three bits: 2 and 5.
	assert.Equal(t, []int64{8, 2, 2, 3, 0, 6}, []int64{pruned.Weights, pruned.Nonzero, pruned.BitsData, int64(pruned.IndexWidth), pruned.Fillers, pruned.IndexBits})

	q := SummariseQuantization([]QuantizedLayer{dense, pruned}, 20)
	assert.Equal(t, []int64{10, 74, 6, 10, 10, 48, 8},
		[]int64{q.WeightsBits, q.BitsWithoutIndices, q.IndexBits, q.BytesWithoutIndices, q.BytesWithIndices, q.FloatBytes, q.KeptFloat32})
	assert.InDelta(t, 4.8, q.CompressionWithoutIndices, 1e-12)
	var out bytes.Buffer
	QuantizationTable(&out, q)
	assert.Contains(t, out.String(), "| fc1.weight   |    1 |      2 |  0.25 |       8 |        2 |         2 |          6 |")
	assert.Contains(t, out.String(), "quantised weights and scales: 10 bytes (4.80x), with indices 10 bytes (4.80x), as float32 48 bytes; 8 other parameters stay float32")
}
