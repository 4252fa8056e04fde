// Package limits tells what of the machine this process may use, and reads files within bounds.
package limits

import (
	"io"
	"io/fs"
	"iter"
	"math"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
)

// Threads is how many threads can be at work at once: the processors that this process may run on, or fewer where a control group's limit is.
func Threads() int {
	n := runtime.NumCPU()
	if limit := CPUs(os.DirFS("/")); limit > 0 {
		n = min(n, max(1, int(math.Ceil(limit))))
	}
	return n
}

// CPUs reads the tightest processor limit of the control groups that this process is in, in processors; 0 where none is
// seen. root is the machine's file system.
func CPUs(root fs.FS) float64 {
	limit := 0.0
	tighten := func(quota, period float64) {
		if quota > 0 && period > 0 && (limit == 0 || quota/period < limit) {
			limit = quota / period
		}
	}
	for folder, version := range groups(root, "cpu") {
		if version == 2 {
			quota, period, _ := strings.Cut(read(root, folder+"/cpu.max"), " ")
			tighten(numeric(quota), numeric(period))
		} else {
			tighten(numeric(read(root, folder+"/cpu.cfs_quota_us")), numeric(read(root, folder+"/cpu.cfs_period_us")))
		}
	}
	return limit
}

// Memory reads how much memory this process may have: what it has and what the machine has left, or the tightest limit of
// its control groups. 0 where nothing is seen.
func Memory(root fs.FS) int64 {
	limit := Kilobytes(root, "proc/self/status", "VmRSS") + Kilobytes(root, "proc/meminfo", "MemAvailable")
	for folder, version := range groups(root, "memory") {
		name := "/memory.max"
		if version == 1 {
			name = "/memory.limit_in_bytes"
		}
		if v := int64(numeric(read(root, folder+name))); v > 0 && (limit == 0 || v < limit) {
			limit = v
		}
	}
	return limit
}

// Kilobytes is the value of a line such as "VmRSS:  1024 kB", in bytes; 0 where there is none.
func Kilobytes(root fs.FS, file, key string) int64 {
	for line := range strings.Lines(read(root, file)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == key+":" {
			return int64(numeric(fields[1])) << 10
		}
	}
	return 0
}

// groups yields the folders in which the control groups of this process may have a controller's files, and their version.
func groups(root fs.FS, controller string) iter.Seq2[string, int] {
	return func(yield func(string, int) bool) {
		for _, line := range strings.Split(read(root, "proc/self/cgroup"), "\n") {
			parts := strings.SplitN(line, ":", 3) // number:controllers:path; version 2 has no controllers
			if len(parts) < 3 {
				continue
			}
			version := 2
			if parts[1] != "" {
				if version = 1; !strings.Contains(","+parts[1]+",", ","+controller+",") {
					continue
				}
			}
			// Inside a container the path may be that of the machine outside, and the files lie at the top: each level is asked.
			for at := path.Clean("/" + parts[2]); ; at = path.Dir(at) {
				if !yield("sys/fs/cgroup/"+parts[1]+at, version) {
					return
				}
				if at == "/" {
					break
				}
			}
		}
	}
}

// read gives a small file's text, nothing where it cannot be had.
func read(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, path.Clean(name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// numeric gives 0 for what is no number, such as the word max.
func numeric(text string) float64 {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return v
}

// ReadFile reads no more of a file than shows that it is larger than most bytes.
func ReadFile(path string, most int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return io.ReadAll(io.LimitReader(file, most+1))
}
