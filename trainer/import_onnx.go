package trainer

import (
	"fmt"

	torch "rapt/cgo"
	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/translate"
)

// importONNX writes an ONNX model as a checkpoint of a custom network, which it describes.
func importONNX(o ImportOptions) (*Imported, error) {
	net, err := translate.ONNX(o.Path)
	if err != nil {
		return nil, &InputError{fmt.Errorf("%s: %w", o.Path, err)}
	}
	classes, err := net.Graph.Classes()
	if err != nil {
		return nil, &InputError{fmt.Errorf("%s: %w", o.Path, err)}
	}
	spec := models.Spec{Arch: models.Custom, Classes: classes, Graph: net.Graph.Text(), Mean: net.Mean, Std: net.Std}
	out := &Imported{Out: o.Out, Arch: models.Custom, Width: 1, Classes: classes, Dataset: o.Dataset, Notes: net.Notes}
	outline, err := outlineOf(spec)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", o.Path, err)
	}
	out.Parameters = outline.parameters()
	if err := out.chooseDataset(o.Path, outline); err != nil {
		return nil, err
	}
	if of, ok := datasetShapes[out.Dataset]; ok && of.input != outline.input {
		return nil, &InputError{fmt.Errorf("%s: it takes images of %d x %d x %d, and those of %s are %d x %d x %d: export it for images of that size, or name another data set with --dataset",
			o.Path, outline.input[0], outline.input[1], outline.input[2], out.Dataset, of.input[0], of.input[1], of.input[2])}
	}
	f := &checkpoint.File{Tensors: net.Tensors}
	if f.Metadata, err = out.metadata(o, outline.input); err != nil {
		return nil, err
	}
	f.Metadata["graph"] = spec.Graph
	if len(net.Mean) > 0 {
		f.Metadata["mean"], f.Metadata["std"] = joined(net.Mean, float), joined(net.Std, float)
	}
	err = torch.Run(torch.CPU, torch.Options{Threads: 1, ShapesOnly: true}, func(s *torch.Session) error {
		model, err := models.New(s, spec, nil)
		if err != nil {
			return err
		}
		switch whole := len(models.Whole(model)); {
		case !models.Wired(model):
			out.note("its channels are %s: rapt compact and coupled_filter are not for it, all else is", models.Unfollowed(model))
		case whole > 0:
			out.note("rapt compact and coupled_filter leave %d of its layers whole, whose channels are %s", whole, models.Unfollowed(model))
		}
		return fits(o.Path, f.Metadata, f.Infos(), model)
	})
	if err != nil {
		return nil, err
	}
	if name := notFiniteIn(f); name != "" {
		return nil, &InputError{fmt.Errorf("%s: %s is not finite", o.Path, name)}
	}
	if err := checkpoint.Write(o.Out, f); err != nil {
		return nil, fmt.Errorf("the imported checkpoint: %w", err)
	}
	return out, nil
}
