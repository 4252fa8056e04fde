package config

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Error is what a config is refused with: one sentence a problem, each with the file and line it is about.
type Error struct {
	Problems []string
}

// Error gives the problems, one a line.
func (e *Error) Error() string { return strings.Join(e.Problems, "\n") }

// origin is where a key was given: a line of the file, or a --set.
type origin struct {
	line int
	set  string // the whole "key=value" of a --set
}

// prefix is the beginning of a message: "configs/mnist.yaml:12: ", "--set adversary.epsilon=8: " or "configs/mnist.yaml: ".
func (o origin) prefix(name string) string {
	switch {
	case o.set != "":
		if !oneLine(o.set) {
			return fmt.Sprintf("--set %q: ", clip(o.set))
		}
		return "--set " + clip(o.set) + ": "
	case name == "":
		return ""
	case o.line > 0:
		return fmt.Sprintf("%s:%d: ", name, o.line)
	}
	return name + ": "
}

// Errorf is an *Error of one problem about key (such as "model.arch" or "prune.ratios.conv9"), with the place it was given.
func (c *Config) Errorf(key, format string, args ...any) error {
	return &Error{Problems: []string{c.origins[key].prefix(c.name) + fmt.Sprintf(format, args...)}}
}

// Given tells whether the file or a --set holds a key, or its value is a default.
func (c *Config) Given(key string) bool {
	_, ok := c.origins[key]
	return ok
}

// problems collects what is wrong, to be reported in the file's order.
type problems struct {
	name string
	list []problem
}

type problem struct {
	from origin
	text string
}

func (p *problems) add(from origin, format string, args ...any) {
	p.list = append(p.list, problem{from, fmt.Sprintf(format, args...)})
}

// err is nil where nothing is wrong.
func (p *problems) err() error {
	if len(p.list) == 0 {
		return nil
	}
	rank := func(p problem) int {
		if p.from.line > 0 {
			return p.from.line
		}
		return math.MaxInt // the --sets and what is missing come last
	}
	slices.SortStableFunc(p.list, func(a, b problem) int { return cmp.Compare(rank(a), rank(b)) })
	const most = 20
	e := &Error{}
	for i, one := range p.list {
		if i == most {
			e.Problems = append(e.Problems, fmt.Sprintf("and %d more", len(p.list)-most))
			break
		}
		e.Problems = append(e.Problems, one.from.prefix(p.name)+one.text)
	}
	return e
}

// clip keeps a message readable where a value is very long.
func clip(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}
