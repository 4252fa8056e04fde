package trainer

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strings"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/onnx"
	"rapt/torchscript"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// ExportOptions of Export.
type ExportOptions struct {
	Path, Out string // a run's folder or a checkpoint file, and the file to write
	Version   string
}

// format is what the file's name asks for.
func (o ExportOptions) format() string {
	if end := strings.ToLower(filepath.Ext(o.Out)); end == ".pt" || end == ".pth" {
		return "torchscript"
	}
	return "onnx"
}

// Export writes a checkpoint as TorchScript where the file's name ends in .pt or .pth, else as an ONNX model: images, [N, C, H, W] with pixels in [0, 1], to logits,
// [N, classes]. Normalising is part of it, and the checkpoint's metadata are. Of a quantised weight an ONNX file holds the codes, a TorchScript file the numbers.
func Export(o ExportOptions) (*metrics.Export, error) {
	m, err := openFile(o.Path)
	if err != nil {
		return nil, err
	}
	if sameFile(m.path, o.Out) {
		return nil, &InputError{fmt.Errorf("--out %s is the checkpoint itself: another file is needed", o.Out)}
	}
	if name := notFiniteIn(m.file); name != "" {
		return nil, fmt.Errorf("%s: %s is not finite: nothing is written", m.path, name)
	}
	out := &metrics.Export{Schema: 1, Checkpoint: m.path, Out: o.Out, Format: o.format(), Dataset: m.dataset, Arch: m.spec.Arch, Width: m.spec.Width}
	codes, err := m.codes()
	if err != nil {
		return nil, err
	}
	if out.Format == "onnx" {
		out.Quantized = len(codes)
	}
	var data []byte
	err = gather([]torch.Device{torch.CPU}, 1, m.build, func(t *team) error {
		if err := t.load(m.path, m.file); err != nil {
			return err
		}
		model := t.members[0].model
		out.Input, out.Classes, out.Parameters = model.Input, model.Spec.Classes, model.Parameters()
		return models.Record(model, func(r models.Recording) (err error) {
			if out.Format == "torchscript" {
				data, err = m.script(t.members[0], r)
				return err
			}
			meta := maps.Clone(m.file.Metadata)
			delete(meta, "format") // PyTorch's
			g := onnx.Model{Name: m.spec.Arch, Version: o.Version, Metadata: meta, Steps: r.Steps, Images: r.Images, Logits: r.Logits, Names: r.Names, Codes: codes}
			data, err = onnx.Write(g)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	out.Bytes = int64(len(data))
	return out, checkpoint.WriteAtomic(o.Out, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// script is what the member's model was recorded to do as a TorchScript file, which is read again and compared with the model on images of noise.
func (o *opened) script(m *member, r models.Recording) ([]byte, error) {
	data, err := torchscript.Write(m.s, torchscript.Model{Metadata: o.file.Metadata, Steps: r.Steps, Images: r.Images, Logits: r.Logits, State: r.State})
	if err != nil {
		return nil, err
	}
	in := m.model.Input
	x := m.s.Empty(torch.Float32, 4, in[0], in[1], in[2]).Uniform_(m.s.NewGenerator(1), 0, 1)
	want, err := m.model.Forward(x, nn.Eval).Float32s()
	if err != nil {
		return nil, err
	}
	got, err := m.s.RunScript(data, x).Float32s()
	if err = cmp.Or(m.s.Err(), err); err == nil {
		err = equalLogits(&metrics.Reduction{}, "what libtorch reads of the TorchScript", roundingOn(m.s.Device()), want, got, make([]uint16, 4))
	}
	return data, err
}

// codes are those of the checkpoint's quantised weights.
func (o *opened) codes() (map[string]onnx.Codes, error) {
	levels, err := readLevels(o.file.Metadata)
	if err != nil {
		return nil, &InputError{fmt.Errorf("%s: %w", o.path, err)}
	}
	out := map[string]onnx.Codes{}
	for _, l := range levels {
		values, err := l.codes(o.file)
		if err != nil {
			return nil, &InputError{fmt.Errorf("%s: %w", o.path, err)}
		}
		out[l.name] = onnx.Codes{Values: values, Scale: l.scale, Levels: l.quant.Table(l.pruned)}
	}
	return out, nil
}
