package trainer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"rapt/admm"
	torch "rapt/cgo"
	"rapt/datasets"
	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
	"rapt/trainer/limits"
	"rapt/trainer/metrics"
)

// ChooseDevice turns auto, cpu, cuda or cuda:N into a device that is there. auto is the first GPU, else the CPU.
func ChooseDevice(name string) (torch.Device, error) {
	if name == "" || name == "auto" {
		if torch.CUDADeviceCount() > 0 {
			return torch.CUDA(0), nil
		}
		return torch.CPU, nil
	}
	dev, err := torch.NewDevice(name)
	if err != nil {
		return dev, &InputError{err}
	}
	if n := torch.CUDADeviceCount(); dev.IsCUDA() && dev.Index() >= n {
		why := fmt.Sprintf("this machine shows %d GPUs", n)
		if !torch.BuiltWithCUDA() {
			why = "libtorch " + torch.Version() + " is built for the CPU only"
		}
		return dev, &InputError{fmt.Errorf("there is no device %s: %s", name, why)}
	}
	return dev, nil
}

// devicesOf is ChooseDevices. A variable, so that tests can put several members that are apart on one device.
var devicesOf = ChooseDevices

// ChooseDevices reads a list such as cuda:0,cuda:1, of GPUs that share the work, or what ChooseDevice does.
func ChooseDevices(names string) (out []torch.Device, err error) {
	for _, name := range strings.Split(names, ",") {
		dev, err := ChooseDevice(strings.TrimSpace(name))
		if err != nil {
			return nil, err
		}
		if slices.Contains(out, dev) || len(out) > 0 && !(dev.IsCUDA() && out[0].IsCUDA()) {
			return nil, &InputError{fmt.Errorf("the device %s names %s twice or beside a GPU: one device, or several GPUs such as cuda:0,cuda:1, can be given", names, dev)}
		}
		out = append(out, dev)
	}
	return out, nil
}

// NamesOf is a list of devices as ChooseDevices reads it.
func NamesOf(devices []torch.Device) string {
	var names []string
	for _, d := range devices {
		names = append(names, d.String())
	}
	return strings.Join(names, ",")
}

// CheckpointOf finds the checkpoint that path means: the file itself, or the model that a run's folder ended with.
func CheckpointOf(path string) (string, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", &InputError{fmt.Errorf("%s: there is no such checkpoint or run folder", path)}
	}
	if err != nil {
		return "", &InputError{err}
	}
	if !info.IsDir() {
		return path, nil
	}
	for _, stage := range stagesFromTheEnd() {
		for _, name := range []string{"best.safetensors", "best.prev.safetensors"} { // the second alone: killed while it was replaced
			file := filepath.Join(path, "checkpoints", stage, name)
			if _, err := os.Stat(file); err == nil {
				return file, nil
			}
		}
	}
	return "", &InputError{fmt.Errorf("%s: the folder holds no checkpoints/STAGE/best.safetensors of a stage such as retrain or pretrain", path)}
}

// stagesFromTheEnd are a run's, the last first.
func stagesFromTheEnd() []string {
	out := []string{"quantize_retrain", "quantize_admm", "quantize_retrain_1", "quantize_admm_1", "compact", "retrain", "admm"}
	for i := config.MaxSteps; i > 0; i-- { // of progressive pruning
		out = append(out, fmt.Sprintf("retrain_%d", i), fmt.Sprintf("admm_%d", i))
	}
	return append(out, "pretrain")
}

// opened is a checkpoint that is about to be judged.
type opened struct {
	described
	path  string
	file  *checkpoint.File
	model string // the fingerprint of the file as it was read
	test  *datasets.Set
	sum   string // the fingerprint of the data
	note  string // on its images
	devs  []torch.Device

	unfinished bool // the path was a run's folder, and the run has not ended
}

// openFile reads the checkpoint that path means.
func openFile(path string) (*opened, error) {
	file, err := CheckpointOf(path)
	if err != nil {
		return nil, err
	}
	meta, infos, err := checkpoint.ReadHeader(file)
	if err != nil {
		return nil, err
	}
	o := &opened{path: file, unfinished: file != path && !checkpoint.IsDone(path)}
	if o.described, err = describe(file, meta); err != nil {
		return nil, err
	}
	if err := o.holds(meta, infos); err != nil {
		return nil, err
	}
	o.file, o.model, err = checkpoint.ReadSummed(file)
	return o, err
}

// holds compares the header with the network that the metadata claim, before memory is taken for either.
func (o *opened) holds(meta map[string]string, infos []checkpoint.TensorInfo) (first error) {
	inputs := [][3]int64{o.spec.Input}
	if o.spec.Input == ([3]int64{}) { // of an earlier version: that of its data set, which is not read yet
		inputs = models.InputsOf(o.spec.Arch)
	}
	for _, input := range inputs {
		trial := *o
		trial.spec.Input = input
		err := trial.outlined(func(m *models.Model) error { return fits(o.path, meta, infos, m) })
		if err == nil {
			return nil
		}
		first = cmp.Or(first, err)
	}
	return first
}

// openModel reads a checkpoint, its data set's test images and the device.
func openModel(ctx context.Context, path, dataDir, device string, limit int) (*opened, error) {
	o, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return o, o.readTest(ctx, dataDir, device, limit)
}

