package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	torch "rapt/cgo"
	"rapt/trainer"
	"rapt/trainer/config"
	"rapt/trainer/limits"
)

// batchTrial is what training steps of one batch size took.
type batchTrial struct {
	Batch           int     `json:"batch"`
	StepMS          float64 `json:"step_ms"` // the median of three
	ImagesPerSecond float64 `json:"images_per_second"`
	PeakBytes       int64   `json:"peak_bytes"`     // allocated on the GPU; on the CPU the process's resident memory
	Note            string  `json:"note,omitempty"` // why it is slower than it could be
}

// batchReport is the --json of doctor --find-batch.
type batchReport struct {
	Device      string       `json:"device"`
	MemoryLimit int64        `json:"memory_limit_bytes"` // on the CPU, of this process; 0 is none seen
	Trials      []batchTrial `json:"trials"`
	Largest     int          `json:"largest"`   // that fits
	Efficient   int          `json:"efficient"` // the smallest that reaches 95 % of the best throughput
	Stopped     string       `json:"stopped"`   // why no larger one was tried
}

// The largest batches to try, where memory does not end it before, and the smallest for each GPU where the config's own does not fit: batch
// norm needs two images.
const (
	smallest  = 2
	mostOnCPU = 8192
	mostOnGPU = 65536
)

// batchTime is how long one size may take on the CPU, where time runs out before memory does.
const batchTime = 2 * time.Minute

// batchSearch doubles the batch until something stops it.
type batchSearch struct {
	first, least, most int
	memory             int64         // what may be used, 0 is not known
	used               int64         // before the first
	time               time.Duration // for one size, 0 is any
	try                func(batch int) (batchTrial, error)
}

func (a *app) findBatch(ctx context.Context, cfg *config.Config, most int) error {
	devices, err := trainer.ChooseDevices(cfg.Run.Device)
	if err != nil {
		return cfg.Errorf("run.device", "%v", err)
	}
	s := batchSearch{first: 32, least: smallest * len(devices), most: mostOnGPU, try: func(batch int) (batchTrial, error) {
		if isTerminal(a.err) {
			fmt.Fprintf(a.err, "batches of %d\n", batch)
		}
		return tryBatch(ctx, cfg, batch)
	}}
	if cfg.Given("data.batch_size") {
		s.first = cfg.Data.BatchSize
	}
	if !devices[0].IsCUDA() {
		root := os.DirFS("/")
		s.most, s.memory, s.time = mostOnCPU, limits.Memory(root), batchTime
		s.used = trainer.Resident()
	}
	if most > 0 {
		s.most = most
	}
	r, err := s.run()
	if err != nil {
		return err
	}
	r.Device = trainer.NamesOf(devices)
	if a.json {
		return a.writeJSON(r)
	}
	return a.showBatches(r)
}

// tryBatch times training steps of the config with another batch size.
func tryBatch(ctx context.Context, cfg *config.Config, batch int) (batchTrial, error) {
	sized := *cfg
	sized.Data.BatchSize = batch
	t := batchTrial{Batch: batch}
	err := trainer.WithProbe(&sized, trainer.ProbeOptions{Images: batch}, func(p *trainer.Probe) error {
		var times []float64
		warm := 1
		if p.Device().IsCUDA() {
			warm = trainer.WarmSteps // then a recorded step is replayed, as in a run
		}
		for i := range warm + 3 {
			if ctx.Err() != nil {
				return fmt.Errorf("the search was stopped at batches of %d: %w", batch, context.Canceled)
			}
			began := time.Now()
			if err := p.Step(); err != nil {
				return err
			}
			if i >= warm {
				times = append(times, time.Since(began).Seconds())
			}
		}
		slices.Sort(times)
		t.StepMS, t.ImagesPerSecond = 1e3*times[1], float64(batch)/times[1]
		if why := p.Unrecorded(); why != nil {
			t.Note = fmt.Sprintf("without CUDA graphs: %v", why)
		}
		var err error
		t.PeakBytes, err = p.Memory()
		return err
	})
	return t, err
}

func (s batchSearch) run() (*batchReport, error) {
	r := &batchReport{MemoryLimit: s.memory}
	for batch := s.first; r.Stopped == ""; batch *= 2 {
		if r.Stopped = s.enough(r.Trials, batch); r.Stopped != "" {
			break
		}
		t, err := s.try(batch)
		for ; errors.Is(err, torch.ErrOutOfMemory); t, err = s.try(batch) {
			r.Stopped = fmt.Sprintf("batches of %d do not fit into the memory", batch)
			if len(r.Trials) > 0 || batch/2 < max(smallest, s.least) {
				break
			}
			batch /= 2 // the config's own size is too large: down to what fits
		}
		if errors.Is(err, torch.ErrOutOfMemory) {
			break
		}
		if err != nil {
			return nil, err
		}
		r.Trials = append(r.Trials, t)
	}
	if len(r.Trials) == 0 {
		return nil, fmt.Errorf("%s: a smaller model.width is needed", r.Stopped)
	}
	best := 0.0
	for _, t := range r.Trials {
		best = max(best, t.ImagesPerSecond)
	}
	for _, t := range r.Trials {
		if r.Efficient == 0 && t.ImagesPerSecond >= 0.95*best {
			r.Efficient = t.Batch
		}
		r.Largest = t.Batch
	}
	return r, nil
}

// enough says why a batch is not to be tried, from what the smaller ones took.
func (s batchSearch) enough(before []batchTrial, batch int) string {
	n := len(before)
	if n == 0 {
		return "" // whatever the limits, the config's own size is tried
	}
	last := before[n-1]
	predicted := s.used + 2*(last.PeakBytes-s.used)
	if n > 1 { // what does not grow with the batch is known then
		predicted = last.PeakBytes + 2*(last.PeakBytes-before[n-2].PeakBytes)
	}
	took := time.Duration(2 * 4 * last.StepMS * float64(time.Millisecond))
	switch {
	case batch > s.most:
		return fmt.Sprintf("%d is the largest that is tried; --batch-limit sets another", s.most)
	case s.memory > 0 && predicted > s.memory:
		return fmt.Sprintf("batches of %d would take about %s of memory, and there are %s", batch, gigabytes(predicted), gigabytes(s.memory))
	case s.time > 0 && took > s.time:
		return fmt.Sprintf("batches of %d would take about %v to time", batch, took.Round(time.Second))
	}
	return ""
}

func gigabytes(n int64) string { return fmt.Sprintf("%.2f GB", float64(n)/1e9) }

func (a *app) showBatches(r *batchReport) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "batch\tms/step\timages/s\tpeak memory\t")
	for _, t := range r.Trials {
		fmt.Fprintf(w, "%d\t%.1f\t%.0f\t%s\t\n", t.Batch, t.StepMS, t.ImagesPerSecond, gigabytes(t.PeakBytes))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, t := range r.Trials {
		if t.Note != "" {
			fmt.Fprintf(a.out, "batches of %d: %s\n", t.Batch, t.Note)
		}
	}
	_, err := fmt.Fprintf(a.out, "largest that fits: %d (%s)\nsmallest that reaches 95 %% of the best throughput: %d\n", r.Largest, r.Stopped, r.Efficient)
	return err
}
