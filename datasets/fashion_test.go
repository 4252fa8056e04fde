package datasets

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFashionMNIST(t *testing.T) {
	for _, layout := range []string{"", "fashion_mnist", "FashionMNIST/raw"} {
		dir := t.TempDir()
		writeMNIST(t, filepath.Join(dir, layout), nil)
		parts, err := Load(context.Background(), Options{Dataset: "fashion_mnist", Dir: dir})
		require.NoError(t, err, layout)
		assert.Equal(t, "fashion_mnist", parts.Train.Name)
		assert.Equal(t, []uint16{9, 0, 1}, parts.Test.Labels)

		_, err = Verify(dir, "fashion_mnist")
		require.ErrorAs(t, err, new(*UncheckedError), "only of the packed files a checksum is published")
		assert.ErrorContains(t, err, "train-images-idx3-ubyte.gz")
	}
}

func TestMNISTIsNotTakenForFashionMNIST(t *testing.T) {
	from, dir := realMNIST(t), t.TempDir()
	for _, path := range mnist.locate(from).paths {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(path)), raw, 0o644))
	}
	_, err := Load(context.Background(), Options{Dataset: "fashion_mnist", Dir: dir})
	var input *InputError
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "is MNIST's")
}

// TestFetchOfAFileThatIsCheckedAsItIs: such as an archive, of which an MD5 is published.
func TestFetchOfAFileThatIsCheckedAsItIs(t *testing.T) {
	packed := gzipped(t, toy, 6)
	sum := md5.Sum(packed)
	set := &published{name: "toy", folders: []string{""}, download: 1, forms: []form{
		{folder: "toy-folder", files: []publishedFile{{names: []string{"a.bin"}}}},
		{files: []publishedFile{{names: []string{"toy.tar.gz"}, fetch: "toy.tar.gz", sum: checksum{"MD5", hex.EncodeToString(sum[:])}}}},
	}}
	old := sources
	sources = append(sources[:len(sources):len(sources)], of(set))
	t.Cleanup(func() { sources = old })

	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "toy-folder"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "toy-folder", "a.bin"), []byte("unpacked"), 0o644))
	bad := serve(t, content(gzipped(t, toy, 1)))
	good := serve(t, content(packed))
	require.NoError(t, fetchToy(dir, bad.URL, good.URL), "another packing has another sum")
	got, err := os.ReadFile(filepath.Join(dir, "toy", "toy.tar.gz"))
	require.NoError(t, err)
	assert.Equal(t, packed, got, "an unpacked form, of which no checksum is published, does not stand for the published one")
	assert.Len(t, bad.ranges, 1)
}