// readTest reads the test images that the checkpoint is judged on, and the device.
func (o *opened) readTest(ctx context.Context, dataDir, device string, limit int) error {
	if limit == 0 {
		limit = o.testLimit // as the run was tested
	}
	from := o.data
	from.Dataset, from.TestLimit, from.Seed = o.dataset, limit, o.seed
	from.Dir = cmp.Or(dataDir, from.Dir, runsData(o.path, o.dataset))
	parts, err := loadData(ctx, from)
	if err != nil {
		return err
	}
	o.test, o.sum, o.note = parts.Test, parts.SHA256, parts.Note
	if err := o.takes(o.test); err != nil {
		return err
	}
	o.devs, err = devicesOf(device)
	return err
}

// runsData is the data.dir of the run that a checkpoint lies in; empty where it lies in none, or that folder is not here.
func runsData(checkpoint, dataset string) string {
	cfg, err := config.Load(filepath.Join(filepath.Dir(checkpoint), "..", "..", "config.yaml"), nil)
	if err != nil || cfg.Data.Dataset != dataset {
		return ""
	}
	if _, err := os.Stat(cfg.Data.Dir); err != nil {
		return ""
	}
	return cfg.Data.Dir
}

// takes refuses images of another shape, or of other classes, than those that the network was trained on.
func (o *opened) takes(test *datasets.Set) error {
	shape := shapeOf(test)
	if test.Classes != o.spec.Classes {
		return &InputError{fmt.Errorf("%s tells %d classes apart, %s has %d", o.path, o.spec.Classes, o.dataset, test.Classes)}
	}
	if names := o.file.Metadata["class_names"]; names != "" && len(test.Names) > 0 && names != classNames(test) {
		return &InputError{fmt.Errorf("%s was trained on the classes %.200s, %s holds %.200s", o.path, names, o.dataset, classNames(test))}
	}
	if o.spec.Input == ([3]int64{}) { // of an earlier version
		o.spec.Input = shape
	}
	if in := o.spec.Input; in != shape {
		return &InputError{fmt.Errorf("%s was trained on images of %d x %d x %d, %s has %d x %d x %d", o.path, in[0], in[1], in[2], o.dataset, shape[0], shape[1], shape[2])}
	}
	if err := models.Check(o.spec); err != nil {
		return &InputError{fmt.Errorf("%s: %w", o.path, err)}
	}
	return nil
}

// outlined runs f on a network of the checkpoint's shapes, which takes no memory.
func (o *opened) outlined(f func(*models.Model) error) error {
	return torch.Run(torch.CPU, torch.Options{Threads: 1, ShapesOnly: true}, func(s *torch.Session) error {
		model, err := o.build(s)
		if err != nil {
			return err
		}
		return f(model)
	})
}

// build makes the checkpoint's network, without its numbers.
func (o *opened) build(s *torch.Session) (*models.Model, error) {
	model, err := models.New(s, o.spec, nil)
	if err != nil {
		return nil, &InputError{fmt.Errorf("%s: %w", o.path, err)}
	}
	return model, nil
}

// with loads the checkpoint into a team on its devices and runs f.
func (o *opened) with(devices []torch.Device, workers int, f func(*team, *images) error) error {
	if workers == 0 {
		workers = limits.Threads()
	}
	if err := cmp.Or(torch.SetTF32(false), forJudging()); err != nil {
		return err
	}
	return gather(devices, workers, o.build, func(t *team) error {
		if err := t.load(o.path, o.file); err != nil {
			return err
		}
		d, err := t.upload(o.test)
		if err != nil {
			return err
		}
		return f(t, d)
	})
}

// report is what can be said without running the model.
func (o *opened) report() (*metrics.Report, error) {
	meta := o.file.Metadata
	r := &metrics.Report{Schema: 1, Name: meta["name"], Dataset: o.dataset, Arch: o.spec.Arch, Width: o.spec.Width, Channels: o.spec.Channels, Method: o.method, Seed: o.seed,
		Version: meta["rapt_version"], Checkpoint: o.path, Stage: meta["stage"], Unfinished: o.unfinished, CompactedFrom: meta["compacted_from"]}
	r.Epoch, _ = strconv.Atoi(meta["epoch"]) // 0 where it was not trained by rapt
	kind, err := admm.ParseType(o.sparsity)
	if err != nil {
		return nil, &InputError{fmt.Errorf("%s: its metadata: %w", o.path, err)}
	}
	err = o.outlined(func(model *models.Model) error {
		r.Parameters = model.Parameters()
		var layers []metrics.LayerSparsity
		for _, e := range weights(model, kind) {
			l, err := layerOf(o.file, e.Name)
			if err != nil {
				return &InputError{fmt.Errorf("%s: %w", o.path, err)}
			}
			layers = append(layers, l)
		}
		r.Sparsity = metrics.Summarise(string(kind), layers)
		if r.Quantization, err = quantizationIn(o.file, r.Parameters); err != nil {
			return &InputError{fmt.Errorf("%s: %w", o.path, err)}
		}
		return nil
	})
	return r, err
}

// SparsityOf reports a checkpoint's sparsity alone.
func SparsityOf(path string) (*metrics.Report, error) {
	o, err := openFile(path)
	if err != nil {
		return nil, err
	}
	return o.report()
}
