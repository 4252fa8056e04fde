package trainer_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
	"rapt/trainer/checkpoint"
)

// A run whose network normalises its pixels gives a checkpoint that is judged, and predicts, in the same way.
func TestNormalisedRun(t *testing.T) {
	cfg, want := judged(t, "data.mean=[0.1307]", "data.std=[0.3081]")
	require.Greater(t, *want.CleanAccuracy, 0.2, "or this test shows little")
	best := filepath.Join(folder(cfg), "checkpoints", "retrain", "best.safetensors")
	f, err := checkpoint.Read(best)
	require.NoError(t, err)
	assert.Equal(t, []string{"0.1307", "0.3081", "1,28,28"}, []string{f.Metadata["mean"], f.Metadata["std"], f.Metadata["input"]})
	got := evaluate(t, trainer.EvalOptions{Path: folder(cfg), Workers: 2})
	assert.Equal(t, want.CleanAccuracy, got.CleanAccuracy)
	assert.Equal(t, want.RobustAccuracy, got.RobustAccuracy)

	without := altered(t, best, func(f *checkpoint.File) { delete(f.Metadata, "mean"); delete(f.Metadata, "std") })
	assert.NotEqual(t, want.CleanAccuracy, evaluate(t, trainer.EvalOptions{Path: without, Workers: 1}).CleanAccuracy, "it matters")

	raw := forward(t, cfg) // the same weights, given pixels as they are
	out := filepath.Join(t.TempDir(), "logits.safetensors")
	_, err = trainer.Predict(context.Background(), trainer.PredictOptions{Path: without, Out: out, Device: "cpu", Console: trainer.Quiet().Console})
	require.NoError(t, err)
	assert.InDeltaSlice(t, raw, predicted(t, out), 1e-5)
	_, err = trainer.Predict(context.Background(), trainer.PredictOptions{Path: best, Out: out, Device: "cpu", Console: trainer.Quiet().Console})
	require.NoError(t, err)
	right := 0
	predicted := predicted(t, out)
	for i, label := range labels(t, out) {
		if argmax(predicted[10*i:10*i+10]) == int(label) {
			right++
		}
	}
	assert.Equal(t, *want.CleanAccuracy, float64(right)/250)

	_, err = trainer.Run(context.Background(), trainer.Settings(t, t.TempDir(), "model.width=2", "model.load="+best), trainer.Quiet())
	assert.True(t, isInput(err))
	assert.ErrorContains(t, err, "was trained with the data.mean and data.std [0.1307] and [0.3081], not none")
	_, err = trainer.Run(context.Background(), trainer.Settings(t, t.TempDir(), "data.mean=[0, 0, 0]", "data.std=[1, 1, 1]"), trainer.Quiet())
	assert.True(t, isInput(err))
	assert.ErrorContains(t, err, "data.mean holds 3 numbers, but the images have 1 channels")
}

func TestImagesThatANetworkCannotTake(t *testing.T) {
	for arch, want := range map[string]string{
		"vgg16":      "vgg16 takes images of 32 x 32 pixels or more, not of 1 x 28 x 28",
		"lenet_advv": `did you mean "lenet_adv"?`,
	} {
		_, err := trainer.Run(context.Background(), trainer.Settings(t, t.TempDir(), "model.arch="+arch), trainer.Quiet())
		assert.True(t, isInput(err), "%v", err)
		assert.ErrorContains(t, err, want)
	}
}

func predicted(t *testing.T, path string) []float32 {
	f, err := checkpoint.Read(path)
	require.NoError(t, err)
	x, ok := f.Get("logits")
	require.True(t, ok)
	out, err := x.Float32s()
	require.NoError(t, err)
	return out
}

func labels(t *testing.T, path string) []int64 {
	f, err := checkpoint.Read(path)
	require.NoError(t, err)
	x, ok := f.Get("labels")
	require.True(t, ok)
	out, err := x.Int64s()
	require.NoError(t, err)
	return out
}

func argmax(row []float32) (best int) {
	for i, v := range row {
		if v > row[best] {
			best = i
		}
	}
	return best
}
