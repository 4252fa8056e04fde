package trainer

import (
	"bytes"
	"context"
	"encoding/csv"
	"errors"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// judge is what the tests ask for, of a model that is trained once for all of them: fair on clean images, weak under attack.
func judge(t *testing.T) EvalOptions {
	t.Helper()
	dir := t.TempDir()
	cfg := Settings(t, dir, "data.test_limit=250", "data.train_limit=300", "data.validation=30", "run.seed=3", "pretrain.optimizer=adam",
		"pretrain.momentum=0", "pretrain.nesterov=false", "pretrain.lr=3e-3", "pretrain.epochs=3", "model.width=2", "training.method=natural",
		"admm.epochs=0", "retrain.epochs=1", "prune.ratio=0.5", "evaluate.attacks=[pgd-3]", "evaluate.epsilon=0.05")
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
		"grouping": grouping, "set": standing, "interrupted": interrupted, "states": states, "liars": liars, "files": files, "curve": curves,
		"suspicion": suspicious, "compare": compared, "transfer": transferred,
	} {
		t.Run(name, func(t *testing.T) { f(t, o) })
	}
}

// tried runs an evaluation with chunks of n images.
func tried(t *testing.T, o EvalOptions, n int) *trial {
	t.Helper()
	tr, err := newTrial(o, nil)
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
	two, err := newTrial(o, nil)
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
		tr, err := newTrial(o, nil)
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

func files(t *testing.T, o EvalOptions) {
	dir := t.TempDir()
	o.Attacks, o.Limit = []string{"pgd-3", "apgd-ce-10"}, 120
	o.Files = EvalFiles{CSV: filepath.Join(dir, "s.csv"), Images: filepath.Join(dir, "i.safetensors"), Grid: filepath.Join(dir, "g.png")}
	r := evaluated(t, o)
	rows := readCSV(t, o.Files.CSV)
	require.Len(t, rows, 121)
	assert.Equal(t, sampleHeader, rows[0])
	clean, stands := 0, 0
	for i, row := range rows[1:] {
		assert.Equal(t, strconv.Itoa(i), row[0])
		margin, err := strconv.ParseFloat(row[7], 64)
		require.NoError(t, err)
		assert.Equal(t, row[4] == "", margin > 0, "below 0 where it is wrong")
		assert.Equal(t, row[4] == "", row[6] == row[1])
		if row[2] == row[1] {
			clean++
		}
		if row[4] == "" {
			stands++
		}
	}
	assert.InDelta(t, 120**r.CleanAccuracy, clean, 1e-9)
	assert.InDelta(t, 120**r.WorstCaseAccuracy, stands, 1e-9)

	f, err := checkpoint.Read(o.Files.Images)
	require.NoError(t, err)
	assert.Equal(t, "pgd-3,apgd-ce-10", f.Metadata["attacks"])
	by := int64s(t, f, "broken_by")
	labels, predictions := int64s(t, f, "labels"), int64s(t, f, "predictions")
	images, _ := f.Get("images")
	assert.Equal(t, []int64{120, 1, 28, 28}, images.Shape)
	for i, row := range rows[1:] {
		assert.Equal(t, row[4] == "pgd-3", by[i] == 0)
		assert.Equal(t, row[4] == "apgd-ce-10", by[i] == 1)
		assert.Equal(t, row[4] == "", labels[i] == predictions[i])
	}

	png := picture(t, o.Files.Grid)
	broken := len(slices.DeleteFunc(slices.Clone(by), func(b int64) bool { return b < 0 }))
	assert.Equal(t, min(gridColumns, broken)*(28*2+gridGap)+gridGap, png[0])
	assert.Equal(t, 3*(28*2+gridGap)+gridGap, png[1])
}

func readCSV(t *testing.T, path string) [][]string {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	require.NoError(t, err)
	return rows
}

func int64s(t *testing.T, f *checkpoint.File, name string) []int64 {
	t.Helper()
	x, ok := f.Get(name)
	require.True(t, ok, name)
	v, err := x.Int64s()
	require.NoError(t, err)
	return v
}

func picture(t *testing.T, path string) [2]int {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	m, err := png.Decode(f)
	require.NoError(t, err)
	return [2]int{m.Bounds().Dx(), m.Bounds().Dy()}
}

func curves(t *testing.T, o EvalOptions) {
	o.Attacks, o.Epsilons = []string{"pgd-5"}, []float64{0, 0.02, 0.05, 0.3}
	o.Files.Curve = filepath.Join(t.TempDir(), "c.csv")
	r := evaluated(t, o)
	c := r.Evaluation.Curve
	require.Len(t, c.Points, 4)
	assert.Equal(t, *r.CleanAccuracy, c.Points[0].Accuracy)
	for i, p := range c.Points[1:] {
		assert.LessOrEqual(t, p.Accuracy, c.Points[i].Accuracy)
	}
	assert.Less(t, c.Points[3].Accuracy, c.Points[1].Accuracy)
	assert.Equal(t, r.RobustAccuracy["pgd-5"], *r.WorstCaseAccuracy, "the curve does not count in the worst case")
	rows := readCSV(t, o.Files.Curve)
	require.Len(t, rows, 5)
	assert.Equal(t, float(c.Points[2].Accuracy), rows[3][3])
	for _, bad := range [][]float64{{0.2, 0.1}, {2}} {
		o.Epsilons = bad
		_, err := Evaluate(context.Background(), o)
		var input *InputError
		assert.ErrorAs(t, err, &input)
	}
}

func verdicts(r *metrics.Report) map[string]bool {
	out := map[string]bool{}
	for _, c := range r.Evaluation.Suspicion {
		out[c.Check] = c.Fine
	}
	return out
}

func suspicious(t *testing.T, o EvalOptions) {
	o.Attacks, o.Suspicion, o.Limit = []string{"pgd-10"}, true, 100
	fine := verdicts(evaluated(t, o))
	for _, check := range []string{"one step", "black box", "more steps", "any image", "zero gradients", "randomness", "outputs"} {
		assert.Contains(t, fine, check)
	}
	for _, check := range []string{"one step", "any image", "zero gradients", "randomness", "outputs"} {
		assert.True(t, fine[check], check)
	}

	// The same network, so sure of itself that float32 has no gradient left of the cross-entropy.
	file, err := CheckpointOf(o.Path)
	require.NoError(t, err)
	f, err := checkpoint.Read(file)
	require.NoError(t, err)
	for i, x := range f.Tensors {
		if strings.HasPrefix(x.Name, "fc2.") {
			v, err := x.Float32s()
			require.NoError(t, err)
			for j := range v {
				v[j] *= 1e4
			}
			f.Tensors[i] = checkpoint.F32(x.Name, x.Shape, v)
		}
	}
	o.Path = filepath.Join(t.TempDir(), "masked.safetensors")
	require.NoError(t, checkpoint.Write(o.Path, f))
	masked := verdicts(evaluated(t, o))
	assert.False(t, masked["zero gradients"])
	assert.False(t, masked["black box"] && masked["any image"] && masked["one step"] && masked["more steps"], "an attack that does not go by this loss does better")
}

// What the checks say of outputs, by hand.
func TestOutputs(t *testing.T) {
	look := func(row, again []float32) []metrics.Check {
		o := outputs{images: 1}
		if again == nil {
			again = row
		}
		o.look(row, again)
		return o.checks()
	}
	assert.False(t, look([]float32{0.25, 0.7, 0.05}, nil)[2].Fine)
	logs := look([]float32{float32(math.Log(0.25)), float32(math.Log(0.7)), float32(math.Log(0.05))}, nil)[2]
	assert.True(t, logs.Fine)
	assert.Contains(t, logs.Why, "log-probabilities")
	assert.Contains(t, look([]float32{3, -2, 0.5}, nil)[2].Why, "they are logits")
	assert.True(t, look([]float32{3, -2, 0.5}, []float32{3, -2, 0.5001})[1].Fine)
	assert.False(t, look([]float32{3, -2, 0.5}, []float32{3, -2, 0.6})[1].Fine)
	assert.False(t, (&outputs{images: 5, flat: 1}).checks()[0].Fine)
}

func compared(t *testing.T, o EvalOptions) {
	dense := filepath.Join(o.Path, "checkpoints", "pretrain", "best.safetensors")
	c, err := Compare(context.Background(), dense, o.Path, o)
	require.NoError(t, err)
	var names []string
	for _, p := range c.Pairs {
		names = append(names, p.Measure)
		assert.Equal(t, 250, p.Both+p.OnlyA+p.OnlyB+p.Neither)
		assert.Equal(t, metrics.McNemar(p.OnlyA, p.OnlyB), p.P)
	}
	assert.Equal(t, []string{"clean", "pgd-3", "worst case"}, names)
	assert.Equal(t, evaluated(t, o).WorstCaseAccuracy, c.B.WorstCaseAccuracy)
	assert.InDelta(t, 250**c.A.CleanAccuracy, float64(c.Pairs[0].Both+c.Pairs[0].OnlyA), 1e-9)
	assert.InDelta(t, 250**c.B.WorstCaseAccuracy, float64(c.Pairs[2].Both+c.Pairs[2].OnlyB), 1e-9)
	assert.Positive(t, c.Pairs[0].OnlyA+c.Pairs[0].OnlyB, "or this test shows little")
	same, err := Compare(context.Background(), o.Path, o.Path, o)
	require.NoError(t, err)
	assert.Equal(t, 1.0, same.Pairs[2].P)
}

// On itself a transfer is the white-box attack.
func transferred(t *testing.T, o EvalOptions) {
	o.Attacks = []string{"apgd-ce-10"}
	want := evaluated(t, o)
	got, err := EvaluateFrom(context.Background(), o.Path, o)
	require.NoError(t, err)
	assert.InDelta(t, *want.WorstCaseAccuracy, *got.WorstCaseAccuracy, 1.0/250, "an image may differ by the order of sums")
	assert.Equal(t, want.CleanAccuracy, got.CleanAccuracy)
	assert.Contains(t, got.Evaluation.Source, "best.safetensors")

	o.Attacks = []string{"pgd-3"}
	dense := filepath.Join(o.Path, "checkpoints", "pretrain", "best.safetensors")
	_, err = Transfer(EndsAfter(3), []string{dense, o.Path}, o)
	require.ErrorIs(t, err, ErrInterrupted)
	assert.ErrorContains(t, err, "begins anew")
	m, err := Transfer(context.Background(), []string{dense, o.Path}, o)
	require.NoError(t, err)
	for i, path := range []string{dense, o.Path} {
		o.Path = path
		assert.Equal(t, *evaluated(t, o).CleanAccuracy, m.Models[i].Clean)
		assert.Less(t, m.WorstCase[i][i], m.Models[i].Clean)
		assert.Equal(t, m.WorstCase[i][i], m.Accuracy["pgd-3"][i][i])
		assert.LessOrEqual(t, m.WorstCase[i][i], m.WorstCase[1-i][i]+0.02, "crafted on the model itself it does more")
		assert.InDelta(t, lastStep(t, o), m.WorstCase[i][i], 0.03)
	}
}

// lastStep is PGD's accuracy as training validates with it: at its last step, from starts that are drawn otherwise.
func lastStep(t *testing.T, o EvalOptions) (robust float64) {
	tr, err := newTrial(o, nil)
	require.NoError(t, err)
	a := tr.attacks[0]
	p := adversarial.PGD{Norm: a.settings.Norm, Epsilon: a.settings.Epsilon, StepSize: a.stepSize(), Steps: a.steps(), RandomStart: true}
	require.NoError(t, tr.with(tr.devs[0], 1, func(tm *team, d *images) error {
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
	_, err := chooseDevices("cpu,cpu")
	var input *InputError
	require.ErrorAs(t, err, &input)
	one, err := chooseDevices("cpu")
	require.NoError(t, err)
	assert.Equal(t, []torch.Device{torch.CPU}, one)
}
