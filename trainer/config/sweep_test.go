package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"rapt/trainer/config"
)

const sweepBase = "data: {dataset: mnist}\nmodel: {arch: lenet_adv}\npretrain: {epochs: 1}\nrun: {out_dir: /srv/runs}\n"

// sweepFile writes a sweep and its config beside each other.
func sweepFile(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "base.yaml"), []byte(sweepBase), 0o644))
	path := filepath.Join(dir, "sizes.yaml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path
}

func TestSweep(t *testing.T) {
	path := sweepFile(t, `
config: base.yaml
grid:
  model.width: [2, 4]
  adversary.epsilon: [0.1, 8/255]
  prune.ratios: [{conv1: 0.5}, {conv1: 0.25, fc1: 0.9}, {}]
`)
	require.True(t, config.IsSweep(path))
	require.False(t, config.IsSweep(filepath.Join(filepath.Dir(path), "base.yaml")))
	require.False(t, config.IsSweep(path+".gone"))
	require.NoError(t, syscall.Mkfifo(path+".pipe", 0o600))
	require.False(t, config.IsSweep(path+".pipe"), "and it is not waited for")
	require.False(t, config.IsSweep("/dev/zero"))
	large, err := os.Create(path + ".large")
	require.NoError(t, err)
	_, err = large.WriteString("grid: {run.seed: [1, 2]}\nconfig: base.yaml\n")
	require.NoError(t, err)
	require.NoError(t, large.Truncate(1<<40))
	require.NoError(t, large.Close())
	require.False(t, config.IsSweep(path+".large"))
	s, err := config.LoadSweep(path)
	require.NoError(t, err)
	require.Equal(t, 12, s.N())
	seen := map[string]bool{}
	for i := range 12 {
		p, err := s.Point(i)
		require.NoError(t, err)
		again, err := s.Point(i)
		require.NoError(t, err)
		require.Equal(t, p, again)
		c, err := s.Load(i, []string{"run.seed=9"})
		require.NoError(t, err)
		require.Equal(t, "/srv/runs/sizes", c.Run.OutDir)
		require.Equal(t, p.Name, c.Run.Name)
		require.EqualValues(t, 9, c.Run.Seed)
		require.Equal(t, []int{2, 4}[i/6], c.Model.Width)
		require.InDelta(t, []float64{0.1, 8.0 / 255}[i/3%2], float64(c.Adversary.Epsilon), 1e-12)
		require.Len(t, c.Prune.Ratios, []int{1, 2, 0}[i%3])
		require.False(t, seen[p.Name], p.Name)
		seen[p.Name] = true
	}
	p, err := s.Point(4)
	require.NoError(t, err)
	require.Equal(t, config.Point{Index: 4, Name: "04-width2-epsilon8_255", Sets: []string{"model.width=2", "adversary.epsilon=8/255",
		"prune.ratios={conv1: 0.25, fc1: 0.9}"}}, p)
	for _, i := range []int{-1, 12} {
		_, err = s.Point(i)
		require.ErrorContains(t, err, "the sweep sizes has 12 points, 0 to 11")
	}
}

