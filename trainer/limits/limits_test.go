package limits

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
)

func TestCPUs(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	for _, c := range []struct {
		name string
		fs   fstest.MapFS
		want float64
	}{
		{"none", fstest.MapFS{}, 0},
		{"version 2, no limit", fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/cpu.max": file("max 100000\n")}, 0},
		{"version 2, in a container", fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/cpu.max": file("250000 100000\n")}, 2.5},
		{"version 2, the outer one is tighter", fstest.MapFS{
			"proc/self/cgroup":                file("0::/slurm/job\n"),
			"sys/fs/cgroup/slurm/cpu.max":     file("200000 100000\n"),
			"sys/fs/cgroup/slurm/job/cpu.max": file("800000 100000\n"),
		}, 2},
		{"version 1, the path is the outer machine's", fstest.MapFS{
			"proc/self/cgroup":                            file("5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  file("150000\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": file("100000\n"),
		}, 1.5},
		{"version 1, no limit", fstest.MapFS{
			"proc/self/cgroup":                            file("4:cpu,cpuacct:/\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us":  file("-1\n"),
			"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": file("100000\n"),
		}, 0},
	} {
		assert.Equal(t, c.want, CPUs(c.fs), c.name)
	}
}

func TestMemory(t *testing.T) {
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text)} }
	base := func(more fstest.MapFS) fstest.MapFS {
		more["proc/self/status"] = file("Name:\trapt\nVmRSS:\t   1024 kB\n")
		more["proc/meminfo"] = file("MemTotal: 9999 kB\nMemAvailable:    3072 kB\n")
		return more
	}
	assert.Zero(t, Memory(fstest.MapFS{}))
	assert.Equal(t, int64(4<<20), Memory(base(fstest.MapFS{})))
	assert.Equal(t, int64(4<<20), Memory(base(fstest.MapFS{"proc/self/cgroup": file("0::/\n"), "sys/fs/cgroup/memory.max": file("max\n")})))
	assert.Equal(t, int64(1<<20), Memory(base(fstest.MapFS{
		"proc/self/cgroup": file("0::/a/b\n"), "sys/fs/cgroup/a/memory.max": file("1048576\n"), "sys/fs/cgroup/a/b/memory.max": file("2097152\n")})))
	assert.Equal(t, int64(2<<20), Memory(base(fstest.MapFS{
		"proc/self/cgroup": file("4:memory:/x\n3:cpu:/\n"), "sys/fs/cgroup/memory/x/memory.limit_in_bytes": file("2097152\n")})))
}
