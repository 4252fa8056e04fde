package config

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// decoder fills a Config from YAML nodes. It walks them itself instead of leaving it to the yaml package, because each message
// has to name the section, the key, the line and the nearest right key. Aliases are followed only where a value is
// needed, so that nested ones cannot multiply.
type decoder struct {
	cfg      *Config
	problems problems
}

// file reads the top mapping.
func (d *decoder) file(root *yaml.Node) {
	d.mapping(root, "", func(name string, at origin, value *yaml.Node) {
		if !slices.Contains(sections, name) {
			d.problems.add(at, "%s", unknownSection(name))
			return
		}
		if isNull(value) {
			return
		}
		if value.Kind != yaml.MappingNode {
			d.problems.add(at, "%s is %s: %s are its keys", name, kindOf(value), listing(keysOf(name)))
			return
		}
		d.mapping(value, name+".", func(key string, at origin, value *yaml.Node) { d.key(name, key, at, value) })
	})
}

// mapping calls visit for each key, and refuses what a config's mappings may not hold.
func (d *decoder) mapping(node *yaml.Node, path string, visit func(key string, at origin, value *yaml.Node)) {
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, at := resolve(node.Content[i]), origin{line: node.Content[i].Line}
		switch {
		case key.Kind != yaml.ScalarNode:
			d.problems.add(at, "a key is %s: a word is needed", kindOf(key))
		case key.Tag == "!!merge":
			d.problems.add(at, "merge keys (<<) are not read: write the keys out")
		case seen[key.Value] > 0:
			d.problems.add(at, "%s is given twice, first on line %d", clip(path+key.Value), seen[key.Value])
		default:
			seen[key.Value] = at.line
			visit(key.Value, at, resolve(node.Content[i+1]))
		}
	}
}

// set applies one --set, "section.key=value".
func (d *decoder) set(text string) {
	at := origin{set: text}
	path, valueText, ok := strings.Cut(text, "=")
	section, key, dotted := strings.Cut(path, ".")
	if !ok {
		d.problems.add(at, "write it as section.key=value")
		return
	}
	if !slices.Contains(sections, section) {
		d.problems.add(at, "%s", unknownSection(section))
		return
	}
	if !dotted {
		d.problems.add(at, "%s is a section: name one of its keys, %s", section, listing(keysOf(section)))
		return
	}
	value, err := parseValue(valueText)
	if err != nil {
		d.problems.add(at, "%v", err)
		return
	}
	for _, l := range d.perLayer() {
		if layer, ok := strings.CutPrefix(path, l.key+"."); ok {
			d.layer(l, layer, at, value)
			return
		}
	}
	if d.setGroup(path, at, value) {
		return
	}
	d.key(section, key, at, value)
}

// key reads one key of a section.
func (d *decoder) key(section, key string, at origin, value *yaml.Node) {
	if !slices.Contains(keysOf(section), key) {
		d.problems.add(at, "%s", unknownKey(section, key))
		return
	}
	path := section + "." + key
	for _, l := range d.perLayer() {
		if path == l.key {
			d.layers(l, at, value)
			return
		}
	}
	for _, n := range d.nested() {
		if path == n.path {
			d.group(n, at, value)
			return
		}
	}
	if path == "prune.steps" {
		d.steps(at, value)
		return
	}
	field := fieldOf(reflect.ValueOf(d.cfg).Elem(), section)
	if at.set != "" && isNull(value) && value.Value != "" { // as if the file did not have it
		fieldOf(field, key).SetZero()
		delete(d.cfg.origins, path)
		return
	}
	if need := decodeValue(fieldOf(field, key), value); need != "" {
		d.problems.add(at, "%s %s: %s", path, describe(value), need)
		return
	}
	d.cfg.origins[path] = at
}

