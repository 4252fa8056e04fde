package metrics

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestALargeLogIsRotated(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "log.txt")
	require.NoError(t, os.WriteFile(path, []byte(`{"msg":"of an earlier start"}`+"\n"), 0o640))
	log, done, err := NewLog(path, nil, false)
	require.NoError(t, err)
	big := strings.Repeat("x", 1<<20)
	for i := range (logsKept + 2) * logMegabytes {
		log.Info("line", zap.Int("n", i), zap.String("big", big))
	}
	log.Info("the end")
	done()
	old, err := filepath.Glob(filepath.Join(dir, "log-*.txt")) // as in checkpoint's runPatterns
	require.NoError(t, err)
	assert.Len(t, old, logsKept)
	all, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Len(t, all, logsKept+1, "nothing else is left")
	next := -1 // lines follow each other over the files, the oldest of which are gone
	for _, name := range append(old, path) {
		info, err := os.Stat(name)
		require.NoError(t, err)
		assert.LessOrEqual(t, info.Size(), int64(logMegabytes<<20))
		assert.Equal(t, os.FileMode(0o640), info.Mode(), "as the file before it")
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		for line := range strings.Lines(string(text)) {
			_, rest, ok := strings.Cut(line, `"n":`)
			if !ok {
				continue
			}
			n := 0
			for _, c := range rest[:strings.IndexByte(rest, ',')] {
				n = 10*n + int(c-'0')
			}
			if next >= 0 {
				require.Equal(t, next, n)
			}
			next = n + 1
		}
	}
	assert.Equal(t, (logsKept+2)*logMegabytes, next)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"msg":"the end"`)
}

func TestAFullDiskCostsLinesOfTheLogOnly(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("needs /dev/full, which Linux has")
	}
	path := filepath.Join(t.TempDir(), "log.txt")
	require.NoError(t, os.Symlink("/dev/full", path))
	var console bytes.Buffer
	log, done, err := NewLog(path, &console, false)
	require.NoError(t, err)
	log.Info("one")
	log.Info("two")
	done()
	assert.Equal(t, 1, strings.Count(console.String(), "warning: the log cannot be written: lines are lost, the work goes on"), console.String())
	assert.Contains(t, console.String(), "no space left on device")
	assert.Contains(t, console.String(), "two")

	log, done, err = NewLog(path, nil, false) // nobody to tell
	require.NoError(t, err)
	log.Info("three")
	done()
}
