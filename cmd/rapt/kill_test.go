package main

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/procfs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/checkpoint"
)

// kills is how often TestKilled kills: $RAPT_KILLS, or a few.
func kills(t *testing.T) int {
	text := os.Getenv("RAPT_KILLS")
	if text == "" {
		return 6
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err, "RAPT_KILLS")
	return n
}

// A run that is killed at random moments, and begun with the same command each time, ends with the very files of a run that was left alone. SIGTERM
// and kill -9 take turns; a checkpoint is saved every few steps, so that kills hit saves. With RAPT_DATA_DIR it is MNIST's images that are learnt.
func TestKilled(t *testing.T) {
	sets := []string{"run.save_every=3", "run.log_every=2", "data.batch_size=20", "pretrain.epochs=3", "admm.epochs=2", "retrain.epochs=2", "data.train_limit=400",
		"evaluate.attacks=[pgd-4, apgd-ce]"}
	if os.Getenv("RAPT_DATA_DIR") != "" {
		sets = append(sets, "data.dataset=mnist", "data.train_limit=2000", "data.test_limit=100", "data.batch_size=50")
	}
	begin := func() (args []string, folder string) {
		config, folder := tinyRun(t)
		args = []string{"run", config}
		for _, s := range sets {
			args = append(args, "--set", s)
		}
		return args, folder
	}
	args, whole := begin()
	began := time.Now()
	code, _, errOut := program(t, args...)
	require.Zero(t, code, errOut)
	took := time.Since(began)

	args, broken := begin()
	random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	saved, times := 0, kills(t)
	n := 0
	for ; n < times && !checkpoint.IsDone(broken); n++ { // a finished run is only shown
		r := start(t, args...)
		if n%4 != 3 { // else it is hit while it starts
			r.until("rapt v-test run=")
		}
		// A share of the whole each time, so that the kills are spread over all of it.
		time.Sleep(time.Duration(random.Float64() * 2 * float64(took) / float64(times) * 0.9))
		signal := syscall.SIGKILL
		if n%2 == 1 {
			signal = syscall.SIGTERM
		}
		_ = r.cmd.Process.Signal(signal)
		switch code := r.code(); {
		case signal == syscall.SIGTERM && code == exitTerminate:
			saved++
		case code == 0:
			assert.FileExists(t, filepath.Join(broken, "DONE"))
		default:
			require.Contains(t, []int{-1, exitTerminate}, code, "ended by the signal, before the program could see it or by saving")
		}
	}
	t.Logf("%d times killed or terminated, %d of them saved; a whole run takes %v", n, saved, took.Round(time.Millisecond))
	code, _, errOut = program(t, args...)
	require.Zero(t, code, errOut)
	same(t, whole, broken)
}

