package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"rapt/trainer"
	"rapt/trainer/config"
	"rapt/trainer/limits"
)

// runNeeds is what the config's run takes, estimated.
type runNeeds struct {
	Device string `json:"device"`
	Memory int64  `json:"memory_bytes"` // the device's; the data and libtorch come on top
	Fixed  int64  `json:"fixed_bytes"`  // the part of it that no smaller batch lowers
	Disk   int64  `json:"disk_bytes"`   // checkpoints
}

// needs checks the config as a run does before it begins. Where something that it needs is known to be missing, it is nil.
func (m *machine) needs(ctx context.Context, cfg *config.Config) (*runNeeds, error) {
	if cfg == nil || len(m.problems()) > 0 {
		return nil, nil
	}
	n, err := trainer.NeedsOf(ctx, cfg)
	if errors.Is(err, trainer.ErrInterrupted) {
		return nil, err
	}
	if err != nil {
		m.add(stateProblem, "config", "mend what the run would be refused for", "%v", err)
		return nil, nil
	}
	m.Needs = &runNeeds{Device: n.Device, Memory: n.Memory.Total, Fixed: n.Memory.Total - n.Memory.Activations, Disk: n.Disk}
	m.add(stateOK, "config", "", "%s: nothing that a run would be refused for", cfg.Run.Name)
	return m.Needs, nil
}

// memory compares what this process may have, by the machine and its control groups, with what the run takes.
func (m *machine) memory(needs *runNeeds) {
	m.Memory = limits.Memory(os.DirFS("/"))
	detail := gigabytes(m.Memory) + " for this process"
	if m.Memory == 0 {
		detail = "no limit is seen"
	}
	if needs == nil {
		m.add(stateOK, "memory", "", "%s", detail)
		return
	}
	detail += fmt.Sprintf("; the run takes about %s on %s, the data and libtorch besides", gigabytes(needs.Memory), needs.Device)
	const remedy = "lower data.batch_size, run.workers or model.width, or ask the scheduler for more memory; rapt doctor --find-batch CONFIG measures"
	switch {
	case m.Memory == 0 || strings.HasPrefix(needs.Device, "cuda"): // of the GPU's memory --find-batch tells
		m.add(stateOK, "memory", "", "%s", detail)
	case needs.Fixed > m.Memory:
		m.add(stateProblem, "memory", remedy, "%s", detail)
	case needs.Memory > m.Memory:
		m.add(stateWarning, "memory", remedy, "%s", detail)
	default:
		m.add(stateOK, "memory", "", "%s", detail)
	}
}

// schedulerVariables are those worth seeing: they say who started the process and what it may use.
var schedulerVariables = []string{
	"SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_JOB_END_TIME", "SLURM_NTASKS", "SLURM_PROCID",
	"SLURM_CPUS_PER_TASK", "KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
}

// containerMarks are files that container engines leave in a container.
var containerMarks = map[string]string{"/.dockerenv": "docker", "/run/.containerenv": "podman"}

// scheduler shows who runs this process, what was read of it, and until when it may run.
func (m *machine) scheduler(env func(string) (string, bool), now time.Time) {
	var seen []string
	for _, name := range schedulerVariables {
		if value, ok := env(name); ok {
			m.Scheduler[name] = value
			seen = append(seen, name+"="+value)
		}
	}
	who := []string{"none seen"}
	switch {
	case slices.ContainsFunc(seen, func(v string) bool { return strings.HasPrefix(v, "SLURM_") }):
		who = m.slurm(now)
	case m.Scheduler["KUBERNETES_SERVICE_HOST"] != "":
		who = []string{"Kubernetes"}
		if index := m.Scheduler["JOB_COMPLETION_INDEX"]; index != "" {
			who = append(who, "index "+index+" of an indexed Job")
		}
	}
	for file, engine := range containerMarks {
		if _, err := os.Stat(file); err == nil {
			who = append(who, "in a container of "+engine)
		}
	}
	detail := strings.Join(who, ", ")
	if len(seen) > 0 {
		detail += "; set: " + strings.Join(seen, " ")
	}
	m.add(stateOK, "scheduler", "", "%s", detail)
}

// slurm tells a job's name, place in an array, restarts and end.
func (m *machine) slurm(now time.Time) []string {
	v := m.Scheduler
	who := []string{"Slurm"}
	if v["SLURM_ARRAY_JOB_ID"] != "" {
		who = append(who, "array "+v["SLURM_ARRAY_JOB_ID"]+", index "+v["SLURM_ARRAY_TASK_ID"])
	}
	if v["SLURM_JOB_ID"] != "" {
		who = append(who, "job "+v["SLURM_JOB_ID"])
	}
	if n := v["SLURM_RESTART_COUNT"]; n != "" {
		who = append(who, "requeued "+n+" times")
	}
	if at, err := strconv.ParseInt(v["SLURM_JOB_END_TIME"], 10, 64); err == nil {
		end := time.Unix(at, 0)
		who = append(who, fmt.Sprintf("may run until %s, for another %v", end.UTC().Format("2006-01-02 15:04:05 MST"), max(0, end.Sub(now)).Round(time.Second)))
	}
	return who
}

// clock warns of one that was never set: times in logs, and certificates of downloads, go by it.
func (m *machine) clock(now time.Time) {
	detail := now.UTC().Format("2006-01-02 15:04:05 MST")
	if now.Year() < 2024 {
		m.add(stateWarning, "clock", "set the clock: times in logs will be wrong, and downloads refused", "%s, which is in the past", detail)
		return
	}
	m.add(stateOK, "clock", "", "%s", detail)
}
