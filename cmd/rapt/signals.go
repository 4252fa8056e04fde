package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rapt/trainer"
)

const (
	exitInterrupt = 128 + int(syscall.SIGINT)  // 130
	exitTerminate = 128 + int(syscall.SIGTERM) // 143, of SIGUSR1 too, which Slurm sends before the time is up
)

// caught remembers the exit code that the first signal asks for, and whether it was the one that warns of a time limit.
type caught struct {
	exit    atomic.Int32
	timeUp  atomic.Bool
	grace   atomic.Int64 // nanoseconds that the work has from then on, run.grace
	requeue atomic.Bool  // --requeue, also where the grace is not enough
	timer   atomic.Pointer[time.Timer]
	once    sync.Once // of the requeueing
}

// workIsOver stops the timer: what comes after the work may take longer.
func (c *caught) workIsOver() {
	if timer := c.timer.Load(); timer != nil {
		timer.Stop()
	}
}

// usualGrace is that of commands without a config.
const usualGrace = 20 * time.Second

func (c *caught) code() int {
	if code := int(c.exit.Load()); code != 0 {
		return code
	}
	return exitInterrupt
}

// interruptible is a command's RunE whose context a signal cancels. The handler only takes note: the work stops at its own
// next step, and saves. An interrupt from the keyboard after that ends the program at once.
func (a *app) interruptible(work func(ctx context.Context, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return a.body(func(cmd *cobra.Command, args []string) error {
		ctx, cancel := context.WithCancel(context.Background())
		a.signal.grace.Store(int64(usualGrace))
		signals := make(chan os.Signal, 8)
		signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGUSR1)
		if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
			signal.Notify(signals, syscall.SIGHUP)
		}
		done := make(chan struct{})
		defer func() {
			signal.Stop(signals)
			close(done)
			cancel()
		}()
		go func() {
			for {
				select {
				case s := <-signals:
					a.onSignal(s, cancel)
				case <-done:
					return
				}
			}
		}()
		err := work(ctx, cmd, args)
		a.signal.workIsOver()
		if a.signal.requeue.Load() && errors.Is(err, trainer.ErrInterrupted) {
			a.signal.once.Do(a.requeue)
		}
		return err
	})
}

func (a *app) onSignal(s os.Signal, cancel context.CancelFunc) {
	code := exitTerminate
	if s == syscall.SIGINT {
		code = exitInterrupt
	}
	if a.signal.exit.CompareAndSwap(0, int32(code)) {
		hint := ""
		if s == syscall.SIGINT {
			hint = "; once more ends it at once"
		}
		a.signal.timeUp.Store(s == syscall.SIGUSR1)
		fmt.Fprintf(a.err, "rapt: %v: stopping at the next step%s\n", s, hint)
		a.signal.timer.Store(time.AfterFunc(time.Duration(a.signal.grace.Load()), a.graceIsOver))
		cancel()
	} else if s == syscall.SIGINT {
		os.Exit(exitInterrupt)
	}
}

// graceIsOver ends a program that has not ended by itself: whoever sent the signal is about to kill it.
func (a *app) graceIsOver() {
	fmt.Fprintf(a.err, "rapt: the work did not end within %v (run.grace): it ends unsaved; the same command goes on from the last checkpoint\n", time.Duration(a.signal.grace.Load()))
	if a.signal.requeue.Load() {
		a.signal.once.Do(a.requeue)
	}
	os.Exit(a.signal.code())
}

// requeue has Slurm start the job again, once all is saved. Only the warning of a time limit asks for that: what scancel ends stays ended,
// and a job that is preempted is requeued by Slurm itself.
func (a *app) requeue() {
	job := slurmJob(os.Getenv)
	switch {
	case !a.signal.timeUp.Load():
		return
	case job == "":
		fmt.Fprintln(a.err, "rapt: --requeue: this is no Slurm job (SLURM_JOB_ID is not set): start the same command again")
		return
	}
	out, err := exec.Command("scontrol", "requeue", job).CombinedOutput()
	if err != nil {
		fmt.Fprintf(a.err, "rapt: --requeue: scontrol requeue %s: %v: %s\n", job, err, strings.TrimSpace(string(out)))
		return
	}
	fmt.Fprintf(a.err, "rapt: job %s is requeued\n", job)
}
