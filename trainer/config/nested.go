package config

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// nested is a key whose value is a mapping with keys of its own.
type nested struct {
	path    string // prune.budget
	value   reflect.Value
	example string
	needs   map[string]string // what a key needs, where its type does not say it well
}

func (d *decoder) nested() []nested {
	return []nested{
		{"data.augment", reflect.ValueOf(&d.cfg.Data.Augment).Elem(), "{crop: 4, flip: true}", nil},
		{"prune.budget", reflect.ValueOf(&d.cfg.Prune.Budget).Elem(), "{keep: 0.05, method: erk}",
			map[string]string{"exclude": "a list of layers such as [conv1, fc2] is needed"}},
	}
}

func (n nested) keys() (keys []string) {
	for i := range n.value.NumField() {
		keys = append(keys, tagOf(n.value.Type().Field(i)))
	}
	return keys
}

// group reads the mapping at a nested key, and replaces what was given before.
func (d *decoder) group(n nested, at origin, node *yaml.Node) {
	if node.Kind != yaml.MappingNode && !isNull(node) {
		d.problems.add(at, "%s %s: a mapping such as %s is needed", n.path, describe(node), n.example)
		return
	}
	for _, key := range n.keys() {
		delete(d.cfg.origins, n.path+"."+key)
	}
	n.value.SetZero()
	if isNull(node) {
		delete(d.cfg.origins, n.path)
		return
	}
	d.cfg.origins[n.path] = at
	d.mapping(node, n.path+".", func(key string, line origin, value *yaml.Node) {
		if at.set != "" {
			line = at // the lines of a --set's value say nothing
		}
		d.groupKey(n, key, line, value)
	})
}

func (d *decoder) groupKey(n nested, key string, at origin, node *yaml.Node) {
	path := n.path + "." + key
	if !slices.Contains(n.keys(), key) {
		text := fmt.Sprintf("unknown key %q; ", clip(path))
		if near := nearest(key, n.keys()); near != "" {
			text += fmt.Sprintf("did you mean %q?", near)
		} else {
			text += fmt.Sprintf("the keys of %s are %s", n.path, listing(n.keys()))
		}
		d.problems.add(at, "%s", text)
		return
	}
	if need := decodeValue(fieldOf(n.value, key), node); need != "" {
		if better, ok := n.needs[key]; ok {
			need = better
		}
		d.problems.add(at, "%s %s: %s", path, describe(node), need)
		return
	}
	d.cfg.origins[path] = at
}

// setGroup applies a --set of one key in a nested mapping; it says no where path is not such a key.
func (d *decoder) setGroup(path string, at origin, value *yaml.Node) bool {
	for _, n := range d.nested() {
		key, ok := strings.CutPrefix(path, n.path+".")
		if !ok {
			continue
		}
		if _, given := d.cfg.origins[n.path]; !given {
			d.cfg.origins[n.path] = at
		}
		d.groupKey(n, key, at, value)
		return true
	}
	return false
}
