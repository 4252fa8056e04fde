package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What is written is written where a link leads to, and the link stays.
func TestLinksAreFollowed(t *testing.T) {
	dir := t.TempDir()
	link := func(name string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path+".there", nil, 0o644))
		require.NoError(t, os.Symlink(name+".there", path))
		return path
	}
	config, _ := tinyRun(t)
	model := filepath.Join(dir, "lenet.safetensors")
	for _, line := range [][]string{
		{"import", oldModel, "--dataset", "digits", "--out", model},
		{"import", oldConfig, "--dataset", "digits", "--out", link("new.yaml")},
		{"import", oldModel, "--dataset", "digits", "--out", link("new.safetensors")},
		{"predict", model, "--limit", "10", "--device", "cpu", "--out", link("logits.safetensors")},
		{"eval", model, "--limit", "10", "--device", "cpu", "--attacks", "pgd-1", "--epsilons", "0,0.1", "--csv", link("samples.csv"), "--curve", link("curve.csv"),
			"--save-images", link("images.safetensors"), "--grid", link("grid.png")},
		{"plan", config, "--no-measure", "--strategy-out", link("strategy.yaml")},
	} {
		code, _, errOut := rapt(line...)
		require.Equal(t, exitDone, code, "%s: %s", line, errOut)
	}
	links, err := filepath.Glob(filepath.Join(dir, "*.there"))
	require.NoError(t, err)
	require.Len(t, links, 8)
	for _, target := range links {
		info, err := os.Stat(target)
		require.NoError(t, err)
		assert.NotZero(t, info.Size(), target)
		_, err = os.Readlink(strings.TrimSuffix(target, ".there"))
		assert.NoError(t, err)
	}
}

// A pipe stands for what must not be replaced, /dev/null among it.
func TestWhatIsNoFileIsNotReplaced(t *testing.T) {
	dir := t.TempDir()
	pipe, link, dangling := filepath.Join(dir, "pipe"), filepath.Join(dir, "link"), filepath.Join(dir, "dangling")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.Symlink("pipe", link))
	require.NoError(t, os.Symlink("none", dangling))
	for path, says := range map[string]string{
		pipe:     pipe + " is a device, a pipe or a socket, and a file is needed",
		link:     link + " is a device, a pipe or a socket, and a file is needed",
		dangling: dangling + " is a link to none, where there is no file",
	} {
		for _, line := range []string{"import " + oldModel + " --dataset digits --out", "import " + oldConfig + " --dataset digits --out", "predict none --out",
			"eval none --csv", "eval none --epsilons 0,0.1 --curve", "eval none --save-images", "eval none --grid", "eval none --state", "plan none --strategy-out"} {
			code, out, errOut := rapt(append(strings.Fields(line), path)...)
			assert.Equal(t, exitUsage, code, line)
			assert.Empty(t, out, line)
			assert.Equal(t, "rapt: "+line[strings.LastIndex(line, "--"):]+" "+says+"\n", errOut, line)
		}
	}
	names, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, names, 3)
	for _, n := range names {
		assert.False(t, n.Type().IsRegular(), n.Name())
	}
}
