package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// binary is the program itself, for what one process cannot show of itself: signals and the exit code.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "rapt-test")
	if err == nil {
		binary = filepath.Join(dir, "rapt")
		build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.version=v-test", "-o", binary, ".")
		build.Stdout, build.Stderr = os.Stderr, os.Stderr
		err = build.Run()
	}
	if err != nil {
		os.Stderr.WriteString("the program could not be built: " + err.Error() + "\n")
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// tiny is a whole run that takes about a second.
const tiny = `
run: {name: tiny, out_dir: OUT}
data: {dataset: digits, train_limit: 200, test_limit: 100, batch_size: 50}
model: {arch: lenet_adv}
training: {method: pgd}
adversary: {epsilon: 0.2, step_size: 0.1, steps: 2}
prune: {sparsity_type: irregular, ratio: 0.9}
pretrain: {epochs: 1, lr: 1e-3}
admm: {epochs: 1, lr: 1e-3, update_every: 1}
retrain: {epochs: 1, lr: 1e-3}
evaluate: {attacks: [pgd-4]}
`

func tinyRun(t *testing.T) (config, folder string) {
	out := t.TempDir()
	return write(t, "tiny.yaml", strings.ReplaceAll(tiny, "OUT", out)), filepath.Join(out, "tiny")
}

// program runs the binary to its end.
func program(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

func parseReport(t *testing.T, text []byte) metrics.Report {
	t.Helper()
	var r metrics.Report
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&r), string(text))
	assert.False(t, decoder.More(), "one object and no more")
	return r
}

func TestRunFromEndToEnd(t *testing.T) {
	config, folder := tinyRun(t)
	code, out, errOut := program(t, "run", config, "--json")
	require.Zero(t, code, errOut)
	assert.Contains(t, errOut, "stage=retrain")
	report := parseReport(t, []byte(out))
	stored, err := os.ReadFile(filepath.Join(folder, "report.json"))
	require.NoError(t, err)
	assert.Equal(t, parseReport(t, stored), report)

	assert.Equal(t, 1, report.Schema)
	assert.Equal(t, "tiny", report.Name)
	assert.Equal(t, "v-test", report.Version)
	require.Len(t, report.Stages, 3)
	for i, name := range stages[:3] {
		s := report.Stages[i]
		assert.Equal(t, name, s.Stage)
		assert.Equal(t, 1, s.Epochs)
		assert.Positive(t, s.ImagesPerSecond)
		assert.Contains(t, s.RobustAccuracy, "pgd-4")
	}
	assert.InDelta(t, 0.9, report.Sparsity.Sparsity, 1e-3)
	for _, name := range []string{"config.yaml", "env.json", "log.txt", "metrics.jsonl", "metrics.csv", "DONE"} {
		assert.FileExists(t, filepath.Join(folder, name))
	}

	t.Run("again shows the result", func(t *testing.T) {
		code, out, errOut := program(t, "run", config)
		assert.Zero(t, code, errOut)
		assert.Empty(t, errOut)
		assert.NotContains(t, out, "begins", "nothing is trained twice")
		for _, text := range []string{"pretrain", "retrain", "conv1.weight", "90.00", filepath.Join(folder, "report.json")} {
			assert.Contains(t, out, text)
		}
	})
	t.Run("another config is refused", func(t *testing.T) {
		code, _, errOut := program(t, "run", config, "--set", "pretrain.lr=2e-3")
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, errOut, "pretrain.lr")
		assert.Contains(t, errOut, "--overwrite")
	})
	t.Run("eval", func(t *testing.T) { evaluates(t, folder, report) })
	t.Run("eval goes on", func(t *testing.T) { evaluationGoesOn(t, folder) })
	t.Run("compare and transfer", func(t *testing.T) { comparesAndTransfers(t, folder) })
	t.Run("sparsity", func(t *testing.T) {
		code, out, errOut := program(t, "sparsity", folder, "--json")
		require.Zero(t, code, errOut)
		assert.Equal(t, report.Sparsity, parseReport(t, []byte(out)).Sparsity)
		_, out, _ = program(t, "sparsity", filepath.Join(folder, "checkpoints", "pretrain", "best.safetensors"))
		assert.Contains(t, out, "pruned 0.00 %, kept 100.00 %")
	})
	t.Run("predict", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "logits.safetensors")
		code, out, errOut := program(t, "predict", folder, "--out", file, "--limit", "70", "--json")
		require.Zero(t, code, errOut)
		assert.JSONEq(t, `{"images": 70, "out": "`+file+`"}`, out)
		_, infos, err := checkpoint.ReadHeader(file)
		require.NoError(t, err)
		require.Len(t, infos, 2)
		assert.Equal(t, []any{"logits", []int64{70, 10}, "labels", []int64{70}}, []any{infos[0].Name, infos[0].Shape, infos[1].Name, infos[1].Shape})
	})
	t.Run("overwrite", func(t *testing.T) {
		code, out, errOut := program(t, "run", config, "--overwrite", "--set", "pretrain.lr=2e-3")
		assert.Zero(t, code, errOut)
		assert.Contains(t, out, "begins stage=pretrain")
	})
}

