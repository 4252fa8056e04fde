package config

import (
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// Budget is one number for the network, from which the layers' ratios follow: Keep or MACs is given, or neither, which is no budget.
type Budget struct {
	Keep     Number   `yaml:"keep"`      // fraction kept of the parameters of the layers that the type is for, in (0,1)
	MACs     Number   `yaml:"macs"`      // fraction kept of the network's multiply-accumulates, in (0,1)
	Method   string   `yaml:"method"`    // uniform, global, erk or sensitivity; default uniform
	MinKeep  Number   `yaml:"min_keep"`  // of each layer at least: below 1 a fraction, from 1 how many weights, filters or columns; default 0, one of them
	MaxRatio Number   `yaml:"max_ratio"` // removed of each layer at most, in [0,1); 0, the default, is no limit
	Exclude  []string `yaml:"exclude"`   // layers that stay whole, and count
}

var budgetMethods = []string{"uniform", "global", "erk", "sensitivity"}

// Given tells whether there is a budget.
func (b Budget) Given() bool { return !reflect.DeepEqual(b, Budget{}) }

// NeedsWeights tells whether the ratios depend on what the weights are, and so on what was trained before.
func (b Budget) NeedsWeights() bool { return b.Method == "global" || b.Method == "sensitivity" }

// Fraction is what is kept, of the parameters or of the multiply-accumulates.
func (b Budget) Fraction() float64 { return float64(max(b.Keep, b.MACs)) }

// Key is prune.budget.keep or prune.budget.macs.
func (b Budget) Key() string {
	if b.MACs != 0 {
		return "prune.budget.macs"
	}
	return "prune.budget.keep"
}

// budget checks prune.budget and prune.strategy, and that the ratios come from one place.
func (v *checker) budget(p *Prune) {
	b := p.Budget
	if b.Given() || v.given("prune.budget") {
		v.fractionOf("prune.budget.keep", b.Keep)
		v.fractionOf("prune.budget.macs", b.MACs)
		switch {
		case b.Keep == 0 && b.MACs == 0 && !v.given("prune.budget.keep") && !v.given("prune.budget.macs"):
			v.relate("prune.budget", "has no number: keep or macs, the fraction that is kept, is needed")
		case b.Keep != 0 && b.MACs != 0:
			v.relate("prune.budget.macs", "is given beside prune.budget.keep: leave one out")
		}
		v.word("prune.budget.method", b.Method, budgetMethods)
		if whole := b.MinKeep == Number(int64(b.MinKeep)); !(b.MinKeep >= 0) || b.MinKeep >= 1 && !whole {
			v.fail("prune.budget.min_keep", "is %v: a fraction of each layer (0.1) or how many weights, filters or columns (4) is needed", b.MinKeep)
		}
		v.fraction("prune.budget.max_ratio", b.MaxRatio)
		if own, ok := impliedRatio(p.SparsityType); ok {
			v.relate("prune.budget", "has nothing to divide: %s removes %.6g of each layer", p.SparsityType, float64(own))
		}
	}
	for _, rival := range []struct {
		key   string
		given bool
	}{{"prune.budget", b.Given()}, {"prune.strategy", p.Strategy != ""}} {
		switch {
		case !rival.given:
		case p.Ratio != 0:
			v.relate(rival.key, "gives each layer its ratio: leave out prune.ratio")
		case len(p.Steps.List) > 0:
			v.relate(rival.key, "gives each layer its last ratio: prune.steps may only be {count, shape}")
		}
	}
	if p.Strategy != "" && (b.Given() || len(p.Ratios) > 0) {
		v.relate("prune.strategy", "gives each layer its ratio: leave out prune.ratios and prune.budget")
	}
}

func (v *checker) given(key string) bool { return v.cfg.Given(key) }

// fractionOf checks for (0,1), where 0 is what was not given.
func (v *checker) fractionOf(key string, value Number) {
	if value == 0 && !v.given(key) {
		return
	}
	if !(value > 0 && value < 1) {
		v.fail(key, "is %v: the fraction kept is needed, above 0 and below 1", value)
	}
}

// MarshalYAML writes no budget as nothing.
func (b Budget) MarshalYAML() (any, error) {
	if !b.Given() {
		return nil, nil
	}
	type plain Budget // without this method
	out := &yaml.Node{}
	if err := out.Encode(plain(b)); err != nil {
		return nil, err
	}
	// A zero that is not given is no value of its key.
	for i := 0; i+1 < len(out.Content); i += 2 {
		if key := out.Content[i].Value; (key == "keep" && b.Keep == 0) || (key == "macs" && b.MACs == 0) {
			out.Content = slices.Delete(out.Content, i, i+2)
			i -= 2
		}
	}
	return out, nil
}

func sameBudget(a, b Budget) bool {
	x, y := slices.Sorted(slices.Values(a.Exclude)), slices.Sorted(slices.Values(b.Exclude))
	a.Exclude, b.Exclude = nil, nil
	return reflect.DeepEqual(a, b) && slices.Equal(x, y)
}

// ReadStrategy reads a strategy file: a mapping of layers to the fraction that is removed of each, in YAML or JSON. What is wrong with
// it comes back as one *Error.
func ReadStrategy(path string) ([]LayerRatio, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, unreadable(path, "strategy", err)
	}
	d := &decoder{cfg: &Config{name: path, origins: map[string]origin{}}, problems: problems{name: path}}
	root, wrong := parseFile(data, strategyFile)
	if wrong != nil {
		return nil, &Error{Problems: []string{wrong.prefix(path) + wrong.text}}
	}
	var out []LayerRatio
	check := checker{cfg: d.cfg}
	d.mapping(root, "", func(layer string, at origin, value *yaml.Node) {
		one := LayerRatio{Layer: layer, Line: at.line}
		if need := decodeValue(reflect.ValueOf(&one.Ratio).Elem(), value); need != "" {
			d.problems.add(at, "%s %s: %s", clip(layer), describe(value), need)
			return
		}
		d.cfg.origins[layer] = at
		check.ratio(layer, one.Ratio)
		out = append(out, one)
	})
	d.problems.list = append(d.problems.list, check.problems.list...)
	return out, d.problems.err()
}

// StrategyYAML is a strategy file of these ratios, which ReadStrategy reads. comment is one line, and says where they come from.
func StrategyYAML(comment string, ratios []LayerRatio) ([]byte, error) {
	node, err := layerNode(ratios)
	if err != nil {
		return nil, err
	}
	body, err := yaml.Marshal(node)
	return append([]byte("# "+comment+"\n"), body...), err
}
