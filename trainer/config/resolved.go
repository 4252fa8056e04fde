package config

import (
	"bytes"
	"reflect"
	"slices"

	"gopkg.in/yaml.v3"
)

// YAML writes the complete config as a file that Load reads back as the same Config.
func (c *Config) YAML() []byte {
	var out bytes.Buffer
	out.WriteString("# The complete config of a run: what was given, and the defaults of the rest.\n")
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	// Neither can fail: the types are plain and the buffer takes everything.
	_ = encoder.Encode(c)
	_ = encoder.Close()
	return out.Bytes()
}

// MarshalYAML writes the ratios as the mapping they are read from, in their order.
func (p Prune) MarshalYAML() (any, error) {
	ratios, err := layerNode(p.Ratios)
	if err != nil {
		return nil, err
	}
	return struct {
		SparsityType string     `yaml:"sparsity_type"`
		Ratio        Number     `yaml:"ratio"`
		Ratios       *yaml.Node `yaml:"ratios"`
		Budget       Budget     `yaml:"budget"`
		Strategy     string     `yaml:"strategy"`
		Steps        Steps      `yaml:"steps"`
		RoundTo      int        `yaml:"round_to"`
		HoldZeros    bool       `yaml:"hold_zeros"`
	}{p.SparsityType, p.Ratio, ratios, p.Budget, p.Strategy, p.Steps, p.RoundTo, p.HoldZeros}, nil
}

// Where a run's files lie, what it runs on and how it reports change nothing in its result, but for rounding. run.workers
// is not among them: threads change how floating sums are grouped, and the same workers are promised equal bits.
var noDifference = []string{"run.name", "run.out_dir", "run.device", "run.cuda_graphs", "run.log_every", "run.keep_last", "run.save_every", "run.grace",
	"data.dir", "data.cache_dir"}

// Diff lists the keys, such as "adversary.epsilon", in which two configs differ and that bear on a run's result; a run is
// resumed only where there is none.
func Diff(a, b *Config) []string {
	var keys []string
	left, right := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for _, section := range sections {
		of, with := fieldOf(left, section), fieldOf(right, section)
		for _, key := range keysOf(section) {
			path := section + "." + key
			if slices.Contains(noDifference, path) {
				continue
			}
			if !sameValue(fieldOf(of, key), fieldOf(with, key)) {
				keys = append(keys, path)
			}
		}
	}
	return keys
}

func sameValue(a, b reflect.Value) bool {
	switch a.Interface().(type) {
	case []LayerRatio, []LayerBits:
		return reflect.DeepEqual(byLayer(a), byLayer(b))
	case Steps:
		return sameSteps(a.Interface().(Steps), b.Interface().(Steps))
	case Budget:
		return sameBudget(a.Interface().(Budget), b.Interface().(Budget))
	}
	if a.Kind() == reflect.Slice && a.Len() == 0 && b.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

func sameSteps(a, b Steps) bool {
	return a.Count == b.Count && a.Shape == b.Shape && slices.EqualFunc(a.List, b.List, func(a, b Step) bool {
		return a.Ratio == b.Ratio && reflect.DeepEqual(byLayer(reflect.ValueOf(a.Ratios)), byLayer(reflect.ValueOf(b.Ratios)))
	})
}
