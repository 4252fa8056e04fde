package checkpoint

import (
	"os"
	"runtime"
	"strings"
	"time"
)

// Environment gathers what env.json records about this process. The caller adds
// what it knows of libtorch and the device. version is rapt's own.
func Environment(version string) map[string]any {
	host, _ := os.Hostname()
	dir, _ := os.Getwd()
	slurm := map[string]string{}
	for _, kv := range os.Environ() {
		k, v, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(k, "SLURM_") && !strings.Contains(k, "JWT") { // SLURM_JWT is a credential
			slurm[k] = v
		}
	}
	return map[string]any{
		"version": version,
		"go":      runtime.Version(),
		"os":      runtime.GOOS,
		"arch":    runtime.GOARCH,
		"host":    host,
		"cpus":    runtime.NumCPU(),
		"argv":    os.Args,
		"dir":     dir,
		"pid":     os.Getpid(),
		"time":    time.Now().UTC().Format(time.RFC3339),
		"slurm":   slurm,
	}
}
