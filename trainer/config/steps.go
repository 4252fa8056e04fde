package config

import (
	"math"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// Steps says how pruning comes to its ratios one step after the other (arXiv 1903.09769): each step is an ADMM stage and a masked
// retraining from the model of the step before, whose zeros are held. Either Count and Shape are given, and lead to prune.ratio and
// prune.ratios, or List, whose last step is then what they would have been. No steps are one.
type Steps struct {
	Count int
	Shape string // paper, cubic or linear
	List  []Step
}

// Step is one step's ratios, as in Prune.
type Step struct {
	Ratio  Number
	Ratios []LayerRatio
}

// MaxSteps is how many steps there may be.
const MaxSteps = 100

var shapes = []string{"paper", "cubic", "linear"}

// N is the number of steps, at least 1.
func (s Steps) N() int { return max(1, s.Count, len(s.List)) }

// At is the fraction that step i, from 0, removes of a layer whose last step removes last. paper raises the rate 1/(1-ratio) by the same
// factor in each step, as its 15x and 24x to 30x nearly do; cubic is the schedule of arXiv 1710.01878; linear raises the ratio evenly.
func (s Steps) At(i int, last float64) float64 {
	if i+1 >= s.N() || len(s.List) > 0 {
		return last
	}
	done := float64(i+1) / float64(s.N())
	switch s.Shape {
	case "cubic":
		return last * (1 - math.Pow(1-done, 3))
	case "linear":
		return last * done
	}
	return 1 - math.Pow(1-last, done)
}

// Step is what step i, from 0, is given: its own ratios, or those of the last step, to which At then leads.
func (p Prune) Step(i int) Step {
	if len(p.Steps.List) > 0 {
		return p.Steps.List[i]
	}
	return Step{p.Ratio, p.Ratios}
}

const stepsNeed = "a list of ratios ([0.5, 0.75, 0.9]), of mappings ([{conv1: 0.5}, {conv1: 0.8}]), or {count: 3, shape: cubic} is needed"

// steps reads prune.steps, and replaces what was given before.
func (d *decoder) steps(at origin, node *yaml.Node) {
	var s Steps
	ok := false
	switch node.Kind {
	case yaml.SequenceNode:
		s, ok = d.stepList(at, node)
	case yaml.MappingNode:
		s, ok = d.stepCount(at, node)
	default:
		if ok = isNull(node); !ok {
			d.problems.add(at, "prune.steps %s: %s", describe(node), stepsNeed)
		}
	}
	if ok {
		d.cfg.Prune.Steps = s
		d.cfg.origins["prune.steps"] = at
	}
}

func (d *decoder) stepList(at origin, node *yaml.Node) (s Steps, ok bool) {
	before := len(d.problems.list)
	for _, item := range node.Content {
		item = resolve(item)
		line := at
		if at.set == "" {
			line = origin{line: item.Line}
		}
		var step Step
		if item.Kind != yaml.MappingNode {
			if decodeValue(reflect.ValueOf(&step.Ratio).Elem(), item) != "" {
				d.problems.add(line, "prune.steps holds a step that %s: %s", describe(item), stepsNeed)
			}
		} else {
			d.mapping(item, "prune.steps.", func(layer string, line origin, value *yaml.Node) {
				one := LayerRatio{Layer: layer}
				if need := decodeValue(reflect.ValueOf(&one.Ratio).Elem(), value); need != "" {
					d.problems.add(line, "prune.steps: %s %s: %s", clip(layer), describe(value), need)
				}
				step.Ratios = append(step.Ratios, one)
			})
		}
		s.List = append(s.List, step)
	}
	return s, len(d.problems.list) == before
}

func (d *decoder) stepCount(at origin, node *yaml.Node) (s Steps, ok bool) {
	before := len(d.problems.list)
	s.Shape, s.Count = "paper", 2
	d.mapping(node, "prune.steps.", func(key string, line origin, value *yaml.Node) {
		var need string
		switch key {
		case "count":
			need = decodeValue(reflect.ValueOf(&s.Count).Elem(), value)
		case "shape":
			need = decodeValue(reflect.ValueOf(&s.Shape).Elem(), value)
		default:
			d.problems.add(line, "unknown key %q; the keys of prune.steps are count and shape", clip("prune.steps."+key))
		}
		if need != "" {
			d.problems.add(line, "prune.steps.%s %s: %s", key, describe(value), need)
		}
	})
	return s, len(d.problems.list) == before
}

// steps checks what can be said of prune.steps without the network.
func (v *checker) steps(p *Prune) {
	s := p.Steps
	if s.Count != 0 || s.Shape != "" {
		if s.Count < 1 || s.Count > MaxSteps {
			v.fail("prune.steps", "has a count of %d: 1 to %d steps are needed", s.Count, MaxSteps)
		}
		if !slices.Contains(shapes, s.Shape) {
			v.fail("prune.steps", "has the shape %q: paper, cubic or linear is needed", clip(s.Shape))
		}
	}
	if len(s.List) > 0 && (Step{p.Ratio, p.Ratios}).any() {
		v.relate("prune.steps", "lists each step's ratios: leave out prune.ratio and prune.ratios, or give {count: %d, shape: cubic}", len(s.List))
	}
	if len(s.List) > MaxSteps {
		v.fail("prune.steps", "lists %d steps: at most %d are possible", len(s.List), MaxSteps)
	}
	for i, step := range s.List {
		v.ratio("prune.steps", step.Ratio)
		for _, one := range step.Ratios {
			v.ratio("prune.steps", one.Ratio)
		}
		if !step.any() {
			v.fail("prune.steps", "removes nothing in step %d: a ratio above 0 is needed", i+1)
		}
	}
}

// MarshalYAML writes the steps as they are read.
func (s Steps) MarshalYAML() (any, error) {
	if len(s.List) == 0 {
		if s.Count == 0 {
			return nil, nil
		}
		return struct {
			Count int    `yaml:"count"`
			Shape string `yaml:"shape"`
		}{s.Count, s.Shape}, nil
	}
	out := make([]any, len(s.List))
	for i, step := range s.List {
		out[i] = step.Ratio
		if len(step.Ratios) > 0 {
			ratios, err := layerNode(step.Ratios)
			if err != nil {
				return nil, err
			}
			out[i] = ratios
		}
	}
	return out, nil
}
