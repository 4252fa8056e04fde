package models_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/models/modelstest"
)

func TestCheckOfInputs(t *testing.T) {
	for _, c := range []struct {
		sp   models.Spec
		want string // empty: it is taken
	}{
		{models.Spec{Arch: "lenet", Input: [3]int64{1, 28, 28}}, ""},
		{models.Spec{Arch: "lenet", Input: [3]int64{3, 32, 32}, Width: 4}, ""},
		{models.Spec{Arch: "resnet18", Input: [3]int64{1, 28, 28}}, ""},
		{models.Spec{Arch: "vgg16", Input: [3]int64{3, 64, 48}}, ""},
		{models.Spec{Arch: "lenet", Input: [3]int64{3, 64, 64}}, "lenet takes images of 1 x 28 x 28 or 3 x 32 x 32, not of 3 x 64 x 64"},
		{models.Spec{Arch: "lenet", Width: 2, Input: [3]int64{1, 28, 28}}, "lenet has no width multiplier for images of 1 x 28 x 28"},
		{models.Spec{Arch: "lenet_adv", Input: [3]int64{3, 32, 32}}, "lenet_adv takes images of 1 x 28 x 28, not of 3 x 32 x 32"},
		{models.Spec{Arch: "vgg16", Input: [3]int64{3, 28, 28}}, "vgg16 takes images of 32 x 32 pixels or more, not of 3 x 28 x 28"},
		{models.Spec{Arch: "densenet_cifar", Input: [3]int64{3, 8, 7}}, "densenet_cifar takes images of 8 x 8 pixels or more"},
		{models.Spec{Arch: "resnet18", Input: [3]int64{0, 8, 8}}, "not of 0 x 8 x 8"},
		{models.Spec{Arch: "resnet18", Mean: []float64{0.5, 0.5, 0.5}, Std: []float64{1, 1, 1}}, ""},
		{models.Spec{Arch: "resnet18", Mean: []float64{0.5}, Std: []float64{1}}, "as there are channels, 3: got 1 and 1"},
		{models.Spec{Arch: "resnet18", Mean: []float64{0.5, 0.5, 0.5}}, "got 3 and 0"},
		{models.Spec{Arch: "resnet18", Mean: []float64{0.5, 0.5, 0.5}, Std: []float64{1, 0, 1}}, "standard deviation 0 of channel 1"},
	} {
		c.sp.Classes = 10
		if err := models.Check(c.sp); c.want == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, c.want)
		}
	}
}

// Networks that say so take the least size and a larger one that is no square, of one channel, forward and backward.
func TestImagesOfOtherSizes(t *testing.T) {
	for _, m := range infos(t) {
		if m.Least == 0 || m.Parameters > 12e6 || m.Width > 1 { // the larger ones are the same descriptions
			continue
		}
		for _, input := range [][3]int64{{1, m.Least, m.Least}, {1, max(40, m.Least+8), max(33, m.Least)}} {
			if m.MACs > 2e8 && input[1] > 32 {
				continue
			}
			run(t, func(s *torch.Session) {
				model, err := models.New(s, models.Spec{Arch: m.Name, Classes: 7, Input: input}, s.NewGenerator(1))
				require.NoError(t, err)
				x := modelstest.Input(s, model, 2).RequiresGrad_(true)
				y := model.Forward(x, nn.Mode{Train: input[1] > 8})
				require.Equal(t, []int64{2, 7}, y.Shape(), m.Name)
				require.Equal(t, x.Shape(), s.Grad(y.Square().Sum(), x)[0].Shape(), m.Name)
				cost, err := models.Cost(model)
				require.NoError(t, err)
				require.Equal(t, m.Layers, len(cost.Layers), m.Name)
			})
		}
	}
}

func infos(t *testing.T) []models.Info {
	all, err := models.List()
	require.NoError(t, err)
	return all
}

// A network that normalises is the same network given images normalised by hand, and its input gradient is that of the pixels: by the chain
// rule the other's divided by the standard deviation.
func TestNormalisation(t *testing.T) {
	mean, std := []float64{0.4914, 0.4822, 0.4465}, []float64{0.2471, 0.2435, 0.2616}
	run(t, func(s *torch.Session) {
		plain, err := models.New(s, models.Spec{Arch: "resnet18_1by16", Classes: 10}, nil)
		require.NoError(t, err)
		require.NoError(t, modelstest.Fill(s, plain))
		m, err := models.New(s, models.Spec{Arch: "resnet18_1by16", Classes: 10, Mean: mean, Std: std}, nil)
		require.NoError(t, err)
		require.NoError(t, modelstest.Fill(s, m))
		require.Len(t, m.State, len(plain.State), "the state dict is PyTorch's")

		x := modelstest.Input(s, m, 2).RequiresGrad_(true)
		pixels, err := x.Detach().Float32s()
		require.NoError(t, err)
		for i := range pixels {
			c := i / (32 * 32) % 3
			pixels[i] = float32((float64(pixels[i]) - mean[c]) / std[c])
		}
		by := s.FromFloat32(pixels, 2, 3, 32, 32).RequiresGrad_(true)
		want, got := plain.Forward(by, nn.Eval), m.Forward(x, nn.Eval)
		requireNear(t, want, got)
		requireNear(t, got, m.Forward(x, nn.Mode{Folded: nn.Fold(m.Module)}))
		r, err := m.Replica(s)
		require.NoError(t, err)
		requireNear(t, got, r.Forward(x, nn.Eval))

		ofPixels, ofNormalised := s.Grad(got.Square().Sum(), x)[0], s.Grad(want.Square().Sum(), by)[0]
		requireNear(t, ofNormalised.Div(s.FromFloat64(std, 1, 3, 1, 1).To(torch.Float32)), ofPixels)
	})
}

// requireNear compares to 1e-4 of the largest magnitude.
func requireNear(t *testing.T, want, got torch.Tensor) {
	t.Helper()
	off, err := got.Detach().Sub(want.Detach()).Abs().Max().Item()
	require.NoError(t, err)
	largest, err := want.Detach().Abs().Max().Item()
	require.NoError(t, err)
	require.LessOrEqual(t, off, 1e-4*largest)
	require.Positive(t, largest)
}
