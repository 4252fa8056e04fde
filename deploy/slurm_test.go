package deploy

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/stretchr/testify/require"
)

// cluster is a Slurm of one node on this machine: its own munged, slurmctld and slurmd, with their files in a folder of the test's.
type cluster struct {
	t    *testing.T
	dir  string
	env  []string
	node string
}

var slurmConf = template.Must(template.New("slurm.conf").Parse(`ClusterName=test
SlurmctldHost={{.Node}}(127.0.0.1)
SlurmUser={{.User}}
SlurmdUser={{.User}}
SlurmctldPort={{.Controller}}
SlurmdPort={{.Daemon}}
AuthType=auth/munge
AuthInfo=socket={{.Dir}}/munge.socket
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=2,sched_min_interval=500000
JobRequeue=1
KillWait=30
StateSaveLocation={{.Dir}}/state
SlurmdSpoolDir={{.Dir}}/spool
SlurmctldPidFile={{.Dir}}/slurmctld.pid
SlurmdPidFile={{.Dir}}/slurmd.pid
SlurmctldLogFile={{.Dir}}/slurmctld.log
SlurmdLogFile={{.Dir}}/slurmd.log
GresTypes=gpu
NodeName={{.Node}} NodeAddr=127.0.0.1 CPUs={{.CPUs}} Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`))

// startCluster starts the daemons and waits until the node is idle.
func startCluster(t *testing.T) *cluster {
	for _, program := range []string{"munged", "slurmctld", "slurmd", "sbatch", "scontrol", "squeue"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not there: apt-get install slurmctld slurmd slurm-client munge", program)
		}
	}
	if testing.Short() {
		t.Skip("Slurm's time limits are whole minutes: not with -short")
	}
	dir, err := os.MkdirTemp("", "slurm") // a socket's path must be short, so not t.TempDir
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	host, err := os.Hostname()
	require.NoError(t, err)
	me, err := user.Current()
	require.NoError(t, err)
	host, _, _ = strings.Cut(host, ".")
	c := &cluster{t: t, dir: dir, node: host, env: append(os.Environ(), "SLURM_CONF="+dir+"/slurm.conf")}
	for _, sub := range []string{"state", "spool"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, sub), 0o755))
	}
	require.NoError(t, os.WriteFile(dir+"/munge.key", bytes.Repeat([]byte("0123456789abcdef"), 64), 0o600))
	require.NoError(t, os.WriteFile(dir+"/gres.conf", []byte("Name=gpu File=/dev/null\n"), 0o644))
	var conf bytes.Buffer
	require.NoError(t, slurmConf.Execute(&conf, map[string]any{"Node": host, "User": me.Username, "Dir": dir,
		"Controller": freePort(t), "Daemon": freePort(t), "CPUs": 1}))
	require.NoError(t, os.WriteFile(dir+"/slurm.conf", conf.Bytes(), 0o644))
	c.daemon("munged", "--foreground", "--force", "--key-file="+dir+"/munge.key", "--socket="+dir+"/munge.socket",
		"--pid-file="+dir+"/munge.pid", "--log-file="+dir+"/munge.log", "--seed-file="+dir+"/munge.seed")
	c.wait("munged's socket", func() bool { _, err := os.Stat(dir + "/munge.socket"); return err == nil })
	c.daemon("slurmctld", "-D", "-c")
	c.daemon("slurmd", "-D", "-N", host)
	c.wait("an idle node", func() bool { out, err := c.try("sinfo", "-h", "-o", "%T"); return err == nil && out == "idle" })
	return c
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// daemon runs a program until the test ends.
func (c *cluster) daemon(name string, args ...string) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = c.env
	log, err := os.Create(filepath.Join(c.dir, name+".out"))
	require.NoError(c.t, err)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	require.NoError(c.t, cmd.Start())
	c.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
		log.Close()
		if c.t.Failed() {
			for _, suffix := range []string{".out", ".log"} {
				text, _ := os.ReadFile(filepath.Join(c.dir, name+suffix))
				c.t.Logf("%s%s:\n%s", name, suffix, text)
			}
		}
	})
}

// try runs a client of the cluster.
func (c *cluster) try(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = c.env
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

func (c *cluster) must(name string, args ...string) string {
	c.t.Helper()
	out, err := c.try(name, args...)
	require.NoError(c.t, err, "%s %v: %s", name, args, out)
	return out
}

func (c *cluster) wait(what string, done func() bool) {
	c.t.Helper()
	require.Eventually(c.t, done, 10*time.Minute, 500*time.Millisecond, "waited for %s", what)
}

// submit submits a batch script of slurm/ for a config and returns the job's number.
func (c *cluster) submit(script, config string, sbatch ...string) string {
	c.t.Helper()
	args := append([]string{"--parsable", "--cpus-per-task=1", "--output=" + c.dir + "/job-%j.log"}, sbatch...)
	return c.must("sbatch", append(args, "slurm/"+script+".sbatch", config)...)
}

// field is one of a job's, such as JobState or Restarts.
func (c *cluster) field(job, name string) string {
	out, err := c.try("scontrol", "show", "job", "-o", job)
	if err != nil {
		return ""
	}
	for word := range strings.FieldsSeq(out) {
		if value, ok := strings.CutPrefix(word, name+"="); ok {
			return value
		}
	}
	return ""
}

func (c *cluster) state(job, want string) {
	c.t.Helper()
	c.wait(fmt.Sprintf("job %s to be %s", job, want), func() bool {
		// A requeued job is held back for two minutes: it may begin now.
		if want == "RUNNING" && c.field(job, "JobState") == "PENDING" {
			_, _ = c.try("scontrol", "update", "JobId="+job, "StartTime=now")
		}
		return c.field(job, "JobState") == want
	})
}

func (c *cluster) log(job string) string {
	text, _ := os.ReadFile(c.dir + "/job-" + job + ".log")
	return string(text)
}
