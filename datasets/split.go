package datasets

import (
	"math"
	"slices"
)

// validationCount turns data.validation (a fraction below 1, a count from 1 on) into a number of samples.
func validationCount(v float64, n int) (int, error) {
	switch {
	case math.IsNaN(v) || v < 0:
		return 0, inputErrorf("validation is %v; give a fraction below 1 or a number of samples", v)
	case v == 0:
		return 0, nil
	case v < 1:
		v = math.Max(1, math.Round(v*float64(n)))
	case v != math.Trunc(v):
		return 0, inputErrorf("validation is %v; from 1 on it is a number of samples, so a whole number", v)
	}
	if v >= float64(n) {
		return 0, inputErrorf("validation holds out %.0f samples of a training set of %d; leave at least one to train on", v, n)
	}
	return int(v), nil
}

// stratify splits [0, len(labels)) into kept and held-out indices, both ascending. Each class gives its
// share of the held samples, rounded by the largest remainder (ties: the lower class), so that exactly
// held are held.
func stratify(labels []uint16, classes, held int, domain, seed uint64) (keep, hold []int) {
	byClass := members(labels, classes)
	quota := quotas(byClass, held, len(labels))
	for c, members := range byClass {
		shuffle(newStream(seed, domain, uint64(c)), members)
		hold = append(hold, members[:quota[c]]...)
		keep = append(keep, members[quota[c]:]...)
	}
	slices.Sort(keep)
	slices.Sort(hold)
	return keep, hold
}

// members lists each class's indices, ascending.
func members(labels []uint16, classes int) [][]int {
	byClass := make([][]int, classes)
	for i, label := range labels {
		byClass[label] = append(byClass[label], i)
	}
	return byClass
}

// quotas is each class's share of held of n samples, rounded by the largest remainder (ties: the lower class).
func quotas(byClass [][]int, held, n int) []int {
	classes := len(byClass)
	quota := make([]int, classes)
	order := make([]int, classes) // classes by falling remainder
	left := held
	for c := range byClass {
		order[c] = c
		quota[c] = held * len(byClass[c]) / n
		left -= quota[c]
	}
	remainder := func(c int) int { return held * len(byClass[c]) % n }
	slices.SortStableFunc(order, func(a, b int) int { return remainder(b) - remainder(a) })
	for _, c := range order[:left] {
		quota[c]++
	}
	return quota
}
