package config

import (
	"fmt"
	"reflect"

	"gopkg.in/yaml.v3"
)

// perLayer is a key that holds a mapping of layers to a value each. It is kept in its order, as a slice of structs of Layer, the value
// and Line.
type perLayer struct {
	key, example string
	list         reflect.Value
}

// The fields of such a struct.
const (
	fieldLayer = iota
	fieldValue
	fieldLine
)

// perLayer lists those keys.
func (d *decoder) perLayer() []perLayer {
	return []perLayer{
		{"prune.ratios", "{conv1.weight: 0.8, fc1.weight: 0.9}", reflect.ValueOf(&d.cfg.Prune.Ratios).Elem()},
		{"quantize.layers", "{conv1.weight: 5, fc1.weight: 2}", reflect.ValueOf(&d.cfg.Quantize.Layers).Elem()},
	}
}

// layers reads the whole mapping, and replaces what was given before.
func (d *decoder) layers(l perLayer, at origin, node *yaml.Node) {
	if node.Kind != yaml.MappingNode && !isNull(node) {
		d.problems.add(at, "%s %s: a mapping such as %s is needed", l.key, describe(node), l.example)
		return
	}
	for i := range l.list.Len() {
		delete(d.cfg.origins, l.key+"."+l.list.Index(i).Field(fieldLayer).String())
	}
	l.list.SetZero()
	d.cfg.origins[l.key] = at
	d.mapping(node, l.key+".", func(layer string, line origin, value *yaml.Node) {
		if at.set != "" {
			line = at // the lines of a --set's value say nothing
		}
		d.layer(l, layer, line, value)
	})
}

// layer sets one layer's value.
func (d *decoder) layer(l perLayer, layer string, at origin, node *yaml.Node) {
	if layer == "" || !oneLine(layer) {
		d.problems.add(at, "%s names a layer %q: a name such as conv1.weight is needed", l.key, clip(layer))
		return
	}
	entry := reflect.New(l.list.Type().Elem()).Elem()
	entry.Field(fieldLayer).SetString(layer)
	entry.Field(fieldLine).SetInt(int64(at.line))
	if need := decodeValue(entry.Field(fieldValue), node); need != "" {
		d.problems.add(at, "%s.%s %s: %s", l.key, clip(layer), describe(node), need)
		return
	}
	key := l.key + "." + layer
	if _, given := d.cfg.origins[key]; given {
		for i := range l.list.Len() {
			if one := l.list.Index(i); one.Field(fieldLayer).String() == layer {
				one.Set(entry)
			}
		}
	} else {
		l.list.Set(reflect.Append(l.list, entry))
	}
	d.cfg.origins[key] = at
}

// layerNode is the mapping that a list of layers' values is read from, in its order.
func layerNode[E LayerRatio | LayerBits](list []E) (*yaml.Node, error) {
	out := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
	for _, one := range list {
		of := reflect.ValueOf(one)
		var layer, value yaml.Node
		layer.SetString(of.Field(fieldLayer).String())
		if err := value.Encode(of.Field(fieldValue).Interface()); err != nil {
			return nil, fmt.Errorf("value of %s: %w", layer.Value, err)
		}
		out.Content = append(out.Content, &layer, &value)
	}
	return out, nil
}

// byLayer is what matters of such a list: neither the order nor the lines.
func byLayer(list reflect.Value) map[string]any {
	out := map[string]any{}
	for i := range list.Len() {
		out[list.Index(i).Field(fieldLayer).String()] = list.Index(i).Field(fieldValue).Interface()
	}
	return out
}
