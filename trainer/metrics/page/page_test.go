package page

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gonum.org/v1/plot/plotter"

	"rapt/trainer/metrics"
)

// write makes a run's folder: three epochs of pretrain, two of admm, and where report is there the run's end.
func write(t *testing.T, name string, report *metrics.Report) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.Mkdir(dir, 0o755))
	put := func(file, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644))
	}
	put("config.yaml", "run:\n  name: <settings>\n")
	put("env.json", `{"gpu": "NVIDIA & more"}`)
	var rows strings.Builder
	for i := range 3 {
		fmt.Fprintf(&rows, `{"ts":"x","stage":"pretrain","epoch":%d,"step":%d,"train/loss":1}`+"\n", i+1, 10*i+5)
		fmt.Fprintf(&rows, `{"ts":"x","stage":"pretrain","epoch":%d,"step":%d,"val/clean_acc":0.%d,"val/pgd_acc":0.%d,"train/loss":null}`+"\n", i+1, 10*i+10, 5+i, 2+i)
	}
	for i := range 2 {
		fmt.Fprintf(&rows, `{"ts":"x","stage":"admm","epoch":%d,"step":%d,"val/clean_acc":0.8,"val/pgd_acc":0.5,"admm/hard_prune_clean_acc":0.4,"admm/primal_rel/conv1.weight":0.%d}`+"\n", i+1, 40+10*i, 3-i)
	}
	put("metrics.jsonl", rows.String()+`{"ts":"x","stage":"admm","epoch":3,"step":60,"val/cle`)
	if report != nil {
		text, err := json.Marshal(report)
		require.NoError(t, err)
		put("report.json", string(text))
		put("DONE", "")
	}
	return dir
}

func ended() *metrics.Report {
	worst := 0.4
	return &metrics.Report{Arch: "lenet_adv", Width: 2, Parameters: 1234, Dataset: "mnist", Method: "pgd", Version: "v1",
		Attacks: []metrics.Attack{{Name: "pgd-40", Norm: "Linf", Epsilon: 0.3, StepSize: 0.01, Steps: 40}},
		Stages: []metrics.StageResult{
			{Stage: "pretrain", CleanAccuracy: 0.9123, RobustAccuracy: map[string]float64{"pgd-40": 0.5, "pgd-100": 0.4}, Compression: 1, Seconds: 75},
			{Stage: "admm", CleanAccuracy: 0.92, Compression: 1},
			{Stage: "retrain", CleanAccuracy: 0.93, RobustAccuracy: map[string]float64{"pgd-40": 0.45, "pgd-100": 0.41}, WorstCase: &worst, Sparsity: 0.75, Compression: 4},
		},
		Baselines: []metrics.StageResult{{Stage: "one_shot", CleanAccuracy: 0.31, Sparsity: 0.75, Compression: 4}},
		Sparsity: metrics.Sparsity{Type: "filter", Weights: 100, Zeros: 75, Sparsity: 0.75, Layers: []metrics.LayerSparsity{
			{Name: "conv1.weight", Numel: 100, Zeros: 75, Sparsity: 0.75, Filters: 4, ZeroFilters: 3, Columns: 25}}},
	}
}

func page(t *testing.T, folders ...string) string {
	t.Helper()
	var runs []*Run
	for _, folder := range folders {
		r, err := Read(folder)
		require.NoError(t, err)
		runs = append(runs, r)
	}
	var out, again bytes.Buffer
	require.NoError(t, Write(&out, runs, "v2"))
	require.NoError(t, Write(&again, runs, "v2"))
	assert.Equal(t, out.String(), again.String(), "the same runs give the same page")
	assert.NotContains(t, out.String(), "ZgotmplZ", "the template took what it was given")
	for _, svg := range regexp.MustCompile(`(?s)<svg.*?</svg>`).FindAllString(out.String(), -1) {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			if _, err := d.Token(); err == io.EOF {
				break
			} else {
				require.NoError(t, err)
			}
		}
	}
	return out.String()
}

