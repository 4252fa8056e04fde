package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"gopkg.in/yaml.v3"

	"rapt/trainer/limits"
)

// maxSize is far above any config that a person wrote.
const maxSize = 1 << 20

// Load reads the config file at path, applies the overrides (each "section.key=value", as in --set), fills in the defaults and
// checks it all. What is wrong with the file or the overrides comes back as one *Error.
func Load(path string, sets []string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, unreadable(path, "config", err)
	}
	return Parse(data, path, sets)
}

func unreadable(path, what string, err error) error {
	var inner *fs.PathError
	if errors.As(err, &inner) {
		err = inner.Err
	}
	hint := ""
	if own := filepath.Join(path, "config.yaml"); what == "config" && errors.Is(err, syscall.EISDIR) {
		if _, err := os.Stat(own); err == nil {
			hint = fmt.Sprintf("; the run's config is %s", own)
		}
	}
	return &Error{Problems: []string{fmt.Sprintf("%s: the %s cannot be read: %v%s", path, what, err, hint)}}
}

// Parse is Load for the content of a file; name is used in messages, and its base name, without what follows the last dot, is
// the default of run.name.
func Parse(data []byte, name string, sets []string) (*Config, error) {
	d := &decoder{cfg: &Config{name: name, origins: map[string]origin{}}, problems: problems{name: name}}
	root, err := parseFile(data, configFile)
	if err != nil {
		return nil, &Error{Problems: []string{err.prefix(name) + err.text}}
	}
	d.file(root)
	for _, set := range sets {
		d.set(set)
	}
	cfg := d.cfg
	cfg.normalise()
	cfg.complete()
	check := checker{cfg: cfg, problems: d.problems, partial: len(d.problems.list) > 0}
	check.all()
	if err := check.problems.err(); err != nil {
		return nil, err
	}
	return cfg, nil
}

func baseName(name string) string {
	base := filepath.Base(name)
	return strings.TrimSuffix(base, filepath.Ext(base))
}

// syntaxError is a file that is not one YAML mapping.
type syntaxError struct {
	origin
	text string
}

// fileKind is what a file is meant to be, for messages.
type fileKind struct {
	what  string
	need  string // where it is no mapping
	least string // where it is empty
}

var (
	configFile = fileKind{"config", "sections such as run, data and model are needed",
		"it needs at least data.dataset, model.arch and a stage's epochs"}
	strategyFile = fileKind{"strategy", "a mapping such as {conv1.weight: 0.8, fc1.weight: 0.9} is needed",
		"it needs a mapping such as {conv1.weight: 0.8, fc1.weight: 0.9}"}
)

func readFile(path string) ([]byte, error) { return limits.ReadFile(path, maxSize) }

// parseFile gives the file's top mapping.
func parseFile(data []byte, kind fileKind) (*yaml.Node, *syntaxError) {
	if len(data) > maxSize {
		return nil, &syntaxError{text: fmt.Sprintf("the %s is larger than 1 MiB", kind.what)}
	}
	var document, more yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return nil, &syntaxError{text: fmt.Sprintf("the %s is empty; %s", kind.what, kind.least)}
	} else if err != nil {
		return nil, notYAML(err)
	}
	if err := decoder.Decode(&more); err == nil {
		return nil, &syntaxError{origin{line: more.Line}, fmt.Sprintf("a second YAML document begins here; a %s is one", kind.what)}
	} else if !errors.Is(err, io.EOF) {
		return nil, notYAML(err)
	}
	root := resolve(document.Content[0])
	if root.Kind != yaml.MappingNode {
		return nil, &syntaxError{origin{line: root.Line}, fmt.Sprintf("the %s is %s: %s", kind.what, kindOf(root), kind.need)}
	}
	return root, nil
}

var yamlLine = regexp.MustCompile(`^line ([0-9]+): `)

// notYAML takes the line out of the YAML reader's message.
func notYAML(err error) *syntaxError {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	line := 0
	if match := yamlLine.FindStringSubmatch(text); match != nil {
		line, _ = strconv.Atoi(match[1])
		text = strings.TrimPrefix(text, match[0])
	}
	return &syntaxError{origin{line: line}, "not valid YAML: " + clip(text)}
}

// parseValue reads the value of a --set; nothing at all is a null.
func parseValue(text string) (*yaml.Node, error) {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return nil, errors.New(notYAML(err).text)
	}
	if len(document.Content) == 0 {
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}, nil
	}
	return resolve(document.Content[0]), nil
}
