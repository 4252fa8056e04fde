package trainer

import (
	"bytes"
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/trainer/metrics"
)

// judge is what the tests ask for, of a model that is trained once for all of them: fair on clean images, weak under attack.
func judge(t *testing.T) EvalOptions {
	t.Helper()
	dir := t.TempDir()
	cfg := Settings(t, dir, "data.test_limit=250", "data.train_limit=300", "data.validation=30", "run.seed=3", "pretrain.optimizer=adam",
		"pretrain.momentum=0", "pretrain.nesterov=false", "pretrain.lr=3e-3", "pretrain.epochs=3", "model.width=2", "training.method=natural",
		"admm.epochs=0", "retrain.epochs=1", "prune.ratio=0.5", "evaluate.attacks=[pgd-3]", "evaluate.epsilon=0.05", "evaluate.suspicion=true")
	r, err := Run(context.Background(), cfg, Quiet())
	require.NoError(t, err)
	require.Greater(t, *r.CleanAccuracy, 0.3, "or these tests show little")
	return EvalOptions{Path: filepath.Join(dir, "tiny"), Device: "cpu", Workers: 2, Console: Quiet().Console, Version: "v-test"}
}

func evaluated(t *testing.T, o EvalOptions) *metrics.Report {
	t.Helper()
	r, err := Evaluate(context.Background(), o)
	require.NoError(t, err)
	return r
}

func TestJudge(t *testing.T) {
	o := judge(t)
	for name, f := range map[string]func(*testing.T, EvalOptions){
		"grouping": grouping, "set": standing, "interrupted": interrupted, "replaced": replaced, "states": states, "liars": liars, "files": files, "curve": curves,
		"suspicion": suspicious, "compare": compared, "transfer": transferred,
	} {
		t.Run(name, func(t *testing.T) { f(t, o) })
	}
}

// tried runs an evaluation with chunks of n images.
func tried(t *testing.T, o EvalOptions, n int) *trial {
	t.Helper()
	tr, err := newTrial(context.Background(), o, nil)
	require.NoError(t, err)
	tr.chunk = n
	require.NoError(t, tr.run(context.Background()))
	return tr
}

func grouping(t *testing.T, o EvalOptions) {
	o.Attacks, o.Limit = []string{"pgd-3", "apgd-ce-10", "square-40", "fab-t-4"}, 80
	o.Workers = 1
	want := tried(t, o, 20)
	o.Workers = 3
	got := tried(t, o, 20)
	assert.Equal(t, want.clean, got.clean)
	assert.Equal(t, want.tried, got.tried, "who does which chunk does not matter")
	two, err := newTrial(context.Background(), o, nil)
	require.NoError(t, err)
	two.chunk, two.devs = 20, []torch.Device{torch.CPU, torch.CPU} // as two GPUs would share the work
	require.NoError(t, two.run(context.Background()))
	assert.Equal(t, want.tried, two.tried)
	broken := 0
	for _, n := range []int{7, 80} {
		got := tried(t, o, n)
		differ := 0
		for g := range want.tried {
			for i := range int64(80) {
				a, b := want.tried[g][0], got.tried[g][0]
				if want.broken(a, i) {
					broken++
				}
				if want.broken(a, i) != got.broken(b, i) || a.Step[i] != b.Step[i] {
					differ++
				}
			}
		}
		assert.LessOrEqual(t, differ, 3, "of 320: what the order of sums explains")
	}
	assert.Greater(t, broken, 20, "or this test shows little")
}

// In a set each attack is given what the ones before left, and the accuracies after them fall to the set's own.
func standing(t *testing.T, o EvalOptions) {
	o.Attacks, o.Limit = []string{"autoattack-rand", "pgd-3"}, 60
	r := evaluated(t, o)
	after := r.Evaluation.After["autoattack-rand"]
	require.Len(t, after, 2)
	assert.Equal(t, int(math.Round(60**r.CleanAccuracy)), after[0].Attacked)
	assert.Equal(t, after[0].Attacked-after[0].Broken, after[1].Attacked)
	assert.Equal(t, r.RobustAccuracy["autoattack-rand"], after[1].Accuracy)
	assert.LessOrEqual(t, *r.WorstCaseAccuracy, min(r.RobustAccuracy["pgd-3"], after[1].Accuracy))
	assert.Equal(t, metrics.Wilson(int(math.Round(60*r.RobustAccuracy["pgd-3"])), 60), r.Evaluation.RobustIntervals["pgd-3"])
	images, right := 0, 0.0
	for _, c := range r.Evaluation.Classes {
		images, right = images+c.Images, right+float64(c.Images)*c.WorstCase
	}
	assert.Equal(t, 60, images)
	assert.InDelta(t, 60**r.WorstCaseAccuracy, right, 1e-9)
}

