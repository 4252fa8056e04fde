package trainer

import (
	"context"

	"rapt/trainer/metrics"
)

// Compare judges two models by the same attacks on the same images, those that a's checkpoint says where o does not, and tests whether
// their accuracies differ by more than the images drawn explain. When ctx ends the work is saved, and the same call goes on.
func Compare(ctx context.Context, a, b string, o EvalOptions) (*metrics.Comparison, error) {
	o.Path, o.Suspicion = a, new(bool)
	first, err := newTrial(ctx, o, nil)
	if err != nil {
		return nil, err
	}
	o.Path = b
	second, err := newTrial(ctx, o, first)
	if err != nil {
		return nil, err
	}
	for _, t := range []*trial{first, second} {
		if err := t.openState(); err != nil {
			return nil, err
		}
		defer t.state.close()
		t.keep = t == first // or an interruption in the second would cost it
		if err := t.run(ctx); err != nil {
			return nil, err
		}
		t.state.close() // b may be a's own checkpoint
	}
	first.state.remove()
	second.state.remove()
	out := &metrics.Comparison{A: first.report, B: second.report}
	add := func(name string, right func(t *trial, i int64) bool) {
		p := metrics.Pair{Measure: name}
		for i := range int64(len(first.labels)) {
			p.Count(right(first, i), right(second, i))
		}
		p.P = metrics.McNemar(p.OnlyA, p.OnlyB)
		out.Pairs = append(out.Pairs, p)
	}
	add("clean", func(t *trial, i int64) bool { return t.cleanly(i) })
	for g, group := range first.groups {
		add(group.name, func(t *trial, i int64) bool { return t.under(g)(i) })
	}
	add("worst case", func(t *trial, i int64) bool { return t.worst(i) })
	return out, nil
}
