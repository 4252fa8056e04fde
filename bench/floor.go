package main

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	torch "rapt/cgo"
	"rapt/models"
)

// rates are what the machine does at best, all workers at once, in our own sessions.
type rates struct {
	MatMul    float64 `json:"matmul_gflops"` // 2048 x 2048, float32; 8192 on a GPU
	Conv      float64 `json:"conv_gflops"`   // 3x3, 64 to 64 channels
	Half      float64 `json:"bf16_gflops,omitempty"`
	TF32      float64 `json:"tf32_gflops,omitempty"`
	Bandwidth float64 `json:"copy_gb_per_second"` // read and written
	Workers   int     `json:"workers"`
}

// of is the rate that a row's floor is made with, in GFLOP/s.
func (r *rates) of(one *row) float64 {
	rate := max(r.MatMul, r.Conv)
	switch one.precision {
	case "bf16":
		rate = r.Half
	case "tf32":
		rate = r.TF32
	}
	return rate
}

// better keeps the higher of each.
func (r *rates) better(s *rates) *rates {
	if r == nil {
		return s
	}
	return &rates{max(r.MatMul, s.MatMul), max(r.Conv, s.Conv), max(r.Half, s.Half), max(r.TF32, s.TF32), max(r.Bandwidth, s.Bandwidth), s.Workers}
}

// measurement is a repeated operation, and what one repetition is worth.
type measurement struct {
	to   *float64
	unit float64
	op   operation
}

// measureRates takes about five seconds.
func measureRates(dev torch.Device, workers int) (*rates, error) {
	n, batch, numbers := int64(2048), int64(64), int64(1<<25)
	if dev.IsCUDA() {
		workers, n, batch, numbers = 1, 8192, 512, 1<<28
	}
	r := &rates{Workers: workers}
	// arithmetic is the matrix product and the convolution of one type, as GFLOP.
	arithmetic := func(d torch.DType, product, convolution *float64) []measurement {
		return []measurement{
			{product, 2 * float64(n) * float64(n) * float64(n) / 1e9, func(s *torch.Session, g *torch.Generator) func() {
				a, b := s.Rand(g, n, n).To(d), s.Rand(g, n, n).To(d)
				return func() { a.MatMul(b) }
			}},
			{convolution, 2 * float64(batch) * 32 * 32 * 64 * 64 * 9 / 1e9, func(s *torch.Session, g *torch.Generator) func() {
				x, w := s.Rand(g, batch, 64, 32, 32).To(d), s.Rand(g, 64, 64, 3, 3).To(d)
				return func() { x.Conv2d(w, torch.Tensor{}, torch.ConvOptions{Padding: 1}) }
			}},
		}
	}
	all := append(arithmetic(torch.Float32, &r.MatMul, &r.Conv),
		measurement{&r.Bandwidth, 8 * float64(numbers) / 1e9, func(s *torch.Session, g *torch.Generator) func() {
			a, b := s.Rand(g, numbers), s.Zeros(numbers)
			return func() { b.Copy_(a) }
		}})
	if !dev.IsCUDA() {
		return r, measureAll(dev, workers, all)
	}
	if err := measureAll(dev, workers, append(all, arithmetic(torch.BFloat16, &r.Half, &r.Half)...)); err != nil {
		return nil, err
	}
	if err := torch.SetTF32(true); err != nil {
		return nil, err
	}
	return r, errors.Join(measureAll(dev, workers, arithmetic(torch.Float32, &r.TF32, &r.TF32)), torch.SetTF32(false))
}

// measureAll keeps the highest of each.
func measureAll(dev torch.Device, workers int, all []measurement) error {
	for _, m := range all {
		perSecond, err := together(dev, workers, m.op)
		if err != nil {
			return fmt.Errorf("measuring the machine's rates: %w", err)
		}
		*m.to = max(*m.to, perSecond*m.unit)
	}
	return nil
}

// operation sets something up in a session and gives what is to be repeated.
type operation func(*torch.Session, *torch.Generator) func()

const tries = 3

// together repeats an operation in so many sessions at once, and gives how often a second all of them did it: the best of
// three tries.
func together(dev torch.Device, workers int, op operation) (float64, error) {
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), 2*workers+2)) // as for a team
	counts := make([][tries]float64, workers)
	errs := make([]error, workers)
	gates := make([]sync.WaitGroup, tries) // each opens when all have come to it
	for try := range gates {
		gates[try].Add(workers)
	}
	var done sync.WaitGroup
	for id := range workers {
		done.Add(1)
		go func() {
			defer done.Done()
			errs[id] = counted(dev, uint64(id), op, gates, &counts[id])
		}()
	}
	done.Wait()
	best := 0.0
	for try := range tries {
		sum := 0.0
		for id := range workers {
			sum += counts[id][try]
		}
		best = max(best, sum)
	}
	return best, errors.Join(errs...)
}

// counted is one session's part: how often a second it did the operation, in each try.
func counted(dev torch.Device, seed uint64, op operation, gates []sync.WaitGroup, out *[tries]float64) error {
	const span = 500 * time.Millisecond
	passed := 0
	defer func() { // whoever fails must not leave the others waiting
		for ; passed < tries; passed++ {
			gates[passed].Done()
		}
	}()
	options := torch.Options{Threads: 1}
	if dev.IsCUDA() {
		options.Threads = 0
	}
	return torch.Run(dev, options, func(s *torch.Session) error {
		f := op(s, s.NewGenerator(seed))
		s.Do(f)
		for try := range tries {
			if err := s.Synchronize(); err != nil {
				return err
			}
			gates[try].Done()
			passed++
			gates[try].Wait()
			began, n := time.Now(), 0.0
			for time.Since(began) < span {
				for range 4 {
					s.Do(f)
					n++
				}
				if err := s.Synchronize(); err != nil {
					return err
				}
			}
			out[try] = n / time.Since(began).Seconds()
		}
		return s.Err()
	})
}

// work is what a training step has to do at least, in GFLOP and GB: a pass forward and one back to the images for each of
// the attack's steps, then one forward and one back to the weights and through all layers but the first. Of memory, each
// layer's result, of so many bytes a number, is written once and read once in each pass.
func work(sp models.Spec, batch, attackSteps, size int) (gflop, gb float64, err error) {
	err = torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		m, err := models.New(s, sp, nil)
		if err != nil {
			return err
		}
		c, err := models.Cost(m)
		if err != nil {
			return err
		}
		passes := float64(2*attackSteps + 3)
		macs := passes*float64(c.MACs) - float64(c.Layers[0].MACs)
		gflop = 2 * macs * float64(batch) / 1e9
		gb = passes * 2 * float64(size) * float64(c.Activations) * float64(batch) / 1e9
		return nil
	})
	return gflop, gb, err
}
