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
			refusedWell(t, err)
			return
		}
		again, err := Parse(cfg.YAML(), "x.yaml", nil)
		require.NoError(t, err, "%s", cfg.YAML())
		assert.Equal(t, public(cfg), public(again))
	})
}

// FuzzSweep looks for sweeps that panic, are refused with anything but an *Error, or whose points differ from one asking to the next.
func FuzzSweep(f *testing.F) {
	shipped, err := os.ReadFile("../../deploy/sweep.yaml")
	require.NoError(f, err)
	f.Add(shipped)
	for _, seed := range []string{
		"config: x.yaml\ngrid: {run.seed: [1, 2], model.width: [1/2, ~, {a: [b]}, '']}",
		"config: &a x.yaml\ngrid: {a: &b [*a, 1], c: *b}",
		"grid: {a: [[1, 2], [3]], '': [0], \"\\u2028\": [x]}\nconfig: ../../../etc/passwd",
		"config: x\ngrid: {<<: {a: [1]}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "sweep.yaml")
		require.NoError(t, os.WriteFile(path, content, 0o644))
		s, err := LoadSweep(path)
		if err != nil {
			refusedWell(t, err)
			return
		}
		require.True(t, IsSweep(path))
		s.Config = filepath.Join(filepath.Dir(path), "x.yaml")
		require.NoError(t, os.WriteFile(s.Config, []byte(smallest), 0o644))
		for _, i := range []int{0, s.N() - 1} {
			p, err := s.Point(i)
			if err != nil {
				refusedWell(t, err)
				continue
			}
			require.NotContains(t, p.Name, "/")
			again, err := s.Point(i)
			require.NoError(t, err)
			require.Equal(t, p, again)
			if cfg, err := s.Load(i, nil); err != nil {
				refusedWell(t, err)
			} else {
				require.Equal(t, p.Name, cfg.Run.Name)
			}
		}
		_, err = s.Point(s.N())
		refusedWell(t, err)
	})
}

// FuzzStrategy looks for strategy files that panic, are refused with anything but an *Error, or give what is no ratio.
func FuzzStrategy(f *testing.F) {
	for _, seed := range []string{
		"conv1: 0.8\nfc1: 1/3", `{"conv1.weight": 0.5, "fc1": 1e-3}`, "a: &x 0.5\nb: *x", "{a: .nan, b: .inf, c: -0}", "a: 0.5\na: 0.6", "? [a]\n: 1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		path := filepath.Join(t.TempDir(), "strategy.yaml")
		require.NoError(t, os.WriteFile(path, content, 0o644))
		ratios, err := ReadStrategy(path)
		if err != nil {
			refusedWell(t, err)
			return
		}
		seen := map[string]bool{}
		for _, r := range ratios {
			require.False(t, seen[r.Layer], "%q twice", r.Layer)
			seen[r.Layer] = true
			require.True(t, r.Ratio >= 0 && r.Ratio < 1, "%v", r)
		}
	})
}

func refusedWell(t *testing.T, err error) {
	var refused *Error
	require.ErrorAs(t, err, &refused)
	require.NotEmpty(t, refused.Problems)
}
