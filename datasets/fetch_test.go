package datasets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// toy stands in for a published set of one file, "toy-idx1-ubyte.gz".
var toy = func() []byte {
	data := make([]byte, 300000)
	s := newStream(1, 1, 1)
	for i := range data {
		data[i] = byte(s.below(100))
	}
	return idxFile(data, uint32(len(data)))
}()

func publishToy(t *testing.T) {
	sum := sha256.Sum256(toy)
	file := idxPublished("toy", "idx1-ubyte", int64(len(toy)), checksum{"SHA-256", hex.EncodeToString(sum[:])})
	set := &published{name: "toy", folders: []string{"", "toy"}, forms: []form{{files: []publishedFile{file}}}}
	old := sources
	sources = append(sources[:len(sources):len(sources)], of(set))
	t.Cleanup(func() { sources = old })
}

// mirror serves a file and notes the Range header of each request.
type mirror struct {
	*httptest.Server
	mu     sync.Mutex
	ranges []string
}

func serve(t *testing.T, handle http.HandlerFunc) *mirror {
	m := &mirror{}
	m.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m.mu.Lock()
		m.ranges = append(m.ranges, r.Header.Get("Range"))
		m.mu.Unlock()
		handle(w, r)
	}))
	t.Cleanup(m.Close)
	return m
}

func content(raw []byte) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(raw))
	}
}

func fetchToy(dir string, mirrors ...string) error {
	return Fetch(context.Background(), "toy", dir, FetchOptions{Mirrors: mirrors, Retries: 1, RetryWait: time.Millisecond})
}

const toyName = "toy-idx1-ubyte.gz"

func assertFetched(t *testing.T, dir string, raw []byte) {
	t.Helper()
	got, err := os.ReadFile(filepath.Join(dir, "toy", toyName))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(raw, got), "the file must be what the mirror serves")
	assert.NoFileExists(t, filepath.Join(dir, "toy", toyName+".part"))
	states, err := Verify(dir, "toy")
	require.NoError(t, err)
	assert.True(t, states[0].OK)
}

func TestFetch(t *testing.T) {
	publishToy(t)
	packed := gzipped(t, toy, 6)
	m := serve(t, content(packed))
	dir := t.TempDir()
	var last int64
	err := Fetch(context.Background(), "toy", dir, FetchOptions{Mirrors: []string{m.URL}, Progress: func(name string, done, total int64) {
		assert.Equal(t, toyName, name)
		assert.Equal(t, int64(len(packed)), total)
		assert.Greater(t, done, last)
		last = done
	}})
	require.NoError(t, err)
	assert.Equal(t, int64(len(packed)), last)
	assertFetched(t, dir, packed)

	require.NoError(t, fetchToy(dir, m.URL))
	assert.Len(t, m.ranges, 1, "a file that is there is not fetched again")
}

func TestFetchResumes(t *testing.T) {
	publishToy(t)
	packed := gzipped(t, toy, 6)
	t.Run("an earlier run's part", func(t *testing.T) {
		m := serve(t, content(packed))
		dir := partial(t, packed[:1000])
		require.NoError(t, fetchToy(dir, m.URL))
		assert.Equal(t, []string{"bytes=1000-"}, m.ranges)
		assertFetched(t, dir, packed)
	})
	t.Run("a complete part", func(t *testing.T) {
		m := serve(t, content(packed))
		dir := partial(t, packed)
		require.NoError(t, fetchToy(dir, m.URL))
		assertFetched(t, dir, packed)
		assert.Len(t, m.ranges, 1)
	})
	t.Run("a part of another gzip version starts over", func(t *testing.T) {
		m := serve(t, content(packed))
		dir := partial(t, gzipped(t, toy, 1)[:1000])
		require.NoError(t, fetchToy(dir, m.URL))
		assert.Equal(t, []string{"bytes=1000-", ""}, m.ranges)
		assertFetched(t, dir, packed)
	})
	t.Run("a server without ranges", func(t *testing.T) {
		m := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(packed) })
		dir := partial(t, packed[:1000])
		require.NoError(t, fetchToy(dir, m.URL))
		assertFetched(t, dir, packed)
	})
	t.Run("a connection that breaks", func(t *testing.T) {
		broken := false
		m := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if !broken {
				broken = true
				w.Header().Set("Content-Length", "100000")
				_, _ = w.Write(packed[:5000])
				return // the server closes the connection: 95000 bytes are missing
			}
			content(packed)(w, r)
		})
		dir := t.TempDir()
		require.NoError(t, fetchToy(dir, m.URL))
		assert.Equal(t, []string{"", "bytes=5000-"}, m.ranges)
		assertFetched(t, dir, packed)
	})
}

// partial returns a data folder with an interrupted download.
func partial(t *testing.T, raw []byte) string {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "toy"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "toy", toyName+".part"), raw, 0o644))
	return dir
}

