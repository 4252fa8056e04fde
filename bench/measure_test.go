package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/models"
)

func TestWork(t *testing.T) {
	gflop, gb, err := work(models.Spec{Arch: "lenet_adv", Width: 1, Classes: 10}, 64, 40, 4)
	require.NoError(t, err)
	// 83 passes over 91,584 multiply-adds, but for the images' gradient through conv1 in the training step itself.
	assert.InEpsilon(t, 2*(83*91584-39200)*64/1e9, gflop, 1e-12)
	assert.InEpsilon(t, 83*2*4*3210*64/1e9, gb, 1e-12)
	_, _, err = work(models.Spec{Arch: "perceptron", Classes: 10}, 64, 40, 4)
	assert.ErrorContains(t, err, "unknown architecture")
}

func TestRates(t *testing.T) {
	perSecond, err := together(torch.CPU, 2, func(s *torch.Session, g *torch.Generator) func() {
		x := s.Rand(g, 100, 100)
		return func() { x.MatMul(x) }
	})
	require.NoError(t, err)
	assert.Positive(t, perSecond)
	_, err = together(torch.CPU, 2, func(s *torch.Session, g *torch.Generator) func() {
		x := s.Rand(g, 2, 3)
		return func() { x.MatMul(x) }
	})
	assert.Error(t, err)
	one, two := &rates{MatMul: 1, Conv: 5, Bandwidth: 2}, &rates{MatMul: 2, Conv: 4, Bandwidth: 1, Workers: 2}
	assert.Equal(t, &rates{MatMul: 2, Conv: 5, Bandwidth: 2, Workers: 2}, one.better(two))
	assert.Equal(t, two, (*rates)(nil).better(two))
}

// Each row of ours is measured, without a reference.
func TestRows(t *testing.T) {
	before := torch.LiveTensors()
	small := training{arch: "lenet_adv", width: 1, batch: 8, attackSteps: 2, epsilon: "0.3", step: "0.1", optimizer: "adam"}
	for name, measure := range map[string]func(*bench, *row) error{
		"training": small.measure, "projection": resnet(2).measureProjection, "update": resnet(2).measureUpdate,
	} {
		r := row{}
		require.NoError(t, measure(alone(), &r), name)
		assert.Positive(t, r.Ours, name)
		assert.Positive(t, r.GB, name)
		assert.Zero(t, r.Reference, name)
	}
	b := alone()
	b.workers = 2
	r := row{}
	require.NoError(t, small.measureScaling(b, &r))
	require.Len(t, r.Workers, 2)
	assert.Positive(t, r.Scaling)
	assert.Equal(t, before, torch.LiveTensors())
	_, err := startProber(training{arch: "perceptron", width: 1, batch: 1, optimizer: "adam"}, "cpu", 1)
	assert.ErrorContains(t, err, "unknown architecture")
}

func TestResnetShapes(t *testing.T) {
	n := int64(0)
	for _, shape := range resnetShapes(16) {
		k := int64(1)
		for _, d := range shape {
			k *= d
		}
		n += k
	}
	// ResNet-18 for CIFAR-10 has 11,173,962 parameters, of which 9,600 are batch norm's and 10 the last bias.
	assert.Equal(t, int64(11173962-9600-10), n)
}

func TestFindsMNIST(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("RAPT_DATA_DIR", dir)
	raw := filepath.Join(dir, "MNIST", "raw")
	require.NoError(t, os.MkdirAll(raw, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(raw, "train-images-idx3-ubyte.gz"), nil, 0o644))
	assert.Equal(t, raw, mnist())
	assert.NotEmpty(t, noMNIST(alone()), "an empty file is no data set")
	assert.Contains(t, alone().noBinary(), "rapt is not there")
}

func TestStartup(t *testing.T) {
	b := alone()
	b.binary, b.rounds = filepath.Join("..", "bin", "rapt"), 1
	if b.noBinary() != "" {
		t.Skip("needs bin/rapt: ./build.sh")
	}
	r := row{}
	require.NoError(t, measureStartup(b, &r))
	assert.Positive(t, r.Ours)
}
