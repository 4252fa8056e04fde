package trainer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"go.uber.org/zap"

	"rapt/admm"
	"rapt/adversarial"
	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/datasets"
	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
	"rapt/trainer/metrics"
)

// pipeline is one run: what its stages share.
type pipeline struct {
	cfg     *config.Config
	options RunOptions
	spec    models.Spec
	parts   *datasets.Parts
	plan    *pruning          // of the last step
	plans   []*pruning        // of each step of pruning
	ratios  []admm.LayerRatio // what the config removes of each layer, known before there is a team
	settled bool              // the plans wait for no weights any more
	quant   *quantisation
	attack  adversarial.PGD // trained against, and validated with
	judges  []asked         // the test's
	all     []*stage        // the run's, in order

	run      *checkpoint.Run
	log      *zap.Logger
	metrics  *metrics.Logger
	progress metrics.Progress
	clock    clockWatch

	periodic   periodic       // when a checkpoint within an epoch is due
	env        map[string]any // what env.json holds
	unrecorded error          // why a step could not be recorded as a CUDA graph

	leaves       models.Spec // of a plan: the smaller network, as far as the ratios tell
	start        *smallStart // of stage compact where it begins
	wholeWeights int64       // where the network is the smaller one: how many the whole one has of those that reports list

	team             *team
	train, val, test *images
	next             []int64 // the training images of the step to come
}

// Run trains, prunes, retrains and evaluates as cfg says, or goes on where an earlier Run of the same config stopped.
// What is wrong with the input is found before any work. When ctx ends, all is saved and the error is ErrInterrupted.
func Run(ctx context.Context, cfg *config.Config, o RunOptions) (report *metrics.Report, err error) {
	p := &pipeline{cfg: cfg, options: o}
	devices, err := p.prepare(ctx)
	if err != nil {
		return nil, err
	}
	if o.Overwrite {
		if err := p.sparesInputs(); err != nil {
			return nil, err
		}
	}
	if p.run, err = checkpoint.OpenRun(p.dir(), checkpoint.Options{Resume: true, Overwrite: o.Overwrite}); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.run.Close()) }()
	if p.run.Resumed {
		err := errors.Join(p.sameConfig(), p.sameStrategy())
		if err == nil { // or another data.train_limit would be taken for other images
			err = p.sameData()
		}
		if err != nil {
			return nil, err
		}
	}
	if report, ok := p.finished(); ok {
		return report, nil
	}
	p.progress = metrics.NewProgress(o.Console.Out, o.Console.IsTTY)
	var closeLog func()
	if p.log, closeLog, err = metrics.NewLog(p.run.Path("log.txt"), p.progress, false); err != nil {
		return nil, err
	}
	defer func() {
		closeLog()
		p.note(err)
	}()
	p.run.Warn = func(msg string) { p.log.Warn(msg) }
	p.periodic = newPeriodic(cfg.Run.SaveEvery)
	err = gather(devices, cfg.Run.Threads(), p.build, func(t *team) error {
		p.team = t
		report, err = p.do(ctx)
		return err
	})
	return report, p.exhausted(err, devices)
}

// note writes the run's end into its log file; whoever called Run tells the person.
func (p *pipeline) note(err error) {
	log, done, e := metrics.NewLog(p.run.Path("log.txt"), nil, false)
	if e != nil {
		return // the folder cannot be written, which is what err says
	}
	if err != nil {
		log.Error("ended", zap.Error(err))
	} else {
		log.Info("done")
	}
	done()
}

// prepare checks all that can be checked before any work.
func (p *pipeline) prepare(ctx context.Context) ([]torch.Device, error) {
	c := p.cfg
	var err error
	if err = p.load(ctx); err != nil {
		return nil, err
	}
	set := p.parts.Train
	if err := p.architecture(set.Classes, shapeOf(set)); err != nil {
		return nil, err
	}
	if side := min(set.H, set.W); c.Data.Augment.Crop >= side {
		return nil, c.Errorf("data.augment.crop", "data.augment.crop is %d: images of %d x %d pixels can be moved by up to %d", c.Data.Augment.Crop, set.H, set.W, side-1)
	} else if c.Data.Augment.Cutout > side {
		return nil, c.Errorf("data.augment.cutout", "data.augment.cutout is %d: a square on images of %d x %d pixels has a side of up to %d", c.Data.Augment.Cutout, set.H, set.W, side)
	}
	if p.parts.Validation.N == 0 {
		return nil, c.Errorf("data.validation", "the model is chosen on held-out images: data.validation must leave at least one")
	}
	return p.ready()
}

// shapeOf is the [C, H, W] of a set's images.
func shapeOf(set *datasets.Set) [3]int64 { return [3]int64{int64(set.C), int64(set.H), int64(set.W)} }

