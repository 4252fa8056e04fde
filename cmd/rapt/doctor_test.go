package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/config"
)

// fewDigits is goodConfig with little to draw.
var fewDigits = strings.Replace(goodConfig, "digits", "digits, train_limit: 100, test_limit: 10", 1)

func doctorJSON(t *testing.T, args ...string) (int, machine) {
	t.Helper()
	code, out, _ := rapt(append([]string{"doctor", "--json"}, args...)...)
	var m machine
	require.NoError(t, json.Unmarshal([]byte(out), &m), out)
	return code, m
}

func stateIn(m machine, name string) string {
	for _, c := range m.Checks {
		if c.Name == name {
			return c.State
		}
	}
	return ""
}

func TestDoctorOfThisMachine(t *testing.T) {
	t.Setenv("RAPT_DATA_DIR", t.TempDir())
	t.Setenv("SLURM_JOB_ID", "12345")
	code, m := doctorJSON(t)
	assert.Zero(t, code)
	assert.True(t, m.OK)
	assert.NotEmpty(t, m.Libtorch)
	assert.NotEmpty(t, m.BLAS)
	assert.Positive(t, m.CPUs)
	assert.Positive(t, m.Threads)
	assert.Positive(t, m.DiskFree)
	assert.Equal(t, "12345", m.Scheduler["SLURM_JOB_ID"])
	assert.Equal(t, stateOK, stateIn(m, "libtorch"))
	assert.Equal(t, stateOK, stateIn(m, "data digits"))
	assert.Equal(t, stateWarning, stateIn(m, "data mnist"))
	assert.Positive(t, m.DiskSpeed)
	assert.Positive(t, m.Memory)
	assert.Nil(t, m.Needs, "there is no config")
	assert.Equal(t, stateOK, stateIn(m, "memory"))
	assert.Equal(t, stateOK, stateIn(m, "clock"))
	assert.Contains(t, []string{stateOK, stateWarning}, stateIn(m, "disk speed"))
	for _, c := range m.Checks {
		assert.Equal(t, c.State == stateOK, c.Remedy == "", "what is not ok has a remedy: %v", c)
	}

	code, out, errOut := rapt("doctor")
	assert.Zero(t, code)
	assert.Empty(t, errOut)
	for _, c := range m.Checks {
		assert.Contains(t, out, c.Name)
	}
}

func TestDoctorFindsWhatWillMakeARunFail(t *testing.T) {
	t.Setenv("RAPT_DATA_DIR", t.TempDir())
	config := write(t, "mnist.yaml", strings.Replace(goodConfig, "digits", "mnist", 1))
	code, m := doctorJSON(t, config)
	assert.Equal(t, exitUnproved, code)
	assert.False(t, m.OK)
	assert.Equal(t, stateProblem, stateIn(m, "data mnist"))

	config = write(t, "images.yaml", strings.Replace(goodConfig, "digits", "image_folder, dir: nowhere", 1))
	code, m = doctorJSON(t, config)
	assert.Equal(t, exitUnproved, code)
	assert.Equal(t, stateProblem, stateIn(m, "data image_folder"))

	config = write(t, "gpu.yaml", goodConfig+"run: {device: 'cuda:63'}\n")
	code, m = doctorJSON(t, config)
	assert.Equal(t, exitUnproved, code)
	assert.Equal(t, stateProblem, stateIn(m, "device"))

	file := write(t, "file", "")
	code, m = doctorJSON(t, write(t, "out.yaml", fewDigits+"run: {out_dir: "+file+"}\n"))
	assert.Equal(t, exitUnproved, code)
	assert.Equal(t, stateProblem, stateIn(m, "disk"), "a file where the folder should be")

	code, out, errOut := rapt("doctor", config)
	assert.Equal(t, exitUnproved, code)
	assert.Contains(t, out, "-> set run.device: auto")
	assert.Equal(t, "rapt: a run will fail because of: device\n", errOut)
}

func TestDoctorSeesTheDiskOfAFolderToCome(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	assert.Equal(t, dir, existing(filepath.Join(dir, "runs", "first")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "runs"), 0o755))
	assert.Equal(t, filepath.Join(dir, "runs"), existing(filepath.Join(dir, "runs", "first")))
}

func TestDoctorSeesWhatARunNeeds(t *testing.T) {
	out := t.TempDir()
	code, m := doctorJSON(t, write(t, "good.yaml", fewDigits+"run: {name: x, device: cpu, out_dir: "+out+"}\n"))
	assert.Zero(t, code)
	require.NotNil(t, m.Needs)
	assert.Equal(t, "cpu", m.Needs.Device)
	assert.Greater(t, m.Needs.Memory, m.Needs.Fixed)
	assert.Positive(t, m.Needs.Fixed)
	assert.Positive(t, m.Needs.Disk)
	assert.Equal(t, stateOK, stateIn(m, "config"))
	left, err := os.ReadDir(out)
	require.NoError(t, err)
	assert.Empty(t, left, "what was written is removed")

	code, m = doctorJSON(t, write(t, "load.yaml", strings.Replace(fewDigits, "lenet_adv", "lenet_adv, load: nowhere.safetensors", 1)))
	assert.Equal(t, exitUnproved, code)
	assert.Equal(t, stateProblem, stateIn(m, "config"))
	assert.Nil(t, m.Needs)
}

