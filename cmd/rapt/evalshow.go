package main

import (
	"fmt"
	"strings"

	"rapt/trainer/metrics"
)

func (a *app) showEvaluation(r *metrics.Report) error {
	if a.json {
		return a.writeJSON(r)
	}
	describe(a.out, r, "")
	a.showAttacks(r.Attacks)
	if e := r.Evaluation; e != nil {
		a.showAccuracies(r, e)
		metrics.EvaluationTables(a.out, r)
		a.showSuspicion(e.Suspicion)
	}
	a.showSparsity(r)
	return nil
}

// showAttacks is a line for each attack with its settings.
func (a *app) showAttacks(attacks []metrics.Attack) {
	for _, attack := range attacks {
		fmt.Fprintf(a.out, "%s: %s, epsilon %s", attack.Name, attack.Norm, fraction(attack.Epsilon))
		if attack.StepSize > 0 {
			start := "no random start"
			if attack.RandomStart {
				start = "random start"
			}
			fmt.Fprintf(a.out, ", step size %s, %d steps, %s", fraction(attack.StepSize), attack.Steps, start)
		}
		if attack.Restarts > 1 {
			fmt.Fprintf(a.out, ", %d restarts", attack.Restarts)
		}
		if len(attack.Parts) > 0 {
			fmt.Fprintf(a.out, ": %s", strings.Join(attack.Parts, ", "))
		}
		fmt.Fprintln(a.out)
	}
}

func (a *app) showAccuracies(r *metrics.Report, e *metrics.Evaluation) {
	line := func(name string, accuracy float64, i metrics.Interval) {
		fmt.Fprintf(a.out, "%-12s %s (95 %%: %.2f to %.2f)\n", name, percent(accuracy), 100*i[0], 100*i[1])
	}
	fmt.Fprintf(a.out, "%d images\n", e.Images)
	if e.Source != "" {
		fmt.Fprintln(a.out, "adversarial images crafted on", e.Source)
	}
	if r.CleanAccuracy != nil {
		line("clean", *r.CleanAccuracy, e.CleanInterval)
	}
	for _, attack := range r.Attacks {
		if accuracy, ok := r.RobustAccuracy[attack.Name]; ok {
			line(attack.Name, accuracy, e.RobustIntervals[attack.Name])
		}
		for _, after := range e.After[attack.Name] {
			fmt.Fprintf(a.out, "  after %-10s %s, %d of %d broken\n", after.Attack, percent(after.Accuracy), after.Broken, after.Attacked)
		}
	}
	if r.WorstCaseAccuracy != nil {
		line("worst case", *r.WorstCaseAccuracy, e.WorstCaseInterval)
	}
}

func (a *app) showSuspicion(checks []metrics.Check) {
	for _, c := range checks {
		verdict := "fine"
		if !c.Fine {
			verdict = "SUSPICIOUS"
		}
		fmt.Fprintf(a.out, "%-14s %s: %s\n", c.Check, verdict, c.Why)
	}
}