// always saves after every chunk.
func always(t *testing.T) {
	t.Helper()
	before := saveEvery
	saveEvery = 0
	t.Cleanup(func() { saveEvery = before })
}

func interrupted(t *testing.T, o EvalOptions) {
	always(t)
	o.Attacks = []string{"pgd-3", "apgd-ce-5"}
	want := evaluated(t, o)
	folder := filepath.Join(o.Path, "eval")
	assert.NoDirExists(t, folder, "nothing is left of an evaluation that is done")
	var said bytes.Buffer
	o.Console.Out = &said
	for !strings.Contains(said.String(), "after pgd-3") { // a chunk at a time: three of the images as they are, then the attack's
		_, err := Evaluate(EndsAfter(1), o)
		require.ErrorIs(t, err, ErrInterrupted)
		found, err := filepath.Glob(filepath.Join(folder, "*.json"))
		require.NoError(t, err)
		require.Len(t, found, 1)
	}
	said.Reset()
	got := evaluated(t, o)
	assert.Equal(t, want, got)
	assert.Contains(t, said.String(), "going on with")
	assert.NotContains(t, said.String(), "after pgd-3", "what was done is not done again")
	assert.Contains(t, said.String(), "after apgd-ce-5")
	assert.NoDirExists(t, folder)
}

// A checkpoint that is replaced after it was read is another model's: what was interrupted is not its evaluation.
func replaced(t *testing.T, o EvalOptions) {
	always(t)
	o.Attacks = []string{"pgd-3"}
	run := o.Path
	o.Path = filepath.Join(t.TempDir(), "model.safetensors")
	put := func(stage string) {
		b, err := os.ReadFile(filepath.Join(run, "checkpoints", stage, "best.safetensors"))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(o.Path, b, 0o644))
	}
	goesOn := func() bool {
		var said bytes.Buffer
		o.Console.Out = &said
		evaluated(t, o)
		return strings.Contains(said.String(), "going on with")
	}
	put("retrain")
	old, err := newTrial(context.Background(), o, nil)
	require.NoError(t, err)
	put("pretrain")
	require.NoError(t, old.openState())
	require.ErrorIs(t, old.run(EndsAfter(1)), ErrInterrupted)
	old.state.close()
	assert.False(t, goesOn(), "the images of the model that was there before")
	put("retrain")
	assert.True(t, goesOn())
}

func states(t *testing.T, o EvalOptions) {
	always(t)
	o.Attacks, o.State = []string{"pgd-3"}, filepath.Join(t.TempDir(), "state.json")
	want := evaluated(t, o)
	stop := func() {
		t.Helper()
		for range 4 { // to the first chunk of the attack
			_, err := Evaluate(EndsAfter(1), o)
			require.ErrorIs(t, err, ErrInterrupted)
			require.FileExists(t, o.State)
		}
	}
	refused := func(o EvalOptions, why string) {
		t.Helper()
		_, err := Evaluate(context.Background(), o)
		var input *InputError
		require.ErrorAs(t, err, &input)
		assert.ErrorContains(t, err, why)
	}
	stop()
	other := o
	other.Seed = 99
	refused(other, "of another model, or with other images, attacks or seed")
	content, err := os.ReadFile(o.State)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(o.State, content[:len(content)/2], 0o644))
	refused(o, "is damaged")
	require.NoError(t, os.WriteFile(o.State, []byte(strings.Replace(string(content), `"prediction":[`, `"prediction":[77,`, 1)), 0o644))
	refused(o, "is damaged")
	require.NoError(t, os.WriteFile(o.State, content, 0o644))
	require.NoError(t, os.Truncate(o.State+".images", 10))
	refused(o, "its images are not there")
	require.NoError(t, os.Remove(o.State))
	stop()
	images, err := os.ReadFile(o.State + ".images")
	require.NoError(t, err)
	require.NotEmpty(t, images)
	require.NoError(t, os.WriteFile(o.State+".images", make([]byte, len(images)), 0o644))
	_, err = Evaluate(context.Background(), o)
	assert.ErrorContains(t, err, "pgd-3 returned an image", "black images, which are not within the ball")
	require.NoError(t, os.WriteFile(o.State+".images", append(images, 1, 2, 3), 0o644), "a kill while an image was written")
	assert.Equal(t, want, evaluated(t, o))
	assert.NoFileExists(t, o.State)
	assert.NoFileExists(t, o.State+".images")
	o.State = filepath.Join(t.TempDir(), "no", "state.json")
	refused(o, "there is no folder")
}

// liar is an attack that is not what it says.
type liar struct {
	images func(x torch.Tensor) torch.Tensor
	fooled bool
	fewer  bool
}

