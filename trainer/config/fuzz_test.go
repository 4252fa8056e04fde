package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// FuzzParse looks for content that panics, that is refused with anything but an *Error, or that changes when it is written
// and read again.
func FuzzParse(f *testing.F) {
	paths, err := filepath.Glob("../../configs/*.yaml")
	require.NoError(f, err)
	for _, path := range paths {
		content, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(content, "adversary.epsilon=8/255")
	}
	for _, seed := range [][2]string{
		{smallest, "prune.ratios.conv1.weight=0.8"},
		{smallest + "prune: {ratios: {a: 1/3, 'b c': 0.5, \"\\u2028\": 0}}", "evaluate.attacks=[pgd-10]"},
		{"a: &a [*a, *a]\nrun: {<<: *a, name: *a}", "run.name=''"},
		{smallest + "run: {name: !!binary aGk=, seed: 0x1f, out_dir: 2001-01-01}", "data.dir=\"a: #\""},
		{"{{},<<}", "prune.ratios.a\xbb=0.8"},
		{"<<:\n? -", "a.b={{},<<}"},
		{"? {a: b}\n: - c\n--- !!x\n...", "=="},
		{"run:\n\tname: x", "run.name=|\n  a"},
	} {
		f.Add([]byte(seed[0]), seed[1])
	}
	f.Fuzz(func(t *testing.T, content []byte, set string) {
		cfg, err := Parse(content, "x.yaml", []string{set})
		if err != nil {
			var refused *Error
			require.ErrorAs(t, err, &refused)
			require.NotEmpty(t, refused.Problems)
			return
		}
		again, err := Parse(cfg.YAML(), "x.yaml", nil)
		require.NoError(t, err, "%s", cfg.YAML())
		assert.Equal(t, public(cfg), public(again))
	})
}
