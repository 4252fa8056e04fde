package trainer

import (
	"fmt"
	"os"
	"strings"

	torch "rapt/cgo"
	"rapt/trainer/limits"
)

// Memory is the most that the probe's steps have had allocated on the GPU, or on the CPU the process's largest resident
// set since WithProbe began, in bytes.
func (b *Probe) Memory() (int64, error) {
	if !b.Device().IsCUDA() {
		return peakResident()
	}
	m, err := b.p.team.members[0].s.CUDAMemory()
	return m.AllocatedPeak, err
}

// resetPeak starts what Memory reads anew.
func resetPeak(dev torch.Device) error {
	if !dev.IsCUDA() {
		// Linux takes 5 as: forget the peak. Where that may not be written, the peak is that of the process's whole life.
		_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0)
		return nil
	}
	if err := torch.EmptyCUDACache(); err != nil {
		return err
	}
	return torch.Run(dev, torch.Options{}, func(s *torch.Session) error {
		s.Zeros(1) // libtorch's allocator is there from the first tensor on
		return s.ResetCUDAPeak()
	})
}

// machine is the file system that tells about it.
var machine = os.DirFS("/")

// Resident is what the process has of the memory now, in bytes; 0 where that is not told.
func Resident() int64 { return limits.Kilobytes(machine, "proc/self/status", "VmRSS") }

func peakResident() (int64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, fmt.Errorf("the process's memory cannot be read: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		var kB int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kB); n == 1 {
			return kB << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc/self/status names no VmHWM")
}
