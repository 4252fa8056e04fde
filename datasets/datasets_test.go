package datasets

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOrderIsAPinnedPermutation(t *testing.T) {
	// Pinned: a resumed run, on any machine and Go version, must visit the samples in the same order.
	assert.Equal(t, []int64{5, 1, 6, 7, 2, 8, 4, 9, 0, 3}, Order(7, 3, 10))
	order := Order(1, 0, 1000)
	sorted := slices.Sorted(slices.Values(order))
	for i, v := range sorted {
		require.Equal(t, int64(i), v)
	}
	assert.Equal(t, order, Order(1, 0, 1000))
	assert.NotEqual(t, order, Order(1, 1, 1000), "epochs differ")
	assert.NotEqual(t, order, Order(2, 0, 1000), "seeds differ")
	assert.Empty(t, Order(1, 0, 0))
	assert.Equal(t, []int64{0}, Order(1, 0, 1))
}

func TestOrderIsUniform(t *testing.T) {
	const n, epochs = 8, 16000
	var counts [n][n]int
	for epoch := range epochs {
		for position, sample := range Order(5, epoch, n) {
			counts[position][sample]++
		}
	}
	// The standard deviation of a count is sqrt(2000 * 7/8) = 42; the largest of 64 stays below 5 of them.
	for position := range counts {
		for sample, count := range counts[position] {
			assert.InDelta(t, epochs/n, count, 210, "sample %d at position %d", sample, position)
		}
	}
}

func TestNormalHasUnitVariance(t *testing.T) {
	const n = 100000
	s := newStream(1, 2, 3)
	sum, squares := 0.0, 0.0
	for range n {
		v := s.normal()
		sum += v
		squares += v * v
	}
	assert.InDelta(t, 0, sum/n, 0.02)
	assert.InDelta(t, 1, squares/n, 0.03)
}

func TestStratifiedSplit(t *testing.T) {
	labels := make([]uint16, 0, 100) // 50 of class 0, 30 of 1, 13 of 2, 7 of 3
	for class, count := range []int{50, 30, 13, 7} {
		labels = append(labels, slices.Repeat([]uint16{uint16(class)}, count)...)
	}
	keep, hold := stratify(labels, 10, 10, domainSplit, 1)
	assert.Len(t, hold, 10)
	var counts [4]int
	for _, i := range hold {
		counts[labels[i]]++
	}
	assert.Equal(t, [4]int{5, 3, 1, 1}, counts)
	all := slices.Sorted(slices.Values(slices.Concat(keep, hold)))
	require.Len(t, all, 100)
	for i, v := range all {
		require.Equal(t, i, v, "every sample is in exactly one part")
	}
	again, sameHold := stratify(labels, 10, 10, domainSplit, 1)
	assert.Equal(t, keep, again)
	assert.Equal(t, hold, sameHold)
	_, other := stratify(labels, 10, 10, domainSplit, 2)
	assert.NotEqual(t, hold, other)
}

func TestValidationCount(t *testing.T) {
	for _, c := range []struct {
		v    float64
		want int
	}{{0, 0}, {0.1, 100}, {0.0001, 1}, {0.0015, 2}, {1, 1}, {250, 250}, {999, 999}} {
		got, err := validationCount(c.v, 1000)
		require.NoError(t, err, c.v)
		assert.Equal(t, c.want, got, c.v)
	}
	for _, v := range []float64{-0.1, 1.5, 1000, 1e300, 0.9999, math.NaN(), math.Inf(1)} {
		_, err := validationCount(v, 1000)
		var input *InputError
		assert.ErrorAs(t, err, &input, v)
	}
}

func TestSubsetAndHead(t *testing.T) {
	s := &Set{Name: "toy", N: 3, C: 1, H: 1, W: 2, Classes: 10, Pixels: []byte{1, 2, 3, 4, 5, 6}, Labels: []uint16{7, 8, 9}}
	sub := s.Subset([]int{2, 0})
	assert.Equal(t, []byte{5, 6, 1, 2}, sub.Bytes())
	assert.Equal(t, []uint16{9, 7}, sub.Labels)
	assert.Equal(t, []byte{1, 2}, sub.Image(1))
	again := sub.Subset([]int{1, 1, 0})
	assert.Equal(t, []byte{1, 2, 1, 2, 5, 6}, again.Bytes())
	assert.Equal(t, []byte{1, 2}, again.Head(1).Bytes())
	assert.Equal(t, 2, again.Head(2).N)
	sub.Labels[0] = 99
	assert.Equal(t, uint16(9), s.Labels[2])
	assert.Equal(t, []byte{1, 2, 3, 4}, s.Head(2).Bytes())
	assert.Equal(t, 3, s.Head(10).N)
	assert.Empty(t, s.Head(0).Bytes())
	assert.Equal(t, fingerprint(sub), fingerprint(&Set{N: 2, C: 1, H: 1, W: 2, Classes: 10, Pixels: []byte{5, 6, 1, 2}, Labels: []uint16{99, 7}}))
}

func TestLoadRefusesBadOptions(t *testing.T) {
	for _, c := range []struct {
		o    Options
		says string
	}{
		{Options{Dataset: "minst"}, `unknown data set "minst"; did you mean "mnist"? (known: cifar10, cifar100, digits, fashion_mnist, image_folder, mnist, svhn)`},
		{Options{Dataset: "imagenet"}, `unknown data set "imagenet" (known: cifar10, cifar100, digits, fashion_mnist, image_folder, mnist, svhn)`},
		{Options{Dataset: "digits", TrainLimit: -1}, "train_limit -1"},
		{Options{Dataset: "digits", TrainLimit: 50, TestLimit: 10, Validation: 50}, "leave at least one"},
	} {
		_, err := Load(context.Background(), c.o)
		var input *InputError
		require.ErrorAs(t, err, &input)
		assert.ErrorContains(t, err, c.says)
	}
}
