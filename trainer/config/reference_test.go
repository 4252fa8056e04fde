package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// referenceRow is a row of a table in docs/config.md: what its first cell names, and its cells.
type referenceRow struct {
	key   string // STAGE.lr where it is for all stages
	cells []string
	head  []string // the table's first row
}

var (
	quoted  = regexp.MustCompile("`([^`]+)`")
	theKey  = regexp.MustCompile("^`([A-Za-z_.]+)`$")
	stages6 = []string{"pretrain", "admm", "retrain", "compact", "quantize_admm", "quantize_retrain"}
)

// readReference reads the rows of all tables, those of the sweeps apart.
func readReference(t *testing.T) (rows, sweep []referenceRow) {
	text, err := os.ReadFile("../../docs/config.md")
	require.NoError(t, err)
	var head []string
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = title
		}
		if !strings.HasPrefix(line, "|") {
			head = nil
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if head == nil {
			head = cells
			continue
		}
		if strings.HasPrefix(cells[0], "---") {
			continue
		}
		require.Len(t, cells, len(head), "%s", line)
		found := theKey.FindStringSubmatch(cells[0])
		require.NotNil(t, found, "the first cell is no key: %s", line)
		row := referenceRow{found[1], cells, head}
		if section == "Sweeps" {
			sweep = append(sweep, row)
		} else {
			rows = append(rows, row)
		}
	}
	return rows, sweep
}

// keys are those that the row is for.
func (r referenceRow) keys() (keys []string) {
	key, ok := strings.CutPrefix(r.key, "STAGE.")
	if !ok {
		return []string{r.key}
	}
	for _, stage := range stages6 {
		keys = append(keys, stage+"."+key)
	}
	return keys
}

// allKeys walks the YAML tags of what a config is decoded into.
func allKeys() (keys []string) {
	var walk func(of reflect.Type, path string)
	walk = func(of reflect.Type, path string) {
		for i := range of.NumField() {
			tag := tagOf(of.Field(i))
			if tag == "" {
				continue
			}
			key := strings.TrimPrefix(path+"."+tag, ".")
			section, rest, _ := strings.Cut(key, ".")
			if rest != "" && !strings.Contains(rest, ".") && !slices.Contains(keysOf(section), rest) {
				continue // rho of a stage without ADMM
			}
			if path != "" {
				keys = append(keys, key)
			}
			if field := of.Field(i).Type; field.Kind() == reflect.Struct {
				walk(field, key)
			}
		}
	}
	walk(reflect.TypeFor[Config](), "")
	return keys
}

// valueOf is a key's value as it would be written.
func valueOf(c *Config, key string) string {
	of := reflect.ValueOf(c).Elem()
	for _, part := range strings.Split(key, ".") {
		of = fieldOf(of, part)
	}
	return plainValue(fmt.Sprint(of.Interface()))
}

// plainValue makes one text of the ways to write a number.
func plainValue(text string) string {
	if n, err := ParseNumber(text); err == nil {
		return fmt.Sprint(float64(n))
	}
	return text
}

func defaultsOf(t *testing.T, dataset string) *Config {
	c, err := Parse([]byte("data: {dataset: "+dataset+", dir: x}\nmodel: {arch: lenet_adv}\npretrain: {epochs: 1}\n"), "x.yaml", nil)
	require.NoError(t, err)
	c.Pretrain.Epochs = 0
	return c
}

// docs/config.md has a row for each key, no row for another one, and the defaults that the program has.
func TestReference(t *testing.T) {
	rows, sweep := readReference(t)
	keys := allKeys()
	require.Contains(t, keys, "prune.budget.min_keep")
	require.NotContains(t, keys, "retrain.rho")
	var described []string
	for _, row := range rows {
		for _, key := range row.keys() {
			assert.True(t, slices.Contains(keys, key), "docs/config.md has a row for %s, which is no key", key)
		}
		if row.head[len(row.head)-1] == "default" {
			described = append(described, row.keys()...)
		}
	}
	for _, key := range keys {
		assert.True(t, slices.Contains(described, key), "docs/config.md has no row for %s", key)
	}
	slices.Sort(described)
	for i := 1; i < len(described); i++ {
		assert.NotEqual(t, described[i-1], described[i], "docs/config.md has two rows with its default")
	}
	var ofSweeps []string
	for _, row := range sweep {
		ofSweeps = append(ofSweeps, row.key)
	}
	assert.Equal(t, []string{"config", "grid"}, ofSweeps)
}

// Where docs/config.md gives a default as nothing but a value, or as that of a data set, it is the one that the program takes.
func TestReferenceDefaults(t *testing.T) {
	rows, _ := readReference(t)
	usual := defaultsOf(t, "digits")
	checked := 0
	same := func(c *Config, row referenceRow, want string) {
		for _, key := range row.keys() {
			assert.Equal(t, plainValue(want), valueOf(c, key), "%s of %s", key, c.Data.Dataset)
			checked++
		}
	}
	for _, row := range rows {
		last := len(row.head) - 1
		if row.head[last] == "default" {
			if only := quoted.FindStringSubmatch(row.cells[last]); only != nil && only[0] == row.cells[last] {
				same(usual, row, only[1])
			}
			continue
		}
		for i, cell := range row.cells[1:] {
			for _, dataset := range quoted.FindAllStringSubmatch(row.head[i+1], -1) {
				same(defaultsOf(t, dataset[1]), row, cell)
			}
		}
	}
	assert.Greater(t, checked, 200)
}