// decodeValue stores a node in a field, or says what the field needs instead.
func decodeValue(field reflect.Value, node *yaml.Node) (need string) {
	if field.Kind() == reflect.Slice {
		return decodeList(field, node)
	}
	scalar := node.Kind == yaml.ScalarNode && knownTag(node)
	switch field.Interface().(type) {
	case Number:
		value, err := ParseNumber(node.Value)
		if !scalar || err != nil {
			return errNumber.Error()
		}
		field.SetFloat(float64(value))
	case int:
		value, err := strconv.ParseInt(node.Value, 10, 64)
		if !scalar || err != nil || value > math.MaxInt32 || value < math.MinInt32 {
			return fmt.Sprintf("a whole number (at most %d) is needed", math.MaxInt32)
		}
		field.SetInt(value)
	case uint64:
		value, err := strconv.ParseUint(node.Value, 10, 64)
		if !scalar || err != nil {
			return fmt.Sprintf("a whole number from 0 to %d is needed", uint64(math.MaxUint64))
		}
		field.SetUint(value)
	case bool:
		yes := strings.EqualFold(node.Value, "true")
		if !scalar || node.Tag != "!!bool" || !yes && !strings.EqualFold(node.Value, "false") {
			return "true or false is needed"
		}
		field.SetBool(yes)
	case string, Interval, Duration:
		if isNull(node) {
			field.SetString("")
			return ""
		}
		if !scalar || !oneLine(node.Value) {
			return "one line of text is needed"
		}
		field.SetString(node.Value)
	}
	return ""
}

// decodeList stores a sequence. An empty one is nil, so that a config equals the one read back from its YAML.
func decodeList(field reflect.Value, node *yaml.Node) (need string) {
	need = "a list of whole numbers such as [50, 75] is needed"
	switch field.Type().Elem().Kind() {
	case reflect.String:
		need = "a list of words such as [pgd-10, pgd-40] is needed"
	case reflect.Float64:
		need = "a list of numbers such as [0.49, 0.48, 0.45] is needed"
	}
	if node.Kind != yaml.SequenceNode {
		return need
	}
	list := reflect.Zero(field.Type())
	for _, item := range node.Content {
		value := reflect.New(field.Type().Elem()).Elem()
		if decodeValue(value, resolve(item)) != "" {
			return need
		}
		list = reflect.Append(list, value)
	}
	field.Set(list)
	return ""
}

func resolve(node *yaml.Node) *yaml.Node {
	if node.Kind == yaml.AliasNode {
		return node.Alias
	}
	return node
}

func isNull(node *yaml.Node) bool { return node.Kind == yaml.ScalarNode && node.Tag == "!!null" }

// knownTag is false for explicit tags that would give the value another meaning, such as !!binary.
func knownTag(node *yaml.Node) bool {
	return slices.Contains([]string{"!!str", "!!int", "!!float", "!!bool", "!!timestamp"}, node.Tag)
}

// oneLine is true for text that reads back from YAML as it is.
func oneLine(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unicode.IsControl)
}

// kindOf names a node's kind.
func kindOf(node *yaml.Node) string {
	switch {
	case node.Kind == yaml.MappingNode:
		return "a mapping"
	case node.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(node):
		return "empty"
	}
	return fmt.Sprintf("%q", clip(node.Value))
}

// describe says what was given for a key.
func describe(node *yaml.Node) string {
	switch {
	case isNull(node):
		return "has no value"
	case node.Kind == yaml.ScalarNode && !knownTag(node):
		return "has the tag " + clip(node.Tag)
	case node.Kind == yaml.SequenceNode:
		return "is " + clip(sequenceText(node))
	}
	return "is " + kindOf(node)
}

// sequenceText shows a list of scalars as it was written.
func sequenceText(node *yaml.Node) string {
	words := make([]string, 0, len(node.Content))
	for _, item := range node.Content {
		if item.Kind != yaml.ScalarNode {
			return "a list"
		}
		words = append(words, item.Value)
	}
	return "[" + strings.Join(words, ", ") + "]"
}
