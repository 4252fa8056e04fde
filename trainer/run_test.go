package trainer_test

import (
	"bufio"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/datasets"
	"rapt/trainer"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

func run(t *testing.T, cfg *config.Config) *metrics.Report {
	t.Helper()
	report, err := trainer.Run(context.Background(), cfg, trainer.Quiet())
	require.NoError(t, err)
	return report
}

func folder(cfg *config.Config) string { return filepath.Join(cfg.Run.OutDir, cfg.Run.Name) }

// tensors are the bytes of all of a run's checkpoints, models and trainer states, by file.
func tensors(t *testing.T, dir string) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "checkpoints", "*", "*.safetensors"))
	require.NoError(t, err)
	out := map[string]string{}
	for _, f := range files {
		if strings.Contains(f, ".prev.") {
			continue
		}
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		name, err := filepath.Rel(dir, f)
		require.NoError(t, err)
		out[name] = string(data)
	}
	return out
}

// sameTensors says which files differ, and not how.
func sameTensors(t *testing.T, want, got map[string]string, msg ...any) {
	t.Helper()
	for name := range want {
		assert.True(t, want[name] == got[name], "%s differs %v", name, msg)
	}
	assert.Len(t, got, len(want), msg...)
}

// timeless is a report without what differs from run to run.
func timeless(r *metrics.Report) metrics.Report {
	out := *r
	strip := func(all []metrics.StageResult) []metrics.StageResult {
		all = append([]metrics.StageResult{}, all...)
		for i := range all {
			all[i].Seconds, all[i].ImagesPerSecond = 0, 0
		}
		return all
	}
	out.Stages, out.Baselines = strip(r.Stages), strip(r.Baselines)
	return out
}

func storedReport(t *testing.T, dir string) *metrics.Report {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, "report.json"))
	require.NoError(t, err)
	r := new(metrics.Report)
	require.NoError(t, json.Unmarshal(data, r))
	return r
}

// rows are a run's metrics.jsonl.
func rows(t *testing.T, dir string) []map[string]any {
	t.Helper()
	f, err := os.Open(filepath.Join(dir, "metrics.jsonl"))
	require.NoError(t, err)
	defer f.Close()
	var out []map[string]any
	for scan := bufio.NewScanner(f); scan.Scan(); {
		row := map[string]any{}
		require.NoError(t, json.Unmarshal(scan.Bytes(), &row))
		out = append(out, row)
	}
	return out
}

// ofEpochs are the rows that end an epoch of a stage.
func ofEpochs(t *testing.T, dir, stage string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, row := range rows(t, dir) {
		if _, ok := row["val/clean_acc"]; ok && row["stage"] == stage {
			out = append(out, row)
		}
	}
	return out
}

func TestSameSeedSameBits(t *testing.T) {
	for name, sets := range map[string][]string{
		"one worker":              {"run.workers=1"},
		"two workers":             {"run.workers=2"},
		"three, with batch norm":  {"run.workers=3", "model.arch=lenet_bn", "data.batch_size=16", "prune.sparsity_type=bn_filter", "prune.ratio=0.5", "admm.epochs=1", "retrain.epochs=1", "pretrain.epochs=1"},
		"mixup, smoothing and L2": {"run.workers=2", "training.mixup_alpha=0.5", "training.label_smoothing=0.1", "adversary.norm=L2", "adversary.epsilon=1.5", "adversary.step_size=0.5"},
	} {
		t.Run(name, func(t *testing.T) {
			one, two, other := trainer.Settings(t, t.TempDir(), sets...), trainer.Settings(t, t.TempDir(), sets...), trainer.Settings(t, t.TempDir(), append(sets, "run.seed=2")...)
			report := timeless(run(t, one))
			assert.Equal(t, report, timeless(run(t, two)))
			want := tensors(t, folder(one))
			require.Len(t, want, 9, "best, last and its state of three stages")
			sameTensors(t, want, tensors(t, folder(two)))
			run(t, other)
			for name, data := range tensors(t, folder(other)) {
				assert.False(t, data == want[name], "another seed gave the same %s", name)
			}
		})
	}
}

func TestReport(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "evaluate.attacks=[pgd-3, pgd-1]", "run.seed=7")
	r := run(t, cfg)
	assert.Equal(t, r, storedReport(t, folder(cfg)))
	assert.FileExists(t, filepath.Join(folder(cfg), "DONE"))
	assert.Equal(t, []any{1, "tiny", "digits", "lenet_adv", 1, "pgd", uint64(7), "v-test"},
		[]any{r.Schema, r.Name, r.Dataset, r.Arch, r.Width, r.Method, r.Seed, r.Version})
	require.Len(t, r.Stages, 3)
	for i, name := range []string{"pretrain", "admm", "retrain"} {
		s := r.Stages[i]
		assert.Equal(t, name, s.Stage)
		assert.Equal(t, 2, s.Epochs)
		assert.Positive(t, s.Seconds)
		assert.Positive(t, s.ImagesPerSecond)
		assert.Len(t, s.RobustAccuracy, 2)
		for _, robust := range s.RobustAccuracy {
			assert.LessOrEqual(t, *s.WorstCase, robust)
		}
		assert.LessOrEqual(t, *s.WorstCase, s.CleanAccuracy)
	}
	last := r.Stages[2]
	assert.Equal(t, last.CleanAccuracy, *r.CleanAccuracy)
	assert.Equal(t, last.RobustAccuracy, r.RobustAccuracy)
	assert.Equal(t, last.WorstCase, r.WorstCaseAccuracy)
	assert.Zero(t, r.Stages[0].Sparsity)
	assert.InDelta(t, 0.9, last.Sparsity, 1e-3)
	assert.InDelta(t, 10, last.Compression, 0.1)
	assert.Equal(t, last.Sparsity, r.Sparsity.Sparsity)
	require.Len(t, r.Sparsity.Layers, 4)
	assert.Equal(t, "conv1.weight", r.Sparsity.Layers[0].Name)
}