// same compares the models and the reports of two runs, but for times.
func same(t *testing.T, whole, broken string) {
	t.Helper()
	for _, stage := range []string{"pretrain", "admm", "retrain"} {
		for _, name := range []string{"best.safetensors", "last.safetensors", "last.state.safetensors"} {
			want, err := os.ReadFile(filepath.Join(whole, "checkpoints", stage, name))
			require.NoError(t, err)
			got, err := os.ReadFile(filepath.Join(broken, "checkpoints", stage, name))
			require.NoError(t, err)
			assert.True(t, string(want) == string(got), "%s of %s differs", name, stage)
		}
	}
	timeless := func(folder string) (report map[string]any) {
		b, err := os.ReadFile(filepath.Join(folder, "report.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(b, &report))
		for _, s := range report["stages"].([]any) {
			delete(s.(map[string]any), "seconds")
			delete(s.(map[string]any), "images_per_second")
		}
		return report
	}
	assert.Equal(t, timeless(whole), timeless(broken))
}

// works waits until the program has spent so much more of the processor's time: it is in the midst of what it last said that it begins.
func (r *running) works(spent time.Duration) {
	r.t.Helper()
	seconds := func() float64 {
		process, err := procfs.NewProc(r.cmd.Process.Pid)
		require.NoError(r.t, err)
		stat, err := process.Stat()
		require.NoError(r.t, err)
		return stat.CPUTime()
	}
	began := time.Now()
	for before := seconds(); seconds()-before < spent.Seconds(); time.Sleep(10 * time.Millisecond) {
		require.Less(r.t, time.Since(began), 2*time.Minute, "the program does nothing")
	}
}

// saves waits until the program has written the file anew, or says that it ended first.
func (r *running) saves(path string) bool {
	r.t.Helper()
	written := func() (t time.Time) {
		if info, err := os.Stat(path); err == nil {
			t = info.ModTime()
		}
		return t
	}
	before, limit, look := written(), time.After(2*time.Minute), time.NewTicker(2*time.Millisecond)
	defer look.Stop()
	for {
		select {
		case _, open := <-r.lines:
			if !open {
				return false
			}
		case <-look.C:
			if now := written(); now.After(before) {
				return true
			}
		case <-limit:
			require.Fail(r.t, "the program does not save")
		}
	}
}

// Where the step under way outlasts run.grace, the program ends all the same, and the next one goes on from the last checkpoint.
func TestGraceIsKept(t *testing.T) {
	config, folder := tinyRun(t)
	args := []string{"run", config, "--set", "run.save_every=1", "--set", "run.grace=100ms", "--set", "adversary.steps=20000", "--set", "adversary.step_size=0.001"}
	r := start(t, args...)
	r.until("begins")
	r.works(500 * time.Millisecond) // a signal before the first step would end the run at once, in good order
	began := time.Now()
	require.NoError(t, r.cmd.Process.Signal(syscall.SIGTERM))
	r.until("did not end within 100ms (run.grace)")
	assert.Equal(t, exitTerminate, r.code())
	assert.Less(t, time.Since(began), 20*time.Second, "a step takes longer than that")
	assert.NoFileExists(t, filepath.Join(folder, "DONE"))
	left, err := filepath.Glob(filepath.Join(folder, "checkpoints", "*", "*"))
	require.NoError(t, err)
	assert.Empty(t, strings.Join(left, " "), "no step had ended")
}

// An evaluation that is killed in each of AutoAttack's attacks, and once more in those of other kinds, ends with the flags of one that was left alone.
func TestAKilledEvaluationEndsWithTheSameFlags(t *testing.T) {
	config, folder := tinyRun(t)
	code, _, errOut := program(t, "run", config, "--set", "admm.epochs=0", "--set", "retrain.epochs=0", "--set", "pretrain.epochs=4", "--set", "data.train_limit=1000")
	require.Zero(t, code, errOut)
	all := 0
	for _, attacks := range []string{"autoattack", "fgsm,pgd-500,mim-500,fab"} { // it saves every two seconds, between chunks of 100 images
		dir, limit := t.TempDir(), 250
		args := func(name string) []string {
			return []string{"eval", folder, "--attacks", attacks, "--limit", strconv.Itoa(limit), "--epsilon", "0.05", "--csv", filepath.Join(dir, name+".csv"), "--state", filepath.Join(dir, name+".json")}
		}
		for took := time.Duration(0); took < 5*time.Second && limit < 2000; { // as many images as give it something to save twice
			limit *= 2
			began := time.Now()
			code, _, errOut := program(t, args("unbroken")...)
			require.Zero(t, code, errOut)
			took = time.Since(began)
		}
		kills := 0
		for r := start(t, args("broken")...); ; r = start(t, args("broken")...) {
			if kills == 3 || !r.saves(filepath.Join(dir, "broken.json")) {
				require.Zero(t, r.code())
				break
			}
			require.NoError(t, r.cmd.Process.Kill())
			r.code()
			kills++
		}
		all += kills
		want, err := os.ReadFile(filepath.Join(dir, "unbroken.csv"))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(dir, "broken.csv"))
		require.NoError(t, err)
		assert.Equal(t, string(want), string(got), attacks)
	}
	assert.GreaterOrEqual(t, all, 2, "too little was saved and broken off to show anything")
}
