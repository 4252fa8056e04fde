package trainer

import (
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/metrics"
)

// What rounding may do is let through, and counted; more is not.
func TestEqualLogits(t *testing.T) {
	labels := []uint16{1, 0}
	before := []float32{0, 1, -2, 50, 3, 4}
	var c metrics.Reduction
	require.NoError(t, equalLogits(&c, smallerNetwork, 1e-4, before, []float32{0, 1.0001, -2, 50.003, 3, 4}, labels))
	assert.Equal(t, 2, c.SameClass)
	assert.InDelta(t, 0.003, c.LargestDifference, 1e-5)
	assert.Equal(t, metrics.Measured{Before: 1, After: 1}, c.CleanAccuracy)

	c = metrics.Reduction{}
	err := equalLogits(&c, smallerNetwork, 1e-4, before, []float32{0, 1, -2, 50, 3, 4.01}, labels)
	var unequal *UnequalError
	require.True(t, errors.As(err, &unequal), "%v", err)
	assert.ErrorContains(t, err, "image 1 differ by 1.96 times")
	err = notWritten(err, "small.safetensors")
	require.True(t, errors.As(err, &unequal), "%v", err)
	assert.ErrorContains(t, err, "1.96 times what rounding may do. small.safetensors is not written; please report this")

	c = metrics.Reduction{}
	require.Error(t, equalLogits(&c, smallerNetwork, 1e-4, before, []float32{2, 1, -2, 50, 3, 4}, labels))
	assert.Equal(t, metrics.Measured{Before: 1, After: 0.5}, c.CleanAccuracy)
	assert.ErrorContains(t, equalLogits(&c, smallerNetwork, 1e-4, before, []float32{0, float32(math.NaN()), -2, 50, 3, 4}, labels), "not a finite number")
}

// A smaller network that is not the whole one's function is not trained.
func TestASmallerNetworkMustBeEqual(t *testing.T) {
	inside(t, func(p *pipeline) {
		logits, err := p.logits(t.Context())
		require.NoError(t, err)
		p.start = &smallStart{logits: logits, reduction: &metrics.Reduction{}}
		p.start.file, _, err = takeOut(p.lead().model, p.metadata(&stage{}), p.start.reduction)
		require.NoError(t, err)
		delete(p.start.file.Metadata, "channels") // all of them
		require.NoError(t, p.compare(t.Context()))
		assert.Equal(t, p.parts.Validation.N, p.start.reduction.SameClass)
		logits[17] += 0.1
		var unequal *UnequalError
		require.ErrorAs(t, p.compare(t.Context()), &unequal)
	})
}
