package trainer

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"rapt/datasets"
	"rapt/importer"
	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
)

// ImportOptions of ImportModel. Zero values are found from the file's tensors.
type ImportOptions struct {
	Path, Out string // PyTorch's checkpoint, and the safetensors file to write
	Arch      string
	Width     int
	Dataset   string // that the model is judged on; by default the usual one of images of its size
	Version   string
}

// Imported says what ImportModel found.
type Imported struct {
	Out        string   `json:"out"`
	Arch       string   `json:"arch"`
	Width      int      `json:"width"`
	Classes    int      `json:"classes"`
	Dataset    string   `json:"dataset"`
	Parameters int64    `json:"parameters"` // trained numbers
	Notes      []string `json:"notes"`      // what was left out, guessed or filled in, a sentence each
}

// ImportModel writes a PyTorch checkpoint, or an ONNX model, as a checkpoint of rapt, which eval, sparsity, predict and model.load take. Tensors must be those of
// the network, by name and shape; nothing is written where they are not.
func ImportModel(o ImportOptions) (*Imported, error) {
	if o.Dataset != "" && !slices.Contains(datasets.Names(), o.Dataset) {
		return nil, &InputError{fmt.Errorf("there is no data set %q: %s are known", o.Dataset, strings.Join(datasets.Names(), ", "))}
	}
	if strings.EqualFold(filepath.Ext(o.Path), ".onnx") {
		return importONNX(o)
	}
	d, err := importer.ReadPyTorch(o.Path)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	found, err := recognise(o, d)
	if err != nil {
		return nil, err
	}
	out := &Imported{Out: o.Out, Arch: found.spec.Arch, Width: max(found.spec.Width, 1), Classes: found.spec.Classes, Dataset: o.Dataset,
		Parameters: found.parameters(), Notes: d.Notes}
	if o.Arch == "" {
		out.note("the tensors are those of %s%s", found.describe(), found.others())
	}
	if err := out.chooseDataset(o.Path, found); err != nil {
		return nil, err
	}
	f := &checkpoint.File{}
	if f.Metadata, err = out.metadata(o, found.input); err != nil {
		return nil, err
	}
	if f.Tensors, err = found.convert(d, out); err != nil {
		return nil, &InputError{fmt.Errorf("%s: %w", o.Path, err)}
	}
	if err := checkpoint.Write(o.Out, f); err != nil {
		return nil, fmt.Errorf("the imported checkpoint: %w", err)
	}
	return out, nil
}

func (m *Imported) note(format string, args ...any) {
	m.Notes = append(m.Notes, fmt.Sprintf(format, args...))
}

// usualDatasets are the data sets of the original project, by their images' channels, height and width.
var usualDatasets = map[[3]int64]string{{1, 28, 28}: "mnist", {3, 32, 32}: "cifar10"}

// datasetShapes are the data sets of which the classes and the images' channels, height and width are known beforehand.
var datasetShapes = map[string]struct {
	classes int
	input   [3]int64
}{
	"digits": {10, [3]int64{1, 28, 28}}, "mnist": {10, [3]int64{1, 28, 28}}, "fashion_mnist": {10, [3]int64{1, 28, 28}},
	"cifar10": {10, [3]int64{3, 32, 32}}, "cifar100": {100, [3]int64{3, 32, 32}}, "svhn": {10, [3]int64{3, 32, 32}},
}

// chooseDataset takes the usual data set where none was asked for.
func (m *Imported) chooseDataset(path string, o *outline) error {
	guessed := m.Dataset == ""
	if guessed {
		m.Dataset = usualDatasets[o.input]
	}
	if classes := datasetShapes[m.Dataset].classes; m.Dataset == "" || classes > 0 && m.Classes != classes {
		return &InputError{fmt.Errorf("%s: %s takes images of %d x %d x %d and tells %d classes apart: --dataset has to name a data set of so many",
			path, m.Arch, o.input[0], o.input[1], o.input[2], m.Classes)}
	}
	if !guessed {
		return nil
	}
	m.note("the data set is taken to be %s; --dataset names another", m.Dataset)
	if !slices.Contains(datasets.Names(), m.Dataset) {
		m.note("this rapt has no %s yet, so that rapt eval cannot judge the model; rapt sparsity can", m.Dataset)
	}
	return nil
}

// metadata is what eval needs: the attack is the usual one of the data set, as of a config that leaves it out.
func (m *Imported) metadata(o ImportOptions, input [3]int64) (map[string]string, error) {
	text := fmt.Sprintf("{data: {dataset: %s, dir: .}, model: {arch: %s}, pretrain: {epochs: 1}}", m.Dataset, m.Arch)
	c, err := config.Parse([]byte(text), o.Path, nil)
	if err != nil {
		return nil, err
	}
	var attacks []string
	var judge config.Attack
	for _, name := range c.Evaluate.Attacks {
		if judge, err = c.Attack(name); err != nil {
			return nil, err
		}
		attacks = append(attacks, name+"="+float(judge.StepSize))
	}
	name := strings.TrimSuffix(filepath.Base(o.Path), filepath.Ext(o.Path))
	return map[string]string{
		"format": "pt", "dataset": m.Dataset, "arch": m.Arch, "width": strconv.Itoa(m.Width), "classes": strconv.Itoa(m.Classes),
		"input": joined(input[:], func(n int64) string { return strconv.FormatInt(n, 10) }),
		"stage": "import", "sparsity_type": "irregular", "norm": judge.Norm, "epsilon": float(judge.Epsilon),
		"random_start": strconv.FormatBool(judge.RandomStart), "attacks": strings.Join(attacks, ","), "name": strings.ToValidUTF8(name, "?"),
		"seed": strconv.FormatUint(c.Run.Seed, 10), "test_limit": "0", "rapt_version": o.Version,
	}, nil
}

// ImportConfig turns a config of the original project into one of rapt. dataset names its data set where the file alone does not
// tell; notes say what could not be carried over, and stand as comments at the text's end too.
func ImportConfig(path, dataset string) (text string, notes []string, err error) {
	c, err := importer.ReadConfig(path, dataset)
	if err != nil {
		return "", nil, err
	}
	spec := models.Spec{Arch: c.Arch, Width: c.Width, Classes: 10}
	for input, dataset := range usualDatasets {
		if dataset == c.Dataset {
			spec.Input = input
		}
	}
	if err := models.Check(spec); err != nil {
		c.Note("model.arch: this rapt cannot build it: %v", err)
	}
	if !slices.Contains(datasets.Names(), c.Dataset) {
		c.Note("data.dataset: this rapt has no data set %q; it has %s", c.Dataset, strings.Join(datasets.Names(), ", "))
	}
	if text, err = c.Text(); err != nil {
		return "", nil, err
	}
	if _, err := config.Parse([]byte(text), path+", carried over", nil); err != nil {
		return "", nil, err
	}
	return text, c.Notes, nil
}
