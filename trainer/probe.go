package trainer

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"

	"go.uber.org/zap"

	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/datasets"
	"rapt/models"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// ProbeOptions of WithProbe.
type ProbeOptions struct {
	Stage  string   // pretrain, admm or retrain; empty: the first that the config has epochs for
	Images int      // how many are trained on; 0 is two batches
	Input  [3]int64 // [C, H, W] of an image; zero: the data set's usual

	Channels map[string]int64 // of a smaller network, whose weights are drawn; nil: those of model.load, or all
}

// Probe is one stage of a run with nothing round it: no data set, no folder, no log. It is for measuring.
type Probe struct {
	p     *pipeline
	st    *stage
	order []int64
	epoch int
	next  int             // step of the epoch
	sets  map[int]*images // of Evaluate, by their number
}

// probeClasses is how many the drawn images have, where the network does not say.
const probeClasses = 10

// WithProbe sets up a stage of cfg as Run does, on drawn images of the shape that the network takes, and hands it to f.
// The stage starts from the initial model, whatever stage would be before it. The Probe is f's alone and ends with it.
func WithProbe(cfg *config.Config, o ProbeOptions, f func(*Probe) error) error {
	p := &pipeline{cfg: cfg, log: zap.NewNop(), progress: metrics.NewProgress(io.Discard, false)}
	if o.Input == ([3]int64{}) {
		o.Input = usualInput(cfg)
	}
	classes := probeClasses
	if cfg.Model.Arch == models.Custom {
		graph, err := graphOf(cfg)
		if err != nil {
			return err
		}
		g, err := models.ParseGraph(graph)
		if err != nil {
			return cfg.Errorf("model.load", "model.load %s: %v", cfg.Model.Load, err)
		}
		o.Input = g.Input
		classes, _ = g.Classes() // has been looked at
	}
	if err := p.architecture(classes, o.Input); err != nil {
		return err
	}
	if o.Channels != nil {
		own := *cfg
		own.Model.Load = ""
		p.cfg, p.spec.Channels = &own, o.Channels
	}
	n := o.Images
	if n <= 0 {
		n = 2 * cfg.Data.BatchSize
	}
	set := drawn(cfg.Run.Seed, n, p.spec.Input, classes)
	p.parts = &datasets.Parts{Train: set, Validation: set, Test: set}
	devices, err := p.ready()
	if err != nil {
		return err
	}
	if err := resetPeak(devices[0]); err != nil {
		return err
	}
	return gather(devices, cfg.Run.Threads(), p.build, func(t *team) error {
		p.team = t
		st, err := p.only(o.Stage)
		if err != nil {
			return err
		}
		if p.train, err = t.upload(set); err != nil {
			return err
		}
		t.members[0].s.Do(func() { // the stage's masks, Z and U end with it
			if err = p.begin(st); err == nil {
				err = f(&Probe{p: p, st: st, sets: map[int]*images{}})
			}
		})
		return err
	})
}

// usualInput is the shape of the data set's images, or where the network does not take that, of those that it is usually given.
func usualInput(cfg *config.Config) [3]int64 {
	input := [3]int64{3, 32, 32}
	if of, ok := datasetShapes[cfg.Data.Dataset]; ok {
		input = of.input
	}
	usual := models.InputsOf(cfg.Model.Arch)
	if len(usual) == 0 || models.Check(models.Spec{Arch: cfg.Model.Arch, Classes: probeClasses, Input: input}) == nil {
		return input
	}
	return usual[0]
}

// only is the config's stage of that name, made to start from the initial model.
func (p *pipeline) only(name string) (*stage, error) {
	if name != "" {
		p.options.Stages = []string{name}
	}
	all, err := p.stages()
	if err != nil {
		return nil, err
	}
	for _, st := range all {
		if st.chosen && !st.baseline {
			st.from = ""
			return st, nil
		}
	}
	return nil, &InputError{fmt.Errorf("the config has no epochs for any stage")}
}

// Step is one training step: attack, gradient, the team's sum, the optimizer's update. It waits for the device.
func (b *Probe) Step() error {
	p := b.p
	if b.next == 0 {
		b.order = datasets.Order(key(p.cfg.Run.Seed, b.st.name), b.epoch, p.train.n)
		if err := p.team.useOrder(b.order); err != nil {
			return err
		}
	}
	batch := p.cfg.Data.BatchSize
	// The config's first epoch over and over, as far as the learning rate goes: there is no last one to pass.
	ids := b.order[b.next*batch : min((b.next+1)*batch, len(b.order))]
	if err := p.step(b.st, ids, 0, b.next); err != nil {
		return err
	}
	if b.next++; b.next == p.stepsPerEpoch() {
		b.next, b.epoch = 0, b.epoch+1
	}
	return p.team.members[0].s.Synchronize()
}

// StepsPerEpoch is how many Steps go once through the images.
func (b *Probe) StepsPerEpoch() int { return b.p.stepsPerEpoch() }

// Evaluate measures the model on n drawn images, clean and under the config's attack.
func (b *Probe) Evaluate(n int) error {
	p := b.p
	d := b.sets[n]
	if d == nil {
		var err error
		if d, err = p.team.upload(drawn(p.cfg.Run.Seed, n, p.spec.Input, p.spec.Classes)); err != nil {
			return err
		}
		b.sets[n] = d
	}
	_, err := p.measure(context.Background(), d, []adversarial.PGD{p.attack})
	return err
}

// Unrecorded says why the steps are not done by CUDA graphs though a run's would be; nil where they are, or none are wanted.
func (b *Probe) Unrecorded() error { return b.p.unrecorded }

// Device is what the team works on; of several GPUs the first, which takes most memory.
func (b *Probe) Device() torch.Device { return b.p.team.members[0].s.Device() }

// drawn is a set of n images of an input shape: each class a pattern of its own, under noise.
func drawn(seed uint64, n int, in [3]int64, classes int) *datasets.Set {
	size := int(in[0] * in[1] * in[2])
	rng := rand.New(rand.NewPCG(seed, uint64(size)))
	bytes := func(n int) []byte {
		out := make([]byte, n)
		for i := range out {
			out[i] = byte(rng.Uint32())
		}
		return out
	}
	patterns := bytes(classes * size)
	set := &datasets.Set{Name: "drawn", N: n, C: int(in[0]), H: int(in[1]), W: int(in[2]), Classes: classes,
		Pixels: bytes(n * size), Labels: make([]uint16, n)}
	for i := range set.Labels {
		class := i % classes
		set.Labels[i] = uint16(class)
		for j, v := range patterns[class*size : (class+1)*size] {
			at := i*size + j
			set.Pixels[at] = v - v/4 + set.Pixels[at]/4
		}
	}
	return set
}
