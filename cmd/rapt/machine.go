package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strings"
	"time"

	torch "rapt/cgo"
	"rapt/datasets"
	"rapt/trainer/config"
	"rapt/trainer/limits"
)

// machine is what doctor found, and its --json.
type machine struct {
	Version   string            `json:"version"`
	Go        string            `json:"go"`
	Platform  string            `json:"platform"`
	Libtorch  string            `json:"libtorch"`
	CUDABuilt bool              `json:"cuda_built"`    // libtorch has CUDA compiled in
	CUDA      string            `json:"cuda"`          // its version; empty without
	Driver    string            `json:"nvidia_driver"` // empty where none is seen
	GPUs      []string          `json:"gpus"`          // those that libtorch can use
	BLAS      string            `json:"blas"`
	CPUs      int               `json:"cpus"`               // that this process may run on
	CPULimit  float64           `json:"cpu_limit"`          // the control group's, in processors; 0 is none seen
	Threads   int               `json:"threads"`            // that a run will use
	Memory    int64             `json:"memory_limit_bytes"` // that this process may have; 0 is none seen
	Datasets  []*dataState      `json:"datasets"`
	Disk      string            `json:"disk"` // the folder whose file system is looked at
	DiskFree  uint64            `json:"disk_free_bytes"`
	DiskSpeed float64           `json:"disk_mb_per_s"`       // written and synced; 0 is not measured
	Needs     *runNeeds         `json:"run_needs,omitempty"` // the config's
	Scheduler map[string]string `json:"scheduler"`           // the environment's variables that say one is at work
	OK        bool              `json:"ok"`
	Checks    []check           `json:"checks"`
}

func (m *machine) add(state, name, remedy, format string, args ...any) {
	m.Checks = append(m.Checks, check{name, state, fmt.Sprintf(format, args...), remedy})
}

// examine looks at the machine; a config, where there is one, says what a run needs of it. The error is that of an interruption.
func examine(ctx context.Context, cfg *config.Config) (*machine, error) {
	m := &machine{
		Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Libtorch: torch.Version(),
		CUDABuilt: torch.BuiltWithCUDA(), GPUs: []string{}, Scheduler: map[string]string{},
	}
	m.add(stateOK, "rapt", "", "%s, %s, %s", m.Version, m.Go, m.Platform)
	m.libtorch()
	m.gpus(cfg)
	m.blas()
	m.processors(cfg)
	m.data(cfg)
	needs, err := m.needs(ctx, cfg)
	if err != nil {
		return nil, err
	}
	m.memory(needs)
	m.disk(cfg, needs)
	m.scheduler(os.LookupEnv, time.Now())
	m.clock(time.Now())
	return m, nil
}

func (m *machine) problems() (names []string) {
	for _, c := range m.Checks {
		if c.State == stateProblem {
			names = append(names, c.Name)
		}
	}
	return names
}

func (m *machine) libtorch() {
	if err := works(torch.CPU); err != nil {
		m.add(stateProblem, "libtorch", "install libtorch anew and build again with ./build.sh", "%s does not compute: %v", m.Libtorch, err)
		return
	}
	cuda := "without CUDA"
	if m.CUDABuilt {
		cuda = "with CUDA"
	}
	m.add(stateOK, "libtorch", "", "%s, %s", m.Libtorch, cuda)
}

// works adds a few numbers on the device: a GPU that libtorch has no code for is seen only then.
func works(d torch.Device) error {
	return torch.Run(d, torch.Options{Threads: 1}, func(s *torch.Session) error {
		sum, err := s.Full(2, torch.Float32, 3, 4).Sum().Item()
		if err == nil && sum != 24 {
			err = fmt.Errorf("12 times 2 came out as %g", sum)
		}
		return err
	})
}

func (m *machine) blas() {
	info := torch.BuildInfo()
	has := func(text string) bool { return strings.Contains(info, text) }
	switch {
	case has("OpenBLAS is loaded"), has("BLAS_INFO=open"):
		m.BLAS = "OpenBLAS"
	case has("BLAS_INFO=mkl"), has("Math Kernel Library"):
		m.BLAS = "MKL"
	case has("BLAS_INFO=accelerate"), has("BLAS_INFO=vecLib"):
		m.BLAS = "Accelerate"
	default:
		m.BLAS = "unknown"
		m.add(stateWarning, "BLAS", "on Debian and Ubuntu: apt-get install libopenblas0-pthread",
			"neither OpenBLAS nor MKL is loaded, so this may be the reference BLAS, which is many times slower on the CPU")
		return
	}
	m.add(stateOK, "BLAS", "", "%s", m.BLAS)
}

func (m *machine) processors(cfg *config.Config) {
	var run config.Run
	if cfg != nil {
		run = cfg.Run
	}
	m.CPUs, m.CPULimit, m.Threads = runtime.NumCPU(), limits.CPUs(os.DirFS("/")), run.Threads()
	detail := fmt.Sprintf("%d, a run uses %d threads", m.CPUs, m.Threads)
	if m.CPULimit > 0 {
		detail = fmt.Sprintf("%d, limited by the control group to %.3g; a run uses %d threads", m.CPUs, m.CPULimit, m.Threads)
	}
	if m.CPULimit > 0 && float64(m.Threads) >= m.CPULimit+1 {
		m.add(stateWarning, "processors", fmt.Sprintf("set run.workers: %d", max(1, int(m.CPULimit))), "%s", detail)
		return
	}
	m.add(stateOK, "processors", "", "%s", detail)
}

func (m *machine) data(cfg *config.Config) {
	for _, name := range datasets.Names() {
		dir, needed := "", cfg != nil && cfg.Data.Dataset == name
		if cfg != nil {
			dir = cfg.Data.Dir
		}
		s, _ := stateOf(name, dir)
		m.Datasets = append(m.Datasets, s)
		state, remedy := stateOK, ""
		if _, err := os.Stat(dir); needed && s.State == "own" && err != nil {
			m.add(stateProblem, "data "+name, "set data.dir to the folder or archive of your images", "%v", err)
			continue
		}
		switch {
		case s.OK:
		case s.State == "missing" && !needed, s.State == "unchecked":
			state = stateWarning
		case needed || s.State == "damaged":
			state = stateProblem
		default:
			state = stateWarning
		}
		detail, advice, _ := strings.Cut(s.String(), "; ")
		if s.State == "unchecked" {
			advice = "get the published files with: rapt data fetch " + name
		}
		if state != stateOK {
			remedy = advice
		}
		m.add(state, "data "+name, remedy, "%s", detail)
	}
}