// A value of a grid is what it would be in the config itself, however it is written.
func TestSweepKeepsValues(t *testing.T) {
	for key, values := range map[string][]string{
		"data.dir": {`/data/set`, `"/data/set #1"`, `'/data/set: #1'`, `"null"`, `'~'`, `null`, `~`, ``, `"true"`, `"8/255"`, `'don''t'`, `"a\\b \"c\""`, `" x "`,
			`"{a: b}"`, `"*x"`, `"[1]"`, `!!str 5`, `&five "5 #"`, "\u00a0x", "|-\n      /data/set #1", "/data/set # as it is", "# where\n      /data/set"},
		"adversary.epsilon": {`0.1`, `8/255`, `1e-3`, `"8/255"`, `"0.1"`, `8/255 # the usual`},
		"run.seed":          {`7`, `"7"`, `18446744073709551615`},
		"run.deterministic": {`true`, `False`},
		"evaluate.attacks":  {`[pgd-10, "pgd-40"]`, "\n      - pgd-10 # weak\n      # strong\n      - 'pgd-40'"},
		"prune.ratios":      {`{conv1: 0.5}`, "\n      # all\n      conv1: 0.5 # half\n      \"fc1\": 8/255", `{}`},
	} {
		for _, value := range values {
			want, err := config.Parse([]byte(sweepBaseWith(key, value)), "base.yaml", nil)
			require.NoError(t, err, "%s: %s", key, value)
			s, err := config.LoadSweep(sweepFile(t, "config: base.yaml\ngrid:\n  "+key+":\n    - "+value+"\n"))
			require.NoError(t, err, "%s: %s", key, value)
			got, err := s.Load(0, nil)
			require.NoError(t, err, "%s: %s", key, value)
			got.Run.Name, got.Run.OutDir = want.Run.Name, want.Run.OutDir
			require.Equal(t, string(want.YAML()), string(got.YAML()), "%s: %s", key, value)
		}
	}
}

// sweepBaseWith is sweepBase with one key more.
func sweepBaseWith(key, value string) (text string) {
	section, name, _ := strings.Cut(key, ".")
	sections := map[string]string{"data": "dataset: mnist", "model": "arch: lenet_adv", "pretrain": "epochs: 1", "run": "out_dir: /srv/runs"}
	sections[section] += "\n  " + name + ": " + value
	for section, keys := range sections {
		text += section + ":\n  " + keys + "\n"
	}
	return text
}

func TestWrongSweeps(t *testing.T) {
	for text, want := range map[string]string{
		"grid: {run.seed: [1]}":                                   "config is missing",
		"config: base.yaml\ngrid: {}":                             "grid is empty",
		"config: base.yaml\ngrid: [1]":                            "sizes.yaml:2: grid is [1]: a mapping such as",
		"config: base.yaml\ngrid: {run.seed: 3}":                  `grid.run.seed is "3": a list of values`,
		"config: base.yaml\ngrid: {run.seed: []}":                 "a list of values",
		"config: base.yaml\ngrid: {run.name: [a, b]}":             "run.name is the sweep's own to give",
		"config: base.yaml\ngrid: {run.seed: [1]}\nbase: x":       `unknown key "base"`,
		"model: {arch: lenet}\ndata: {dataset: mnist}":            "sizes.yaml is a config, and no sweep",
		"config: base.yaml\ngrid: {run.seed: [1, 2, 1]}":          "grid.run.seed holds 1 twice",
		"config: [a]\ngrid: {run.seed: [1]}":                      "config is [a]: the path of a config",
		"config: base.yaml\ngrid: {run.seed: [1], run.seed: [2]}": "given twice",
		"": "the sweep is empty",
	} {
		_, err := config.LoadSweep(sweepFile(t, text))
		require.ErrorContains(t, err, want, text)
	}
	s, err := config.LoadSweep(sweepFile(t, "config: gone.yaml\ngrid: {run.seed: [1]}"))
	require.NoError(t, err)
	_, err = s.Load(0, nil)
	require.ErrorContains(t, err, "gone.yaml: the config cannot be read")
	s, err = config.LoadSweep(sweepFile(t, "config: base.yaml\ngrid: {run.sed: [1, 2]}"))
	require.NoError(t, err)
	_, err = s.Load(1, nil)
	require.ErrorContains(t, err, `sizes.yaml:2: grid, run.sed=2: unknown key "run.sed"; did you mean "seed"?`)
	s, err = config.LoadSweep(sweepFile(t, "config: base.yaml\ngrid:\n  run.seed: [1, 2]\n  prune.ratio: [0.5, 90]"))
	require.NoError(t, err)
	_, err = s.Load(2, nil)
	require.NoError(t, err)
	_, err = s.Load(3, []string{"prune.ratio=0.7"})
	require.ErrorContains(t, err, "sizes.yaml:4: grid, prune.ratio=90: prune.ratio is 90")
}