func TestFetchGoesOnToTheNextMirror(t *testing.T) {
	publishToy(t)
	packed := gzipped(t, toy, 6)
	down := httptest.NewServer(nil)
	down.Close()
	changed := bytes.Clone(toy)
	changed[1000] ^= 1
	good := serve(t, content(packed))
	for name, first := range map[string]string{
		"down":       down.URL,
		"404":        serve(t, http.NotFound).URL,
		"a web page": serve(t, content([]byte("<html>log in first</html>"))).URL,
		"corrupt":    serve(t, content(gzipped(t, changed, 6))).URL,
		"cut":        serve(t, content(packed[:5000])).URL,
		"a bomb":     serve(t, content(gzipped(t, make([]byte, 50<<20), 9))).URL,
		"503":        serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(503) }).URL,
		"too large": serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99999999999")
		}).URL,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, fetchToy(dir, first, good.URL+"/"))
			assertFetched(t, dir, packed)
		})
	}
}

func TestFetchOfflineSaysWhereToPutTheFile(t *testing.T) {
	publishToy(t)
	down := httptest.NewServer(nil)
	down.Close()
	dir := t.TempDir()
	err := fetchToy(dir, down.URL+"/a/", down.URL+"/b")
	for _, part := range []string{down.URL + "/a/" + toyName, down.URL + "/b/" + toyName, "refused", filepath.Join(dir, "toy", toyName)} {
		assert.ErrorContains(t, err, part)
	}
	assert.False(t, strings.Contains(err.Error(), "\n"), "one sentence")
}

func TestFetchCorruptEverywhereIsAChecksumError(t *testing.T) {
	publishToy(t)
	m := serve(t, content(gzipped(t, []byte("other"), 6)))
	dir := t.TempDir()
	var sum *ChecksumError
	require.ErrorAs(t, fetchToy(dir, m.URL), &sum)
	assert.NoFileExists(t, filepath.Join(dir, "toy", toyName))
}

func TestFetchLeavesAForeignFileAlone(t *testing.T) {
	publishToy(t)
	m := serve(t, content(gzipped(t, toy, 6)))
	dir := t.TempDir()
	path := filepath.Join(dir, "toy.idx1-ubyte")
	require.NoError(t, os.WriteFile(path, []byte("mine"), 0o644))
	err := fetchToy(dir, m.URL)
	var sum *ChecksumError
	require.ErrorAs(t, err, &sum)
	assert.ErrorContains(t, err, "move it away")
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "mine", string(got))
}

func TestFetchCanBeInterrupted(t *testing.T) {
	publishToy(t)
	ctx, cancel := context.WithCancel(context.Background())
	packed := gzipped(t, toy, 6)
	m := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(packed[:50000])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	dir := t.TempDir()
	err := Fetch(ctx, "toy", dir, FetchOptions{Mirrors: []string{m.URL}, Progress: func(_ string, done, _ int64) {
		if done == 50000 {
			cancel()
		}
	}})
	require.ErrorIs(t, err, context.Canceled)
	left, err := os.ReadFile(filepath.Join(dir, "toy", toyName+".part"))
	require.NoError(t, err)
	assert.True(t, bytes.Equal(packed[:50000], left), "what arrived is kept for the next run")
}

func TestFetchRefuses(t *testing.T) {
	var input *InputError
	err := Fetch(context.Background(), "digits", t.TempDir(), FetchOptions{})
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "digits needs no download")
	require.ErrorAs(t, Fetch(context.Background(), "mnits", t.TempDir(), FetchOptions{}), &input)

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	require.ErrorAs(t, Fetch(context.Background(), "mnist", file, FetchOptions{}), &input, "a folder below a file")
}

func TestVerify(t *testing.T) {
	publishToy(t)
	put := func(raw []byte) (FileStatus, error) {
		dir := t.TempDir()
		if raw != nil {
			require.NoError(t, os.WriteFile(filepath.Join(dir, toyName), raw, 0o644))
		}
		states, err := Verify(dir, "toy")
		require.Len(t, states, 1)
		assert.Equal(t, err == nil, states[0].OK)
		return states[0], err
	}
	for _, raw := range [][]byte{toy, gzipped(t, toy, 1), gzipped(t, toy, 9)} {
		state, err := put(raw)
		require.NoError(t, err, "the packing does not matter")
		assert.NotEmpty(t, state.Sum)
	}
	var sum *ChecksumError
	packed := gzipped(t, toy, 6)
	for _, raw := range [][]byte{toy[:len(toy)-1], append(bytes.Clone(toy), 0), packed[:1000], packed[:4], {}} {
		_, err := put(raw)
		require.ErrorAs(t, err, &sum)
		assert.ErrorContains(t, err, toyName)
	}
	_, err := put(nil)
	var input *InputError
	require.ErrorAs(t, err, &input)
	assert.False(t, errors.As(err, &sum), "a missing file is no checksum mismatch")

	states, err := Verify(t.TempDir(), "digits")
	require.NoError(t, err)
	assert.Empty(t, states)
}
