package main

import (
	"bytes"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// The first layer's outputs of a batch take 8 GB, and the process gets 7 GB of addresses.
func TestARunWithoutMemorySaysWhatToLower(t *testing.T) {
	if torch.BuiltWithCUDA() {
		t.Skip("CUDA's libraries take more addresses than the test leaves")
	}
	config, folder := tinyRun(t)
	args := []string{"run", config}
	for _, set := range []string{"data.train_limit=21000", "data.validation=1000", "data.batch_size=20000", "model.width=64", "run.workers=1", "run.device=cpu"} {
		args = append(args, "--set", set)
	}
	var out, errOut bytes.Buffer
	cmd := exec.Command("bash", append([]string{"-c", `ulimit -v 7000000 && exec "$0" "$@"`, binary}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	var exit *exec.ExitError
	require.True(t, errors.As(cmd.Run(), &exit), out.String())
	assert.Equal(t, exitFailed, exit.ExitCode(), errOut.String())
	assert.Equal(t, 1, strings.Count(errOut.String(), "\n"), errOut.String())
	assert.Contains(t, errOut.String(), "rapt: out of memory on cpu: lower data.batch_size (20000), run.workers (1) or model.width (64)")
	assert.Contains(t, errOut.String(), "rapt doctor --find-batch "+filepath.Join(folder, "config.yaml"))
	assert.Contains(t, errOut.String(), "no checkpoint had been saved yet")
	assert.FileExists(t, filepath.Join(folder, "config.yaml"), "so that doctor can read it")
}
