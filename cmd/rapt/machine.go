package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	torch "rapt/cgo"
	"rapt/datasets"
	"rapt/trainer"
	"rapt/trainer/config"
)

// machine is what doctor found, and its --json.
type machine struct {
	Version   string            `json:"version"`
	Go        string            `json:"go"`
	Platform  string            `json:"platform"`
	Libtorch  string            `json:"libtorch"`
	CUDABuilt bool              `json:"cuda_built"` // libtorch has CUDA compiled in
	GPUs      []string          `json:"gpus"`       // those that libtorch can use
	BLAS      string            `json:"blas"`
	CPUs      int               `json:"cpus"`      // that this process may run on
	CPULimit  float64           `json:"cpu_limit"` // the control group's, in processors; 0 is none seen
	Threads   int               `json:"threads"`   // that a run will use
	Datasets  []*dataState      `json:"datasets"`
	Disk      string            `json:"disk"` // the folder whose file system is looked at
	DiskFree  uint64            `json:"disk_free_bytes"`
	Scheduler map[string]string `json:"scheduler"` // the environment's variables that say one is at work
	OK        bool              `json:"ok"`
	Checks    []check           `json:"checks"`
}

func (m *machine) add(state, name, remedy, format string, args ...any) {
	m.Checks = append(m.Checks, check{name, state, fmt.Sprintf(format, args...), remedy})
}

// examine looks at the machine; a config, where there is one, says what a run needs of it.
func examine(cfg *config.Config) *machine {
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
	m.disk(cfg)
	m.scheduler()
	return m
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

func (m *machine) gpus(cfg *config.Config) {
	n := torch.CUDADeviceCount()
	for i := range n {
		name, err := torch.CUDADeviceName(i)
		if err != nil {
			name = "of an unknown name"
		}
		m.GPUs = append(m.GPUs, name)
		if err := works(torch.CUDA(i)); err != nil {
			m.add(stateProblem, "GPU", "use another GPU or run.device: cpu, or a libtorch built for this GPU", "cuda:%d %s cannot be used: %v", i, name, err)
		} else {
			m.add(stateOK, "GPU", "", "cuda:%d %s", i, name)
		}
	}
	switch {
	case n > 0:
	case m.CUDABuilt:
		m.add(stateWarning, "GPU", "see whether nvidia-smi works and what CUDA_VISIBLE_DEVICES says", "none can be used, though libtorch has CUDA: no GPU, no driver or one too old; runs use the CPU")
	default:
		m.add(stateOK, "GPU", "", "none: this libtorch is without CUDA, runs use the CPU")
	}
	if cfg == nil {
		return
	}
	if device, err := trainer.ChooseDevice(cfg.Run.Device); err != nil {
		m.add(stateProblem, "device", "set run.device: auto", "%v", err)
	} else {
		m.add(stateOK, "device", "", "run.device: %s is %v here", cfg.Run.Device, device)
	}
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
	m.CPUs, m.CPULimit, m.Threads = runtime.NumCPU(), trainer.CPULimit(os.DirFS("/")), run.Threads()
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

// lowDisk is where a warning is due; the checkpoints and logs of a small run take some ten megabytes.
const lowDisk = 1 << 30

func (m *machine) disk(cfg *config.Config) {
	folder := "."
	if cfg != nil {
		folder = cfg.Run.OutDir
	}
	m.Disk = existing(folder)
	var fsStat unix.Statfs_t
	if err := unix.Statfs(m.Disk, &fsStat); err != nil {
		m.add(stateWarning, "disk", "", "the free space in %s cannot be seen: %v", m.Disk, err)
		return
	}
	m.DiskFree = fsStat.Bavail * uint64(fsStat.Bsize)
	detail := fmt.Sprintf("%.1f GB free in %s", float64(m.DiskFree)/1e9, m.Disk)
	err := unix.Access(m.Disk, unix.W_OK)
	if info, e := os.Stat(m.Disk); e == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	switch {
	case err != nil && cfg != nil:
		m.add(stateProblem, "disk", "set run.out_dir to a folder that you may write to", "%s cannot be written: %v", m.Disk, err)
	case err != nil:
		m.add(stateWarning, "disk", "work in another folder, or set run.out_dir", "%s cannot be written: %v", m.Disk, err)
	case m.DiskFree < lowDisk:
		m.add(stateWarning, "disk", "free some space, or set run.out_dir to another disk", "%s", detail)
	default:
		m.add(stateOK, "disk", "", "%s", detail)
	}
}

// existing is the folder itself, or the nearest one above it that is there.
func existing(folder string) string {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "."
	}
	for {
		if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) || folder == filepath.Dir(folder) {
			return folder
		}
		folder = filepath.Dir(folder)
	}
}

// schedulerVariables are those worth seeing: they say who started the process and what it may use.
var schedulerVariables = []string{
	"SLURM_JOB_ID", "SLURM_JOB_NAME", "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID", "SLURM_RESTART_COUNT", "SLURM_NTASKS", "SLURM_PROCID",
	"SLURM_CPUS_PER_TASK", "KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS",
}

func (m *machine) scheduler() {
	var seen []string
	for _, name := range schedulerVariables {
		if value, ok := os.LookupEnv(name); ok {
			m.Scheduler[name] = value
			seen = append(seen, name+"="+value)
		}
	}
	switch {
	case slices.ContainsFunc(seen, func(v string) bool { return strings.HasPrefix(v, "SLURM_") }):
		m.add(stateOK, "scheduler", "", "Slurm: %s", strings.Join(seen, " "))
	case m.Scheduler["KUBERNETES_SERVICE_HOST"] != "":
		m.add(stateOK, "scheduler", "", "Kubernetes: %s", strings.Join(seen, " "))
	case len(seen) > 0:
		m.add(stateOK, "scheduler", "", "none seen; set: %s", strings.Join(seen, " "))
	default:
		m.add(stateOK, "scheduler", "", "none seen")
	}
}
