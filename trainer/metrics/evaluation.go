package metrics

import (
	"fmt"
	"io"
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Interval is a confidence interval of an accuracy, from low to high.
type Interval [2]float64

// z95 is the 97.5 % quantile of the standard normal distribution.
const z95 = 1.959963984540054

// Wilson is the 95 % score interval of k right answers in n (Wilson, JASA 22, 1927): it says what the images drawn do to an
// accuracy, and nothing of what another training run would. Without images it is [0, 1].
func Wilson(k, n int) Interval {
	if n == 0 {
		return Interval{0, 1}
	}
	p, m := float64(k)/float64(n), float64(n)
	centre := p + z95*z95/(2*m)
	half := z95 * math.Sqrt(p*(1-p)/m+z95*z95/(4*m*m))
	scale := 1 + z95*z95/m
	return Interval{max(0, (centre-half)/scale), min(1, (centre+half)/scale)}
}

// McNemar is the exact two-sided p-value (McNemar, Psychometrika 12, 1947) that two models with equal accuracy differ on as many
// images as these: onlyA are right under the first alone, onlyB under the second alone.
func McNemar(onlyA, onlyB int) float64 {
	n := onlyA + onlyB
	if n == 0 {
		return 1
	}
	b := distuv.Binomial{N: float64(n), P: 0.5}
	return min(1, 2*b.CDF(float64(min(onlyA, onlyB))))
}

// Evaluation is what `rapt eval` adds to a report. Accuracies are fractions of all images; an image that the network gets wrong as
// it is counts as wrong under every attack.
type Evaluation struct {
	Images            int                 `json:"images"`
	CleanInterval     Interval            `json:"clean_interval"`
	RobustIntervals   map[string]Interval `json:"robust_intervals,omitempty"` // by attack
	WorstCaseInterval Interval            `json:"worst_case_interval"`
	// After is the accuracy that is left after each attack of a set such as autoattack, by the set.
	After     map[string][]After `json:"after,omitempty"`
	Classes   []Class            `json:"classes"`
	Curve     *Curve             `json:"curve,omitempty"`
	Suspicion []Check            `json:"suspicion,omitempty"`
	Source    string             `json:"source,omitempty"` // the checkpoint that the images were crafted on, where it is another one
}

// After is what one attack of a set did to the images that stood before it.
type After struct {
	Attack   string   `json:"attack"`
	Attacked int      `json:"attacked"` // images that stood before it
	Broken   int      `json:"broken"`
	Accuracy float64  `json:"accuracy"` // of all images, after it
	Interval Interval `json:"interval"`
}

// Class is the accuracy on the images of one class.
type Class struct {
	Class     int                `json:"class"`
	Name      string             `json:"name,omitempty"` // where the classes are folders of images
	Images    int                `json:"images"`
	Clean     float64            `json:"clean_accuracy"`
	Robust    map[string]float64 `json:"robust_accuracy,omitempty"` // by attack
	WorstCase float64            `json:"worst_case_accuracy"`
}

// Curve is the accuracy under one attack in balls of growing radius.
type Curve struct {
	Attack string  `json:"attack"`
	Norm   string  `json:"norm"`
	Points []Point `json:"points"`
}

// Point of a Curve.
type Point struct {
	Epsilon  float64  `json:"epsilon"`
	Accuracy float64  `json:"accuracy"`
	Interval Interval `json:"interval"`
}

// Check is one sign that attacks may have failed where the network is not robust. Where it is not Fine, the robust accuracy may be too high.
type Check struct {
	Check string `json:"check"`
	Fine  bool   `json:"fine"`
	Why   string `json:"why"`
}

// Doubts are the signs that the attacks failed on the run's last model, where there are any.
func (r *Report) Doubts() (out []Check) {
	if n := len(r.Stages); n > 0 {
		for _, c := range r.Stages[n-1].Suspicion {
			if !c.Fine {
				out = append(out, c)
			}
		}
	}
	return out
}

// DoubtLines say why the robust accuracy that a run ends with may be too high; nothing where there is no sign of it.
func DoubtLines(w io.Writer, r *Report) {
	for _, c := range r.Doubts() {
		fmt.Fprintf(w, "the robust accuracy of %s may be too high: %s\n", r.Stages[len(r.Stages)-1].Stage, c.Why)
	}
}