func TestDoctorComparesDiskAndMemoryWithTheRuns(t *testing.T) {
	cfg := &config.Config{Run: config.Run{OutDir: t.TempDir(), Name: "x"}}
	state := func(free uint64, need int64) string {
		m := &machine{DiskFree: free}
		m.space(cfg, &runNeeds{Disk: need})
		assert.Equal(t, m.Checks[0].State == stateOK, m.Checks[0].Remedy == "")
		return m.Checks[0].State
	}
	assert.Equal(t, stateOK, state(3e9, 1e9))
	assert.Equal(t, stateWarning, state(3e9, 25e8))
	assert.Equal(t, stateProblem, state(3e9, 31e8))
	saved := filepath.Join(cfg.Run.OutDir, "x", "checkpoints", "pretrain")
	require.NoError(t, os.MkdirAll(saved, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(saved, "last.safetensors"), nil, 0o644))
	require.NoError(t, os.Truncate(filepath.Join(saved, "last.safetensors"), 2e9))
	assert.Equal(t, stateOK, state(3e9, 31e8), "2 GB of them are there already")

	m := &machine{}
	m.memory(nil)
	limit := m.Memory
	for _, c := range []struct {
		state string
		needs runNeeds
	}{
		{stateOK, runNeeds{Device: "cpu", Memory: limit / 2, Fixed: limit / 3}},
		{stateWarning, runNeeds{Device: "cpu", Memory: 2 * limit, Fixed: limit / 3}},
		{stateProblem, runNeeds{Device: "cpu", Memory: 3 * limit, Fixed: 2 * limit}},
		{stateOK, runNeeds{Device: "cuda:0", Memory: 3 * limit, Fixed: 2 * limit}},
	} {
		m := &machine{}
		m.memory(&c.needs)
		assert.Equal(t, c.state, m.Checks[0].State, c.needs)
	}
}

func TestWriteSpeed(t *testing.T) {
	dir := t.TempDir()
	speed, err := writeSpeed(dir)
	require.NoError(t, err)
	assert.Positive(t, speed)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
	_, err = writeSpeed(filepath.Join(dir, "absent"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	for state, cfg := range map[string]*config.Config{stateWarning: nil, stateProblem: {}} {
		m := &machine{Disk: filepath.Join(dir, "absent")}
		m.speed(cfg)
		assert.Equal(t, state, m.Checks[0].State)
	}
}

func TestDoctorComparesCUDAWithTheDriver(t *testing.T) {
	for _, c := range []struct {
		built                    bool
		cuda, driver, gpu, state string
		says                     string
	}{
		{false, "", "", "", stateOK, "none: this libtorch is without CUDA"},
		{false, "", "535.104.05", "", stateWarning, "this libtorch is without CUDA"},
		{true, "12.8", "570.1.02", "H100", stateOK, "libtorch's is 12.8, the driver 570.1.02"},
		{true, "12.8", "470.82.01", "", stateWarning, "the driver 470.82.01 is too old for libtorch's CUDA 12.8, which needs 525 or newer"},
		{true, "13.0", "570.1.02", "", stateWarning, "which needs 580 or newer"},
		{true, "12.8", "570.1.02", "", stateWarning, "fits libtorch's CUDA 12.8, but no GPU can be used"},
		{true, "", "", "", stateWarning, "no NVIDIA driver is seen"},
	} {
		m := &machine{CUDABuilt: c.built, CUDA: c.cuda, Driver: c.driver}
		if c.gpu != "" {
			m.GPUs = []string{c.gpu}
		}
		m.cuda()
		require.Len(t, m.Checks, 1)
		assert.Equal(t, c.state, m.Checks[0].State, c.says)
		assert.Contains(t, m.Checks[0].Detail, c.says)
		assert.Equal(t, c.state == stateOK, m.Checks[0].Remedy == "")
	}
	for text, want := range map[string]string{
		"NVRM version: NVIDIA UNIX x86_64 Kernel Module  470.82.01  Wed Oct 27 21:21:55 UTC 2021": "470.82.01",
		"NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build":       "580.65.06",
	} {
		assert.Equal(t, want, driverVersion.FindString(text))
	}
	assert.Equal(t, "12.8", cudaVersion.FindStringSubmatch("PyTorch built with:\n  - GCC 13.3\n  - CUDA Runtime 12.8\n  - CuDNN 90.7")[1])
}

func TestDoctorReadsTheScheduler(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	detail := func(env map[string]string) string {
		m := &machine{Scheduler: map[string]string{}}
		m.scheduler(func(name string) (string, bool) { v, ok := env[name]; return v, ok }, now)
		require.Len(t, m.Checks, 1)
		assert.Equal(t, env, m.Scheduler)
		return m.Checks[0].Detail
	}
	assert.Contains(t, detail(map[string]string{}), "none seen")
	got := detail(map[string]string{"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2", "SLURM_RESTART_COUNT": "3", "SLURM_JOB_END_TIME": "1800003660"})
	assert.Contains(t, got, "Slurm, array 5, index 2, job 7, requeued 3 times, may run until 2027-01-15 09:01:00 UTC, for another 1h1m0s")
	assert.Contains(t, detail(map[string]string{"SLURM_JOB_END_TIME": "1799999999"}), "for another 0s")
	assert.NotContains(t, detail(map[string]string{"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "soon"}), "may run until")
	assert.Contains(t, detail(map[string]string{"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "4"}), "Kubernetes, index 4 of an indexed Job")
}

func TestDoctorDoubtsAClockThatWasNeverSet(t *testing.T) {
	for year, state := range map[int]string{1970: stateWarning, 2023: stateWarning, 2024: stateOK} {
		m := &machine{}
		m.clock(time.Date(year, 6, 1, 0, 0, 0, 0, time.UTC))
		assert.Equal(t, state, m.Checks[0].State, year)
	}
}
