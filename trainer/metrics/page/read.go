// Package page shows runs as one HTML file that needs nothing beside it: tables, curves, the layers and the settings.
package page

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"rapt/trainer/metrics"
)

// Run is what a run's folder holds.
type Run struct {
	Name, Folder string
	Report       *metrics.Report // nil where no stage's command has ended
	Done         bool            // all of it
	Epochs       []Epoch         // in the order of training
	Config       string
	Environment  string
}

// Epoch is one's metrics, by the names they have in metrics.jsonl.
type Epoch struct {
	Stage  string
	Values map[string]float64
}

// Read reads a run's folder; the run may be under way.
func Read(folder string) (*Run, error) {
	r := &Run{Name: filepath.Base(filepath.Clean(folder)), Folder: folder}
	if abs, err := filepath.Abs(folder); err == nil {
		r.Name = filepath.Base(abs)
	}
	config, err := os.ReadFile(filepath.Join(folder, "config.yaml"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%s is no run's folder: it holds no config.yaml", folder)
	} else if err != nil {
		return nil, err
	}
	r.Config = string(config)
	if r.Epochs, err = readEpochs(filepath.Join(folder, "metrics.jsonl")); err != nil {
		return nil, err
	}
	if text, err := os.ReadFile(filepath.Join(folder, "env.json")); err == nil {
		r.Environment = string(text)
	}
	if _, err := os.Stat(filepath.Join(folder, "DONE")); err == nil {
		r.Done = true
	}
	path := filepath.Join(folder, "report.json")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &r.Report)
	}
	if err != nil {
		return nil, fmt.Errorf("%s cannot be read: %w", path, err)
	}
	return r, nil
}

// readEpochs takes the rows that end an epoch. A run under way may be in the middle of its last line.
func readEpochs(path string) (out []Epoch, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewReader(f)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return out, nil
		}
		if !bytes.Contains(line, []byte(`"val/`)) {
			continue
		}
		var row map[string]any
		if err := json.Unmarshal(line, &row); err != nil {
			return nil, fmt.Errorf("%s: line %d is no row of metrics: %w", path, n, err)
		}
		e := Epoch{Values: map[string]float64{}}
		e.Stage, _ = row["stage"].(string)
		for name, v := range row {
			if v, ok := v.(float64); ok && strings.Contains(name, "/") {
				e.Values[name] = v
			}
		}
		out = append(out, e)
	}
}
