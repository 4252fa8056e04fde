package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestTheFirstDecodingIsInterrupted: the archive is a pipe, which gives images for as long as they are taken.
func TestTheFirstDecodingIsInterrupted(t *testing.T) {
	for command, c := range map[string]struct {
		signal syscall.Signal
		code   int
	}{"run": {syscall.SIGTERM, 143}, "doctor": {syscall.SIGINT, 130}} {
		t.Run(command, func(t *testing.T) {
			config, folder := tinyRun(t)
			pipe, cache := filepath.Join(t.TempDir(), "images.tar"), t.TempDir()
			require.NoError(t, syscall.Mkfifo(pipe, 0o600))
			r := start(t, command, config, "--set", "data.dataset=image_folder", "--set", "data.dir="+pipe, "--set", "data.cache_dir="+cache)
			w, err := os.OpenFile(pipe, os.O_WRONLY, 0) // waits for the program to open it
			require.NoError(t, err)
			defer w.Close()
			require.NoError(t, r.cmd.Process.Signal(c.signal))
			r.until("stopping at the next step")
			giveImages(t, w)
			r.until("rapt: interrupted while images were decoded")
			assert.Equal(t, c.code, r.code())
			assert.NoDirExists(t, folder)
			left, err := filepath.Glob(filepath.Join(cache, "*"))
			require.NoError(t, err)
			require.Len(t, left, 1)
			assert.Equal(t, ".lock", filepath.Ext(left[0]))
		})
	}
}

// giveImages writes an archive until nobody reads it any more.
func giveImages(t *testing.T, to *os.File) {
	var raw bytes.Buffer
	require.NoError(t, png.Encode(&raw, image.NewGray(image.Rect(0, 0, 28, 28))))
	w := tar.NewWriter(to)
	for i := 0; ; i++ {
		err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("%d/%d.png", i%2, i), Size: int64(raw.Len()), Mode: 0o644})
		if err == nil {
			_, err = w.Write(raw.Bytes())
		}
		if err != nil {
			require.ErrorIs(t, err, syscall.EPIPE)
			return
		}
	}
}
