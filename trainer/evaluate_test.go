package trainer_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/datasets"
	"rapt/models"
	"rapt/trainer"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// judged is a finished run with several chunks of test images and attacks whose settings follow no rule.
func judged(t *testing.T, sets ...string) (*config.Config, *metrics.Report) {
	t.Helper()
	cfg := trainer.Settings(t, t.TempDir(), append([]string{"data.test_limit=250", "data.train_limit=300", "data.validation=30", "run.seed=3",
		"pretrain.optimizer=adam", "pretrain.momentum=0", "pretrain.nesterov=false", "pretrain.lr=3e-3", "pretrain.epochs=3", "model.width=2", "training.method=natural",
		"admm.epochs=0", "retrain.epochs=1", "prune.ratio=0.5", "evaluate.attacks=[pgd-3, pgd-2]", "evaluate.epsilon=0.05"}, sets...)...)
	return cfg, run(t, cfg)
}

func evaluate(t *testing.T, o trainer.EvalOptions) *metrics.Report {
	t.Helper()
	o.Console, o.Version = trainer.Quiet().Console, "v-eval"
	if o.Device == "" {
		o.Device = "cpu"
	}
	r, err := trainer.Evaluate(context.Background(), o)
	require.NoError(t, err)
	return r
}

func TestEvaluateGivesTheReport(t *testing.T) {
	for name, sets := range map[string][]string{
		"Linf":  nil,
		"L2":    {"adversary.norm=L2", "adversary.epsilon=2", "adversary.step_size=0.5", "evaluate.epsilon=0.6", "evaluate.step_size=0.21", "adversary.random_start=false"},
		"noise": {"evaluate.attacks=[pgd-3, pgd-1]", "evaluate.epsilon=0.3", "evaluate.step_size=1e-4"}, // all depends on the random start
	} {
		t.Run(name, func(t *testing.T) {
			cfg, want := judged(t, sets...)
			require.Greater(t, *want.CleanAccuracy, 0.2, "or this test shows little")
			require.NotEqual(t, *want.CleanAccuracy, want.RobustAccuracy["pgd-3"])
			for _, o := range []trainer.EvalOptions{{Workers: 1}, {Workers: 3}, {Workers: 2, BatchSize: 7}, {}} {
				o.Path = folder(cfg)
				got := evaluate(t, o)
				assert.Equal(t, want.CleanAccuracy, got.CleanAccuracy)
				assert.Equal(t, want.RobustAccuracy, got.RobustAccuracy)
				assert.Equal(t, want.WorstCaseAccuracy, got.WorstCaseAccuracy)
				assert.Equal(t, want.Sparsity, got.Sparsity)
				assert.Equal(t, []any{want.Name, want.Dataset, want.Arch, want.Width, want.Method, want.Parameters, want.Seed, "v-eval"},
					[]any{got.Name, got.Dataset, got.Arch, got.Width, got.Method, got.Parameters, got.Seed, got.Version})
				assert.Empty(t, got.Stages)
			}
			if name == "noise" {
				other := evaluate(t, trainer.EvalOptions{Path: folder(cfg), Workers: 2, Seed: 99})
				require.NotEqual(t, want.RobustAccuracy, other.RobustAccuracy, "or this test does not see what a random start does")
			}
			first := evaluate(t, trainer.EvalOptions{Path: filepath.Join(folder(cfg), "checkpoints", "pretrain", "best.safetensors"), Workers: 2})
			assert.Equal(t, want.Stages[0].CleanAccuracy, *first.CleanAccuracy)
			assert.Equal(t, want.Stages[0].RobustAccuracy, first.RobustAccuracy)
			assert.Zero(t, first.Sparsity.Sparsity)
		})
	}
}

func TestJudgedRun(t *testing.T) {
	cfg, want := judged(t)
	t.Run("evaluate otherwise", func(t *testing.T) { evaluateOtherwise(t, cfg) })
	t.Run("predict", func(t *testing.T) { predict(t, cfg, want) })
	t.Run("sparsity", func(t *testing.T) { sparsityOf(t, cfg, want) })
}

func evaluateOtherwise(t *testing.T, cfg *config.Config) {
	dir := folder(cfg)
	none := evaluate(t, trainer.EvalOptions{Path: dir, Workers: 2})
	strong := evaluate(t, trainer.EvalOptions{Path: dir, Workers: 2, Attacks: []string{"pgd-10"}, Epsilon: 0.5})
	assert.Equal(t, none.CleanAccuracy, strong.CleanAccuracy)
	require.Len(t, strong.RobustAccuracy, 1)
	assert.Less(t, strong.RobustAccuracy["pgd-10"], none.RobustAccuracy["pgd-3"])
	few := evaluate(t, trainer.EvalOptions{Path: dir, Workers: 2, Limit: 1})
	assert.Contains(t, []float64{0, 1}, *few.CleanAccuracy, "of one image")
	other := evaluate(t, trainer.EvalOptions{Path: dir, Workers: 2, Seed: 99})
	assert.Equal(t, none.CleanAccuracy, other.CleanAccuracy, "the images stay")
	assert.Equal(t, uint64(99), other.Seed)

	_, err := trainer.Evaluate(trainer.EndsAfter(1), trainer.EvalOptions{Path: dir, Workers: 1, Device: "cpu", Console: trainer.Quiet().Console})
	assert.ErrorIs(t, err, trainer.ErrInterrupted)
}

