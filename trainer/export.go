package trainer

import (
	"fmt"
	"io"
	"maps"

	torch "rapt/cgo"
	"rapt/models"
	"rapt/onnx"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// ExportOptions of Export.
type ExportOptions struct {
	Path, Out string // a run's folder or a checkpoint file, and the ONNX file to write
	Version   string
}

// Export writes a checkpoint as an ONNX model: images, [N, C, H, W] with pixels in [0, 1], to logits, [N, classes]. Normalising is part of
// it, and the checkpoint's metadata are. Of a quantised weight the file holds the codes.
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
	meta := maps.Clone(m.file.Metadata)
	delete(meta, "format") // PyTorch's
	out := &metrics.Export{Schema: 1, Checkpoint: m.path, Out: o.Out, Dataset: m.dataset, Arch: m.spec.Arch, Width: m.spec.Width}
	codes, err := m.codes()
	if err != nil {
		return nil, err
	}
	out.Quantized = len(codes)
	var data []byte
	err = gather([]torch.Device{torch.CPU}, 1, m.build, func(t *team) error {
		if err := t.load(m.path, m.file); err != nil {
			return err
		}
		model := t.members[0].model
		out.Input, out.Classes, out.Parameters = model.Input, model.Spec.Classes, model.Parameters()
		return models.Record(model, func(r models.Recording) (err error) {
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
