package deploy

import (
	"bytes"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"rapt/trainer/config"
)

// objects are what a kustomization makes, each decoded strictly into the API's own type: an unknown or misspelt field fails.
func objects(t *testing.T, folder string) (jobs []batch.Job, claims []core.PersistentVolumeClaim, maps []core.ConfigMap) {
	t.Helper()
	made, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	require.NoError(t, err)
	for _, one := range made.Resources() {
		text, err := one.MarshalJSON()
		require.NoError(t, err)
		into := func(v any) {
			wrong, err := kjson.UnmarshalStrict(text, v)
			require.NoError(t, err)
			require.Empty(t, wrong)
		}
		switch one.GetKind() {
		case "Job":
			jobs = append(jobs, batch.Job{})
			into(&jobs[len(jobs)-1])
		case "PersistentVolumeClaim":
			claims = append(claims, core.PersistentVolumeClaim{})
			into(&claims[len(claims)-1])
		case "ConfigMap":
			maps = append(maps, core.ConfigMap{})
			into(&maps[len(maps)-1])
		default:
			t.Fatalf("%s makes a %s", folder, one.GetKind())
		}
	}
	return jobs, claims, maps
}

func TestJobs(t *testing.T) {
	for _, folder := range []string{"k8s/base", "k8s/sweep", "k8s/overlays/example"} {
		t.Run(folder, func(t *testing.T) {
			jobs, claims, _ := objects(t, folder)
			require.Len(t, jobs, 1)
			require.Len(t, claims, 1)
			job, pod := jobs[0].Spec, jobs[0].Spec.Template.Spec
			require.Equal(t, core.RestartPolicyNever, pod.RestartPolicy, "podFailurePolicy asks for it")
			require.GreaterOrEqual(t, *pod.TerminationGracePeriodSeconds, int64(60))
			require.True(t, *pod.SecurityContext.RunAsNonRoot)
			require.False(t, *pod.AutomountServiceAccountToken)
			require.Equal(t, claims[0].Name, volume(t, pod, "workspace").PersistentVolumeClaim.ClaimName)

			rules := job.PodFailurePolicy.Rules
			require.Equal(t, []int32{2}, rules[0].OnExitCodes.Values, "a wrong config is not tried again")
			require.Equal(t, core.DisruptionTarget, rules[1].OnPodConditions[0].Type)
			require.Equal(t, batch.PodFailurePolicyActionIgnore, rules[1].Action, "an eviction does not count")

			c := pod.Containers[0]
			require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem)
			require.Equal(t, "1", c.Resources.Limits.Name("nvidia.com/gpu", "").String())
			require.Equal(t, "run", c.Args[0])
			require.Len(t, pod.InitContainers, 1)
			fetch := pod.InitContainers[0]
			require.Equal(t, []string{"data", "fetch", "mnist"}, fetch.Args)
			require.Equal(t, c.Image, fetch.Image, "an overlay changes both")
			require.Equal(t, c.Env, fetch.Env)
			require.True(t, *fetch.SecurityContext.ReadOnlyRootFilesystem)
			for _, mount := range append(fetch.VolumeMounts, c.VolumeMounts...) {
				volume(t, pod, mount.Name)
			}
		})
	}
}

func volume(t *testing.T, pod core.PodSpec, name string) core.Volume {
	t.Helper()
	i := slices.IndexFunc(pod.Volumes, func(v core.Volume) bool { return v.Name == name })
	require.GreaterOrEqual(t, i, 0, "there is no volume %s", name)
	return pod.Volumes[i]
}

func TestSweepJob(t *testing.T) {
	jobs, _, maps := objects(t, "k8s/sweep")
	job := jobs[0].Spec
	require.Equal(t, batch.IndexedCompletion, *job.CompletionMode)
	require.Equal(t, batch.PodFailurePolicyActionFailIndex, job.PodFailurePolicy.Rules[0].Action)
	require.NotNil(t, job.BackoffLimitPerIndex, "FailIndex asks for it")
	require.EqualValues(t, math.MaxInt32, *job.BackoffLimit, "the base's limit would count the failures of all points")
	require.Len(t, maps, 1)
	require.Equal(t, maps[0].Name, volume(t, job.Template.Spec, "sweep").ConfigMap.Name)

	sweep, err := config.LoadSweep("k8s/sweep/sweep.yaml")
	require.NoError(t, err)
	require.EqualValues(t, sweep.N(), *job.Completions)
	// The config's path is that in the image; here the same file lies in configs.
	require.Equal(t, "/opt/rapt/configs", filepath.Dir(sweep.Config))
	sweep.Config = filepath.Join("../configs", filepath.Base(sweep.Config))
	for i := range sweep.N() {
		_, err := sweep.Load(i, []string{"run.out_dir=/workspace/runs"})
		require.NoError(t, err)
	}
}

func TestExampleSweep(t *testing.T) {
	sweep, err := config.LoadSweep("sweep.yaml")
	require.NoError(t, err)
	require.Equal(t, 12, sweep.N())
	for i := range sweep.N() {
		_, err := sweep.Load(i, nil)
		require.NoError(t, err)
	}
}

// The batch scripts are valid shell, and ask Slurm for what rapt relies on.
func TestBatchScripts(t *testing.T) {
	for _, name := range []string{"run", "sweep"} {
		path := "slurm/" + name + ".sbatch"
		out, err := exec.Command("bash", "-n", path).CombinedOutput()
		require.NoError(t, err, string(out))
		text, err := exec.Command("grep", "^#SBATCH", path).Output()
		require.NoError(t, err)
		for _, line := range []string{"--signal=USR1@120", "--requeue", "--open-mode=append"} {
			require.Contains(t, string(text), "#SBATCH "+line+"\n")
		}
	}
}

// Every file below k8s is one that the tests above read, or part of one.
func TestNoStrayFile(t *testing.T) {
	out, err := exec.Command("find", "k8s", "-type", "f").Output()
	require.NoError(t, err)
	for file := range strings.FieldsSeq(string(out)) {
		text, err := filesys.MakeFsOnDisk().ReadFile(file)
		require.NoError(t, err)
		require.NoError(t, yaml.NewDecoder(bytes.NewReader(text)).Decode(&yaml.Node{}), file)
	}
}
