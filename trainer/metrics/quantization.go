package metrics

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
)

// Quantization sums up what a model's quantised weights take. Sizes are of those weights and their scales alone: what
// stays float32, the biases and the batch norms, is counted in KeptFloat32 and in no size, as in the papers.
//
// A pruned layer stores its weights that are not zero, a dense one all, each in the layer's bits. With indices, each
// stored weight also has the distance from the one before ("Deep Compression", arXiv 1510.00149, section 2).
type Quantization struct {
	Layers                    []QuantizedLayer `json:"layers"`
	WeightsBits               int64            `json:"weights_bits"`         // the stored weights
	BitsWithoutIndices        int64            `json:"bits_without_indices"` // and 32 for each layer's scale
	IndexBits                 int64            `json:"index_bits"`           // distances, and the fillers' weights
	BytesWithoutIndices       int64            `json:"bytes_without_indices"`
	BytesWithIndices          int64            `json:"bytes_with_indices"`
	FloatBytes                int64            `json:"float_bytes"` // the same layers, dense and in float32
	CompressionWithoutIndices float64          `json:"compression_without_indices"`
	CompressionWithIndices    float64          `json:"compression_with_indices"`
	KeptFloat32               int64            `json:"kept_float32"` // parameters that are not quantised
}

// QuantizedLayer is one layer's part.
type QuantizedLayer struct {
	Name       string  `json:"name"`
	Bits       int     `json:"bits"`
	Levels     int     `json:"levels"` // how many there are, a pruned layer's zero not counted
	Scale      float32 `json:"scale"`
	Weights    int64   `json:"weights"`
	Nonzero    int64   `json:"nonzero"`
	BitsData   int64   `json:"bits_data"`
	IndexWidth int     `json:"index_width"` // bits of a distance; 0 in a dense layer, which has none
	Fillers    int64   `json:"fillers"`     // zeros stored since a distance was too long for its bits
	IndexBits  int64   `json:"index_bits"`
}

// The widths of a distance that are tried.
const leastWidth, mostWidth = 2, 16

// Measure fills in what the layer takes. codes are its weights', 0 where they are zero; a dense layer stores zeros too.
func (l *QuantizedLayer) Measure(codes []int8, pruned bool) {
	l.Weights, l.Nonzero = int64(len(codes)), 0
	for _, c := range codes {
		if c != 0 {
			l.Nonzero++
		}
	}
	l.BitsData = l.Weights * int64(l.Bits)
	l.IndexWidth, l.Fillers, l.IndexBits = 0, 0, 0
	if !pruned {
		return
	}
	l.BitsData = l.Nonzero * int64(l.Bits)
	for width := leastWidth; width <= mostWidth; width++ {
		n := fillers(codes, 1<<width)
		bits := (l.Nonzero+n)*int64(width) + n*int64(l.Bits)
		if width == leastWidth || bits < l.IndexBits {
			l.IndexWidth, l.Fillers, l.IndexBits = width, n, bits
		}
	}
}

// fillers are the zeros that must be stored where a distance may be longest at most.
func fillers(codes []int8, longest int64) (n int64) {
	last := int64(-1)
	for i, c := range codes {
		if c != 0 {
			n += (int64(i) - last - 1) / longest
			last = int64(i)
		}
	}
	return n
}

// SummariseQuantization adds up layers; parameters are all of the model's.
func SummariseQuantization(layers []QuantizedLayer, parameters int64) *Quantization {
	q := &Quantization{Layers: append([]QuantizedLayer{}, layers...), KeptFloat32: parameters}
	const scale = 32
	for _, l := range layers {
		q.WeightsBits += l.BitsData
		q.BitsWithoutIndices += l.BitsData + scale
		q.IndexBits += l.IndexBits
		q.FloatBytes += 4 * l.Weights
		q.KeptFloat32 -= l.Weights
	}
	q.BytesWithoutIndices = (q.BitsWithoutIndices + 7) / 8
	q.BytesWithIndices = (q.BitsWithoutIndices + q.IndexBits + 7) / 8
	if q.FloatBytes > 0 {
		q.CompressionWithoutIndices = float64(q.FloatBytes) / float64(q.BytesWithoutIndices)
		q.CompressionWithIndices = float64(q.FloatBytes) / float64(q.BytesWithIndices)
	}
	return q
}

// QuantizationTable writes a row for each quantised layer, a total, and what the sizes do and do not cover.
func QuantizationTable(w io.Writer, q *Quantization) {
	t := newTable(w, table.Row{"layer", "bits", "levels", "scale", "weights", "not zero", "data bits", "index bits"})
	var weights, nonzero int64
	for _, l := range q.Layers {
		t.AppendRow(table.Row{l.Name, l.Bits, l.Levels, fmt.Sprintf("%.4g", l.Scale), l.Weights, l.Nonzero, l.BitsData, l.IndexBits})
		weights, nonzero = weights+l.Weights, nonzero+l.Nonzero
	}
	t.AppendSeparator()
	t.AppendRow(table.Row{"total", "", "", "", weights, nonzero, q.WeightsBits, q.IndexBits})
	t.Render()
	fmt.Fprintf(w, "quantised weights and scales: %d bytes (%s), with indices %d bytes (%s), as float32 %d bytes; %d other parameters stay float32\n",
		q.BytesWithoutIndices, Times(q.CompressionWithoutIndices), q.BytesWithIndices, Times(q.CompressionWithIndices), q.FloatBytes, q.KeptFloat32)
}
