package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gonum.org/v1/gonum/stat"

	"rapt/trainer/metrics"
)

// overSeeds is what came out of the points that differ by run.seed alone. Of fewer than two that are done there is only their number.
type overSeeds struct {
	Sets  []string `json:"sets"` // the overrides that they share
	Seeds int      `json:"seeds"`
	Done  int      `json:"done"`

	CleanAccuracy  *spread           `json:"clean_accuracy,omitempty"`
	RobustAccuracy map[string]spread `json:"robust_accuracy,omitempty"` // of the attacks that all of them were under
	Sparsity       *spread           `json:"sparsity,omitempty"`
}

// spread is a mean with the sample's standard deviation, of n - 1; both are fractions.
type spread struct {
	Mean float64 `json:"mean"`
	Std  float64 `json:"std"`
}

func spreadOf(values []float64) *spread {
	mean, std := stat.MeanStdDev(values, nil)
	return &spread{mean, std}
}

func (s *spread) String() string {
	return metrics.Percent(s.Mean) + " ± " + metrics.Percent(s.Std)
}

// bySeeds groups the points by all but run.seed, in their order; nothing where the grid does not have several seeds.
func bySeeds(points []sweepPoint) (out []overSeeds) {
	groups := map[string][]sweepPoint{}
	var order []string
	seeded := func(set string) bool { return strings.HasPrefix(set, "run.seed=") }
	for _, p := range points {
		if !slices.ContainsFunc(p.Sets, seeded) {
			return nil
		}
		shared := strings.Join(slices.DeleteFunc(slices.Clone(p.Sets), seeded), " ")
		if groups[shared] == nil {
			order = append(order, shared)
		}
		groups[shared] = append(groups[shared], p)
	}
	for _, shared := range order {
		if len(groups[shared]) > 1 {
			out = append(out, seedsOf(groups[shared], seeded))
		}
	}
	return out
}

func seedsOf(points []sweepPoint, seeded func(string) bool) overSeeds {
	out := overSeeds{Sets: slices.DeleteFunc(slices.Clone(points[0].Sets), seeded), Seeds: len(points)}
	points = slices.DeleteFunc(slices.Clone(points), func(p sweepPoint) bool { return p.CleanAccuracy == nil })
	if out.Done = len(points); out.Done < 2 {
		return out
	}
	over := func(value func(sweepPoint) float64) *spread {
		values := make([]float64, len(points))
		for i, p := range points {
			values[i] = value(p)
		}
		return spreadOf(values)
	}
	out.CleanAccuracy = over(func(p sweepPoint) float64 { return *p.CleanAccuracy })
	out.Sparsity = over(func(p sweepPoint) float64 { return *p.Sparsity })
	out.RobustAccuracy = map[string]spread{}
	for attack := range points[0].RobustAccuracy {
		if !slices.ContainsFunc(points, func(p sweepPoint) bool { _, ok := p.RobustAccuracy[attack]; return !ok }) {
			out.RobustAccuracy[attack] = *over(func(p sweepPoint) float64 { return p.RobustAccuracy[attack] })
		}
	}
	return out
}

// showSeeds is a line for each setting of which two seeds or more are done; nothing where there is none.
func showSeeds(w io.Writer, settings []overSeeds) error {
	settings = slices.DeleteFunc(slices.Clone(settings), func(s overSeeds) bool { return s.Done < 2 })
	if len(settings) == 0 {
		return nil
	}
	attacks := attacksOf(settings, func(s overSeeds) map[string]spread { return s.RobustAccuracy })
	rows := [][]string{slices.Concat([]string{"mean ± standard deviation", "seeds"}, accuracyHeader(attacks))}
	for _, s := range settings {
		row := []string{cmp.Or(strings.Join(s.Sets, " "), "all points"), fmt.Sprintf("%d of %d", s.Done, s.Seeds), s.CleanAccuracy.String()}
		for _, attack := range attacks {
			cell := ""
			if v, ok := s.RobustAccuracy[attack]; ok {
				cell = v.String()
			}
			row = append(row, cell)
		}
		rows = append(rows, append(row, s.Sparsity.String()))
	}
	fmt.Fprintln(w)
	return aligned(w, rows)
}

// accuracyHeader heads the columns of a result.
func accuracyHeader(attacks []string) []string {
	out := []string{"clean %"}
	for _, attack := range attacks {
		out = append(out, attack+" %")
	}
	return append(out, "pruned %")
}

// attacksOf are the attacks that any of the rows has a result of, in the order of tables.
func attacksOf[R, V any](rows []R, robust func(R) map[string]V) []string {
	found := map[string]bool{}
	for _, r := range rows {
		for attack := range robust(r) {
			found[attack] = true
		}
	}
	return metrics.SortAttacks(slices.Collect(maps.Keys(found)))
}
