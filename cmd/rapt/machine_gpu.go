package main

import (
	"os"
	"regexp"
	"strconv"

	torch "rapt/cgo"
	"rapt/trainer"
	"rapt/trainer/config"
)

var (
	cudaVersion   = regexp.MustCompile(`CUDA Runtime (\d+\.\d+)`)   // in libtorch's account of itself
	driverVersion = regexp.MustCompile(`\b\d{3,}\.\d+(?:\.\d+)?\b`) // in the first line of NVIDIA's file
)

// leastDrivers are the oldest drivers that each CUDA runs on, from NVIDIA's table of minor version compatibility.
var leastDrivers = map[int]int{11: 450, 12: 525, 13: 580}

func (m *machine) gpus(cfg *config.Config) {
	if match := cudaVersion.FindStringSubmatch(torch.BuildInfo()); match != nil {
		m.CUDA = match[1]
	}
	if text, err := os.ReadFile("/proc/driver/nvidia/version"); err == nil {
		m.Driver = driverVersion.FindString(string(text))
	}
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
	m.cuda()
	if cfg == nil {
		return
	}
	if devices, err := trainer.ChooseDevices(cfg.Run.Device); err != nil {
		m.add(stateProblem, "device", "set run.device: auto", "%v", err)
	} else {
		m.add(stateOK, "device", "", "run.device: %s is %v here", cfg.Run.Device, trainer.NamesOf(devices))
	}
}

// cuda compares what libtorch was built for with the driver.
func (m *machine) cuda() {
	least := leastDrivers[leading(m.CUDA)]
	switch old := m.Driver != "" && leading(m.Driver) < least; {
	case !m.CUDABuilt && m.Driver != "":
		m.add(stateWarning, "CUDA", "build with a libtorch that has CUDA: LIBTORCH=FOLDER ./build.sh", "there is an NVIDIA driver, %s, but this libtorch is without CUDA: runs use the CPU", m.Driver)
	case !m.CUDABuilt:
		m.add(stateOK, "GPU", "", "none: this libtorch is without CUDA, runs use the CPU")
	case len(m.GPUs) > 0:
		m.add(stateOK, "CUDA", "", "libtorch's is %s, the driver %s", known(m.CUDA), known(m.Driver))
	case old:
		m.add(stateWarning, "CUDA", "install a newer driver, or build with a libtorch for an older CUDA",
			"the driver %s is too old for libtorch's CUDA %s, which needs %d or newer: runs use the CPU", m.Driver, m.CUDA, least)
	case m.Driver != "":
		m.add(stateWarning, "CUDA", "see what CUDA_VISIBLE_DEVICES says, and whether this process may open /dev/nvidia*",
			"the driver %s fits libtorch's CUDA %s, but no GPU can be used: runs use the CPU", m.Driver, known(m.CUDA))
	default:
		m.add(stateWarning, "CUDA", "see whether nvidia-smi works; a container needs --gpus all",
			"libtorch has CUDA %s, but no NVIDIA driver is seen: runs use the CPU", known(m.CUDA))
	}
}

// leading is a version's first number, 0 for none.
func leading(version string) int {
	for i, c := range version {
		if c < '0' || c > '9' {
			version = version[:i]
			break
		}
	}
	n, _ := strconv.Atoi(version)
	return n
}

func known(version string) string {
	if version == "" {
		return "of an unknown version"
	}
	return version
}
