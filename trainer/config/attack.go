package config

import (
	"fmt"
	"regexp"
	"strconv"
)

// Attack is one evaluation attack, all its settings resolved.
type Attack struct {
	Name        string // pgd-40
	Norm        string // Linf or L2
	Epsilon     float64
	StepSize    float64
	Steps       int
	RandomStart bool
}

var attackName = regexp.MustCompile(`^pgd-([1-9][0-9]{0,5})$`)

// ParseAttack reads the name of an evaluation attack: pgd-N, projected gradient descent of N steps (1 to 999999).
func ParseAttack(name string) (steps int, err error) {
	match := attackName.FindStringSubmatch(name)
	if match == nil {
		return 0, fmt.Errorf("%q is not an attack: pgd-N is one of N steps, such as pgd-40", clip(name))
	}
	return strconv.Atoi(match[1])
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
