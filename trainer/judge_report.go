package trainer

import (
	"rapt/adversarial"
	"rapt/trainer/metrics"
)

// count is how many of the images, of one class or of all where class is -1, are right in the sense of ok.
func (e *evaluation) count(class int, ok func(i int64) bool) (right, all int) {
	for i, label := range e.labels {
		if class >= 0 && int(label) != class {
			continue
		}
		all++
		if ok(int64(i)) {
			right++
		}
	}
	return right, all
}

func (e *evaluation) cleanly(i int64) bool { return e.right(e.clean, i) }

// under says that image i is right as it is and under every attack of group g.
func (e *evaluation) under(g int) func(i int64) bool {
	return func(i int64) bool { return e.cleanly(i) && e.holds(g, len(e.groups[g].parts), i) }
}

// worst says that image i is right as it is and under every attack that counts.
func (e *evaluation) worst(i int64) bool {
	g, _ := e.breaker(i)
	return g < 0 && e.cleanly(i)
}

func share(right, all int) float64 {
	if all == 0 {
		return 0
	}
	return float64(right) / float64(all)
}

// accuracies sums up a run's test.
func (e *evaluation) accuracies() accuracies {
	a := accuracies{clean: share(e.count(-1, e.cleanly)), worst: share(e.count(-1, e.worst)), robust: map[string]float64{}}
	for g := range e.groups {
		if !e.groups[g].apart {
			a.robust[e.groups[g].name] = share(e.count(-1, e.under(g)))
		}
	}
	for _, l := range e.loss {
		a.loss += l / float64(len(e.loss))
	}
	return a
}

// fill writes what came out into a report. names are the classes', nil where they have none.
func (e *evaluation) fill(r *metrics.Report, names []string) {
	a := e.accuracies()
	r.CleanAccuracy, r.RobustAccuracy, r.WorstCaseAccuracy = &a.clean, a.robust, &a.worst
	v := &metrics.Evaluation{Images: len(e.labels), CleanInterval: metrics.Wilson(e.count(-1, e.cleanly)),
		WorstCaseInterval: metrics.Wilson(e.count(-1, e.worst)), RobustIntervals: map[string]metrics.Interval{}, After: map[string][]metrics.After{}}
	for g, group := range e.groups {
		switch {
		case group.apart:
		case len(group.parts) > 1:
			v.After[group.name] = e.after(g)
			fallthrough
		default:
			v.RobustIntervals[group.name] = metrics.Wilson(e.count(-1, e.under(g)))
		}
	}
	for class := range e.classes {
		if c := e.class(class); c.Images > 0 {
			if class < len(names) {
				c.Name = names[class]
			}
			v.Classes = append(v.Classes, c)
		}
	}
	r.Evaluation = v
}

// after is what each attack of a set left standing.
func (e *evaluation) after(g int) (out []metrics.After) {
	before, all := e.count(-1, e.cleanly)
	for p, a := range e.groups[g].parts {
		left, _ := e.count(-1, func(i int64) bool { return e.cleanly(i) && e.holds(g, p+1, i) })
		out = append(out, metrics.After{Attack: a.Name(), Attacked: before, Broken: before - left, Accuracy: share(left, all), Interval: metrics.Wilson(left, all)})
		before = left
	}
	return out
}

func (e *evaluation) class(class int) metrics.Class {
	right, all := e.count(class, e.cleanly)
	c := metrics.Class{Class: class, Images: all, Clean: share(right, all), WorstCase: share(e.count(class, e.worst)), Robust: map[string]float64{}}
	for g, group := range e.groups {
		if !group.apart {
			c.Robust[group.name] = share(e.count(class, e.under(g)))
		}
	}
	return c
}

// curveOf is the accuracy by radius; 0 is the images as they are.
func (e *evaluation) curveOf(attack string, norm adversarial.Norm, epsilons []float64, group int) *metrics.Curve {
	c := &metrics.Curve{Attack: attack, Norm: norm.String()}
	parts := 0
	for _, epsilon := range epsilons {
		if epsilon > 0 {
			parts++
		}
		left, all := e.count(-1, func(i int64) bool { return e.cleanly(i) && e.holds(group, parts, i) })
		c.Points = append(c.Points, metrics.Point{Epsilon: epsilon, Accuracy: share(left, all), Interval: metrics.Wilson(left, all)})
	}
	return c
}
