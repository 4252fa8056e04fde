package metrics

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
)

func TestNewLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.txt")
	for range 2 { // the second appends
		var console bytes.Buffer
		log, done, err := NewLog(path, &console, false)
		require.NoError(t, err)
		log.With(zap.String("stage", "admm")).Info("epoch done", zap.Float64("loss", 0.123456789), zap.Int("epoch", 3), zap.String("dir", "a b"))
		log.Warn("slow")
		log.Error("failed", zap.Error(errors.New("disk full")))
		log.Debug("not shown")
		done()
		lines := strings.Split(console.String(), "\n")
		require.Len(t, lines, 4)
		assert.Regexp(t, `^\d\d:\d\d:\d\d epoch done stage=admm loss=0.123457 epoch=3 dir="a b"$`, lines[0])
		assert.Regexp(t, `^\d\d:\d\d:\d\d warning: slow$`, lines[1])
		assert.Regexp(t, `^\d\d:\d\d:\d\d error: failed error="disk full"$`, lines[2])
	}
	rows := readLines(t, path)
	require.Len(t, rows, 6)
	assert.Equal(t, "epoch done", rows[3]["msg"])
	assert.Equal(t, "admm", rows[3]["stage"])
	assert.Equal(t, 0.123456789, rows[3]["loss"])
	assert.Equal(t, "warn", rows[4]["level"])
	assert.Equal(t, "disk full", rows[5]["error"])
	_, err := time.Parse(time.RFC3339Nano, rows[0]["ts"].(string))
	assert.NoError(t, err)
}

func TestNewLogAsJSONOnTheConsole(t *testing.T) {
	var console bytes.Buffer
	log, done, err := NewLog("", &console, true)
	require.NoError(t, err)
	log.Info("hello", zap.Int("n", 1))
	done()
	assert.Regexp(t, `^\{"level":"info","ts":"[^"]+","msg":"hello","n":1\}\n$`, console.String())
	_, _, err = NewLog(filepath.Join(t.TempDir(), "absent", "log.txt"), nil, false)
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestPlainProgress(t *testing.T) {
	t.Setenv("TERM", "dumb")
	var out bytes.Buffer
	p := NewProgress(&out, true).(*lineProgress)
	clock := time.Unix(0, 0)
	p.now = func() time.Time { return clock }
	p.Start("pretrain 1/2", 1000)
	for done := 10; done <= 700; done += 10 {
		clock = clock.Add(time.Second)
		p.Update(done, 0.5, 0.875)
	}
	p.Done()
	assert.Equal(t, "pretrain 1/2 300/1000 images, 10 images/s, loss 0.5000, accuracy 87.50 %, 1m10s left\n"+
		"pretrain 1/2 600/1000 images, 10 images/s, loss 0.5000, accuracy 87.50 %, 40s left\n", out.String())

	out.Reset()
	p.Start("test", 1000)
	clock = clock.Add(time.Minute)
	p.Update(600, math.NaN(), 0) // an evaluation has no loss to show
	assert.Equal(t, "test 600/1000 images, 10 images/s, 40s left\n", out.String())
}

func TestBarProgress(t *testing.T) {
	t.Setenv("TERM", "xterm")
	var out bytes.Buffer
	p := NewProgress(&out, true)
	p.Update(1, 0, 0) // before Start: nothing to show
	assert.Empty(t, out.String())
	p.Start("admm 3/9", 100)
	p.Update(50, 0.25, 0.5)
	assert.Contains(t, out.String(), "admm 3/9 loss 0.250 acc 50.0%")
	assert.Contains(t, out.String(), "images/")
	out.Reset()
	n, err := p.Write([]byte("a line\n"))
	require.NoError(t, err)
	assert.Equal(t, 7, n)
	assert.Equal(t, "\x1b[2K\ra line\n", out.String(), "the bar makes way for the line")
	p.Update(120, 0.25, 0.5) // more than announced
	out.Reset()
	p.Done()
	assert.Equal(t, "\x1b[2K\r", out.String())
	p.Start("empty", 0)
	out.Reset()
	p.Update(0, math.NaN(), 0)
	assert.NotContains(t, out.String(), "loss")
	p.Done()
	out.Reset()
	_, err = p.Write([]byte("b\n"))
	require.NoError(t, err)
	assert.Equal(t, "b\n", out.String())
	assert.IsType(t, &lineProgress{}, NewProgress(&out, false))
}
