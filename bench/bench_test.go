package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// alone is a bench of one worker with nothing to compare with.
func alone() *bench {
	return &bench{device: torch.CPU, workers: 1, rounds: 2, quick: true, threads: 1, progress: io.Discard, binary: "rapt"}
}

// fake is a child that answers with f, in this process.
func fake(t *testing.T, allocator string, f func(request) answer) *child {
	in, requests := io.Pipe()
	c := &child{allocator: allocator, in: json.NewEncoder(requests), close: requests.Close, out: make(chan []byte)}
	t.Cleanup(func() { requests.Close() })
	go func() {
		for d := json.NewDecoder(in); ; {
			var r request
			if d.Decode(&r) != nil {
				return
			}
			line, _ := json.Marshal(f(r))
			c.out <- line
		}
	}()
	return c
}

func times(r request, ms float64) answer {
	a := answer{}
	for range int(r["repeat"].(float64)) {
		a.Milliseconds = append(a.Milliseconds, ms)
	}
	return a
}

// The best setting is found, and PyTorch as it comes is measured beside it.
func TestCompare(t *testing.T) {
	b := alone()
	b.workers = 2
	b.children = []*child{
		fake(t, "default allocator", func(r request) answer {
			switch r["threads"] {
			case 1.0:
				return answer{Error: "too few"}
			case 2.0:
				return times(r, 30)
			}
			return times(r, 40)
		}),
		fake(t, "memory kept", func(r request) answer { return times(r, 10*r["threads"].(float64)) }),
	}
	r := row{}
	ours := func(n int) ([]float64, error) { return make([]float64, n), nil }
	require.NoError(t, b.compare(&r, ours, contest{request: request{"op": "x"}, tries: b.settings("")}, 3, 5))
	assert.Equal(t, 10.0, r.Reference)
	assert.Equal(t, "1 thread, memory kept", r.Setting)
	assert.Equal(t, 40.0, r.Default)
	assert.Equal(t, map[string]float64{"as it comes (1 thread)": 40, "2 threads, default allocator": 30, "1 thread, memory kept": 10, "2 threads, memory kept": 20}, r.Tried)
	assert.Contains(t, r.Note, "1 thread, default allocator: the reference: too few")
	assert.Equal(t, 6, r.Samples)

	r = row{}
	require.NoError(t, b.compare(&r, ours, contest{}, 2, 5), "no reference")
	assert.Zero(t, r.Reference)
	broken := errors.New("broken")
	assert.ErrorIs(t, b.compare(&r, func(int) ([]float64, error) { return nil, broken }, contest{}, 2, 5), broken)
}

func TestThreadCounts(t *testing.T) {
	for workers, want := range map[int][]int{1: {1}, 3: {1, 2, 3}, 12: {1, 2, 4, 8, 12}} {
		assert.Equal(t, want, (&bench{workers: workers}).threadCounts())
	}
}

func TestResults(t *testing.T) {
	res := results{Rates: &rates{MatMul: 100, Conv: 200, Bandwidth: 10, Half: 400}, Rows: []row{
		{Name: "a", Ours: 50, Reference: 125, GFLOP: 2, GB: 0.1},
		{Name: "b", Ours: 50, GFLOP: 2, GB: 0.5, Workers: []scale{{2, 5, 1000}}, Scaling: 1.9},
		{Name: "half", Ours: 50, GFLOP: 4, precision: "bf16"},
		{Name: "c", Skipped: "no data"},
		{Name: "d", Failed: "it broke"},
	}}
	for i := range res.Rows {
		res.Rows[i].finish(res.Rates)
	}
	assert.Equal(t, 2.5, res.Rows[0].Ratio)
	assert.Equal(t, 10.0, res.Rows[0].Floor, "2 GFLOP at 200 GFLOP/s, and 0.1 GB at 10 GB/s")
	assert.Equal(t, 0.2, res.Rows[0].Share)
	assert.Equal(t, 50.0, res.Rows[1].Floor, "0.5 GB at 10 GB/s")
	assert.Equal(t, 10.0, res.Rows[2].Floor, "4 GFLOP at 400 GFLOP/s")
	var b bytes.Buffer
	res.table(&b)
	assert.Regexp(t, `(?m)^\| a +\| +50\.00 \| +125\.00 \| +2\.50x \| +10\.00 \| +20 % \|$`, b.String())
	for _, s := range []string{"c: skipped: no data", "d: FAILED: it broke", "b: 2 workers, 1000 images/s: 1.90x"} {
		assert.Contains(t, b.String(), s)
	}

	file := filepath.Join(t.TempDir(), "results", "x.json")
	require.NoError(t, res.write(file))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var back map[string]any
	require.NoError(t, json.Unmarshal(text, &back))
	for _, key := range []string{"machine", "libtorch", "commit", "date", "rows"} {
		assert.Contains(t, back, key)
	}
	first := back["rows"].([]any)[0].(map[string]any)
	for _, key := range []string{"name", "ours_ms", "reference_ms", "ratio", "floor_ms"} {
		assert.Contains(t, first, key)
	}
}

func TestMedian(t *testing.T) {
	assert.Zero(t, median(nil))
	assert.Equal(t, 3.0, median([]float64{9, 1, 3}))
	assert.Equal(t, 2.0, median([]float64{9, 1, 3, 1}))
}

func TestTasks(t *testing.T) {
	everything := regexp.MustCompile("")
	for _, cuda := range []bool{false, true} {
		seen := map[string]bool{}
		for _, one := range chosen(cuda, everything) {
			assert.False(t, seen[one.name], one.name)
			seen[one.name] = true
		}
	}
	assert.Len(t, chosen(false, regexp.MustCompile("^scaling/")), 3)
	for _, w := range []int{1, 4, 16} {
		assert.Empty(t, lenetAdv(w, 64, "").missing(alone()))
	}
	assert.Contains(t, training{arch: "perceptron", width: 1, batch: 1}.missing(alone()), "unknown architecture")
	cfg, err := lenetAdv(4, 64, "").config("cpu", 2)
	require.NoError(t, err)
	assert.Equal(t, 40, cfg.Adversary.Steps)
	assert.InDelta(t, 0.3, float64(cfg.Adversary.Epsilon), 1e-12)
	ask, err := colour("resnet18_adv", 1, 128, "").request()
	require.NoError(t, err)
	assert.InDelta(t, 8.0/255, ask["epsilon"], 1e-12)
	assert.Equal(t, "sgd", ask["optimizer"])
}

func TestRefusals(t *testing.T) {
	var usage *usageError
	for want, o := range map[string]options{
		"--only":         {only: "(", device: "cpu", rounds: 1},
		"--rounds":       {device: "cpu"},
		"--device":       {device: "tpu", rounds: 1},
		"no row matches": {device: "cpu", rounds: 1, only: "resnet1$"},
	} {
		err := do(o)
		require.ErrorAs(t, err, &usage)
		assert.ErrorContains(t, err, want)
	}
	assert.ErrorContains(t, do(options{device: "cpu", rounds: 1, only: "w1/pgd", python: "no-such-python"}), "no-such-python has no PyTorch")
}

func TestFileName(t *testing.T) {
	assert.Regexp(t, `^bench/results/cpu-amd-epyc-\d+\.json$`, fileName(torch.CPU, "AMD EPYC, 2 processors"))
	assert.Equal(t, "bench/results/cuda-nvidia-h100.json", fileName(torch.CUDA(0), "NVIDIA H100, AMD"))
	machine, err := describeMachine(torch.CPU)
	require.NoError(t, err)
	assert.True(t, strings.Contains(machine, "processors"))
}
