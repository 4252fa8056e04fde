package main

import (
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// cpuLimit reads the tightest processor limit of the control groups that this process is in, in processors; 0 where none is
// seen. root is the machine's file system.
func cpuLimit(root fs.FS) float64 {
	limit := 0.0
	tighten := func(quota, period float64) {
		if quota > 0 && period > 0 && (limit == 0 || quota/period < limit) {
			limit = quota / period
		}
	}
	for _, line := range strings.Split(read(root, "proc/self/cgroup"), "\n") {
		parts := strings.SplitN(line, ":", 3) // number:controllers:path; version 2 has no controllers
		if len(parts) < 3 {
			continue
		}
		// Inside a container the path may be that of the machine outside, and the files lie at the top: each level is asked.
		for at := path.Clean("/" + parts[2]); ; at = path.Dir(at) {
			if parts[1] == "" {
				quota, period, _ := strings.Cut(read(root, "sys/fs/cgroup"+at+"/cpu.max"), " ")
				tighten(numeric(quota), numeric(period))
			} else if strings.Contains(","+parts[1]+",", ",cpu,") {
				v1 := "sys/fs/cgroup/" + parts[1] + at
				tighten(numeric(read(root, v1+"/cpu.cfs_quota_us")), numeric(read(root, v1+"/cpu.cfs_period_us")))
			}
			if at == "/" {
				break
			}
		}
	}
	return limit
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
