package config

import (
	"fmt"
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

// where is the beginning of a message about a key: "configs/mnist.yaml:12: ", "--set adversary.epsilon=8: " or, for a key
// that was not given, "configs/mnist.yaml: ".
func (c *Config) where(key string) string {
	from, given := c.origins[key]
	switch {
	case given && from.set != "":
		return "--set " + clip(from.set) + ": "
	case given && c.name != "":
		return fmt.Sprintf("%s:%d: ", c.name, from.line)
	case c.name != "":
		return c.name + ": "
	}
	return ""
}

// Errorf is an *Error of one problem about key (such as "model.arch" or "prune.ratios.conv9"), with the place it was given.
func (c *Config) Errorf(key, format string, args ...any) error {
	return &Error{Problems: []string{c.where(key) + fmt.Sprintf(format, args...)}}
}

// clip keeps a message readable where a value is very long.
func clip(text string) string {
	const most = 80
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}
