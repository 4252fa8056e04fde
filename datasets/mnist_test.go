package datasets

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// realMNIST returns the folder that holds the real files, or skips.
func realMNIST(t testing.TB) string {
	dir := os.Getenv("RAPT_DATA_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	if !mnist.locate(dir).complete() {
		t.Skipf("no MNIST in %s; set $RAPT_DATA_DIR to a folder that has it (`rapt data fetch mnist` gets it)", dir)
	}
	return dir
}

func TestRealMNIST(t *testing.T) {
	dir := realMNIST(t)
	parts, err := Load(context.Background(), Options{Dataset: "mnist", Dir: dir, Validation: 5000, Seed: 1})
	require.NoError(t, err)
	assert.Equal(t, 55000, parts.Train.N)
	assert.Equal(t, 5000, parts.Validation.N)
	assert.Equal(t, 10000, parts.Test.N)
	assert.Len(t, parts.Train.Bytes(), 55000*28*28)
	assert.Equal(t, []uint16{7, 2, 1, 0, 4, 1, 4, 9, 5, 9}, parts.Test.Labels[:10])
	sum := 0
	for _, set := range []*Set{parts.Train, parts.Validation} {
		for _, p := range set.Bytes() {
			sum += int(p)
		}
	}
	assert.InDelta(t, 0.1307, float64(sum)/255/60000/784, 5e-5, "the published mean of the training pixels")

	states, err := Verify(dir, "mnist")
	require.NoError(t, err)
	require.Len(t, states, 4)
	for _, s := range states {
		assert.True(t, s.OK, s.Name)
	}
}

// toyImages are n images of 28 by 28 in which every pixel of image i is i.
func toyImages(n int) []byte {
	data := make([]byte, n*784)
	for i := range data {
		data[i] = byte(i / 784)
	}
	return idxFile(data, uint32(n), 28, 28)
}

// writeMNIST writes four small files in MNIST's format, after changes by name.
func writeMNIST(t *testing.T, folder string, changes map[string][]byte) {
	files := map[string][]byte{
		"train-images-idx3-ubyte": toyImages(20),
		"train-labels-idx1-ubyte": idxFile([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, 20),
		"t10k-images-idx3-ubyte":  toyImages(3),
		"t10k-labels-idx1-ubyte":  idxFile([]byte{9, 0, 1}, 3),
	}
	require.NoError(t, os.MkdirAll(folder, 0o755))
	for name, raw := range files {
		if changed, ok := changes[name]; ok {
			raw = changed
		}
		if raw != nil {
			require.NoError(t, os.WriteFile(filepath.Join(folder, name), raw, 0o644))
		}
	}
}

func TestMNISTIsFoundInEachLayout(t *testing.T) {
	for _, layout := range []string{"", "mnist", "MNIST/raw"} {
		dir := t.TempDir()
		writeMNIST(t, filepath.Join(dir, layout), nil)
		parts, err := Load(context.Background(), Options{Dataset: "mnist", Dir: dir})
		require.NoError(t, err, layout)
		assert.Equal(t, 20, parts.Train.N)
		assert.Equal(t, byte(19), parts.Train.Bytes()[19*784])
		assert.Equal(t, []uint16{9, 0, 1}, parts.Test.Labels)
	}
	t.Run("dots, gzip and the environment", func(t *testing.T) {
		dir := t.TempDir()
		writeMNIST(t, dir, nil)
		raw, err := os.ReadFile(filepath.Join(dir, "train-images-idx3-ubyte"))
		require.NoError(t, err)
		require.NoError(t, os.Remove(filepath.Join(dir, "train-images-idx3-ubyte")))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "train-images.idx3-ubyte.gz"), gzipped(t, raw, 6), 0o644))
		t.Setenv("RAPT_DATA_DIR", dir)
		parts, err := Load(context.Background(), Options{Dataset: "mnist"})
		require.NoError(t, err)
		assert.Equal(t, 20, parts.Train.N)
	})
	t.Run("a complete folder goes before a partial one", func(t *testing.T) {
		dir := t.TempDir()
		writeMNIST(t, dir, map[string][]byte{"t10k-labels-idx1-ubyte": nil, "train-images-idx3-ubyte": []byte("junk")})
		writeMNIST(t, filepath.Join(dir, "mnist"), nil)
		parts, err := Load(context.Background(), Options{Dataset: "mnist", Dir: dir})
		require.NoError(t, err)
		assert.Equal(t, 20, parts.Train.N)
	})
}

func TestMNISTRefusesBadFiles(t *testing.T) {
	const images, labels = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
	packed := gzipped(t, toyImages(20), 6)
	flipped := append([]byte{}, packed...)
	flipped[len(flipped)-6] ^= 1 // within gzip's own checksum
	for name, c := range map[string]struct {
		file string
		raw  []byte
		says string
	}{
		"truncated":        {images, toyImages(20)[:5000], "truncated"},
		"trailing":         {images, append(toyImages(20), 0), "bytes after"},
		"foreign":          {images, []byte("<html>not found</html>"), "no IDX file"},
		"swapped":          {images, idxFile([]byte{1, 2}, 2), "gives 1 dimensions, and should give 3"},
		"labels swapped":   {labels, toyImages(1), "gives 3 dimensions, and should give 1"},
		"other size":       {images, idxFile(make([]byte, 20*32*32), 20, 32, 32), "32 by 32, and should be 28 by 28"},
		"other count":      {images, toyImages(19), "has 19 images but"},
		"label 10":         {labels, idxFile(append(make([]byte, 19), 10), 20), "label 10 of sample 19 is out of range"},
		"gzip cut":         {images, packed[:len(packed)-20], "gzip file is truncated"},
		"gzip header cut":  {images, packed[:5], "gzip file is truncated"},
		"gzip checksum":    {images, flipped, "gzip file is corrupt"},
		"gzip with a tail": {images, append(append([]byte{}, packed...), "tail"...), "gzip file is"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			writeMNIST(t, dir, map[string][]byte{c.file: c.raw})
			_, err := Load(context.Background(), Options{Dataset: "mnist", Dir: dir})
			var input *InputError
			require.ErrorAs(t, err, &input)
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, filepath.Join(dir, c.file))
		})
	}
}

func TestMissingMNISTSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	writeMNIST(t, dir, map[string][]byte{"t10k-labels-idx1-ubyte": nil})
	_, err := Load(context.Background(), Options{Dataset: "mnist", Dir: dir})
	var input *InputError
	require.ErrorAs(t, err, &input)
	require.ErrorIs(t, err, fs.ErrNotExist)
	for _, part := range []string{"t10k-labels-idx1-ubyte", filepath.Join(dir, "MNIST", "raw"), "rapt data fetch mnist", "RAPT_DATA_DIR"} {
		assert.ErrorContains(t, err, part)
	}
	assert.NotContains(t, err.Error(), "train-images")
}
