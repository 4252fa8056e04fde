package datasets

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFetchOfTwoAtOnceDownloadsOnce(t *testing.T) {
	publishToy(t)
	packed := gzipped(t, toy, 6)
	half := len(packed) / 2
	began, goOn := make(chan struct{}), make(chan struct{})
	begin, release := sync.OnceFunc(func() { close(began) }), sync.OnceFunc(func() { close(goOn) })
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Range") != "" { // of one that found the other's beginning
			content(packed)(w, r)
			return
		}
		_, _ = w.Write(packed[:half])
		w.(http.Flusher).Flush()
		<-goOn
		_, _ = w.Write(packed[half:])
	})
	dir := t.TempDir()
	first := make(chan error)
	go func() {
		first <- Fetch(context.Background(), "toy", dir, FetchOptions{Mirrors: []string{m.URL}, Retries: -1, Progress: func(string, int64, int64) { begin() }})
	}()
	<-began
	var told []string
	err := Fetch(context.Background(), "toy", dir, FetchOptions{Mirrors: []string{m.URL}, Retries: -1, Waiting: func(path string) {
		told = append(told, path)
		release()
	}})
	release()
	assert.NoError(t, err)
	assert.NoError(t, <-first)
	assert.Equal(t, []string{filepath.Join(dir, "toy", toyName)}, told)
	assert.Len(t, m.ranges, 1)
	assertFetched(t, dir, packed)
}

func TestFetchWaits(t *testing.T) {
	publishToy(t)
	m := serve(t, content(gzipped(t, toy, 6)))
	// fetch meets another process, and does something once it waits.
	fetch := func(t *testing.T, then func(target string, cancel, end func())) (string, error) {
		dir := partial(t, nil)
		target := filepath.Join(dir, "toy", toyName)
		other, err := hold(context.Background(), target+".lock", t.FailNow)
		require.NoError(t, err)
		defer other.Unlock()
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		err = Fetch(ctx, "toy", dir, FetchOptions{Mirrors: []string{m.URL}, RetryWait: time.Millisecond, Waiting: func(path string) {
			assert.Equal(t, target, path)
			then(target, cancel, func() { _ = other.Unlock() })
		}})
		return dir, err
	}
	t.Run("until it is interrupted", func(t *testing.T) {
		_, err := fetch(t, func(_ string, cancel, _ func()) { cancel() })
		require.ErrorIs(t, err, context.Canceled)
		assert.ErrorContains(t, err, "fetching "+toyName+" was interrupted")
	})
	t.Run("for a process that fails, and fetches then", func(t *testing.T) {
		dir, err := fetch(t, func(_ string, _, end func()) { end() })
		require.NoError(t, err)
		assertFetched(t, dir, gzipped(t, toy, 6))
	})
	t.Run("and looks at what it finds", func(t *testing.T) {
		_, err := fetch(t, func(target string, _, end func()) {
			assert.NoError(t, os.WriteFile(target, []byte("other"), 0o644))
			end()
		})
		require.ErrorAs(t, err, new(*ChecksumError))
		assert.ErrorContains(t, err, "move it away and fetch again")
	})
}

func TestFetchSyncsBeforeItRenames(t *testing.T) {
	publishToy(t)
	packed := gzipped(t, toy, 6)
	m := serve(t, content(packed))
	flushes, sync := []string(nil), flush
	t.Cleanup(func() { flush = sync })
	dir := t.TempDir()
	target := filepath.Join(dir, "toy", toyName)
	flush = func(path string) error {
		name, _ := filepath.Rel(dir, path)
		if isFile(target) {
			name += ", renamed"
		}
		flushes = append(flushes, name)
		return sync(path)
	}
	require.NoError(t, fetchToy(dir, m.URL))
	assert.Equal(t, []string{filepath.Join("toy", toyName+".part"), "toy, renamed"}, flushes)
	assertFetched(t, dir, packed)

	require.NoError(t, os.Remove(target))
	flush = func(string) error { return syscall.EIO }
	err := fetchToy(dir, m.URL)
	require.ErrorIs(t, err, syscall.EIO)
	assert.ErrorContains(t, err, target)
	assert.NoFileExists(t, target)
	assert.NoFileExists(t, target+".part", "it may not be what is on the disk")
}
