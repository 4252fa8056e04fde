package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"

	torch "rapt/cgo"
)

// field is the first value of a key in a file of "key = value" or "key: value" lines.
func field(path, key string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, value, ok := strings.Cut(strings.Replace(lines.Text(), "=", ":", 1), ":")
		if ok && strings.TrimSpace(name) == key {
			return strings.Trim(strings.TrimSpace(value), `"`)
		}
	}
	return ""
}

// describeMachine names the device, the processors and the system.
func describeMachine(dev torch.Device) (string, error) {
	cpu := field("/proc/cpuinfo", "model name")
	if cpu == "" {
		cpu = runtime.GOARCH
	}
	text := fmt.Sprintf("%s, %d processors, %s", cpu, runtime.NumCPU(), field("/etc/os-release", "PRETTY_NAME"))
	if dev.IsCUDA() {
		gpu, err := torch.CUDADeviceName(dev.Index())
		if err != nil {
			return "", err
		}
		text = gpu + ", " + text
	}
	return text, nil
}

var notInNames = regexp.MustCompile(`[^a-z0-9]+`)

// fileName is the results' default place: named by device and machine.
func fileName(dev torch.Device, machine string) string {
	first, _, _ := strings.Cut(machine, ",")
	name := strings.Trim(notInNames.ReplaceAllString(strings.ToLower(first), "-"), "-")
	kind := "cpu"
	if dev.IsCUDA() {
		kind = "cuda"
	} else {
		name = fmt.Sprintf("%s-%d", name, runtime.NumCPU())
	}
	return fmt.Sprintf("bench/results/%s-%s.json", kind, name)
}

// commit is that of the tree, marked where it was changed.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--tags").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}
