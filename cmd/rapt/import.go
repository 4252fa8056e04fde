package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"rapt/importer"
	"rapt/models"
	"rapt/trainer"
)

func (a *app) importCommand() *cobra.Command {
	var o trainer.ImportOptions
	cmd := &cobra.Command{
		Use:   "import MODEL.pt|NET.onnx|CONFIG.yaml",
		Short: "Turn a PyTorch checkpoint, an ONNX model, or a config of the original project into one of rapt",
		Long: `Reads a checkpoint of torch.save, a state dict or a dictionary that holds one, and writes it as safetensors with what rapt eval needs.
Or reads an ONNX model, by the ending .onnx, as a network of your own, which model.arch: custom trains from there.
Or reads a config of yeshaokai/Robustness-Aware-Pruning-ADMM and writes it as one of rapt, to --out or standard output. Which it is,
the file's content tells. Nothing in a file is executed. What could not be carried over is said on standard error.`,
		Example: `  rapt import lenet_adv_retrained.pt --out lenet.safetensors && rapt eval lenet.safetensors
  rapt import checkpoint.pth --arch resnet18_adv --width 16 --dataset cifar10
  rapt import net.onnx --dataset cifar10 && rapt run my.yaml --set model.arch=custom --set model.load=net.safetensors
  rapt import config.yaml --out mnist.yaml && rapt plan mnist.yaml`,
		Args: positional("MODEL.pt, NET.onnx or CONFIG.yaml"),
		RunE: a.body(func(cmd *cobra.Command, args []string) error {
			o.Path = args[0]
			if err := firstError(given(cmd, "width", o.Width < 1, "at least 1"), checkImportOut(&o.Out)); err != nil {
				return err
			}
			kind, err := importer.KindOf(o.Path)
			if err != nil {
				return err
			}
			if kind == importer.PyTorch {
				return a.importModel(o)
			}
			what := map[importer.Kind]string{importer.ONNX: "an ONNX model", importer.YAML: "a config"}[kind]
			for _, flag := range []string{"arch", "width"} {
				if cmd.Flags().Changed(flag) {
					return usagef("--%s is for checkpoints, and %s is %s", flag, o.Path, what)
				}
			}
			if kind == importer.ONNX {
				return a.importModel(o)
			}
			return a.importConfig(o)
		}),
	}
	cmd.Flags().StringVar(&o.Out, "out", "", "the file to write (default: for a checkpoint its name with .safetensors, for a config standard output)")
	cmd.Flags().StringVar(&o.Arch, "arch", "", "the checkpoint's network: "+strings.Join(models.Names(), ", ")+" (default: the one that fits)")
	cmd.Flags().IntVar(&o.Width, "width", 0, "its width multiplier (default: the one that fits)")
	cmd.Flags().StringVar(&o.Dataset, "dataset", "", "the data set of the model or config (default: the usual one for its network)")
	return cmd
}

func checkImportOut(out *string) error {
	if *out == "" {
		return nil
	}
	return checkFile("out", out)
}

func (a *app) importModel(o trainer.ImportOptions) error {
	o.Version = version
	if o.Out == "" {
		o.Out = strings.TrimSuffix(o.Path, filepath.Ext(o.Path)) + ".safetensors"
		if _, err := os.Lstat(o.Out); !errors.Is(err, fs.ErrNotExist) {
			return usagef("%s is there already: --out has to name the file to write", o.Out)
		}
	}
	done, err := trainer.ImportModel(o)
	if err != nil {
		return err
	}
	a.showNotes(done.Notes)
	if a.json {
		return a.writeJSON(done)
	}
	fmt.Fprintf(a.out, "%s: %s (width %d) for %s, %d parameters\n", done.Out, done.Arch, done.Width, done.Dataset, done.Parameters)
	return nil
}

func (a *app) importConfig(o trainer.ImportOptions) error {
	text, notes, err := trainer.ImportConfig(o.Path, o.Dataset)
	if err != nil {
		return err
	}
	if o.Out != "" {
		if err := renameio.WriteFile(o.Out, []byte(text), 0o644); err != nil {
			return fmt.Errorf("cannot write %s: %w", o.Out, err)
		}
	}
	a.showNotes(notes)
	switch {
	case a.json:
		return a.writeJSON(map[string]any{"out": o.Out, "config": text, "notes": notes})
	case o.Out == "":
		_, err = fmt.Fprint(a.out, text)
	default:
		_, err = fmt.Fprintf(a.out, "%s: a config of rapt; rapt plan %s shows what it would do\n", o.Out, o.Out)
	}
	return err
}

func (a *app) showNotes(notes []string) {
	for _, n := range notes {
		fmt.Fprintln(a.err, "note:", n)
	}
}
