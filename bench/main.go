// Bench compares rapt with PyTorch, doing the same work in turns on the same machine, and with what the machine could do at
// best. It writes bench/results/NAME.json and a Markdown table. `./build.sh bench` sets it up and runs it.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"time"

	"github.com/spf13/pflag"

	torch "rapt/cgo"
	"rapt/trainer"
)

// bench is what the rows share.
type bench struct {
	device   torch.Device
	workers  int
	rounds   int
	quick    bool
	binary   string // rapt itself
	python   string // empty: no reference
	scripts  string // where the reference is unpacked
	children []*child
	threads  int // PyTorch's own choice
	version  string
	progress io.Writer
	out      string // where results are kept row by row; empty: nowhere
}

type options struct {
	only, out, device, python, binary string
	rounds                            int
	quick, list                       bool
}

func main() {
	var o options
	f := pflag.NewFlagSet("bench", pflag.ContinueOnError)
	f.StringVar(&o.only, "only", "", "only rows whose name matches this regular expression; nothing is written without --out")
	f.IntVar(&o.rounds, "rounds", 7, "how often both sides have a turn")
	f.BoolVar(&o.quick, "quick", false, "a few steps only, to see that all works; nothing is written without --out")
	f.StringVar(&o.out, "out", "", "file for the results (default bench/results/, named by the machine)")
	f.StringVar(&o.device, "device", "cpu", "cpu or cuda")
	f.BoolVar(&o.list, "list", false, "name the rows and measure nothing")
	f.StringVar(&o.python, "python", os.Getenv("PYTHON"), "interpreter with PyTorch (default: the first python3 that has it)")
	f.StringVar(&o.binary, "rapt", "bin/rapt", "the program, for the time it takes to start")
	err := f.Parse(os.Args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("there is no argument %q", f.Arg(0))
	}
	code := 2
	if err == nil {
		code = 1
		err = do(o)
	}
	var usage *usageError
	if errors.As(err, &usage) {
		code = 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(code)
	}
}

type usageError struct{ error }

func do(o options) error {
	only, err := regexp.Compile(o.only)
	if err != nil {
		return &usageError{fmt.Errorf("--only: %w", err)}
	}
	if o.rounds < 1 {
		return &usageError{fmt.Errorf("--rounds is %d: at least 1 is needed", o.rounds)}
	}
	dev, err := torch.NewDevice(o.device)
	if err != nil {
		return &usageError{fmt.Errorf("--device: %w", err)}
	}
	tasks := chosen(dev.IsCUDA(), only)
	if len(tasks) == 0 {
		return &usageError{fmt.Errorf("no row matches %q: --list names them", o.only)}
	}
	if o.list {
		for _, t := range tasks {
			fmt.Println(t.name)
		}
		return nil
	}
	if _, err := trainer.ChooseDevice(o.device); err != nil {
		return &usageError{err}
	}
	b := &bench{device: dev, workers: runtime.NumCPU(), rounds: o.rounds, quick: o.quick, binary: o.binary, progress: os.Stderr}
	if o.quick {
		b.rounds = min(b.rounds, 2)
	}
	if err := b.startReference(o.python); err != nil {
		return err
	}
	defer b.stopReference()
	return b.report(o, tasks)
}

// report runs the tasks, prints the table and writes the results.
func (b *bench) report(o options, tasks []task) error {
	machine, err := describeMachine(b.device)
	if err != nil {
		return err
	}
	res := &results{Machine: machine, Device: b.device.String(), Libtorch: torch.Version(), Reference: b.version, Commit: commit(),
		Date: time.Now().UTC().Format("2006-01-02"), Rounds: b.rounds, Quick: b.quick, Rows: []row{}}
	b.out = o.out
	failed := b.run(tasks, res)
	res.table(os.Stdout)
	if o.out == "" {
		if o.only != "" || o.quick {
			fmt.Fprintln(b.progress, "bench: not all of it, so nothing is written (--out FILE would)")
			return failed
		}
		o.out = fileName(b.device, machine)
	}
	if err := res.write(o.out); err != nil {
		return errors.Join(failed, err)
	}
	fmt.Fprintln(b.progress, "bench: wrote", o.out)
	return failed
}

// startReference starts the reference's processes: as it comes, and on the CPU one that keeps its memory.
func (b *bench) startReference(python string) error {
	if b.python = findPython(python); b.python == "" {
		if python != "" {
			return fmt.Errorf("%s has no PyTorch and numpy", python)
		}
		fmt.Fprintln(b.progress, "bench: no python3 has PyTorch and numpy, so there is nothing to compare with")
		return nil
	}
	dir, err := os.MkdirTemp("", "rapt-reference-")
	if err != nil {
		return err
	}
	b.scripts = dir
	if err := unpack(dir); err != nil {
		return err
	}
	environments := []struct {
		allocator string
		env       []string
	}{{"default allocator", nil}, {"memory kept", keepMemory}}
	if b.device.IsCUDA() {
		environments = environments[:1]
	}
	for _, e := range environments {
		c, err := startChild(b.python, dir, e.allocator, e.env)
		if err != nil {
			return err
		}
		b.children = append(b.children, c)
	}
	a, err := b.children[0].ask(request{"op": "version"})
	if err != nil {
		return err
	}
	b.threads, b.version = a.Threads, fmt.Sprintf("PyTorch %s, numpy %s", a.Torch, a.Numpy)
	return nil
}

// forget lets the reference drop what the last row needed.
func (b *bench) forget() {
	for _, c := range b.children {
		if _, err := c.ask(request{"op": "forget"}); err != nil {
			fmt.Fprintln(b.progress, "bench:", err)
		}
	}
}

func (b *bench) stopReference() {
	for _, c := range b.children {
		c.stop()
	}
	if b.scripts != "" {
		os.RemoveAll(b.scripts)
	}
}

func (b *bench) noBinary() string {
	if _, err := os.Stat(b.binary); err != nil {
		return b.binary + " is not there: ./build.sh makes it"
	}
	return ""
}
