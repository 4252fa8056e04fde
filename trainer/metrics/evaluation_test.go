package metrics

import (
	"bytes"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Values of an independent implementation (statsmodels' proportion_confint, method wilson).
func TestWilson(t *testing.T) {
	for _, c := range []struct {
		k, n      int
		low, high float64
	}{
		{8, 10, 0.49016247153664183, 0.9433178485456247},
		{0, 10, 0, 0.2775327998628892},
		{10, 10, 0.7224672001371107, 1},
		{0, 0, 0, 1},
	} {
		i := Wilson(c.k, c.n)
		assert.InDelta(t, c.low, i[0], 1e-12)
		assert.InDelta(t, c.high, i[1], 1e-12)
	}
	// The ends solve |p - k/n| = z sqrt(p (1-p) / n), which defines them.
	i := Wilson(9375, 10000)
	for _, p := range i {
		assert.InDelta(t, z95*math.Sqrt(p*(1-p)/10000), math.Abs(p-0.9375), 1e-12)
	}
}

func TestMcNemar(t *testing.T) {
	assert.InDelta(t, 2*21700.0/(1<<20), McNemar(5, 15), 1e-12) // 1 + 20 + 190 + 1140 + 4845 + 15504 of 2^20
	assert.InDelta(t, 0.0625, McNemar(0, 5), 1e-12)
	assert.InDelta(t, 0.0625, McNemar(5, 0), 1e-12)
	assert.Equal(t, 1.0, McNemar(0, 0))
	assert.Equal(t, 1.0, McNemar(7, 7))
	assert.Equal(t, 1.0, McNemar(1, 0))
}

func TestComparisonTable(t *testing.T) {
	var p Pair
	for _, c := range [][2]bool{{true, true}, {true, false}, {true, false}, {false, false}} {
		p.Count(c[0], c[1])
	}
	p.Measure, p.P = "clean", McNemar(p.OnlyA, p.OnlyB)
	var out bytes.Buffer
	ComparisonTable(&out, &Comparison{Pairs: []Pair{p}})
	assert.Regexp(t, `clean \| 75\.00 \| 25\.00 \| -50\.00 \| +2 \| +0 \| +0\.5 \|`, out.String())
	out.Reset()
	TransferTable(&out, &Transfer{Models: []TransferModel{{Clean: 0.9}, {Clean: 0.8}}, WorstCase: [][]float64{{0.1, 0.5}, {0.6, 0.2}}})
	assert.Regexp(t, `\(clean\) +\| 90\.00 \| 80\.00 \|`, out.String())
	assert.Regexp(t, `2 +\| 60\.00 \| 20\.00 \|`, out.String())
}

func TestDoubts(t *testing.T) {
	r := &Report{Stages: []StageResult{{Stage: "admm", Suspicion: []Check{{Check: "one step", Why: "of another model"}}},
		{Stage: "retrain", Suspicion: []Check{{Check: "one step", Fine: true, Why: "fgsm breaks none"}, {Check: "black box", Why: "square breaks 23 of 200"}}}}}
	var out bytes.Buffer
	DoubtLines(&out, r)
	assert.Equal(t, "the robust accuracy of retrain may be too high: square breaks 23 of 200\n", out.String())
	assert.Empty(t, (&Report{}).Doubts())
}
