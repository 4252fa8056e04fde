package trainer_test

import (
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer"
)

// colours writes a folder of 32 x 32 colour images, each class of a colour and a frequency of its own.
func colours(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	for class := range 4 {
		folder := filepath.Join(dir, fmt.Sprint("class", class))
		require.NoError(t, os.Mkdir(folder, 0o755))
		for i := range 24 {
			img := image.NewRGBA(image.Rect(0, 0, 32, 32))
			phase := rng.Float64() * 6
			for at := range 32 * 32 {
				wave := 90 + 50*math.Sin(phase+float64(at%32)*float64(class+1)/4) + 30*rng.Float64()
				img.Set(at%32, at/32, color.RGBA{byte(wave), byte(30 + 50*class), byte(wave / 2), 255})
			}
			f, err := os.Create(filepath.Join(folder, fmt.Sprintf("%02d.png", i)))
			require.NoError(t, err)
			require.NoError(t, png.Encode(f, img))
			require.NoError(t, f.Close())
		}
	}
	return dir
}

// losses are train/loss at each epoch's end of a stage.
func losses(t *testing.T, run, stage string) (out []float64) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(run, "metrics.jsonl"))
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		var row map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &row))
		if _, epoch := row["val/clean_acc"]; epoch && row["stage"] == stage {
			out = append(out, row["train/loss"].(float64))
		}
	}
	return out
}

// Every small network for colour images is trained, pruned by half and retrained; scripts/every_network.sh does it for all of them.
func TestSmallNetworks(t *testing.T) {
	trainer.Compares(t)
	images := colours(t)
	for _, arch := range []string{"lenet", "vgg16_ori_adv", "vgg16_1by32", "resnet18_1by16", "resnet18_adv", "shufflenetv2_0.5"} {
		t.Run(arch, func(t *testing.T) {
			cfg := trainer.Settings(t, t.TempDir(), "data.dataset=image_folder", "data.dir="+images, "data.test_fraction=0.2", "data.cache_dir="+t.TempDir(),
				"data.train_limit=0", "data.test_limit=0", "data.validation=12", "data.batch_size=16", "model.arch="+arch, "training.method=natural", "prune.ratio=0.5",
				"adversary.epsilon=4/255", "adversary.step_size=4/255", "adversary.steps=1", "evaluate.attacks=[pgd-1]", "pretrain.epochs=3", "pretrain.optimizer=adam",
				"pretrain.momentum=0", "pretrain.nesterov=false", "pretrain.lr=1e-3", "pretrain.lr_schedule=constant", "admm.epochs=1", "admm.lr=1e-3", "retrain.epochs=1", "retrain.lr=1e-3")
			report := run(t, cfg)
			falling := losses(t, folder(cfg), "pretrain")
			require.Len(t, falling, 3)
			assert.Less(t, falling[2], falling[0], "the loss falls")
			require.NotEmpty(t, report.Sparsity.Layers)
			for _, l := range report.Sparsity.Layers {
				assert.Equal(t, int64(math.Ceil(0.5*float64(l.Numel-1))), int64(l.Zeros), l.Name)
			}
		})
	}
}
