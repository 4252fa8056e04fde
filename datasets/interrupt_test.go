package datasets

import (
	"context"
	"fmt"
	"image/color"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// interruptedSource has 200 images, and is interrupted at one of them, or else when all are decoded.
type interruptedSource struct {
	imageFolder
	raw    []byte
	at     int
	cancel func()
	ended  bool // all were taken
}

func (s *interruptedSource) each(_ context.Context, to sink) error {
	for i := range 200 {
		if i == s.at {
			s.cancel()
		}
		if err := to.file(encoded{name: fmt.Sprintf("%d/%d.png", i%2, i), read: func() ([]byte, error) { return s.raw, nil }}); err != nil {
			return err
		}
	}
	s.ended = true
	return nil
}

// key is asked for before the images are brought into their order.
func (s *interruptedSource) key() string {
	s.cancel()
	return ""
}

func TestDecodingCanBeInterrupted(t *testing.T) {
	for _, at := range []int{0, 100, 200} {
		ctx, cancel := context.WithCancel(context.Background())
		src, dir := &interruptedSource{raw: plain(t, 2, 2, color.White), at: at, cancel: cancel}, t.TempDir()
		_, err := cachedIn(ctx, dir, "x.images", "", func(w io.WriterAt) (*cacheHeader, error) { return decodeAll(ctx, src, Options{}, w) })
		require.ErrorIs(t, err, context.Canceled, at)
		assert.Equal(t, at == 200, src.ended, at)
		assert.Equal(t, []string{"x.images.lock"}, namesIn(t, dir))
	}
}

func TestLoadCanBeInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	files := twoClasses(t)
	for _, source := range []string{files.write(t), writeFile(t, "a.tar", files.tar(t, files.sorted()))} {
		_, err := Load(ctx, Options{Dataset: "image_folder", Dir: source, CacheDir: t.TempDir()})
		require.ErrorIs(t, err, context.Canceled)
		assert.ErrorContains(t, err, "decoding the images of "+source+" was interrupted")
	}
}

func TestWaitingForAnothersImagesCanBeInterrupted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.images")
	lock, err := hold(context.Background(), path+".lock", t.FailNow)
	require.NoError(t, err)
	defer lock.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = cached(ctx, path, "", nil)
	require.ErrorIs(t, err, context.Canceled)
}

func TestWhatKilledProcessesLeftIsRemoved(t *testing.T) {
	dir, cache := twoClasses(t).write(t), t.TempDir()
	_, err := loadImages(t, dir, Options{CacheDir: cache})
	require.NoError(t, err)
	path := cacheFile(t, cache)
	base := filepath.Base(path)
	require.NoError(t, os.Remove(path))
	others := []string{"." + base + ".mine", ".other" + base + "123"}
	for _, name := range append(others, "."+base+"8005229214921364872") {
		require.NoError(t, os.WriteFile(filepath.Join(cache, name), []byte("begun"), 0o600))
	}
	_, err = loadImages(t, dir, Options{CacheDir: cache})
	require.NoError(t, err)
	assert.ElementsMatch(t, append(others, base, base+".lock"), namesIn(t, cache))
}

func namesIn(t *testing.T, dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
