package deploy

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// jobConfig is a run of one to a few seconds an epoch on one core, with a checkpoint after each.
const jobConfig = `
run: {name: job, out_dir: OUT, workers: 1, log_every: 10}
data: {dataset: digits, train_limit: 2000, test_limit: 200, validation: 200, batch_size: 50}
model: {arch: lenet_adv, width: 4}
adversary: {epsilon: 0.2, steps: 10}
prune: {ratio: 0.8}
pretrain: {epochs: EPOCHS}
admm: {epochs: 2, update_every: 1}
retrain: {epochs: 2}
evaluate: {attacks: [pgd-10]}
`

func jobFile(t *testing.T, epochs string) (path, folder string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "job.yaml")
	text := strings.NewReplacer("OUT", dir, "EPOCHS", epochs).Replace(jobConfig)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	return path, filepath.Join(dir, "job")
}

// withRapt puts a rapt of this tree first on the PATH.
func withRapt(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	out, err := exec.Command("go", "build", "-o", dir+"/rapt", "../cmd/rapt").CombinedOutput()
	require.NoError(t, err, string(out))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

// A job is submitted to a real Slurm, meets its time limit, is requeued by rapt itself, goes on and finishes; another is cancelled, and
// stays so; a third has its node drained and is taken off it, and goes on when the node is back; then the points of a sweep.
func TestSlurm(t *testing.T) {
	withRapt(t)
	c := startCluster(t)
	t.Run("time limit", func(t *testing.T) {
		c.t = t
		config, folder := jobFile(t, "60") // longer than Slurm takes to look
		job := c.submit("run", config, "--time=30", "--signal=USR1@110")
		c.wait("an epoch", func() bool { return epochs(t, folder) > 0 })
		// Slurm looks every half a minute, and signals that much earlier than it was asked to: at its next look.
		c.must("scontrol", "update", "JobId="+job, "TimeLimit=2")
		c.wait("the requeue", func() bool { return strings.Contains(c.log(job), "job "+job+" is requeued") })
		require.Contains(t, c.log(job), "user defined signal 1: stopping at the next step")
		require.NoFileExists(t, folder+"/DONE")
		// What is left may take longer: it is not what is tested.
		c.must("scontrol", "update", "JobId="+job, "TimeLimit=30")
		c.state(job, "RUNNING")
		require.NotEqual(t, "0", c.field(job, "Restarts"))
		c.state(job, "COMPLETED")
		require.FileExists(t, folder+"/DONE")
		require.Equal(t, 64, epochs(t, folder), "no epoch is missing, none is done twice")
		require.Contains(t, c.log(job), "going on")
	})
	t.Run("cancelled", func(t *testing.T) {
		c.t = t
		config, folder := jobFile(t, "200")
		job := c.submit("run", config, "--time=30")
		c.wait("an epoch", func() bool { return epochs(t, folder) > 0 })
		c.must("scancel", job)
		c.state(job, "CANCELLED")
		c.wait("the end", func() bool { return strings.Contains(c.log(job), "interrupted: saved") })
		require.NotContains(t, c.log(job), "requeued")
		require.FileExists(t, folder+"/checkpoints/pretrain/last.safetensors")
	})
	t.Run("drained", func(t *testing.T) {
		c.t = t
		config, folder := jobFile(t, "8")
		job := c.submit("run", config, "--time=30")
		c.wait("an epoch", func() bool { return epochs(t, folder) > 0 })
		c.must("scontrol", "update", "NodeName="+c.node, "State=DRAIN", "Reason=test")
		c.must("scontrol", "requeue", job)
		c.wait("the job to leave its node", func() bool { return c.field(job, "JobState") == "PENDING" })
		c.wait("the drained node", func() bool { return c.must("sinfo", "-h", "-o", "%T") == "drained" })
		c.must("scontrol", "update", "NodeName="+c.node, "State=RESUME")
		c.state(job, "RUNNING")
		c.state(job, "COMPLETED")
		require.Equal(t, 12, epochs(t, folder))
	})
	t.Run("sweep", func(t *testing.T) {
		c.t = t
		config, folder := jobFile(t, "1")
		sweep := filepath.Join(filepath.Dir(config), "sizes.yaml")
		require.NoError(t, os.WriteFile(sweep, []byte("config: job.yaml\ngrid: {model.width: [1, 2], run.seed: [1, 2]}\n"), 0o644))
		job := c.submit("sweep", sweep, "--array=0-3", "--time=30")
		for _, task := range []string{"0", "1", "2", "3"} {
			c.state(job+"_"+task, "COMPLETED")
		}
		for _, name := range []string{"0-width1-seed1", "1-width1-seed2", "2-width2-seed1", "3-width2-seed2"} {
			require.FileExists(t, filepath.Join(filepath.Dir(folder), "sizes", name, "DONE"))
		}
	})
}

// epochs counts the rows of metrics.csv.
func epochs(t *testing.T, folder string) int {
	t.Helper()
	text, err := os.ReadFile(folder + "/metrics.csv")
	if err != nil {
		return 0
	}
	return strings.Count(string(text), "\n") - 1
}
