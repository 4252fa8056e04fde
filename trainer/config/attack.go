package config

import (
	"regexp"
	"strconv"

	"rapt/adversarial"
)

// Attack is one evaluation attack, all its settings resolved.
type Attack struct {
	Name        string // pgd-40
	Norm        string // Linf or L2
	Epsilon     float64
	StepSize    float64 // of pgd and mim; 0 for others, as Steps is
	Steps       int
	RandomStart bool
}

var attackSteps = regexp.MustCompile(`^(?:pgd|mim)-([0-9]+)`)

// ParseAttack reads the name of an evaluation attack, one that adversarial.Parse knows. steps is the number in the names of pgd and mim,
// which go in steps of one length, and 0 for others.
func ParseAttack(name string) (steps int, err error) {
	parts, err := adversarial.Parse(clip(name), adversarial.Settings{Norm: adversarial.L2, Epsilon: 1}) // all know L2
	if err != nil {
		return 0, err
	}
	if match := attackSteps.FindStringSubmatch(parts[0].Name()); match != nil { // the number may stand anywhere in what was given
		return strconv.Atoi(match[1])
	}
	return 0, nil
}

// Attack resolves an evaluation attack by its name, which need not be one of Evaluate.Attacks. The adversary's own attack
// (its epsilon, its number of steps) keeps its step size; any other one takes 2.5*epsilon/steps, unless evaluate.step_size
// says otherwise.
func (c *Config) Attack(name string) (Attack, error) {
	steps, err := ParseAttack(name)
	if err != nil {
		return Attack{}, err
	}
	a := Attack{Name: name, Norm: c.Adversary.Norm, Steps: steps, RandomStart: c.Adversary.RandomStart}
	epsilon := c.Evaluate.Epsilon
	if epsilon == 0 {
		epsilon = c.Adversary.Epsilon
	}
	a.Epsilon = float64(epsilon)
	switch {
	case steps == 0:
	case c.Evaluate.StepSize != 0:
		a.StepSize = float64(c.Evaluate.StepSize)
	case steps == c.Adversary.Steps && epsilon == c.Adversary.Epsilon:
		a.StepSize = float64(c.Adversary.StepSize)
	default:
		a.StepSize = stepSize(a.Epsilon, steps)
	}
	return a, nil
}

// stepSize lets the steps cross the ball with some to spare.
func stepSize(epsilon float64, steps int) float64 { return 2.5 * epsilon / float64(steps) }
