package datasets

import (
	"bytes"
	"context"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// cacheFile is the one cache file in a folder.
func cacheFile(t *testing.T, dir string) string {
	found, err := filepath.Glob(filepath.Join(dir, "*.images"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	return found[0]
}

func TestCacheIsUsedAndRenewed(t *testing.T) {
	files := twoClasses(t)
	dir, cache := files.write(t), t.TempDir()
	first, err := loadImages(t, dir, Options{CacheDir: cache})
	require.NoError(t, err)
	path := cacheFile(t, cache)
	before, err := os.Stat(path)
	require.NoError(t, err)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o644), before.Mode())

	again, err := loadImages(t, dir, Options{CacheDir: cache})
	require.NoError(t, err)
	assert.Equal(t, first, again)
	after, err := os.Stat(path)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after), "a second start decodes nothing")

	for name, raw := range map[string][]byte{
		"empty": nil, "cut": whole[:len(whole)-1], "long": append(bytes.Clone(whole), 0), "half": whole[:len(whole)/2],
		"magic": flip(whole, 0), "length": flip(whole, 9), "header": flip(whole, 30), "header's sum": flip(whole, 13),
		"pixel": flip(whole, cachePage+5), "label": flip(whole, len(whole)-1),
	} {
		require.NoError(t, os.Remove(path)) // what is mapped must not change
		require.NoError(t, os.WriteFile(path, raw, 0o644))
		again, err := loadImages(t, dir, Options{CacheDir: cache})
		require.NoError(t, err, name)
		assert.Equal(t, first.SHA256, again.SHA256, name)
		now, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(whole, now), "%s: the cache is made anew, the same", name)
	}

	require.NoError(t, os.WriteFile(filepath.Join(dir, "train", "ant", "0.png"), plain(t, 4, 3, color.White), 0o644))
	require.NoError(t, os.Chtimes(filepath.Join(dir, "train", "ant", "0.png"), time.Time{}, time.Unix(1, 0)))
	changed, err := loadImages(t, dir, Options{CacheDir: cache})
	require.NoError(t, err)
	assert.NotEqual(t, first.SHA256, changed.SHA256, "a changed file is read anew")
	assert.Equal(t, byte(0), first.Train.Bytes()[0], "what was loaded before stays as it was")
	cacheFile(t, cache) // the old one was replaced
	left, err := filepath.Glob(filepath.Join(cache, "*decoding*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestCacheOfManyAtOnce(t *testing.T) {
	dir, cache := twoClasses(t).write(t), t.TempDir()
	var group sync.WaitGroup
	sums := make([]string, 8)
	for i := range sums {
		group.Add(1)
		go func() {
			defer group.Done()
			if parts, err := loadImages(t, dir, Options{CacheDir: cache}); assert.NoError(t, err) {
				sums[i] = parts.SHA256
			}
		}()
	}
	group.Wait()
	assert.Len(t, slices.Compact(sums), 1)
	cacheFile(t, cache)
}

func TestCacheFolder(t *testing.T) {
	dir := twoClasses(t).write(t)
	file := writeFile(t, "file", nil)
	_, err := loadImages(t, dir, Options{CacheDir: file})
	var input *InputError
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "data.cache_dir")

	t.Setenv("XDG_CACHE_HOME", file)
	parts, err := Load(context.Background(), Options{Dataset: "image_folder", Dir: dir})
	require.NoError(t, err)
	assert.Equal(t, 8, parts.Train.N)
	assert.Contains(t, parts.Note, "decoded at every start")

	home := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", home)
	_, err = Load(context.Background(), Options{Dataset: "image_folder", Dir: dir})
	require.NoError(t, err)
	cacheFile(t, filepath.Join(home, "rapt"))
}
