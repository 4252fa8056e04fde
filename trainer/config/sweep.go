package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Sweep is a file of many runs: a config and, for some of its keys, the values that they take. The runs are all combinations, the last
// key's values changing fastest:
//
//	config: mnist.yaml                # beside the sweep's file, or an absolute path
//	grid:
//	  model.width: [4, 8]
//	  prune.ratio: [0.5, 0.75]
//	  run.seed: [1, 2, 3]
type Sweep struct {
	Config string // the config's path
	path   string
	name   string // the file's base name
	keys   []sweepKey
}

type sweepKey struct {
	name   string
	values []*yaml.Node
}

// Point is one run of a sweep.
type Point struct {
	Index int      `json:"index"`
	Name  string   `json:"name"` // the run's name, which tells the point: 03-width8-seed1
	Sets  []string `json:"sets"` // its overrides, as in --set
}

// maxPoints catches a slip: nobody waits for so many runs.
const maxPoints = 100000

var sweepFile = fileKind{"sweep", "config and grid are needed", "it needs config, the path of a config, and grid, such as {run.seed: [1, 2, 3]}"}

// IsSweep tells whether the file at path is a sweep's: whether it has a grid. A file that cannot be read is none, nor is a pipe, which could be
// read once only.
func IsSweep(path string) bool {
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() {
		return false
	}
	data, err := readFile(path)
	if err != nil {
		return false
	}
	root, fault := parseFile(data, sweepFile)
	if fault != nil {
		return false
	}
	return slices.Contains(topKeys(root), "grid")
}

// topKeys are those of a mapping.
func topKeys(root *yaml.Node) (out []string) {
	for i := 0; i+1 < len(root.Content); i += 2 {
		out = append(out, resolve(root.Content[i]).Value)
	}
	return out
}

// LoadSweep reads a sweep's file. What is wrong with it comes back as one *Error; the config and the points are checked when they are
// loaded.
func LoadSweep(path string) (*Sweep, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, unreadable(path, "sweep", err)
	}
	root, fault := parseFile(data, sweepFile)
	if fault != nil {
		return nil, &Error{Problems: []string{fault.prefix(path) + fault.text}}
	}
	if sections := topKeys(root); !slices.Contains(sections, "grid") && slices.Contains(sections, "model") {
		return nil, &Error{Problems: []string{fmt.Sprintf("%s is a config, and no sweep: a sweep is a file of its own with config, the path of one, and grid, such as {run.seed: [1, 2, 3]}", path)}}
	}
	d := &decoder{cfg: &Config{}, problems: problems{name: path}}
	s := &Sweep{path: path, name: baseName(path)}
	d.mapping(root, "", func(key string, at origin, value *yaml.Node) {
		switch {
		case key == "config" && value.Kind == yaml.ScalarNode && value.Value != "":
			s.Config = value.Value
			if !filepath.IsAbs(s.Config) {
				s.Config = filepath.Join(filepath.Dir(path), s.Config)
			}
		case key == "config":
			d.problems.add(at, "config %s: the path of a config is needed", describe(value))
		case key == "grid" && value.Kind == yaml.MappingNode:
			d.mapping(value, "grid.", func(key string, at origin, value *yaml.Node) { s.key(d, key, at, value) })
		case key == "grid":
			d.problems.add(at, "grid %s: a mapping such as {run.seed: [1, 2, 3]} is needed", describe(value))
		default:
			d.problems.add(at, "unknown key %q; config and grid are the keys of a sweep", clip(key))
		}
	})
	s.whole(d)
	if err := d.problems.err(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Sweep) key(d *decoder, key string, at origin, value *yaml.Node) {
	switch {
	case key == "run.name" || key == "run.out_dir":
		d.problems.add(at, "%s is the sweep's own to give: each run's folder is named after its point", key)
	case value.Kind != yaml.SequenceNode || len(value.Content) == 0:
		d.problems.add(at, "grid.%s %s: a list of values such as [1, 2, 3] is needed", clip(key), describe(value))
	default:
		seen := map[string]bool{}
		for _, one := range value.Content {
			text, err := yamlText(resolve(one))
			if err == nil && seen[text] { // what cannot be written is refused when the point is made
				d.problems.add(at, "grid.%s holds %s twice: each value is a point of its own", clip(key), clip(text))
			}
			seen[text] = true
		}
		s.keys = append(s.keys, sweepKey{key, value.Content})
	}
}

