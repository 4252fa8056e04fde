package importer

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"gopkg.in/yaml.v3"
)

// Config is a config of the original project, as one of rapt.
type Config struct {
	Arch    string
	Width   int
	Dataset string
	Notes   []string // what could not be carried over, a sentence each
	name    string   // the file's
	root    *yaml.Node
}

// ReadConfig reads the original project's YAML: the sections adv, general, pretrain, admm, retrain, and each architecture's
// prune_ratios. The scripts that read it (main.py and adv_main.py of mnist, cifar10 and imagenet) had settings of their own: what
// they fixed is written out. dataset is mnist, digits, cifar10 or image_folder, or empty where the file is to tell.
//
// What cannot be read is a *checkpoint.InputError with the lines.
func ReadConfig(path, dataset string) (*Config, error) {
	o, err := readOld(path)
	if err != nil {
		return nil, err
	}
	v := &converter{old: o, Config: &Config{name: filepath.Base(path), root: &yaml.Node{Kind: yaml.MappingNode}}}
	v.convert(dataset)
	if len(o.problems) > 0 {
		return nil, badInput(path, "is no config of the original project that can be carried over:\n%s", strings.Join(o.problems, "\n"))
	}
	return v.Config, nil
}

// Note adds what could not be carried over.
func (c *Config) Note(format string, args ...any) {
	c.Notes = append(c.Notes, fmt.Sprintf(format, args...))
}

// set adds a key, or replaces its value; value is a yaml.Node or is written as it prints, in quotes where YAML needs them.
func (c *Config) set(section, key string, value any) {
	node, ok := value.(*yaml.Node)
	if !ok {
		node = &yaml.Node{}
		text := fmt.Sprint(value)
		if _, isText := value.(string); isText {
			node.SetString(text)
		} else {
			node.Kind, node.Value = yaml.ScalarNode, text
		}
	}
	in := lookUp(c.root, section)
	if in == nil {
		in = &yaml.Node{Kind: yaml.MappingNode}
		c.root.Content = append(c.root.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: section}, in)
	}
	if old := lookUp(in, key); old != nil {
		*old = *node
		return
	}
	in.Content = append(in.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, node)
}

func lookUp(mapping *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// Text is the config's YAML, with the notes as comments at its end.
func (c *Config) Text() (string, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Carried over by rapt import from %q, a config of Robustness-Aware-Pruning-ADMM.\n", c.name)
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(c.root); err != nil {
		return "", fmt.Errorf("what was carried over of %s cannot be written as YAML: %w", c.name, err)
	}
	if len(c.Notes) > 0 {
		b.WriteString("\n# What is different here, or could not be carried over:\n")
		for _, n := range c.Notes {
			fmt.Fprintf(&b, "# - %s\n", n)
		}
	}
	return b.String(), nil
}
