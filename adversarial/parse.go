package adversarial

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Settings of attacks that are asked for by name.
type Settings struct {
	Norm        Norm
	Epsilon     float64 // the ball's radius; pixels lie in [0, 1]
	StepSize    float64 // of pgd and mim; 0 is 2.5 Epsilon / steps
	RandomStart bool    // of pgd and mim: from a point of the ball, not from the image
	Restarts    int     // of a single attack but fgsm and cw, each on the images that still stand; 0 is 1
	Steps       int     // of cw, apgd-* and fab*, where not the published number; the name then ends in it
	Queries     int     // of square, the same
	Classes     int     // of the network; 0 where they are not known
}

// kind is what an attack's name stands for.
type kind struct {
	form    string // the name as it is written, N being a number of steps
	norms   []Norm
	classes int // needed
}

var (
	linfL2 = []Norm{Linf, L2}
	all    = []Norm{Linf, L2, L1}
	kinds  = []kind{
		{"fgsm", all, 2},
		{"pgd-N", all, 2}, {"pgd-N-margin", all, 2}, {"pgd-N-dlr", all, 3},
		{"pgd-N-t", all, 2}, {"pgd-N-margin-t", all, 2}, {"pgd-N-dlr-t", all, 4},
		{"mim-N", linfL2, 2}, {"cw", []Norm{L2}, 2},
		{"apgd-ce", linfL2, 2}, {"apgd-dlr", linfL2, 3}, {"apgd-t", linfL2, 4},
		{"fab", linfL2, 2}, {"fab-t", linfL2, 2}, {"square", linfL2, 2},
		{"autoattack", linfL2, 4}, {"autoattack-plus", linfL2, 4}, {"autoattack-rand", linfL2, 3},
	}
)

// key is a form without its number.
func (k kind) key() string { return strings.Replace(k.form, "-N", "", 1) }

// Names are the attacks that Parse knows, N standing for a number of steps.
func Names() []string {
	out := make([]string, len(kinds))
	for i, k := range kinds {
		out[i] = k.form
	}
	return out
}

// Parse makes the attacks that a name stands for: one, or a set's in their order.
//
// autoattack is the standard version of Croce & Hein (arXiv 2003.01690): apgd-ce and apgd-t with 100 iterations, fab-t with 100 and
// square with 5000 queries, nine targets, one restart each. Nothing of it can be changed but norm and radius. autoattack-plus and
// autoattack-rand are the package's other two versions. docs/attacks.md has every attack's source and numbers.
func Parse(name string, s Settings) ([]Attack, error) {
	key, number, err := split(name)
	if err != nil {
		return nil, err
	}
	k := kinds[slices.IndexFunc(kinds, func(k kind) bool { return k.key() == key })]
	if s.Epsilon <= 0 {
		return nil, fmt.Errorf("%s: epsilon is %g, want more than 0", name, s.Epsilon)
	}
	if s.Norm == Linf && s.Epsilon > 1 {
		return nil, fmt.Errorf("%s: epsilon is %g: pixels are in [0,1], did you mean %g/255?", name, s.Epsilon, s.Epsilon)
	}
	if s.StepSize < 0 || s.Restarts < 0 || s.Steps < 0 || s.Queries < 0 {
		return nil, fmt.Errorf("%s: step size, restarts, steps and queries cannot be negative", name)
	}
	if !slices.Contains(k.norms, s.Norm) {
		return nil, fmt.Errorf("%s measures %s, not %v", name, join(k.norms), s.Norm)
	}
	if s.Classes > 0 && s.Classes < k.classes {
		return nil, fmt.Errorf("%s needs %d classes or more, the network has %d; pgd-N-margin-t and fab-t need 2", name, k.classes, s.Classes)
	}
	s.Restarts = max(s.Restarts, 1)
	if strings.HasPrefix(key, "autoattack") {
		if s.Restarts > 1 || s.Steps > 0 || s.Queries > 0 {
			return nil, fmt.Errorf("%s is a fixed set: to change restarts, steps or queries name its attacks (%s)", name, strings.Join(sets[key].names(), ", "))
		}
		return sets[key].make(s), nil
	}
	if number > 0 {
		s.Steps, s.Queries = number, number
	}
	return []Attack{build(key, s)}, nil
}

var wholeNumber = regexp.MustCompile(`^[0-9]+$`)

// split takes a name apart: what it stands for, and its number of steps or queries, 0 where it has none.
func split(name string) (key string, number int, err error) {
	var words []string
	for _, w := range strings.Split(strings.ToLower(name), "-") {
		if n, err := strconv.Atoi(w); err == nil && number == 0 && n > 0 && n <= 1e6 {
			number = n
		} else {
			words = append(words, w)
		}
	}
	key = strings.Join(words, "-")
	if i := slices.IndexFunc(words, func(w string) bool { return wholeNumber.MatchString(w) }); i >= 0 && number == 0 {
		return "", 0, fmt.Errorf("attack %q: its number of steps or queries is one from 1 to 1000000, not %s", name, words[i])
	}
	for _, k := range kinds {
		switch {
		case k.key() != key:
		case k.key() != k.form && number == 0:
			return "", 0, fmt.Errorf("attack %q lacks its number of steps: want %s", name, k.form)
		case number > 0 && (key == "fgsm" || strings.HasPrefix(key, "autoattack")):
			return "", 0, fmt.Errorf("attack %q: %s has no number of steps", name, key)
		default:
			return key, number, nil
		}
	}
	near := slices.MinFunc(kinds, func(a, b kind) int {
		return levenshtein.ComputeDistance(key, a.key()) - levenshtein.ComputeDistance(key, b.key())
	})
	hint := ""
	if levenshtein.ComputeDistance(key, near.key()) <= 3 {
		if hint = near.form; number > 0 {
			hint = strings.Replace(hint, "-N", "-"+strconv.Itoa(number), 1)
		}
		hint = fmt.Sprintf(", did you mean %s?", hint)
	}
	return "", 0, fmt.Errorf("unknown attack %q%s (known: %s)", name, hint, strings.Join(Names(), ", "))
}

func join(norms []Norm) string {
	var out []string
	for _, n := range norms {
		out = append(out, n.String())
	}
	return strings.Join(out, ", ")
}