func (liar) Name() string                      { return "liar" }
func (liar) Ball() (adversarial.Norm, float64) { return adversarial.Linf, 0.05 }
func (l liar) Run(_ context.Context, _ adversarial.Logits, b adversarial.Batch, _ uint64, _ func(int, float64)) (adversarial.Result, error) {
	n := len(b.IDs)
	r := adversarial.Result{Images: l.images(b.X), Fooled: make([]bool, n), Steps: make([]int, n)}
	for i := range n {
		r.Fooled[i], r.Steps[i] = l.fooled, -1
	}
	if l.fewer {
		r.Fooled = r.Fooled[1:]
	}
	return r, nil
}

func liars(t *testing.T, o EvalOptions) {
	o.Limit = 40
	same := func(x torch.Tensor) torch.Tensor { return x.Clone() }
	try := func(l liar) error {
		tr, err := newTrial(context.Background(), o, nil)
		require.NoError(t, err)
		tr.evaluation = newEvaluation([]group{{name: "liar", parts: []adversarial.Attack{l}}}, tr.labels, tr.classes, 10, 1)
		return tr.run(context.Background())
	}
	require.NoError(t, try(liar{images: same}), "an attack that finds nothing")
	for says, l := range map[string]liar{
		`liar says that it fooled the network on image \d+`:  {images: same, fooled: true},
		`liar returned an image \d+ .* not within Linf 0.05`: {images: func(x torch.Tensor) torch.Tensor { return x.MulScalar(0.9) }},
		`liar returned an image \d+ that is not a number`:    {images: func(x torch.Tensor) torch.Tensor { return x.DivScalar(0) }},
		`liar returned an image \d+ .* not in \[0, 1\]`:      {images: func(x torch.Tensor) torch.Tensor { return x.AddScalar(0.01) }},
		`liar returned another number of images`:             {images: same, fewer: true},
	} {
		err := try(l)
		require.Error(t, err, says)
		assert.Regexp(t, says, err.Error())
		assert.NotErrorIs(t, err, ErrInterrupted)
	}
	assert.Regexp(t, `fault in rapt`, guarded(func() error { panic("x") }).Error())
}

// lastStep is PGD's accuracy as training validates with it: at its last step, from starts that are drawn otherwise.
func lastStep(t *testing.T, o EvalOptions) (robust float64) {
	tr, err := newTrial(context.Background(), o, nil)
	require.NoError(t, err)
	a := tr.attacks[0]
	p := adversarial.PGD{Norm: a.settings.Norm, Epsilon: a.settings.Epsilon, StepSize: a.stepSize(), Steps: a.steps(), RandomStart: true}
	require.NoError(t, tr.with(tr.devs, 1, func(tm *team, d *images) error {
		acc, err := tm.measure(context.Background(), d, []adversarial.PGD{p}, 100, 1, nil)
		robust = acc.worst
		return err
	}))
	return robust
}

// Chunks go to whoever is free, errors end the work, and nothing hangs.
func TestSpread(t *testing.T) {
	inside(t, func(p *pipeline) {
		ids := make([]int64, 50)
		for i := range ids {
			ids[i] = int64(i)
		}
		run := func(ctx context.Context, work func(ctx context.Context, w *worker, ids []int64) (func() error, error)) error {
			return p.team.crewed(p.train, func(c *crew) error { return c.spread(ctx, chunked(ids, 7), work) })
		}
		var seen []int64
		require.NoError(t, run(context.Background(), func(_ context.Context, _ *worker, ids []int64) (func() error, error) {
			return func() error { seen = append(seen, ids...); return nil }, nil
		}))
		slices.Sort(seen)
		assert.Equal(t, ids, seen)
		boom := errors.New("boom")
		assert.ErrorIs(t, run(context.Background(), func(_ context.Context, _ *worker, ids []int64) (func() error, error) {
			if ids[0] == 14 {
				return nil, boom
			}
			return func() error { return nil }, nil
		}), boom)
		assert.ErrorContains(t, run(context.Background(), func(context.Context, *worker, []int64) (func() error, error) { panic("at once") }), "at once")
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		assert.ErrorIs(t, run(ctx, func(ctx context.Context, _ *worker, _ []int64) (func() error, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}), ErrInterrupted)
	}, "run.workers=3")
}

func TestDevices(t *testing.T) {
	_, err := ChooseDevices("cpu,cpu")
	var input *InputError
	require.ErrorAs(t, err, &input)
	_, err = ChooseDevices("cuda:0,cuda:1000")
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "there is no device cuda:")
	assert.Equal(t, "cuda:0,cuda:1", NamesOf([]torch.Device{torch.CUDA(0), torch.CUDA(1)}))
	one, err := ChooseDevices("cpu")
	require.NoError(t, err)
	assert.Equal(t, []torch.Device{torch.CPU}, one)
}
