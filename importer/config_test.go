package importer_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/importer"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
)

// carried carries a config over and reads the result as rapt does.
func carried(t *testing.T, path, dataset string) (*config.Config, *importer.Config) {
	t.Helper()
	old, err := importer.ReadConfig(path, dataset)
	require.NoError(t, err)
	text, err := old.Text()
	require.NoError(t, err)
	c, err := config.Parse([]byte(text), path, nil)
	require.NoError(t, err, text)
	for _, n := range old.Notes {
		require.NotContains(t, n, "\n")
		require.Contains(t, text, "# - "+n+"\n")
	}
	return c, old
}

func written(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "old.yaml")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	return path
}

// edited is a config of testdata with some lines replaced.
func edited(t *testing.T, name string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	for i := 0; i < len(replace); i += 2 {
		require.Contains(t, string(b), replace[i])
	}
	return written(t, strings.NewReplacer(replace...).Replace(string(b)))
}

func ratios(c *config.Config) map[string]config.Number {
	out := map[string]config.Number{}
	for _, r := range c.Prune.Ratios {
		out[r.Layer] = r.Ratio
	}
	return out
}

func TestMNISTConfig(t *testing.T) {
	c, old := carried(t, "testdata/mnist.yaml", "")
	assert.EqualValues(t, 7, c.Run.Seed)
	assert.Equal(t, []any{25, "mnist", 64, 1000}, []any{c.Run.LogEvery, c.Data.Dataset, c.Data.BatchSize, c.Data.EvalBatchSize})
	assert.Equal(t, config.Model{Arch: "lenet_adv", Width: 4, Init: "xavier_uniform"}, c.Model)
	assert.Equal(t, config.Training{Method: "pgd"}, c.Training)
	assert.Equal(t, config.Adversary{Norm: "Linf", Epsilon: 0.3, StepSize: 0.01, Steps: 40, RandomStart: true, Loss: "ce", BatchNorm: "train"}, c.Adversary)
	assert.Equal(t, "filter", c.Prune.SparsityType)
	assert.Equal(t, map[string]config.Number{"conv1": 0.5, "conv2": 0.75, "fc1": 0.5}, ratios(c))
	assert.True(t, c.Prune.HoldZeros)
	assert.Equal(t, config.Stage{Epochs: 83, Optimizer: "adam", LR: 1e-4, LRSchedule: "constant", Gamma: 0.1}, c.Pretrain)
	assert.Equal(t, config.Stage{Epochs: 36, Optimizer: "sgd", LR: 0.01, Momentum: 0.9, WeightDecay: 1e-6, LRSchedule: "admm", Gamma: 0.1,
		Rho: 1e-3, RhoMode: "growth", RhoGrowth: 1.3, RhoStepGrowth: 2, UpdateEvery: 3}, c.ADMM)
	assert.Equal(t, config.Stage{Epochs: 30, Optimizer: "adam", LR: 1e-3, LRSchedule: "cosine", Gamma: 0.1, WarmupEpochs: 2}, c.Retrain)
	assert.Equal(t, []string{"pgd-40"}, c.Evaluate.Attacks)
	said := strings.Join(old.Notes, "\n")
	for _, what := range []string{"training.method is pgd", `the prune_ratios of "resnet18" are left out`, "one more in every stage", "retrain.warmup_lr is 0.0001"} {
		assert.Contains(t, said, what)
	}
	assert.NotContains(t, said, "load_model", "each stage loads what the one before saves")
}

