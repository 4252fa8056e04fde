package importer

import (
	"fmt"
	"io"
	"math"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"rapt/trainer/config"
)

// old is a config of the original project, as it stands.
type old struct {
	path     string
	sections []*oldSection
	problems []string // values that mean nothing, with their lines
}

type oldSection struct {
	name string
	line int
	keys []*oldKey
}

type oldKey struct {
	name  string
	value *yaml.Node
	used  bool
}

// maxConfig is far above any config that a person wrote.
const maxConfig = 1 << 20

func readOld(path string) (*old, error) {
	f, _, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, badInput(path, "cannot be read: %v", err)
	}
	if len(data) > maxConfig {
		return nil, badInput(path, "is larger than 1 MiB, which no config is")
	}
	var document yaml.Node
	if err := yaml.Unmarshal(data, &document); err != nil {
		return nil, badInput(path, "is not valid YAML: %.200s", strings.TrimPrefix(err.Error(), "yaml: "))
	}
	if len(document.Content) == 0 || document.Content[0].Kind != yaml.MappingNode {
		if e := strings.ToLower(filepath.Ext(path)); e == ".pt" || e == ".pth" || e == ".tar" {
			return nil, badInput(path, "is no checkpoint of PyTorch: neither a zip archive nor a pickle")
		}
		return nil, badInput(path, "holds no sections: general, pretrain and the others of the original project's configs are needed")
	}
	o := &old{path: path}
	root := document.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		s := &oldSection{name: root.Content[i].Value, line: root.Content[i].Line}
		o.sections = append(o.sections, s)
		body := resolve(root.Content[i+1])
		for j := 0; body.Kind == yaml.MappingNode && j+1 < len(body.Content); j += 2 {
			s.keys = append(s.keys, &oldKey{name: body.Content[j].Value, value: resolve(body.Content[j+1])})
		}
	}
	if o.section("general") == nil {
		if o.section("model") != nil || o.section("data") != nil {
			return nil, badInput(path, "has no section general, so it is none of the original project's configs; if it is one of rapt, rapt run takes it as it is")
		}
		return nil, badInput(path, "has no section general, so it is none of the original project's configs")
	}
	return o, nil
}

// resolve follows an alias.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

// section finds a section. As for PyYAML, the last one of a name counts.
func (o *old) section(name string) *oldSection {
	for i := len(o.sections) - 1; i >= 0; i-- {
		if o.sections[i].name == name {
			return o.sections[i]
		}
	}
	return nil
}

// key finds a key that has a value, and marks it as used.
func (o *old) key(section, name string) *yaml.Node {
	s := o.section(section)
	if s == nil {
		return nil
	}
	var found *yaml.Node
	for _, k := range s.keys {
		if k.name == name {
			k.used = true
			found = k.value // the last one counts
		}
	}
	if found == nil || found.Kind == yaml.ScalarNode && (found.Tag == "!!null" || found.Value == "None" || found.Value == "") {
		return nil
	}
	return found
}

func (o *old) problem(n *yaml.Node, key, need string) {
	what := fmt.Sprintf("%.40q", n.Value)
	if n.Kind != yaml.ScalarNode {
		what = "no single value"
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		key = fmt.Sprintf("%.100q", key)
	}
	text := fmt.Sprintf("line %d: %s is %s: %s is needed", n.Line, key, what, need)
	if !slices.Contains(o.problems, text) { // some keys are asked for twice
		o.problems = append(o.problems, text)
	}
}

// text reads a word; ok is false where the key is not there.
func (o *old) text(section, name string) (string, bool) {
	n := o.key(section, name)
	if n == nil {
		return "", false
	}
	if n.Kind != yaml.ScalarNode || strings.ContainsFunc(n.Value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		o.problem(n, section+"."+name, "one word or path")
		return "", false
	}
	return n.Value, true
}

// number reads a number.
func (o *old) number(section, name string) (float64, bool) {
	n := o.key(section, name)
	if n == nil {
		return 0, false
	}
	v, err := config.ParseNumber(n.Value)
	if err != nil || n.Kind != yaml.ScalarNode {
		o.problem(n, section+"."+name, "a number")
		return 0, false
	}
	return float64(v), true
}

// whole reads a whole number from least to 2^31 - 1.
func (o *old) whole(section, name string, least int) (int, bool) {
	v, ok := o.number(section, name)
	if ok && (v != math.Trunc(v) || v < float64(least) || v > math.MaxInt32) {
		o.problem(o.key(section, name), section+"."+name, fmt.Sprintf("a whole number of %d or more", least))
		return 0, false
	}
	return int(v), ok
}

// boolean reads True or False, false where the key is not there.
func (o *old) boolean(section, name string) bool {
	n := o.key(section, name)
	if n == nil {
		return false
	}
	var v bool
	if n.Decode(&v) != nil {
		o.problem(n, section+"."+name, "True or False")
	}
	return v
}

// ratio is what a layer loses.
type ratio struct {
	layer string
	value float64
}

var ordinal = regexp.MustCompile(`^((conv|fc|bn)[1-9][0-9]{0,4})\.weight$`)

// ratios reads an architecture's prune_ratios. convN.weight is the Nth convolution there, which rapt calls convN.
func (o *old) ratios(arch string) (list []ratio, found bool) {
	n := o.key(arch, "prune_ratios")
	if n == nil {
		return nil, false
	}
	if n.Kind != yaml.MappingNode {
		o.problem(n, arch+".prune_ratios", "a mapping of layers to ratios")
		return nil, true
	}
	at := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i].Value, resolve(n.Content[i+1])
		v, err := config.ParseNumber(value.Value)
		if err != nil || value.Kind != yaml.ScalarNode || v < 0 || v >= 1 {
			o.problem(value, arch+".prune_ratios."+name, "the fraction removed, from 0 to below 1,")
			continue
		}
		if m := ordinal.FindStringSubmatch(name); m != nil {
			name = m[1]
		}
		one := ratio{name, float64(v)}
		if j, twice := at[name]; twice {
			list[j] = one // the last one counts
			continue
		}
		at[name] = len(list)
		list = append(list, one)
	}
	return list, true
}

func plain(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }
