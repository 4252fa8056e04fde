package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"image"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/models"
)

// reference starts the real one.
func reference(t *testing.T) (c *child, python string) {
	t.Helper()
	if python = findPython(""); python == "" {
		t.Skip("needs a python3 with PyTorch and numpy: apt-get install python3-torch")
	}
	dir := t.TempDir()
	require.NoError(t, unpack(dir))
	c, err := startChild(python, dir, "memory kept", keepMemory)
	require.NoError(t, err)
	t.Cleanup(c.stop)
	return c, python
}

func TestReference(t *testing.T) {
	c, _ := reference(t)
	a, err := c.ask(request{"op": "version"})
	require.NoError(t, err)
	assert.NotEmpty(t, a.Torch)
	assert.Positive(t, a.Threads)

	// The networks are ours: as many parameters, and where rapt has the network, as many as that.
	for _, n := range []struct {
		arch       string
		width      int
		parameters int64
	}{{"lenet", 1, 431080}, {"lenet_adv", 1, 13486}, {"lenet_adv", 16, 3228810}, {"resnet18_adv", 1, 44622}, {"resnet18_adv", 16, 11173962}, {"vgg16", 1, 14728266}} {
		a, err := c.ask(request{"op": "parameters", "arch": n.arch, "width": n.width, "batch": 1})
		require.NoError(t, err)
		if sp := (models.Spec{Arch: n.arch, Width: n.width, Classes: 10}); models.Check(sp) == nil {
			require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
				m, err := models.New(s, sp, nil)
				assert.Equal(t, m.Parameters(), a.Parameters, n.arch)
				return err
			}))
			continue
		}
		assert.Equal(t, n.parameters, a.Parameters, n.arch)
	}

	small, err := training{arch: "lenet_adv", width: 2, batch: 16, attackSteps: 3, epsilon: "0.05", step: "0.02", optimizer: "adam"}.request()
	require.NoError(t, err)
	a, err = c.ask(small.with(request{"op": "loss", "repeat": 30, "lr": 5e-3}))
	require.NoError(t, err)
	assert.Less(t, a.Losses[29], a.Losses[0])
	shapes := [][]int64{{20, 5, 3, 3}, {10, 30}}
	for _, r := range []request{
		small.with(request{"warmup": 1}), small.with(request{"threads": 1}), {"op": "matmul", "n": 64}, {"op": "copy", "n": 64}, {"op": "conv"},
		{"op": "numpy-percentile", "shapes": shapes, "ratio": 0.9}, {"op": "admm-update", "shapes": shapes, "ratio": 0.9},
	} {
		a, err := c.ask(r.with(request{"repeat": 2}))
		require.NoError(t, err)
		assert.Len(t, a.Milliseconds, 2, r)
	}
	for says, r := range map[string]request{
		"KeyError: 'nonsense'":          {"op": "nonsense"},
		"the reference has no resnet99": {"op": "train-step", "arch": "resnet99", "batch": 1},
	} {
		_, err := c.ask(r)
		assert.ErrorContains(t, err, says)
	}
	_, err = c.ask(request{"op": "forget"})
	assert.NoError(t, err)
}

func TestReferenceReadsMNIST(t *testing.T) {
	c, python := reference(t)
	if exec.Command(python, "-c", "import torchvision").Run() != nil {
		t.Skip("needs torchvision: apt-get install python3-torchvision")
	}
	dir := t.TempDir()
	for _, part := range []string{"train", "t10k"} {
		writeIDX(t, filepath.Join(dir, part+"-images-idx3-ubyte"), part == "train", 0x803, 40, 28, 28)
		writeIDX(t, filepath.Join(dir, part+"-labels-idx1-ubyte"), part == "train", 0x801, 40)
	}
	a, err := c.ask(request{"op": "natural-epoch", "arch": "lenet", "batch": 16, "data": dir, "num_workers": 1, "limit": 20, "repeat": 2})
	require.NoError(t, err)
	assert.Len(t, a.Milliseconds, 2)
}

func TestReferenceReadsImages(t *testing.T) {
	c, python := reference(t)
	if exec.Command(python, "-c", "import torchvision").Run() != nil {
		t.Skip("needs torchvision: apt-get install python3-torchvision")
	}
	dir := t.TempDir()
	for _, class := range []string{"train/a", "train/b", "test/a", "test/b"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, class), 0o755))
		f, err := os.Create(filepath.Join(dir, class, "1.png"))
		require.NoError(t, err)
		require.NoError(t, png.Encode(f, image.NewRGBA(image.Rect(0, 0, 4, 4))))
		require.NoError(t, f.Close())
	}
	a, err := c.ask(request{"op": "image-folder", "data": dir, "num_workers": 1, "limit": 3, "repeat": 2})
	require.NoError(t, err)
	assert.Len(t, a.Milliseconds, 2)
}

// writeIDX writes a file of zeros, or one of its gzip form.
func writeIDX(t *testing.T, path string, zipped bool, magic uint32, dims ...uint32) {
	var b bytes.Buffer
	n := uint32(1)
	require.NoError(t, binary.Write(&b, binary.BigEndian, magic))
	for _, d := range dims {
		require.NoError(t, binary.Write(&b, binary.BigEndian, d))
		n *= d
	}
	b.Write(make([]byte, n))
	if !zipped {
		require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
		return
	}
	f, err := os.Create(path + ".gz")
	require.NoError(t, err)
	z := gzip.NewWriter(f)
	_, err = z.Write(b.Bytes())
	require.NoError(t, err)
	require.NoError(t, z.Close())
	require.NoError(t, f.Close())
}
