package trainer

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"go.uber.org/zap"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/datasets"
	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// open sets up the run's files, and the data on the device.
func (p *pipeline) open(stages []*stage) error {
	if !p.run.Resumed {
		if err := p.run.WriteFile("config.yaml", p.cfg.YAML()); err != nil {
			return err
		}
	}
	p.env = p.environment()
	if err := p.run.WriteJSON("env.json", p.env); err != nil {
		return err
	}
	from, err := p.resumeFrom(stages)
	if err != nil {
		return err
	}
	if p.metrics, err = metrics.Open(p.run.Dir, from, p.run.Resumed); err != nil {
		return err
	}
	p.metrics.Observer = p.options.Observer
	p.watchClock() // from here on
	if err := p.upload(); err != nil {
		return err
	}
	p.introduce()
	return nil
}

// upload hands the team the run's images.
func (p *pipeline) upload() (err error) {
	for _, d := range []struct {
		to  **images
		set *datasets.Set
	}{{&p.train, p.parts.Train}, {&p.val, p.parts.Validation}, {&p.test, p.parts.Test}} {
		if *d.to, err = p.team.upload(d.set); err != nil {
			return err
		}
	}
	return nil
}

// environment is what env.json holds.
func (p *pipeline) environment() map[string]any {
	env := checkpoint.Environment(p.options.Version)
	devices := p.team.devices()
	dev := devices[0]
	env["libtorch"], env["device"], env["workers"] = torch.Version(), NamesOf(devices), len(p.team.members)
	env["data_sha256"] = p.parts.SHA256
	if p.parts.Note != "" {
		env["data_note"] = p.parts.Note
	}
	env["precision"], env["cuda_graphs"] = p.cfg.Run.Precision, p.graphs(dev)
	if dev.IsCUDA() {
		env["gpu"] = gpuNames(devices)
	}
	return env
}

// gpuNames are the products' names, one for each GPU unless all are alike.
func gpuNames(devices []torch.Device) string {
	var names []string
	for _, d := range devices {
		name, _ := torch.CUDADeviceName(d.Index())
		names = append(names, name)
	}
	if alike := slices.Compact(slices.Clone(names)); len(alike) == 1 && len(names) > 1 {
		return fmt.Sprintf("%d x %s", len(names), names[0])
	}
	return strings.Join(names, ", ")
}

// resumeFrom is the run's first step that is to be logged again, as metrics.Open takes it.
func (p *pipeline) resumeFrom(stages []*stage) (int64, error) {
	from := int64(-1)
	for _, st := range stages {
		at, err := p.resumePoint(st)
		if err != nil {
			return 0, err
		}
		// The last one that has begun: one before it may look undone where an older checkpoint stood in for its last.
		if st.chosen && !st.saved.Done && (from < 0 || p.run.HasCheckpoint(st.name, "last")) {
			from = at
		}
	}
	if from < 0 {
		from = math.MaxInt64 // all is done: no row is cut
	}
	return from, nil
}

// introduce says in the log what is at work, on what.
func (p *pipeline) introduce() {
	dev := p.team.members[0].s.Device()
	p.log.Info("rapt "+p.options.Version, zap.String("run", p.run.Dir), zap.String("model", p.modelName()),
		zap.Int64("parameters", p.team.members[0].model.Parameters()), zap.Int("train", p.train.n), zap.Int("validation", p.val.n),
		zap.Int("test", p.test.n), zap.String("device", NamesOf(p.team.devices())), zap.Int("workers", len(p.team.members)), zap.String("libtorch", torch.Version()),
		zap.String("precision", p.cfg.Run.Precision), zap.String("cuda_graphs", p.graphs(dev)))
	p.logStreams()
	if p.parts.Note != "" {
		p.log.Warn("data: " + p.parts.Note)
	}
	model := p.team.members[0].model
	if whole := models.Whole(model); len(whole) > 0 && p.plan.kind == admm.CoupledFilter && prunes(p.cfg) {
		p.log.Warn(fmt.Sprintf("coupled_filter leaves %d of the layers whole, whose channels are %s", len(whole), models.Unfollowed(model)), zap.Strings("whole", whole))
	}
	if p.cfg.Run.Precision == "tf32" && !dev.IsCUDA() {
		p.log.Warn("run.precision is tf32, which only CUDA has: this device computes in float32")
	}
	if torch.DistrustsOneDNN() && !dev.IsCUDA() {
		p.log.Warn("this oneDNN computes wrong gradients of convolutions: it is not used")
	}
}