func TestQuantizedRunIsShown(t *testing.T) {
	config, folder := tinyRun(t)
	sets := []string{"--set", "admm.epochs=0", "--set", "retrain.epochs=0", "--set", "quantize.layers={conv2: 1, fc1: 3}", "--set", "quantize_retrain.epochs=1"}
	code, _, errOut := program(t, append([]string{"train", config, "--stage", "pretrain"}, sets...)...)
	require.Zero(t, code, errOut)
	code, out, errOut := program(t, append([]string{"train", config, "--stage", "quantize_retrain"}, sets...)...)
	require.Zero(t, code, errOut)
	const sizes = `quantised weights and scales: \d+ bytes \(\d+\.\d\dx\), with indices \d+ bytes`
	assert.Regexp(t, sizes, out)
	code, out, errOut = program(t, "sparsity", folder)
	require.Zero(t, code, errOut)
	assert.Regexp(t, `conv2.weight \| +1 \| +2 \|`, out)
	assert.Regexp(t, sizes, out)
	code, out, errOut = program(t, "eval", folder, "--json", "--limit", "20")
	require.Zero(t, code, errOut)
	q := parseReport(t, []byte(out)).Quantization
	require.NotNil(t, q)
	require.Len(t, q.Layers, 2)
	assert.Equal(t, "fc1.weight", q.Layers[1].Name)
}

func evaluates(t *testing.T, folder string, run metrics.Report) {
	code, out, errOut := program(t, "eval", folder, "--limit", "100", "--json")
	require.Zero(t, code, errOut)
	r := parseReport(t, []byte(out))
	assert.Empty(t, r.Stages)
	assert.Equal(t, run.Stages[2].CleanAccuracy, *r.CleanAccuracy)
	assert.Equal(t, run.Stages[2].RobustAccuracy, r.RobustAccuracy, "the same images, attack and seed")
	assert.Equal(t, *r.WorstCaseAccuracy, r.RobustAccuracy["pgd-4"])
	require.Len(t, r.Attacks, 1)
	assert.Equal(t, "Linf", r.Attacks[0].Norm)
	assert.Equal(t, 0.2, r.Attacks[0].Epsilon)
	assert.Equal(t, 4, r.Attacks[0].Steps)

	code, out, errOut = program(t, "eval", folder, "--n_examples", "50", "--attacks", "pgd-1,pgd-3", "--epsilon", "8/255", "--step_size", "2/255")
	require.Zero(t, code, errOut)
	assert.Contains(t, out, "pgd-3: Linf, epsilon 0.0313725 (8/255), step size 0.00784314 (2/255), 3 steps, random start")
	assert.Regexp(t, `clean +\d+\.\d\d % \(95 %: \d+\.\d\d to \d+\.\d\d\)`, out)
	assert.Regexp(t, `pgd-1 +\d`, out)
	assert.Regexp(t, `worst case +\d`, out)
	assert.Contains(t, out, "pruned 90.00 %, kept 10.00 %")

	code, out, errOut = program(t, "eval", folder, "--limit", "50", "--fail-under", "0.99", "--json")
	assert.Equal(t, exitUnproved, code)
	assert.Contains(t, errOut, "below --fail-under 99.00 %")
	parseReport(t, []byte(out))
	code, _, errOut = program(t, "eval", folder, "--limit", "50", "--epsilon", "8")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "8/255")
	code, _, errOut = program(t, "eval", folder, "--device", "cuda:63")
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "cuda:63")
}

// evaluationGoesOn terminates an evaluation in its second attack.
func evaluationGoesOn(t *testing.T, folder string) {
	args := []string{"eval", folder, "--attacks", "pgd-1,pgd-2000", "--step-size", "0.001", "--state", filepath.Join(t.TempDir(), "state.json")}
	r := start(t, args...)
	r.until("after pgd-1: ")
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, exitTerminate, r.code())
	assert.FileExists(t, args[len(args)-1])
	args[3] = "pgd-1,pgd-3"
	code, _, errOut := program(t, args...)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "is the state of an evaluation of another model, or with other images, attacks or seed")

	args[3] = "pgd-1,pgd-2000"
	code, out, errOut := program(t, append(args, "--json")...)
	require.Zero(t, code, errOut)
	assert.Contains(t, errOut, "going on with")
	assert.NotContains(t, errOut, "after pgd-1: ", "what was done is not done again")
	assert.NoFileExists(t, args[len(args)-1])
	code, fresh, errOut := program(t, append(args, "--json")...)
	require.Zero(t, code, errOut)
	assert.JSONEq(t, fresh, out)
}