// The attacks of an evaluation: what is not asked for is as the run was judged.
func TestAttacks(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "evaluate.attacks=[pgd-40, pgd-2]", "evaluate.epsilon=0.2", "adversary.random_start=false", "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0", "data.test_limit=10")
	run(t, cfg)
	linf := func(steps int, epsilon, step float64) metrics.Attack {
		return metrics.Attack{Name: fmt.Sprintf("pgd-%d", steps), Norm: "Linf", Epsilon: epsilon, StepSize: step, Steps: steps}
	}
	set := metrics.Attack{Name: "autoattack", Norm: "Linf", Epsilon: 0.2, Parts: []string{"apgd-ce", "apgd-t", "fab-t", "square"}}
	for name, c := range map[string]struct {
		ask  trainer.EvalOptions
		want []metrics.Attack
	}{
		"as it was":                  {trainer.EvalOptions{}, []metrics.Attack{linf(40, 0.2, 0.0125), linf(2, 0.2, 0.1)}},
		"one of them":                {trainer.EvalOptions{Attacks: []string{"pgd-2"}}, []metrics.Attack{linf(2, 0.2, 0.1)}},
		"another one":                {trainer.EvalOptions{Attacks: []string{"pgd-5"}}, []metrics.Attack{linf(5, 0.2, 0.1)}},
		"in another ball":            {trainer.EvalOptions{Attacks: []string{"pgd-2"}, Epsilon: 0.1}, []metrics.Attack{linf(2, 0.1, 0.125)}},
		"in the same ball, by value": {trainer.EvalOptions{Attacks: []string{"pgd-2"}, Epsilon: 0.2}, []metrics.Attack{linf(2, 0.2, 0.1)}},
		"by another step":            {trainer.EvalOptions{StepSize: 0.03}, []metrics.Attack{linf(40, 0.2, 0.03), linf(2, 0.2, 0.03)}},
		"a set":                      {trainer.EvalOptions{Attacks: []string{"AutoAttack"}}, []metrics.Attack{set}},
	} {
		t.Run(name, func(t *testing.T) {
			c.ask.Path = folder(cfg)
			got, err := trainer.Attacks(c.ask)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
	var input *trainer.InputError
	for text, ask := range map[string]trainer.EvalOptions{"did you mean 8/255?": {Epsilon: 8}, `unknown attack "fgsn", did you mean fgsm?`: {Attacks: []string{"fgsn"}},
		"pgd-2 is asked for twice": {Attacks: []string{"pgd-2", "PGD-2"}}, "cw measures L2, not Linf": {Attacks: []string{"cw"}}} {
		ask.Path = folder(cfg)
		_, err := trainer.Attacks(ask)
		require.ErrorAs(t, err, &input)
		assert.ErrorContains(t, err, text)
	}
}

func TestMetadata(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "evaluate.attacks=[pgd-40, pgd-2]", "adversary.norm=L2", "adversary.epsilon=1.5", "model.width=2")
	run(t, cfg)
	parts, err := datasets.Load(context.Background(), datasets.Options{Dataset: "digits", Validation: 12, TrainLimit: 60, TestLimit: 40, Seed: 1})
	require.NoError(t, err)
	for stage, epoch := range map[string]string{"admm": "2", "retrain": ""} {
		f, err := checkpoint.Read(filepath.Join(folder(cfg), "checkpoints", stage, "best.safetensors"))
		require.NoError(t, err)
		if epoch == "" {
			epoch = f.Metadata["epoch"]
			assert.Contains(t, []string{"1", "2"}, epoch)
		}
		assert.Equal(t, map[string]string{
			"format": "pt", "dataset": "digits", "arch": "lenet_adv", "width": "2", "classes": "10", "method": "pgd", "stage": stage, "epoch": epoch,
			"sparsity_type": "irregular", "norm": "L2", "epsilon": "1.5", "random_start": "true", "attacks": "pgd-40=0.09375,pgd-2=0.1", "adversary": "pgd-2=0.1", "name": "tiny",
			"seed": "1", "data_sha256": parts.SHA256, "test_limit": "40", "rapt_version": "v-test", "input": "1,28,28"}, f.Metadata)
	}
}

// The chosen model of a stage is the one that did best on the validation images, the later of equals; ADMM's is its last.
func TestBestIsChosenOnValidation(t *testing.T) {
	for _, c := range []struct{ method, metric, stage string }{{"natural", "val/clean_acc", "pretrain"}, {"pgd", "val/pgd_acc", "pretrain"}, {"natural", "val/clean_acc", "admm"}} {
		t.Run(c.method+" "+c.stage, func(t *testing.T) {
			sets := []string{"pretrain.epochs=0", "admm.epochs=0", "retrain.epochs=0", "model.width=4", "data.test_limit=200", "data.train_limit=240", "data.validation=40",
				"adversary.epsilon=0.05", "adversary.step_size=0.03", "training.method=" + c.method, "admm.rho=1e-6",
				"pretrain.momentum=0", "pretrain.nesterov=false"}
			for key, value := range map[string]string{"epochs": "4", "optimizer": "adam", "lr": "4e-3", "lr_schedule": "multistep", "milestones": "[3]"} {
				sets = append(sets, c.stage+"."+key+"="+value)
			}
			cfg := trainer.Settings(t, t.TempDir(), sets...)
			cfg.Pretrain.Gamma, cfg.ADMM.Gamma = 100, 100 // the last epoch spoils the model
			report := run(t, cfg)
			best, at, score := -1.0, 0.0, 0.0
			for _, row := range ofEpochs(t, folder(cfg), c.stage) {
				if score = row[c.metric].(float64); score >= best {
					best, at = score, row["epoch"].(float64)
				}
			}
			dir := filepath.Join(folder(cfg), "checkpoints", c.stage)
			chosen, err := checkpoint.Read(filepath.Join(dir, "best.safetensors"))
			require.NoError(t, err)
			last, err := checkpoint.Read(filepath.Join(dir, "last.safetensors"))
			require.NoError(t, err)
			require.Less(t, score, best, "or this test shows little: change its settings")
			assert.Equal(t, "4", last.Metadata["epoch"])
			if c.stage == "admm" {
				at = 4
			}
			assert.Equal(t, fmt.Sprint(at), chosen.Metadata["epoch"])
			assert.Equal(t, at == 4, assert.ObjectsAreEqual(chosen.Tensors, last.Tensors), "last is the last epoch's model")
			ofChosen := evaluate(t, trainer.EvalOptions{Path: folder(cfg), Workers: 1})
			ofLast := evaluate(t, trainer.EvalOptions{Path: filepath.Join(dir, "last.safetensors"), Workers: 1})
			assert.Equal(t, *ofChosen.CleanAccuracy, report.Stages[0].CleanAccuracy, "the report is on the chosen model")
			assert.Equal(t, at == 4, *ofChosen.CleanAccuracy == *ofLast.CleanAccuracy)
		})
	}
}

func TestPredictRefusesWhatIsNoNumber(t *testing.T) {
	cfg, _ := judged(t, "pretrain.epochs=1")
	bad := altered(t, filepath.Join(folder(cfg), "checkpoints", "retrain", "best.safetensors"), func(f *checkpoint.File) {
		w, _ := f.Get("fc2.bias")
		binary.LittleEndian.PutUint32(w.Data, math.Float32bits(float32(math.NaN())))
	})
	o := trainer.PredictOptions{Path: bad, Out: filepath.Join(t.TempDir(), "out.safetensors"), Device: "cpu"}
	_, err := trainer.Predict(t.Context(), o)
	require.ErrorContains(t, err, "image 0: a logit of the network is not a finite number")
	assert.NoFileExists(t, o.Out)
}

func predict(t *testing.T, cfg *config.Config, want *metrics.Report) {
	direct := forward(t, cfg)
	for name, o := range map[string]trainer.PredictOptions{"all": {}, "small batches": {BatchSize: 9}, "the first": {Limit: 30, Images: true}} {
		t.Run(name, func(t *testing.T) {
			o.Path, o.Out, o.Device, o.Console = folder(cfg), filepath.Join(t.TempDir(), "out.safetensors"), "cpu", trainer.Quiet().Console
			n, err := trainer.Predict(context.Background(), o)
			require.NoError(t, err)
			f, err := checkpoint.Read(o.Out)
			require.NoError(t, err)
			x, _ := f.Get("logits")
			y, _ := f.Get("labels")
			logits, err := x.Float32s()
			require.NoError(t, err)
			labels, err := y.Int64s()
			require.NoError(t, err)
			if o.Limit > 0 {
				assert.Equal(t, o.Limit, n)
			} else {
				assert.Equal(t, 250, n)
			}
			assert.Equal(t, []int64{int64(n), 10}, x.Shape)
			assert.Equal(t, []int64{int64(n)}, y.Shape)
			assert.InDeltaSlice(t, direct[:10*n], logits, 1e-5)
			right := 0
			for i, label := range labels {
				row, best := logits[10*i:10*i+10], 0
				for j, v := range row {
					if v > row[best] {
						best = j
					}
				}
				if int64(best) == label {
					right++
				}
			}
			images, ok := f.Get("images")
			assert.Equal(t, o.Images, ok)
			if ok {
				parts, err := datasets.Load(context.Background(), datasets.Options{Dataset: "digits", TrainLimit: 1, TestLimit: n, Seed: cfg.Run.Seed})
				require.NoError(t, err)
				got, err := images.Float32s()
				require.NoError(t, err)
				assert.Equal(t, []int64{int64(n), 1, 28, 28}, images.Shape)
				for i, b := range parts.Test.Bytes() {
					require.Equal(t, float32(b)/255, got[i])
				}
			}
			if n == 250 {
				assert.Equal(t, *want.CleanAccuracy, float64(right)/250)
			}
		})
	}
}

// forward is the run's model on its test images, by hand.
func forward(t *testing.T, cfg *config.Config) (out []float32) {
	t.Helper()
	parts, err := datasets.Load(context.Background(), datasets.Options{Dataset: "digits", TrainLimit: 1, TestLimit: cfg.Data.TestLimit, Seed: cfg.Run.Seed})
	require.NoError(t, err)
	f, err := checkpoint.Read(filepath.Join(folder(cfg), "checkpoints", "retrain", "best.safetensors"))
	require.NoError(t, err)
	require.NoError(t, torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		m, err := models.New(s, models.Spec{Arch: cfg.Model.Arch, Width: cfg.Model.Width, Classes: 10}, nil)
		require.NoError(t, err)
		s.NoGrad(func() {
			for _, e := range m.State {
				w, ok := f.Get(e.Name)
				require.True(t, ok)
				e.Tensor.Copy_(s.FromBytes(w.Data, torch.Float32, w.Shape...))
			}
			x := s.FromUint8(parts.Test.Bytes(), int64(parts.Test.N), 1, 28, 28).To(torch.Float32).DivScalar(255)
			out, err = m.Forward(x, nn.Eval).Float32s()
		})
		return err
	}))
	return out
}

