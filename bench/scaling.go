package main

import (
	"fmt"

	"rapt/trainer"
)

// prober is a probe on a goroutine of its own, so that several can take turns.
type prober struct {
	ask  chan func(*trainer.Probe) error
	done chan error
}

// startProber gives the probe once it is ready.
func startProber(t training, device string, workers int) (*prober, error) {
	cfg, err := t.config(device, workers)
	if err != nil {
		return nil, err
	}
	p := &prober{make(chan func(*trainer.Probe) error), make(chan error)}
	go func() {
		p.done <- trainer.WithProbe(cfg, trainer.ProbeOptions{}, func(b *trainer.Probe) error {
			for f := range p.ask {
				p.done <- f(b)
			}
			return nil
		})
	}()
	return p, p.do(func(b *trainer.Probe) error { return b.Step() })
}

// do runs f on the probe. Where the probe could not be set up, that is the error.
func (p *prober) do(f func(*trainer.Probe) error) error {
	select {
	case p.ask <- f:
		return <-p.done
	case err := <-p.done:
		return err
	}
}

func (p *prober) close() error {
	close(p.ask)
	return <-p.done
}

// measureScaling fills in the throughput with 1, 2, 4 and so on workers, up to all.
func (t training) measureScaling(b *bench, r *row) error {
	counts := b.threadCounts()
	times := make([][]float64, len(counts))
	probers := make([]*prober, len(counts))
	for i, n := range counts {
		var err error
		if probers[i], err = startProber(t, b.device.String(), n); err != nil {
			return err
		}
	}
	for range b.rounds {
		for i, p := range probers {
			b.rest()
			err := p.do(func(probe *trainer.Probe) error {
				first, err := steps(probe)(1)
				if err != nil {
					return err
				}
				ms, err := steps(probe)(b.count(first[0], 10))
				times[i] = append(times[i], ms...)
				return err
			})
			if err != nil {
				return err
			}
		}
	}
	for i, n := range counts {
		ms := median(times[i])
		r.Workers = append(r.Workers, scale{n, ms, 1e3 * float64(t.batch) / ms})
		if err := probers[i].close(); err != nil {
			return err
		}
	}
	last := r.Workers[len(r.Workers)-1]
	r.Ours, r.Samples = last.Milliseconds, len(times[len(times)-1])
	r.Scaling = r.Workers[0].Milliseconds / last.Milliseconds
	r.Note = join(r.Note, fmt.Sprintf("ours_ms is a step with %s", plural(last.Workers, "worker")))
	return nil
}
