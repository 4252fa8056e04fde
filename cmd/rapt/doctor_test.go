package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

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
	code, m = doctorJSON(t, write(t, "out.yaml", goodConfig+"run: {out_dir: "+file+"}\n"))
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