// Training has to change what it is for: more epochs, a better model.
func TestTrainingLearns(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "data.train_limit=400", "data.validation=40", "data.test_limit=200", "pretrain.epochs=6",
		"pretrain.optimizer=adam", "pretrain.lr=3e-3", "pretrain.momentum=0", "pretrain.nesterov=false", "training.method=natural", "model.width=4",
		"admm.epochs=0", "retrain.epochs=0", "run.workers=2")
	r := run(t, cfg)
	assert.Greater(t, r.Stages[0].CleanAccuracy, 0.5)
	assert.Less(t, r.Stages[0].Loss, 1.6, "the loss of guessing is 2.3")
	epochs := ofEpochs(t, folder(cfg), "pretrain")
	require.Len(t, epochs, 6)
	assert.Less(t, epochs[5]["train/loss"], epochs[0]["train/loss"])
	assert.Greater(t, epochs[5]["train/clean_acc"], epochs[0]["train/clean_acc"])
}

func TestBaselines(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "evaluate.baselines=[natural, one_shot]", "prune.ratio=0.8")
	r := run(t, cfg)
	require.Len(t, r.Stages, 3)
	require.Len(t, r.Baselines, 3)
	natural, oneShot, again := r.Baselines[0], r.Baselines[1], r.Baselines[2]
	assert.Equal(t, []string{"natural", "one_shot", "one_shot_retrain"}, []string{natural.Stage, oneShot.Stage, again.Stage})
	assert.Zero(t, natural.Sparsity)
	assert.Equal(t, r.Stages[2].Sparsity, oneShot.Sparsity, "the same ratio as ADMM's")
	assert.Equal(t, r.Stages[2].Sparsity, again.Sparsity)
	assert.Equal(t, r.Stages[2].CleanAccuracy, *r.CleanAccuracy, "the report's model is no baseline")

	before, after := best(t, cfg, "pretrain"), best(t, cfg, "one_shot")
	for _, b := range before.Tensors {
		a, ok := after.Get(b.Name)
		require.True(t, ok)
		was, err := b.Float32s()
		require.NoError(t, err)
		is, err := a.Float32s()
		require.NoError(t, err)
		for i := range is {
			if is[i] != 0 {
				require.Equal(t, was[i], is[i], "one-shot pruning only removes")
			}
		}
	}
	assert.Contains(t, ofEpochs(t, folder(cfg), "natural")[0], "train/clean_acc")
	assert.NotContains(t, ofEpochs(t, folder(cfg), "natural")[0], "train/adv_acc")
	assert.Contains(t, ofEpochs(t, folder(cfg), "pretrain")[0], "train/adv_acc")
	assert.NotEqual(t, tensors(t, folder(cfg))["checkpoints/natural/best.safetensors"], tensors(t, folder(cfg))["checkpoints/pretrain/best.safetensors"])
}

func TestOneShotAlone(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "evaluate.baselines=[one_shot]", "admm.epochs=0", "retrain.epochs=0")
	r := run(t, cfg)
	require.Len(t, r.Baselines, 1, "nothing is retrained where the config retrains nothing")
	assert.InDelta(t, 0.9, r.Baselines[0].Sparsity, 1e-3)
	assert.Zero(t, r.Sparsity.Sparsity)
}

func TestRealMNIST(t *testing.T) {
	dir := os.Getenv("RAPT_DATA_DIR")
	if dir == "" {
		dir = filepath.Join("..", "..", "shared", "data")
	}
	if _, err := datasets.Load(context.Background(), datasets.Options{Dataset: "mnist", Dir: dir, TrainLimit: 1, TestLimit: 1}); err != nil {
		t.Skipf("no MNIST in %s; set $RAPT_DATA_DIR to a folder that has it (`rapt data fetch mnist` gets it)", dir)
	}
	cfg := trainer.Settings(t, t.TempDir(), "data.dataset=mnist", "data.dir="+dir, "data.train_limit=500", "data.validation=50", "data.test_limit=200", "data.batch_size=32",
		"model.width=4", "training.method=natural", "pretrain.epochs=5", "admm.epochs=0", "retrain.epochs=0", "run.workers=2")
	r := run(t, cfg)
	assert.Equal(t, "mnist", r.Dataset)
	assert.Greater(t, r.Stages[0].CleanAccuracy, 0.6, "of the first 200 test images")
}