func TestPage(t *testing.T) {
	text := page(t, write(t, "a<b>&c", ended()))
	for _, want := range []string{"<h1>a&lt;b&gt;&amp;c</h1>", "&lt;settings&gt;", "NVIDIA &amp; more", "lenet_adv of width 2, 1234 parameters, on mnist; trained by pgd, seed 0, rapt v1.",
		"pgd-40: Linf, epsilon 0.3, 40 steps of 0.01.", "<td>91.23</td><td>50.00</td><td>40.00</td><td>0.00</td><td>1.00x</td><td>1m15s</td>", "width: 75.00%", "<td>3/4</td>",
		"What pruning costs", "How near ADMM came", "if pruned then", ">one_shot<", "rapt v2"} {
		assert.Contains(t, text, want)
	}
	assert.NotContains(t, text, "may be too high")
	doubtful := ended()
	doubtful.Stages[2].Suspicion = []metrics.Check{{Check: "black box", Why: "square breaks 23 of 200 images"}}
	assert.Contains(t, page(t, write(t, "doubtful", doubtful)), "The robust accuracy may be too high:</b> square breaks 23 of 200 images.")
	assert.NotContains(t, text, "<b>&c", "names are no HTML")
	assert.NotRegexp(t, `(src|href)="|url\(|<script|@import|<link`, text, "nothing is fetched or run")
	assert.Less(t, strings.Index(text, "<th>pgd-40 %</th>"), strings.Index(text, "<th>pgd-100 %</th>"))
	assert.Equal(t, 3, strings.Count(text, "<svg"))
	assert.NotContains(t, text, "has not ended")
}

// Of several runs the first table says how each ended, and folders of one name are told apart.
func TestSeveralRuns(t *testing.T) {
	a, b := write(t, "mnist", ended()), write(t, "mnist", ended())
	text := page(t, a, b)
	first, _, _ := strings.Cut(text, "<h2")
	for _, folder := range []string{a, b} {
		assert.Equal(t, 3, strings.Count(first, "<td>"+folder+"</td>"), "pretrain, retrain and the baseline")
	}
	assert.NotContains(t, first, ">admm<")
	assert.Equal(t, 2, strings.Count(text, `<td class="text">admm</td>`), "each run has its own table")
}

// A run under way is shown as far as it is, and one that has just begun too.
func TestUnfinishedRun(t *testing.T) {
	dir := write(t, "new", nil)
	text := page(t, dir)
	assert.Contains(t, text, "<b>The run has not ended</b>: 5 epochs are done, the last one of stage admm.")
	assert.Equal(t, 2, strings.Count(text, "<svg"))
	assert.NotContains(t, text, "What pruning costs")
	part := write(t, "part", ended())
	require.NoError(t, os.Remove(filepath.Join(part, "DONE")))
	assert.Contains(t, page(t, part), "<b>The run has not ended</b>: these are the stages that have.")
	require.NoError(t, os.Remove(filepath.Join(dir, "metrics.jsonl")))
	assert.Contains(t, page(t, dir), "<b>The run has not ended</b>: 0 epochs are done.")
}

func TestWhatIsNoRun(t *testing.T) {
	dir := t.TempDir()
	_, err := Read(dir)
	require.ErrorContains(t, err, dir+" is no run's folder: it holds no config.yaml")
	dir = write(t, "bad", nil)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "report.json"), []byte("{"), 0o644))
	_, err = Read(dir)
	require.ErrorContains(t, err, "report.json cannot be read")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "metrics.jsonl"), []byte("{\"val/\n"), 0o644))
	_, err = Read(dir)
	require.ErrorContains(t, err, "metrics.jsonl: line 1 is no row of metrics")
}

// Every model has its name, also where many are at nothing.
func TestNamesOfManyModels(t *testing.T) {
	var points []point
	for i := range 16 {
		points = append(points, point{fmt.Sprintf("model%d", i), float64(i%2) / 2, 0.001, 0})
	}
	f, err := tradeOff(points)
	require.NoError(t, err)
	for _, p := range points {
		assert.Equal(t, 2, strings.Count(string(f.SVG), ">"+p.name+"<"), p.name)
	}
}

// Curves end with their stage, and what is no number is left out.
func TestMetric(t *testing.T) {
	r := &Run{Epochs: []Epoch{{"a", map[string]float64{"x": 0.1}}, {"a", map[string]float64{"x": math.NaN()}}, {"a", map[string]float64{"x": 0.25}}, {"b", nil}, {"c", map[string]float64{"x": 1}}}}
	assert.Equal(t, []plotter.XYs{{{X: 1, Y: 10}, {X: 3, Y: 25}}, {{X: 5, Y: 100}}}, r.metric("x"))
	assert.Empty(t, r.metric("y"))
}

func TestNamesAreApart(t *testing.T) {
	got := apart(plotter.XYs{{X: 0, Y: 50}, {X: 0, Y: 50}, {X: 90, Y: 50}, {X: 5, Y: 52}})
	assert.Equal(t, plotter.XYs{{X: 0, Y: 47.5}, {X: 0, Y: 43}, {X: 90, Y: 50}, {X: 5, Y: 52}}, got)
}

func TestWorst(t *testing.T) {
	s := ended().Stages
	assert.Equal(t, 0.4, worst(s[0]), "of the attacks' the least")
	assert.Equal(t, 0.4, worst(s[2]), "what stands all of them")
	assert.True(t, math.IsNaN(worst(s[1])))
}
