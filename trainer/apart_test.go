package trainer_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/trainer"
	"rapt/trainer/config"
)

// Members that have their own copies of the weights, as several GPUs do, end a run in the same bits as members that share them: every stage, by
// every method, and whatever else moves weights or statistics.
func TestApartIsAsShared(t *testing.T) {
	for _, sets := range [][]string{
		{"model.arch=lenet_bn", "prune.sparsity_type=bn_filter", "prune.ratio=0.5", "training.mixup_alpha=1", "adversary.batch_norm=train"},
		{"model.arch=lenet_bn", "training.method=trades", "training.ema_decay=0.9", "prune.sparsity_type=filter", "evaluate.baselines=[gradual, one_shot]"},
		{"model.arch=lenet_bn", "training.method=mart", "training.awp_gamma=0.01", "data.batch_size=23"},
		{"model.arch=lenet_bn", "training.method=free", "training.replays=2", "data.batch_size=23", "run.save_every=1"},
		{"model.arch=lenet_bn", "training.method=trades", "training.awp_gamma=0.01", "adversary.batch_norm=train"},
		{"training.method=fgsm_rs", "training.guard_drop=0.01", "pretrain.epochs=4", "prune.hold_zeros=true"},
		{"training.method=natural", "prune.steps={count: 2, shape: linear}", "data.augment.crop=2", "data.augment.flip=true", "data.mean=[0.1]", "data.std=[0.3]"},
		{"quantize.bits=4", "quantize_admm.epochs=1", "quantize_retrain.epochs=2", "prune.sparsity_type=column"},
		{"model.arch=resnet18_adv", "training.method=natural", "prune.sparsity_type=coupled_filter", "prune.ratio=0.5"},
	} {
		sets = append(slices.Clone(sets), "run.workers=2")
		shared, own := trainer.Settings(t, t.TempDir(), sets...), trainer.Settings(t, t.TempDir(), sets...)
		run(t, shared)
		trainer.Apart(t, func() { run(t, own) }, torch.CPU, torch.CPU)
		assert.Equal(t, "cpu,cpu", env(t, folder(own))["device"])
		alike(t, shared, own, sets)
	}
}

// Three members, each with fewer images than the next in turn, that are stopped again and again.
func TestApartResumes(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	trainer.Apart(t, func() {
		resumesAgainAndAgain(t, func(int) int { return 2 + random.IntN(9) }, "model.arch=lenet_bn", "data.batch_size=10", "training.method=free", "training.replays=2", "run.log_every=3",
			"training.ema_decay=0.9", "pretrain.epochs=1", "retrain.epochs=1")
	}, torch.CPU, torch.CPU, torch.CPU)
}

// An evaluation that several devices share finds what one finds.
func TestApartEvaluates(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "model.arch=lenet_bn")
	run(t, cfg)
	judge := func() *trainer.EvalOptions {
		return &trainer.EvalOptions{Path: folder(cfg), Attacks: []string{"pgd-5", "fgsm"}, Console: trainer.Quiet().Console}
	}
	want, err := trainer.Evaluate(context.Background(), *judge())
	require.NoError(t, err)
	trainer.Apart(t, func() {
		got, err := trainer.Evaluate(context.Background(), *judge())
		require.NoError(t, err)
		assert.Equal(t, want.RobustAccuracy, got.RobustAccuracy)
		assert.Equal(t, want.CleanAccuracy, got.CleanAccuracy)
	}, torch.CPU, torch.CPU)
}

// A batch must have two images for each GPU.
func TestApartWantsABatch(t *testing.T) {
	trainer.Apart(t, func() {
		_, err := trainer.Run(context.Background(), trainer.Settings(t, t.TempDir(), "data.batch_size=5"), trainer.Quiet())
		require.ErrorContains(t, err, "batches have 5 images: 3 GPUs share them")
		var refused *config.Error
		assert.ErrorAs(t, err, &refused)
	}, torch.CPU, torch.CPU, torch.CPU)
}

// A run goes on with another number of members where its epochs have as many steps, and is refused and left alone where they would not.
func TestApartGoesOnWithOthers(t *testing.T) {
	for limit, refused := range map[int]bool{54: true, 60: false} { // a last batch of 2 images, which two members do not share, and one of 8
		cfg := trainer.Settings(t, t.TempDir(), fmt.Sprint("data.train_limit=", limit), "data.batch_size=20")
		_, err := trainer.Run(trainer.EndsAfter(6), cfg, trainer.Quiet())
		require.ErrorIs(t, err, trainer.ErrInterrupted)
		before := rows(t, folder(cfg))
		trainer.Apart(t, func() {
			_, err = trainer.Run(context.Background(), cfg, trainer.Quiet())
		}, torch.CPU, torch.CPU)
		if refused {
			require.ErrorContains(t, err, "was trained in 3 steps an epoch, and on what run.device is now they would be 2")
			assert.Equal(t, before, rows(t, folder(cfg)))
			run(t, cfg)
		}
		if !refused {
			require.NoError(t, err)
		}
		assert.FileExists(t, filepath.Join(folder(cfg), "DONE"))
	}
}
