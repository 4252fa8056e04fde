package trainer

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

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
	yes := true
	o.Attacks, o.Suspicion, o.Limit = []string{"pgd-10"}, &yes, 100
	fine := verdicts(evaluated(t, o))
	for _, check := range []string{"one step", "black box", "more steps", "any image", "zero gradients", "randomness", "outputs"} {
		assert.Contains(t, fine, check)
	}
	for _, check := range []string{"one step", "any image", "zero gradients", "randomness", "outputs"} {
		assert.True(t, fine[check], check)
	}

	// An attack that is too weak to be judged by is found out, and what a stronger one has found already is no sign.
	o.Attacks, o.Epsilon = []string{"fgsm"}, 0.1
	weak := evaluated(t, o)
	assert.False(t, verdicts(weak)["more steps"], weak.Evaluation.Suspicion)
	o.Attacks = []string{"fgsm", "pgd-50"}
	assert.True(t, verdicts(evaluated(t, o))["more steps"])
	o.Attacks = []string{"apgd-ce"}
	assert.True(t, verdicts(evaluated(t, o))["more steps"])

	// What a run says of its last model is what this says of it.
	o.Attacks, o.Limit, o.Epsilon = nil, 0, 0
	text, err := os.ReadFile(filepath.Join(o.Path, "report.json"))
	require.NoError(t, err)
	var run metrics.Report
	require.NoError(t, json.Unmarshal(text, &run))
	require.Len(t, run.Stages, 2)
	assert.Empty(t, run.Stages[0].Suspicion)
	assert.Len(t, run.Stages[1].Suspicion, 7)
	assert.Equal(t, evaluated(t, o).Evaluation.Suspicion, run.Stages[1].Suspicion)
	o.Attacks, o.Limit = []string{"pgd-10"}, 100

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

// One image is no sign, however few there are.
func TestFew(t *testing.T) {
	assert.True(t, few(1, 25, 0.02))
	assert.True(t, few(4, 200, 0.02))
	assert.False(t, few(5, 200, 0.02))
	assert.False(t, few(2, 25, 0.02))
}

// A network that sees one class everywhere stands wherever an attack goes, and rightly so.
func TestOneClass(t *testing.T) {
	cfg := Settings(t, t.TempDir(), "pretrain.epochs=1", "admm.epochs=0", "retrain.epochs=0")
	_, err := Run(context.Background(), cfg, Quiet())
	require.NoError(t, err)
	file, err := CheckpointOf(filepath.Join(cfg.Run.OutDir, cfg.Run.Name))
	require.NoError(t, err)
	f, err := checkpoint.Read(file)
	require.NoError(t, err)
	for i, x := range f.Tensors {
		if strings.HasPrefix(x.Name, "fc2.") {
			v := make([]float32, len(x.Data)/4)
			if x.Name == "fc2.bias" {
				v[3] = 1
			}
			f.Tensors[i] = checkpoint.F32(x.Name, x.Shape, v)
		}
	}
	yes, path := true, filepath.Join(t.TempDir(), "one.safetensors")
	require.NoError(t, checkpoint.Write(path, f))
	r := evaluated(t, EvalOptions{Path: path, Device: "cpu", Workers: 1, Console: Quiet().Console, Suspicion: &yes})
	require.Greater(t, *r.CleanAccuracy, 0.0)
	for check, fine := range verdicts(r) {
		assert.True(t, fine, check)
	}
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
