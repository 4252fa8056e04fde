package trainer

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"rapt/adversarial"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// asked is an attack by its name, with its settings resolved.
type asked struct {
	name     string
	settings adversarial.Settings
	parts    []adversarial.Attack
}

func ask(name string, s adversarial.Settings) (asked, error) {
	parts, err := adversarial.Parse(name, s)
	name = strings.ToLower(name)
	if len(parts) == 1 {
		name = parts[0].Name()
	}
	a := asked{name, s, parts}
	if name == "fgsm" || strings.HasPrefix(name, "cw") || a.hasStepSize() && !s.RandomStart {
		a.settings.Restarts = min(a.settings.Restarts, 1) // all starts are one
	}
	return a, err
}

func (a asked) group() group { return group{name: a.name, parts: a.parts} }

var stepsInName = regexp.MustCompile(`-([0-9]+)`)

// steps is the number in the attack's name, 0 where it has none.
func (a asked) steps() int {
	if m := stepsInName.FindStringSubmatch(a.name); m != nil {
		n, _ := strconv.Atoi(m[1]) // digits
		return n
	}
	return 0
}

// passes are the network's passes, forward and backward, on an image that stands, for estimates.
func (a asked) passes() (n float64) {
	standard := map[string]float64{"apgd-t": 9 * 101, "fab": 9 * 100, "fab-t": 9 * 150, "square": 5000. / 3, "cw": 9 * 1000, "fgsm": 1}
	for _, p := range a.parts {
		switch usual, known := standard[p.Name()]; {
		case known:
			n += usual
		case a.steps() > 0:
			n += float64(a.steps())
		default:
			n += 101 // apgd-ce, apgd-dlr
		}
	}
	return n * float64(max(1, a.settings.Restarts))
}

// isAutoAttack says that it is one of AutoAttack's sets.
func (a asked) isAutoAttack() bool { return strings.HasPrefix(a.name, "autoattack") }

// hasStepSize says that the attack goes in steps of one length, as pgd and mim do.
func (a asked) hasStepSize() bool {
	return strings.HasPrefix(a.name, "pgd-") || strings.HasPrefix(a.name, "mim-")
}

// stepSize resolves a step size that was left to the attack, 0 where it has none.
func (a asked) stepSize() float64 {
	if !a.hasStepSize() {
		return 0
	}
	return cmp.Or(a.settings.StepSize, 2.5*a.settings.Epsilon/float64(a.steps()))
}

// report is the attack's settings as reports carry them.
func (a asked) report() metrics.Attack {
	r := metrics.Attack{Name: a.name, Norm: a.settings.Norm.String(), Epsilon: a.settings.Epsilon, StepSize: a.stepSize(), Steps: a.steps(),
		RandomStart: a.hasStepSize() && a.settings.RandomStart, Restarts: a.settings.Restarts}
	if len(a.parts) > 1 {
		for _, p := range a.parts {
			r.Parts = append(r.Parts, p.Name())
		}
	}
	return r
}

// Attacks are the settings of the attacks that Evaluate runs for o.
func Attacks(o EvalOptions) ([]metrics.Attack, error) {
	file, err := CheckpointOf(o.Path)
	if err != nil {
		return nil, err
	}
	meta, _, err := checkpoint.ReadHeader(file)
	if err != nil {
		return nil, err
	}
	d, err := describe(file, meta)
	if err != nil {
		return nil, err
	}
	chosen, err := d.chosen(o)
	return reports(chosen), err
}

func reports(attacks []asked) (out []metrics.Attack) {
	for _, a := range attacks {
		out = append(out, a.report())
	}
	return out
}

// chosen resolves the attacks asked for. What is not asked for is as in the run that trained the checkpoint.
func (d described) chosen(o EvalOptions) ([]asked, error) {
	names := o.Attacks
	if len(names) == 0 {
		names = d.names
	}
	var out []asked
	seen := map[string]bool{}
	for _, name := range names {
		a, err := d.attackIn(name, o, cmp.Or(o.Epsilon, d.attack.Epsilon))
		if err != nil {
			return nil, err
		}
		if seen[a.name] {
			return nil, &InputError{fmt.Errorf("attack %s is asked for twice", a.name)}
		}
		seen[a.name] = true
		out = append(out, a)
	}
	return out, nil
}

// attackIn resolves one attack for a ball of radius epsilon.
func (d described) attackIn(name string, o EvalOptions, epsilon float64) (asked, error) {
	s := adversarial.Settings{Norm: d.attack.Norm, Epsilon: epsilon, StepSize: o.StepSize, RandomStart: d.attack.RandomStart, Restarts: o.Restarts,
		Classes: d.spec.Classes}
	if o.Norm != "" {
		norm, err := adversarial.ParseNorm(o.Norm)
		if err != nil {
			return asked{}, &InputError{err}
		}
		if norm != s.Norm && o.Epsilon == 0 {
			return asked{}, &InputError{fmt.Errorf("the model was trained against %v, whose radius says nothing of %v: give --epsilon beside --norm", s.Norm, norm)}
		}
		s.Norm = norm
	}
	a, err := ask(name, s)
	if own := d.steps[a.name]; err == nil && s.StepSize == 0 && own > 0 && s.Norm == d.attack.Norm && epsilon == d.attack.Epsilon {
		s.StepSize = own // else the attack's own rule
		a, err = ask(name, s)
	}
	if err != nil {
		return a, &InputError{err}
	}
	return a, nil
}

// curve is the first attack in balls of growing radius. An image that falls in one falls in every larger one, so each radius
// attacks those that stood the smaller ones.
func (d described) curve(o EvalOptions, attacks []asked) (group, error) {
	g := group{name: "curve", apart: true}
	if len(o.Epsilons) > 0 && len(attacks) == 0 {
		return g, &InputError{fmt.Errorf("--epsilons needs an attack: the run was judged by none, so give --attacks")}
	}
	last := 0.0
	for _, epsilon := range o.Epsilons {
		if epsilon < last {
			return g, &InputError{fmt.Errorf("--epsilons holds %g after %g: rising radii are needed", epsilon, last)}
		}
		if last = epsilon; epsilon == 0 {
			continue // the clean accuracy
		}
		a, err := d.attackIn(attacks[0].name, o, epsilon)
		if err != nil {
			return g, err
		}
		if len(a.parts) > 1 {
			return g, &InputError{fmt.Errorf("--epsilons takes the first attack, which must be a single one, such as apgd-ce, not %s", a.name)}
		}
		g.parts = append(g.parts, a.parts...)
	}
	return g, nil
}
