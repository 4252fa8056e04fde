package main

import (
	"bufio"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

//go:embed reference/*.py
var scripts embed.FS

// request is one line to the reference, which bench/reference/serve.py describes.
type request map[string]any

// with is the request with some keys set otherwise.
func (r request) with(more request) request {
	out := request{}
	for k, v := range r {
		out[k] = v
	}
	for k, v := range more {
		out[k] = v
	}
	return out
}

type answer struct {
	Milliseconds []float64 `json:"ms"`
	Threads      int       `json:"threads"`
	Error        string    `json:"error"`
	Torch, Numpy string
	GPU          string
	Parameters   int64
	Losses       []float64
}

// child is a process of the reference.
type child struct {
	allocator string // in words
	cmd       *exec.Cmd
	in        *json.Encoder
	close     func() error
	out       chan []byte
}

// glibc gives large blocks back to the kernel and takes them anew, page by page, at every step. This keeps them.
var keepMemory = []string{"MALLOC_MMAP_THRESHOLD_=1073741824", "MALLOC_TRIM_THRESHOLD_=4294967296", "MALLOC_TOP_PAD_=268435456"}

// patience is for the slowest request: a compilation, or an epoch on one slow core.
const patience = 20 * time.Minute

// unpack writes the reference's scripts into a folder.
func unpack(dir string) error {
	sub, err := fs.Sub(scripts, "reference")
	if err != nil {
		return err
	}
	return os.CopyFS(dir, sub)
}

// startChild starts python on the unpacked scripts.
func startChild(python, dir, allocator string, env []string) (*child, error) {
	cmd := exec.Command(python, "-u", filepath.Join(dir, "serve.py"))
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("the reference does not start: %w", err)
	}
	c := &child{allocator: allocator, cmd: cmd, in: json.NewEncoder(in), close: in.Close, out: make(chan []byte)}
	go func() {
		defer close(c.out)
		lines := bufio.NewReader(out)
		for {
			line, err := lines.ReadBytes('\n')
			if err != nil {
				return
			}
			c.out <- line
		}
	}()
	return c, nil
}

// ask sends a request and waits for its answer.
func (c *child) ask(r request) (answer, error) {
	var a answer
	if err := c.in.Encode(r); err != nil {
		return a, fmt.Errorf("the reference is gone: %w", err)
	}
	select {
	case line, ok := <-c.out:
		if !ok {
			return a, errors.New("the reference ended without an answer")
		}
		if err := json.Unmarshal(line, &a); err != nil {
			return a, fmt.Errorf("the reference said %q: %w", line, err)
		}
		if a.Error != "" {
			return a, fmt.Errorf("the reference: %s", a.Error)
		}
		return a, nil
	case <-time.After(patience):
		c.cmd.Process.Kill()
		return a, fmt.Errorf("the reference gave no answer in %v", patience)
	}
}

// stop ends the process and waits for it.
func (c *child) stop() {
	c.close()
	select {
	case <-c.out: // closed when its output ends
	case <-time.After(10 * time.Second):
		c.cmd.Process.Kill()
	}
	_ = c.cmd.Wait() // how it ends says nothing about the timings
}

// findPython is the first interpreter that has PyTorch; empty where none has.
func findPython(choice string) string {
	candidates := []string{"python3", "/usr/bin/python3"}
	if choice != "" {
		candidates = []string{choice}
	}
	for _, name := range candidates {
		if exec.Command(name, "-c", "import torch, numpy").Run() == nil {
			return name
		}
	}
	return ""
}