func sparsityOf(t *testing.T, cfg *config.Config, want *metrics.Report) {
	for _, path := range []string{folder(cfg), filepath.Join(folder(cfg), "checkpoints", "retrain", "best.safetensors")} {
		r, err := trainer.SparsityOf(path)
		require.NoError(t, err)
		assert.Equal(t, want.Sparsity, r.Sparsity)
		assert.Equal(t, want.Parameters, r.Parameters)
		assert.Nil(t, r.CleanAccuracy)
	}
}

func TestNothingToEvaluate(t *testing.T) {
	cfg := trainer.Settings(t, t.TempDir(), "pretrain.epochs=1", "pretrain.lr_schedule=constant", "admm.epochs=0", "retrain.epochs=0")
	run(t, cfg)
	good := filepath.Join(folder(cfg), "checkpoints", "pretrain", "best.safetensors")
	with := func(key, value string) string {
		return altered(t, good, func(f *checkpoint.File) { f.Metadata[key] = value })
	}
	broken := filepath.Join(t.TempDir(), "broken.safetensors")
	require.NoError(t, os.WriteFile(broken, []byte{1, 2, 3}, 0o644))
	for text, path := range map[string]string{
		"no such checkpoint or run folder":             filepath.Join(t.TempDir(), "x"),
		"holds no checkpoints/":                        t.TempDir(),
		"broken.safetensors":                           broken,
		`no "dataset" in its metadata`:                 altered(t, good, func(f *checkpoint.File) { delete(f.Metadata, "dataset") }),
		`"width" in its metadata is "wide"`:            with("width", "wide"),
		`"input" in its metadata is "28x28"`:           with("input", "28x28"),
		`"mean" in its metadata is "dark"`:             with("mean", "dark"),
		"got 1 and 0":                                  with("mean", "0.1"),
		"lenet_adv takes images of 1 x 28 x 28, not":   with("input", "3,32,32"),
		`unknown architecture "resnet"`:                with("arch", "resnet"),
		`unknown data set "letters"`:                   with("dataset", "letters"),
		`"attacks" in its metadata is "pgd-40"`:        with("attacks", "pgd-40"),
		"its metadata: unknown sparsity type \"none\"": with("sparsity_type", "none"),
		"conv1.weight":                                 with("width", "2"),
	} {
		t.Run(text, func(t *testing.T) {
			_, err := trainer.Evaluate(context.Background(), trainer.EvalOptions{Path: path, Workers: 1, Device: "cpu", Console: trainer.Quiet().Console})
			require.Error(t, err)
			assert.True(t, isInput(err), "%v", err)
			assert.ErrorContains(t, err, text)
		})
	}
}