func TestCIFAR10Config(t *testing.T) {
	c, old := carried(t, "testdata/cifar10.yaml", "")
	assert.Equal(t, []any{"cifar10", 128, 100}, []any{c.Data.Dataset, c.Data.BatchSize, c.Data.EvalBatchSize})
	assert.Equal(t, config.Model{Arch: "resnet18_adv", Width: 16, Init: "default", Load: "runs/natural.safetensors"}, c.Model)
	assert.Equal(t, config.Training{Method: "pgd", LabelSmoothing: 0.1, MixupAlpha: 0.2}, c.Training, "0.09 on 9 of 10 classes is 0.1 on all 10")
	assert.Equal(t, config.Adversary{Norm: "Linf", Epsilon: 8. / 255, StepSize: 2. / 255, Steps: 10, RandomStart: true, Loss: "ce", BatchNorm: "train"}, c.Adversary)
	assert.Equal(t, "bn_filter", c.Prune.SparsityType)
	assert.Equal(t, map[string]config.Number{"bn1": 0.9375, "bn2": 0.75, "bn20": 0}, ratios(c), "of a key given twice the last one counts")
	assert.False(t, c.Prune.HoldZeros)
	assert.Equal(t, config.Stage{Epochs: 200, Optimizer: "sgd", LR: 0.1, Momentum: 0.9, WeightDecay: 1e-4, LRSchedule: "multistep", Milestones: []int{80, 150}, Gamma: 0.1,
		WarmupEpochs: 5}, c.Pretrain)
	assert.Equal(t, config.Stage{Epochs: 120, Optimizer: "sgd", LR: 0.01, Momentum: 0.9, WeightDecay: 1e-4, LRSchedule: "admm", Gamma: 0.1,
		Rho: 2e-3, RhoMode: "fixed", RhoStepGrowth: 2, UpdateEvery: 20}, c.ADMM)
	assert.Equal(t, []int{80}, c.Retrain.Milestones, "those within the stage")
	assert.Equal(t, []string{"pgd-10"}, c.Evaluate.Attacks)
	said := strings.Join(old.Notes, "\n")
	for _, what := range []string{"general.gpu_id is 1", "adv.init_func is orthogonal", "rapt import runs/natural.pt", "smooth_eps = 0.09", "adv.loss_func is cw",
		"pretrain.warmup_lr", "admm.lr_scheduler is cosine", "admm.load_model is other.pt", `"general.colour" (line 21) is no key`, `"extra.thing" (line 60) is no key`} {
		assert.Contains(t, said, what)
	}
}

func TestImageNetConfig(t *testing.T) {
	c, old := carried(t, "testdata/imagenet.yaml", "")
	assert.EqualValues(t, 0, c.Run.Seed)
	assert.Equal(t, []any{"image_folder", "/data/ImageNet", 512, 512}, []any{c.Data.Dataset, c.Data.Dir, c.Data.BatchSize, c.Data.EvalBatchSize})
	assert.Equal(t, []any{"resnet50", "natural"}, []any{c.Model.Arch, c.Training.Method})
	assert.InDelta(t, 0.1*1000/999, float64(c.Training.LabelSmoothing), 1e-12)
	assert.Equal(t, map[string]config.Number{"conv1": 0, "conv2": 0.75, "fc1": 0.5}, ratios(c))
	assert.Equal(t, []config.Number{0.95, 2e-4}, []config.Number{c.ADMM.Momentum, c.ADMM.WeightDecay})
	assert.Equal(t, []int{30, 60, 90}, c.Retrain.Milestones)
	assert.Zero(t, c.Retrain.WeightDecay, "adam had none")
	assert.Empty(t, c.Evaluate.Attacks)
	said := strings.Join(old.Notes, "\n")
	for _, what := range []string{"general.gpu is all", "torchvision's network for ImageNet", "general.pretrained is True", "normalised them"} {
		assert.Contains(t, said, what)
	}
	assert.NotContains(t, said, "is no key")
	assert.NotContains(t, said, "load_model")
}

// TestWhatTheScriptsDidOtherwise: settings whose meaning depended on the script or on other keys.
func TestWhatTheScriptsDidOtherwise(t *testing.T) {
	c, old := carried(t, edited(t, "cifar10.yaml", "bn1.weight", "conv1.weight", "bn2.weight", "conv2.weight", "bn20.weight", "fc1.weight"), "")
	assert.Equal(t, "irregular", c.Prune.SparsityType, "bn_filter took single weights of convolutions")
	assert.Contains(t, strings.Join(old.Notes, "\n"), "prune.sparsity_type is irregular")

	c, _ = carried(t, edited(t, "cifar10.yaml", "sparsity_type: bn_filter", "sparsity_type: filter"), "")
	assert.Equal(t, "bn_filter", c.Prune.SparsityType, "filter took single scales of batch norms")

	_, old = carried(t, edited(t, "cifar10.yaml", "bn1.weight", "conv1.weight"), "")
	assert.Contains(t, strings.Join(old.Notes, "\n"), "bn_filter does not fit all the layers")

	c, old = carried(t, edited(t, "cifar10.yaml", "resnet18_adv", "lenet_adv", "width_multiplier: 16", "width_multiplier: 2.0"), "")
	assert.Equal(t, []any{"lenet", 2, "cifar10"}, []any{c.Model.Arch, c.Model.Width, c.Data.Dataset})
	assert.Contains(t, strings.Join(old.Notes, "\n"), "lenet under another name")

	c, old = carried(t, edited(t, "cifar10.yaml", "resnet18_adv", "vgg16"), "")
	assert.Equal(t, []any{"vgg16", 1}, []any{c.Model.Arch, c.Model.Width})
	assert.Contains(t, strings.Join(old.Notes, "\n"), "adv.width_multiplier is 16: the original did not use it for vgg16")

	c, _ = carried(t, "testdata/mnist.yaml", "digits")
	assert.Equal(t, "digits", c.Data.Dataset)

	natural := edited(t, "cifar10.yaml", "adv:\n  epsilon: 8.0\n  num_steps: 10\n  step_size: 2.0\n  random_start: True\n  loss_func: cw\n  width_multiplier: 16\n  init_func: orthogonal\n", "",
		"epochs: 200", "epochs: 300")
	c, old = carried(t, natural, "")
	assert.Equal(t, "natural", c.Training.Method)
	assert.Equal(t, []int{150, 250}, c.Pretrain.Milestones)
	assert.Empty(t, c.Evaluate.Attacks)
	assert.Contains(t, strings.Join(old.Notes, "\n"), "main.py normalised the images")
}

func TestConfigsThatAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		path string
		says []string
	}{
		"not YAML":      {written(t, "general: [1\n"), []string{"is not valid YAML"}},
		"empty":         {written(t, "# nothing\n"), []string{"holds no sections"}},
		"a list":        {written(t, "- 1\n"), []string{"holds no sections"}},
		"another one's": {written(t, "server: {port: 1}\n"), []string{"has no section general"}},
		"one of rapt":   {written(t, "data: {dataset: digits}\n"), []string{"rapt run takes it as it is"}},
		"no network":    {written(t, "general: {gpu_id: 0}\n"), []string{"general.arch is missing"}},
		"bad values": {edited(t, "cifar10.yaml", "optimizer: sgd\n lr_scheduler: cosine", "optimizer: lion\n lr_scheduler: cosine", "epochs: 200", "epochs: many", "bn1.weight: 0.9375",
			"bn1.weight: 93.75", "multi_rho: False", "multi_rho: maybe", "admm_epoch: 20", "admm_epoch: 0", "num_steps: 10", "num_steps: [1]"),
			[]string{`line 4: adv.num_steps is no single value: a number`, `line 24: pretrain.epochs is "many": a number`, `line 36: admm.optimizer is "lion": sgd or adam`,
				`line 38: admm.admm_epoch is "0": a whole number of 1 or more`, `line 40: admm.multi_rho is "maybe": True or False`,
				`resnet18_adv.prune_ratios.bn1.weight is "93.75": the fraction removed`}},
		"sparsity":  {edited(t, "mnist.yaml", "  filter", "  quantization"), []string{"general.sparsity_type is \"quantization\""}},
		"schedule":  {edited(t, "cifar10.yaml", "optimizer: sgd\n lr_scheduler: default\nadmm", "optimizer: sgd\n lr_scheduler: step\nadmm"), []string{`pretrain.lr_scheduler is "step": default or cosine`}},
		"no ratios": {edited(t, "mnist.yaml", "  lenet_adv\n", "  lenet_bn\n"), []string{"there is no section lenet_bn with prune_ratios"}},
		"controls":  {edited(t, "mnist.yaml", "  lenet_adv\n", "  \"lenet\\nadv\"\n"), []string{"general.arch is missing"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := importer.ReadConfig(c.path, "")
			for _, s := range c.says {
				require.ErrorContains(t, err, s)
			}
			require.ErrorAs(t, err, new(*checkpoint.InputError))
		})
	}
	_, err := importer.ReadConfig("testdata/mnist.yaml", "imagenet")
	require.ErrorContains(t, err, `--dataset is "imagenet"`)
}

func FuzzReadConfig(f *testing.F) {
	for _, name := range []string{"mnist.yaml", "cifar10.yaml", "imagenet.yaml"} {
		b, err := os.ReadFile("testdata/" + name)
		require.NoError(f, err)
		f.Add(b)
	}
	path := filepath.Join(f.TempDir(), "old.yaml")
	f.Fuzz(func(t *testing.T, b []byte) {
		require.NoError(t, os.WriteFile(path, b, 0o644))
		old, err := importer.ReadConfig(path, "")
		if err != nil {
			return
		}
		text, err := old.Text()
		require.NoError(t, err)
		_, err = config.Parse([]byte(text), path, nil)
		if err != nil && strings.Contains(err.Error(), "not valid YAML") {
			t.Fatalf("the result is no YAML: %v\n%s", err, text)
		}
	})
}
