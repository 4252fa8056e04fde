package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// startupConfig is a run that takes one step and little more.
const startupConfig = `run: {name: startup, out_dir: %q, device: %s, log_every: 1}
data: {dataset: digits, train_limit: 200, validation: 20, test_limit: 10, batch_size: 64}
model: {arch: lenet_adv}
training: {method: natural}
pretrain: {epochs: 1, optimizer: adam}
evaluate: {attacks: [pgd-1]}
`

var startupTraining = training{arch: "lenet_adv", width: 1, batch: 64, optimizer: "adam"}

// measureStartup fills the row of how long a process takes from its start to the end of its first training step.
func measureStartup(b *bench, r *row) error {
	r.Note = join(r.Note, "from the start of the process to the end of its first training step; ours reads its config, draws its data set and "+
		"sets up the run's folder, the reference imports PyTorch and takes a step")
	dir, err := os.MkdirTemp("", "rapt-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "startup.yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, startupConfig, dir, b.device), 0o644); err != nil {
		return err
	}
	var ours, theirs []float64
	for i := range b.rounds + 1 { // the first brings the files into memory
		ms, err := b.runOnce(file, filepath.Join(dir, "startup", "metrics.jsonl"))
		if err != nil {
			return err
		}
		if i > 0 {
			ours = append(ours, ms)
		}
		if b.python == "" {
			continue
		}
		if ms, err = b.childOnce(); err != nil {
			return err
		}
		if i > 0 {
			theirs = append(theirs, ms)
		}
	}
	r.Ours, r.Samples, r.Reference = median(ours), len(ours), median(theirs)
	if b.python != "" {
		r.Setting, r.Default = "as it comes", r.Reference
	}
	return nil
}

// runOnce is the time from exec to the first row of the metrics, which is written when a step has ended.
func (b *bench) runOnce(file, metrics string) (float64, error) {
	cmd := exec.Command(b.binary, "run", file, "--overwrite")
	began := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s: %w: %s", cmd, err, bytes.TrimSpace(out))
	}
	f, err := os.Open(metrics)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadBytes('\n')
	if err != nil {
		return 0, err
	}
	var first struct {
		TS time.Time `json:"ts"`
	}
	if err := json.Unmarshal(line, &first); err != nil {
		return 0, err
	}
	return milliseconds(first.TS.Sub(began)), nil
}

// childOnce is the time until a new process of the reference has taken a step.
func (b *bench) childOnce() (float64, error) {
	ask, err := startupTraining.request()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	c, err := startChild(b.python, b.scripts, "", nil)
	if err != nil {
		return 0, err
	}
	_, err = c.ask(ask.with(request{"device": b.device.String()}))
	ms := milliseconds(time.Since(began))
	c.stop()
	return ms, err
}