func comparesAndTransfers(t *testing.T, folder string) {
	dense := filepath.Join(folder, "checkpoints", "pretrain", "best.safetensors")
	code, out, errOut := program(t, "compare", dense, folder)
	require.Zero(t, code, errOut)
	assert.Regexp(t, `worst case \| +\d+\.\d\d \| +\d+\.\d\d \| +[+-]\d+\.\d\d \| +\d+ \| +\d+ \|`, out)
	code, out, errOut = program(t, "compare", dense, folder, "--limit", "30", "--json")
	require.Zero(t, code, errOut)
	var c metrics.Comparison
	require.NoError(t, json.Unmarshal([]byte(out), &c))
	assert.Equal(t, 30, c.Pairs[0].Both+c.Pairs[0].OnlyA+c.Pairs[0].OnlyB+c.Pairs[0].Neither)

	code, out, errOut = program(t, "transfer", dense, folder, "--limit", "30")
	require.Zero(t, code, errOut)
	assert.Regexp(t, `crafted on \| +1 % \| +2 %`, out)
	code, _, errOut = program(t, "eval", folder, "--source", dense, "--limit", "30")
	require.Zero(t, code, errOut)
	code, _, errOut = program(t, "transfer", folder)
	assert.Equal(t, exitUsage, code)
	assert.Contains(t, errOut, "two or more")
}

// running is the binary at work, its standard error read line by line.
type running struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines chan string
}

func start(t *testing.T, args ...string) *running {
	cmd := exec.Command(binary, append(args, "--json")...)
	pipe, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	r := &running{t: t, cmd: cmd, lines: make(chan string, 1000)}
	go func() {
		scanner := bufio.NewScanner(pipe)
		for scanner.Scan() {
			r.lines <- scanner.Text()
		}
		close(r.lines)
	}()
	t.Cleanup(func() { cmd.Process.Kill() })
	return r
}

// until reads lines up to one that has the text.
func (r *running) until(text string) {
	r.t.Helper()
	limit := time.After(2 * time.Minute)
	for {
		select {
		case line, open := <-r.lines:
			if !open {
				require.Fail(r.t, "the program ended", "before it said %q", text)
			}
			if strings.Contains(line, text) {
				return
			}
		case <-limit:
			require.Fail(r.t, "the program does not say", text)
		}
	}
}

// code is the exit code; what is still said is dropped.
func (r *running) code() int {
	for range r.lines {
	}
	r.cmd.Wait()
	return r.cmd.ProcessState.ExitCode()
}

func TestATerminatedRunIsFinishedByTheSameCommand(t *testing.T) {
	caught := make(chan os.Signal, 1) // else the program would ignore a hangup where these tests run under nohup
	signal.Notify(caught, syscall.SIGHUP)
	t.Cleanup(func() { signal.Stop(caught) })
	for name, c := range map[string]struct {
		signal syscall.Signal
		code   int
	}{"SIGTERM": {syscall.SIGTERM, 143}, "SIGHUP": {syscall.SIGHUP, 143}, "SIGUSR1": {syscall.SIGUSR1, 143}, "SIGINT": {syscall.SIGINT, 130}} {
		t.Run(name, func(t *testing.T) {
			config, folder := tinyRun(t)
			args := []string{"run", config, "--set", "pretrain.epochs=10", "--set", "admm.epochs=0", "--set", "retrain.epochs=0"}
			r := start(t, args...)
			r.until("epoch=1 ")
			require.NoError(t, r.cmd.Process.Signal(c.signal))
			r.until("stopping at the next step")
			assert.Equal(t, c.code, r.code())
			assert.NoFileExists(t, filepath.Join(folder, "DONE"))

			code, out, errOut := program(t, append(args, "--json")...)
			require.Zero(t, code, errOut)
			assert.NotContains(t, errOut, "epoch=1 ", "what was done is not done again")
			assert.Equal(t, 10, parseReport(t, []byte(out)).Stages[0].Epochs)
			assert.FileExists(t, filepath.Join(folder, "DONE"))
		})
	}
}

func TestASecondInterruptEndsAtOnce(t *testing.T) {
	config, folder := tinyRun(t)
	// A step that takes long: the first signal waits for its end, and would have it saved.
	r := start(t, "run", config, "--set", "run.save_every=1", "--set", "run.grace=10m", "--set", "adversary.steps=20000", "--set", "adversary.step_size=0.001")
	r.until("begins")
	r.works(500 * time.Millisecond)
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGINT))
	r.until("once more ends it at once")
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGINT))
	assert.Equal(t, 130, r.code())
	left, err := filepath.Glob(filepath.Join(folder, "checkpoints", "*", "*"))
	require.NoError(t, err)
	assert.Empty(t, strings.Join(left, " "), "it did not wait for the step")
}