// architecture takes the config's network, for so many classes and images of a shape.
func (p *pipeline) architecture(classes int, input [3]int64) error {
	m, d := p.cfg.Model, p.cfg.Data
	p.spec = models.Spec{Arch: m.Arch, Width: m.Width, Init: m.Init, Classes: classes, Input: input, Mean: float64s(d.Mean), Std: float64s(d.Std)}
	var err error
	if m.Arch == models.Custom {
		if p.spec.Graph, err = graphOf(p.cfg); err != nil {
			return err
		}
	}
	if p.spec.Channels, err = p.channelsLeft(); err != nil {
		return err
	}
	if n := int(input[0]); len(d.Mean) > 0 && len(d.Mean) != n {
		return p.cfg.Errorf("data.mean", "data.mean holds %d numbers, but the images have %d channels: one for each is needed", len(d.Mean), n)
	}
	if err := models.Check(p.spec); err != nil {
		return p.cfg.Errorf("model.arch", "%v", err)
	}
	return nil
}

// graphOf is the custom network that the config's model.load describes.
func graphOf(cfg *config.Config) (string, error) {
	if cfg.Model.Load == "" {
		return "", cfg.Errorf("model.arch", "model.arch is custom, which is the network that a checkpoint describes: model.load must name that one, as rapt import makes it of an ONNX model")
	}
	meta, _, err := checkpoint.ReadHeader(cfg.Model.Load)
	if err == nil && meta["graph"] == "" {
		err = cfg.Errorf("model.load", "model.load %s describes no network of its own: it is a %.80q, which model.arch has to name", cfg.Model.Load, meta["arch"])
	}
	return meta["graph"], err
}

// channelsLeft are those that rapt compact left of the network in the config's model.load; nil where that is a whole one.
func (p *pipeline) channelsLeft() (map[string]int64, error) {
	m := p.cfg.Model
	if m.Load == "" {
		return nil, nil
	}
	meta, _, err := checkpoint.ReadHeader(m.Load)
	if err != nil || meta["channels"] == "" || meta["arch"] != m.Arch || meta["width"] != strconv.Itoa(max(m.Width, 1)) {
		return nil, err // what does not fit is refused by fits
	}
	channels, err := readChannels(meta["channels"])
	if err != nil {
		return nil, &InputError{fmt.Errorf("%s: \"channels\" in its metadata: %w", m.Load, err)}
	}
	return channels, nil
}

// searching lets cuDNN choose by timing, unless the run is deterministic: that can come out otherwise the next time.
func (p *pipeline) searching(dev torch.Device) error {
	return torch.SetCuDNN(dev.IsCUDA() && !p.cfg.Run.Deterministic, p.cfg.Run.Deterministic)
}

// ready sets libtorch and the attacks up for the config, and tries what needs a model.
func (p *pipeline) ready() ([]torch.Device, error) {
	c := p.cfg
	devices, err := devicesOf(c.Run.Device)
	if err != nil {
		return nil, c.Errorf("run.device", "%v", err)
	}
	if n, batch := len(devices), p.largestBatch(); n > 1 && batch < 2*n {
		return nil, c.Errorf("data.batch_size", "batches have %d images: %d GPUs share them, and each needs two at least", batch, n)
	}
	if err := torch.SetTF32(c.Run.Precision == "tf32"); err != nil {
		return nil, err
	}
	if err := p.searching(devices[0]); err != nil {
		return nil, err
	}
	if c.Run.Deterministic {
		os.Setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8") // cuBLAS asks for it, and reads it when CUDA starts
	}
	if err := torch.SetDeterministic(c.Run.Deterministic); err != nil {
		return nil, err
	}
	if err := p.attacks(); err != nil {
		return nil, err
	}
	return devices, p.fits()
}

// fits tries on a model of its own what needs one: the layers that are pruned, and the checkpoint that is loaded.
func (p *pipeline) fits() error {
	return torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		model, err := models.New(s, p.spec, nil)
		if err != nil && len(p.spec.Channels) > 0 {
			return &InputError{fmt.Errorf("%s: %w", p.cfg.Model.Load, err)}
		} else if err != nil {
			return err
		}
		plans, err := newPrunings(p.cfg, model)
		if err != nil {
			return err
		}
		if p.cfg.Compact.Epochs > 0 && !models.Wired(model) {
			return p.cfg.Errorf("compact.epochs", "compact.epochs is %d, but the channels of %s are %s, and none can be taken out", p.cfg.Compact.Epochs, p.spec.Arch, models.Unfollowed(model))
		}
		p.ratios = plans[len(plans)-1].ratios
		if _, err := newQuantisation(p.cfg, model); err != nil {
			return err
		}
		return (&team{members: []*member{newMember(0, s, model)}}).loadFrom(p.cfg.Model.Load)
	})
}

