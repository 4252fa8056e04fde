package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"rapt/models"
	"rapt/trainer"
	"rapt/trainer/config"
)

// training is a row of training steps: natural where attackSteps is 0.
type training struct {
	arch          string
	width, batch  int
	attackSteps   int
	epsilon, step string // as in a config
	optimizer     string
	precision     string // empty is fp32
}

func (t training) name() string {
	name := fmt.Sprintf("train-step/%s/w%d/pgd%d/b%d", t.arch, t.width, t.attackSteps, t.batch)
	if t.precision != "" {
		name += "/" + t.precision
	}
	return name
}

func (t training) spec() models.Spec { return models.Spec{Arch: t.arch, Width: t.width, Classes: 10} }

// config is that of a run with these steps.
func (t training) config(device string, workers int) (*config.Config, error) {
	dataset, method, attack := "mnist", "natural", ""
	if in := models.InputsOf(t.arch); len(in) > 0 && in[0][0] == 3 {
		dataset = "cifar10"
	}
	if t.attackSteps > 0 {
		method = "pgd"
		attack = fmt.Sprintf("adversary: {epsilon: %s, step_size: %s, steps: %d}\n", t.epsilon, t.step, t.attackSteps)
	}
	precision := t.precision
	if precision == "" {
		precision = "fp32"
	}
	text := fmt.Sprintf(`run: {device: %s, workers: %d, precision: %s}
data: {dataset: %s, batch_size: %d}
model: {arch: %s, width: %d}
training: {method: %s}
%spretrain: {epochs: 1, optimizer: %s, lr: 1e-4, weight_decay: 0}
`, device, workers, precision, dataset, t.batch, t.arch, t.width, method, attack, t.optimizer)
	return config.Parse([]byte(text), "bench", nil)
}

// request is the same for the reference.
func (t training) request() (request, error) {
	r := request{"op": "train-step", "arch": t.arch, "width": t.width, "batch": t.batch, "attack_steps": t.attackSteps, "optimizer": t.optimizer, "lr": 1e-4}
	for key, text := range map[string]string{"epsilon": t.epsilon, "step_size": t.step} {
		if text != "" {
			v, err := config.ParseNumber(text)
			if err != nil {
				return nil, err
			}
			r[key] = float64(v)
		}
	}
	return r, nil
}

// missing says why there is nothing to time yet.
func (t training) missing(b *bench) string {
	if err := models.Check(t.spec()); err != nil {
		return err.Error()
	}
	if _, err := t.config(b.device.String(), b.workers); err != nil {
		return err.Error()
	}
	return ""
}

// steps times single training steps.
func steps(p *trainer.Probe) turn {
	return func(n int) ([]float64, error) {
		return repeat(n, p.Step)
	}
}

func repeat(n int, f func() error) ([]float64, error) {
	var out []float64
	for range n {
		began := time.Now()
		if err := f(); err != nil {
			return nil, err
		}
		out = append(out, milliseconds(time.Since(began)))
	}
	return out, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// measure fills the row of training steps.
func (t training) measure(b *bench, r *row) error {
	cfg, err := t.config(b.device.String(), b.workers)
	if err != nil {
		return err
	}
	size := 4
	if r.precision = t.precision; t.precision == "bf16" {
		size = 2
	}
	if r.GFLOP, r.GB, err = work(t.spec(), t.batch, t.attackSteps, size); err != nil {
		return err
	}
	ask, err := t.request()
	if err != nil {
		return err
	}
	return trainer.WithProbe(cfg, trainer.ProbeOptions{}, func(p *trainer.Probe) error {
		return b.compare(r, steps(p), contest{request: ask, tries: b.settings(t.precision)}, b.rounds, 20)
	})
}

// epochImages is MNIST's training set; epochShort is what settings are tried with, and all of it when --quick.
const epochImages, epochShort = 60000, 6400

var epochTraining = training{arch: "lenet", width: 1, batch: 64, optimizer: "adam"}

// measureEpoch fills the row of natural epochs. Ours are the steps of a probe over as many drawn images as MNIST has, order
// and batches as a run has them; the reference reads MNIST through torchvision and a DataLoader.
func measureEpoch(b *bench, r *row) error {
	t := epochTraining
	images, rounds := epochImages, min(b.rounds, 3)
	if b.quick {
		images = epochShort
	}
	r.Note = join(r.Note, fmt.Sprintf("ours: training steps over %d drawn images in memory", images))
	cfg, err := t.config(b.device.String(), b.workers)
	if err != nil {
		return err
	}
	if r.GFLOP, r.GB, err = work(t.spec(), images, 0, 4); err != nil {
		return err
	}
	ask, err := t.request()
	if err != nil {
		return err
	}
	folder, err := filepath.Abs(mnist())
	if err != nil {
		return err
	}
	ask = ask.with(request{"op": "natural-epoch", "data": folder})
	c := contest{request: ask, short: ask.with(request{"limit": epochShort}), tries: b.loaders()}
	if b.quick {
		c.request = c.short
	}
	return trainer.WithProbe(cfg, trainer.ProbeOptions{Images: images}, func(p *trainer.Probe) error {
		epoch := func() error {
			for range p.StepsPerEpoch() {
				if err := p.Step(); err != nil {
					return err
				}
			}
			return nil
		}
		return b.compare(r, func(int) ([]float64, error) { return repeat(1, epoch) }, c, rounds, 1)
	})
}

// loaders are the reference's settings, each with no, one and as many loading processes as there are processors.
func (b *bench) loaders() []setting {
	var out []setting
	for _, s := range b.settings("") {
		for _, n := range slices.Compact([]int{0, 1, b.workers}) {
			one := s
			one.name = fmt.Sprintf("%s, num_workers %d", s.name, n)
			one.keys = s.keys.with(request{"num_workers": n})
			one.usual = s.usual && n == 0
			out = append(out, one)
		}
	}
	return out
}

// mnist is the folder of the IDX files, where tests look for them too; empty where there is none.
func mnist() string {
	for _, dir := range []string{os.Getenv("RAPT_DATA_DIR"), "data", filepath.Join("..", "shared", "data")} {
		for _, layout := range []string{"mnist", "", filepath.Join("MNIST", "raw")} {
			for _, end := range []string{"", ".gz"} {
				at := filepath.Join(dir, layout)
				if _, err := os.Stat(filepath.Join(at, "train-images-idx3-ubyte"+end)); dir != "" && !errors.Is(err, fs.ErrNotExist) {
					return at
				}
			}
		}
	}
	return ""
}
