package main

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestARunServesItsMetrics(t *testing.T) {
	config, folder := tinyRun(t)
	r := start(t, "run", config, "--metrics-addr", ":0", "--set", "pretrain.epochs=100000", "--set", "run.log_every=1")
	address := regexp.MustCompile(`metrics are served at (http://127\.0\.0\.1:\d+/metrics)`)
	var at string
	for at == "" {
		line, open := <-r.lines
		require.True(t, open, "the program ended")
		if match := address.FindStringSubmatch(line); match != nil {
			at = match[1]
		}
	}
	r.until("epoch=2 ")
	require.Eventually(t, func() bool { // it is saved while training goes on
		_, err := os.Stat(filepath.Join(folder, "checkpoints", "pretrain", "last.json"))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	resp, err := http.Get(at)
	require.NoError(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	value := func(name string) float64 {
		t.Helper()
		match := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindSubmatch(text)
		require.NotNil(t, match, "no %s in\n%s", name, text)
		v, err := strconv.ParseFloat(string(match[1]), 64)
		require.NoError(t, err)
		return v
	}
	assert.GreaterOrEqual(t, value(`rapt_step{stage="pretrain"}`), 8.0, "two epochs of 4 steps")
	assert.GreaterOrEqual(t, value(`rapt_epoch{stage="pretrain"}`), 2.0)
	assert.InDelta(t, 1.5, value(`rapt_train_loss{stage="pretrain"}`), 1.5)
	assert.Positive(t, value(`rapt_train_images_per_second{stage="pretrain"}`))
	assert.Positive(t, value(`rapt_validation_clean_accuracy_ratio{stage="pretrain"}`))
	assert.Equal(t, 1.0, value(`rapt_run_info{run="tiny",version="v-test"}`))
	assert.Greater(t, value("process_resident_memory_bytes"), 1e7)
	assert.InDelta(t, time.Now().Unix(), value("rapt_last_progress_timestamp_seconds"), 60)
	assert.InDelta(t, time.Now().Unix(), value("rapt_last_checkpoint_timestamp_seconds"), 60)

	require.NoError(t, r.cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, exitTerminate, r.code())
	parsed, err := url.Parse(at)
	require.NoError(t, err)
	_, err = net.Dial("tcp", parsed.Host)
	assert.Error(t, err)
	assert.FileExists(t, filepath.Join(folder, "checkpoints", "pretrain", "last.json"))
}

// In this process, so that the port's end is not the process's.
func TestTheRunsEndFreesThePort(t *testing.T) {
	config, folder := tinyRun(t)
	code, _, errOut := rapt("train", config, "--stage", "pretrain", "--metrics-addr", "0")
	require.Zero(t, code, errOut)
	match := regexp.MustCompile(`http://(127\.0\.0\.1:\d+)/`).FindStringSubmatch(errOut)
	require.NotNil(t, match, errOut)
	_, err := net.Dial("tcp", match[1])
	assert.Error(t, err)
	assert.DirExists(t, folder)
}

func TestAnAddressThatCannotBeServedIsRefusedBeforeAnyWork(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	for address, says := range map[string]string{
		taken.Addr().String(): "address already in use",
		"99999":               `"99999" is no port`,
		"192.0.2.1:9464":      "cannot serve metrics at 192.0.2.1:9464", // of RFC 5737, nobody's
	} {
		config, folder := tinyRun(t)
		code, out, errOut := rapt("run", config, "--metrics-addr", address)
		assert.Equal(t, exitUsage, code, address)
		assert.Contains(t, errOut, "rapt: --metrics-addr: ")
		assert.Contains(t, errOut, says)
		assert.Equal(t, 1, strings.Count(errOut, "\n"), errOut)
		assert.Empty(t, out)
		assert.NoDirExists(t, folder)
	}
}
