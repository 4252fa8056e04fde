package adversarial

import (
	"cmp"
	"fmt"
	"strings"
)

// member is one attack of a set.
type member struct {
	key           string
	restarts, eot int
}

type members []member

// sets are AutoAttack's three versions, with the numbers of its code at a392200.
var sets = map[string]members{
	"autoattack":      {{"apgd-ce", 1, 1}, {"apgd-t", 1, 1}, {"fab-t", 1, 1}, {"square", 1, 1}},
	"autoattack-plus": {{"apgd-ce", 5, 1}, {"apgd-dlr", 5, 1}, {"fab", 5, 1}, {"square", 1, 1}, {"apgd-t", 1, 1}, {"fab-t", 1, 1}},
	"autoattack-rand": {{"apgd-ce", 1, 20}, {"apgd-dlr", 1, 20}},
}

func (m members) names() (out []string) {
	for _, a := range m {
		out = append(out, a.key)
	}
	return out
}

func (m members) make(s Settings) (out []Attack) {
	for _, a := range m {
		s.Restarts = a.restarts
		attack := build(a.key, s)
		if p, ok := attack.(apgd); ok {
			p.eot = a.eot
			attack = p
		}
		out = append(out, attack)
	}
	return out
}

// losses by what follows pgd-N in a name.
var losses = map[string]loss{"": crossEntropy, "-t": crossEntropyTo, "-margin": margin, "-margin-t": marginTo, "-dlr": dlr, "-dlr-t": dlrTo}

// build makes the attack with the key.
func build(key string, s Settings) Attack {
	name := key
	if standard := map[bool]int{true: s.Queries, false: s.Steps}[key == "square"]; standard > 0 {
		name = fmt.Sprintf("%s-%d", key, standard)
	}
	steps, targeted := cmp.Or(s.Steps, 100), strings.HasSuffix(key, "-t")
	switch head, tail, _ := strings.Cut(key, "-"); head {
	case "fgsm":
		return ascent{name: key, norm: s.Norm, eps: s.Epsilon, step: s.Epsilon, steps: 1, restarts: 1, loss: crossEntropy}
	case "pgd", "mim":
		if !s.RandomStart {
			s.Restarts = 1 // they would all be the same
		}
		if tail != "" {
			tail = "-" + tail
		}
		return ascent{name: fmt.Sprintf("%s-%d%s", head, steps, tail), norm: s.Norm, eps: s.Epsilon,
			step: cmp.Or(s.StepSize, 2.5*s.Epsilon/float64(steps)), steps: steps, restarts: s.Restarts, random: s.RandomStart,
			momentum: head == "mim", loss: losses[tail], targeted: targeted}
	case "cw":
		return cw{name: name, eps: s.Epsilon, steps: cmp.Or(s.Steps, 1000)}
	case "apgd":
		l := map[string]loss{"ce": crossEntropy, "dlr": dlr, "t": dlrTo}[tail]
		return apgd{name: name, norm: s.Norm, eps: s.Epsilon, steps: steps, restarts: s.Restarts, eot: 1, loss: l, targeted: targeted}
	case "fab":
		return fab{name: name, norm: s.Norm, eps: s.Epsilon, steps: steps, restarts: s.Restarts, targeted: targeted}
	}
	return square{name: name, norm: s.Norm, eps: s.Epsilon, queries: cmp.Or(s.Queries, 5000), restarts: s.Restarts}
}