func (s *Sweep) whole(d *decoder) {
	if len(d.problems.list) > 0 {
		return
	}
	if s.Config == "" {
		d.problems.add(origin{}, "config is missing: the path of a config is needed")
	}
	if len(s.keys) == 0 {
		d.problems.add(origin{}, "grid is empty: keys with lists of values are needed, such as run.seed: [1, 2, 3]")
	}
	if n := s.N(); n > maxPoints {
		d.problems.add(origin{}, "grid has more than %d points", maxPoints)
	}
}

// N is the number of points.
func (s *Sweep) N() int {
	n := 1
	for _, k := range s.keys {
		if n *= len(k.values); n > maxPoints {
			return n
		}
	}
	return n
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9.+=_-]+`)

// Point is run i, from 0. The same sweep gives the same point whenever it is asked.
func (s *Sweep) Point(i int) (Point, error) {
	n := s.N()
	if i < 0 || i >= n {
		return Point{}, &Error{Problems: []string{fmt.Sprintf("the sweep %s has %d points, 0 to %d: there is no %d", s.name, n, n-1, i)}}
	}
	p := Point{Index: i}
	parts := []string{fmt.Sprintf("%0*d", len(fmt.Sprint(n-1)), i)}
	rest := n
	for _, k := range s.keys {
		rest /= len(k.values)
		value := resolve(k.values[i/rest%len(k.values)])
		text, err := yamlText(value)
		if err != nil {
			return Point{}, &Error{Problems: []string{fmt.Sprintf("the sweep %s: %s: %v", s.name, k.name, err)}}
		}
		p.Sets = append(p.Sets, k.name+"="+text)
		if value.Kind == yaml.ScalarNode {
			last := k.name[strings.LastIndexByte(k.name, '.')+1:] // a key that is none is refused when the point is loaded, not here
			parts = append(parts, notInNames.ReplaceAllString(last+value.Value, "_"))
		}
	}
	p.Name = strings.Join(parts, "-")
	if len(p.Name) > 200 {
		p.Name = p.Name[:200]
	}
	return p, nil
}

// yamlText writes a value in one line, in quotes where it had them: it is read again, and must be the same then.
func yamlText(node *yaml.Node) (string, error) {
	flow := inLine(node)
	flow.Anchor = ""
	text, err := yaml.Marshal(flow)
	return strings.ReplaceAll(strings.TrimSuffix(string(text), "\n"), "\n", " "), err
}

// inLine copies a value without its comments, in a style that needs no line breaks. Aliases within are not followed: they could multiply.
func inLine(node *yaml.Node) *yaml.Node {
	out := *node
	out.HeadComment, out.LineComment, out.FootComment, out.Content = "", "", "", nil
	switch {
	case node.Kind != yaml.ScalarNode:
		out.Style = yaml.FlowStyle
	case strings.Contains(node.Value, "\n") || node.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		out.Style = yaml.DoubleQuotedStyle
	case isNull(node) && node.Value == "": // which would be written as an empty text
		out.Value = "null"
	}
	for _, c := range node.Content {
		out.Content = append(out.Content, inLine(c))
	}
	return &out
}

// own has the problems of an error name the grid that a value stands in: nobody gave it with --set.
func (s *Sweep) own(i int, p Point, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	rest := s.N()
	out := &Error{Problems: slices.Clone(e.Problems)}
	for at, k := range s.keys {
		rest /= len(k.values)
		line := k.values[i/rest%len(k.values)].Line
		for n, text := range out.Problems {
			if tail, ok := strings.CutPrefix(text, "--set "+p.Sets[at]+": "); ok {
				out.Problems[n] = fmt.Sprintf("%s:%d: grid, %s: %s", s.path, line, p.Sets[at], tail)
			}
		}
	}
	return out
}

// Load is the config of point i, with further overrides. Its folder is run.out_dir/SWEEP/POINT.
func (s *Sweep) Load(i int, sets []string) (*Config, error) {
	p, err := s.Point(i)
	if err != nil {
		return nil, err
	}
	cfg, err := Load(s.Config, append(slices.Clone(sets), p.Sets...))
	if err != nil {
		return nil, s.own(i, p, err)
	}
	cfg.Run.OutDir, cfg.Run.Name = filepath.Join(cfg.Run.OutDir, s.name), p.Name
	return cfg, nil
}