func float64s(numbers []config.Number) (out []float64) {
	for _, n := range numbers {
		out = append(out, float64(n))
	}
	return out
}

func (p *pipeline) attacks() error {
	a := p.cfg.Adversary
	norm, err := adversarial.ParseNorm(a.Norm)
	if err != nil {
		return p.cfg.Errorf("adversary.norm", "%v", err)
	}
	p.attack = adversarial.PGD{Norm: norm, Epsilon: float64(a.Epsilon), StepSize: float64(a.StepSize), Steps: a.Steps, RandomStart: a.RandomStart}
	for _, name := range p.cfg.Evaluate.Attacks {
		e, err := p.cfg.Attack(name)
		if err != nil {
			return p.cfg.Errorf("evaluate.attacks", "%v", err)
		}
		j, err := ask(name, adversarial.Settings{Norm: norm, Epsilon: e.Epsilon, StepSize: e.StepSize, RandomStart: e.RandomStart, Classes: p.spec.Classes})
		if err != nil {
			return p.cfg.Errorf("evaluate.attacks", "%v", err)
		}
		p.judges = append(p.judges, j)
	}
	return nil
}

// build makes the model in the team's first session, and resolves what is pruned against it.
func (p *pipeline) build(s *torch.Session) (*models.Model, error) {
	model, err := p.network(s)
	if err != nil {
		return nil, err
	}
	if p.plans, err = newPrunings(p.cfg, model); err != nil {
		return nil, err
	}
	p.plan = p.plans[len(p.plans)-1]
	p.quant, err = newQuantisation(p.cfg, model)
	return model, err
}

// network makes the run's, as its device likes it.
func (p *pipeline) network(s *torch.Session) (*models.Model, error) {
	model, err := models.New(s, p.spec, s.NewGenerator(key(p.cfg.Run.Seed, "init")))
	if err == nil && s.Device().IsCUDA() && p.cfg.Run.Precision != "fp32" { // what tensor cores want; float32 has none
		model.ToChannelsLast()
	}
	return model, err
}

// initial puts the model where a run begins: initialised, or loaded from model.load.
func (p *pipeline) initial() error {
	if err := p.initialise("init"); err != nil {
		return err
	}
	return p.team.loadFrom(p.cfg.Model.Load)
}

// initialise draws the model's weights anew. name tells one draw from another.
func (p *pipeline) initialise(name string) error {
	lead := p.team.members[0]
	if err := nn.Init(lead.model.Module, p.spec.Init, lead.s.NewGenerator(key(p.cfg.Run.Seed, name))); err != nil {
		return err
	}
	lead.model.ResetBuffers()
	p.team.spread()
	return lead.s.Err()
}

// do runs the stages one after the other. A stage that ended in an earlier run gives its stored result.
func (p *pipeline) do(ctx context.Context) (*metrics.Report, error) {
	stages, err := p.stages()
	if err != nil {
		return nil, err
	}
	if err := p.reachable(stages); err != nil {
		return nil, err
	}
	if err := p.open(stages); err != nil {
		return nil, err
	}
	defer p.metrics.Close()             // has been closed where all went well
	if err := p.initial(); err != nil { // also when going on: model.load must still be there and fit
		return nil, err
	}
	if err := p.writeKnown(); err != nil {
		return nil, err
	}
	report := p.newReport()
	small := false // the smaller network's stages have been done now
	for i, st := range stages {
		switch {
		case !st.chosen && !st.saved.Done:
			continue
		case st.small && !st.saved.Done:
			err, small = p.onSmall(ctx, stages[i:]), true
		case !st.small || !small:
			_, err = p.stage(ctx, st)
		}
		if err != nil {
			return nil, err
		}
		result := st.saved.Result
		if st.baseline {
			report.Baselines = append(report.Baselines, *result)
			continue
		}
		report.Stages = append(report.Stages, *result)
		report.CleanAccuracy, report.RobustAccuracy = &result.CleanAccuracy, result.RobustAccuracy
		report.WorstCaseAccuracy = result.WorstCase
		if err := p.reportModel(report, st.name); err != nil {
			return nil, err
		}
	}
	if err := p.seal(report); err != nil {
		return nil, err
	}
	return report, nil
}

func (p *pipeline) modelName() string {
	name := p.spec.Arch
	if p.spec.Width > 1 {
		name += fmt.Sprintf(" w=%d", p.spec.Width)
	}
	if len(p.spec.Channels) > 0 {
		name += " compacted"
	}
	return name
}
