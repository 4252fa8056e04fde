package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"rapt/trainer"
)

func (a *app) exportCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "export RUN|CHECKPOINT --out FILE",
		Short: "Write a model as ONNX, for the runtimes of devices, or as TorchScript",
		Long: `Writes the network as an ONNX model (opset 13), or, where FILE ends in .pt or .pth, as TorchScript, which torch.jit.load reads in Python and torch::jit::load in C++:
images, [N, C, H, W] with pixels in [0, 1], to logits, [N, classes]; N is open. It computes in float32; of quantised weights an ONNX file holds a byte each.
Where pixels are normalised that is part of the model. No data set is needed. rapt compact first makes a pruned network small. A FILE that is there is replaced.`,
		Example: `  rapt export runs/mnist --out mnist.onnx
  rapt compact runs/mnist-filter --out small.safetensors && rapt export small.safetensors --out small.onnx
  rapt export runs/mnist --out mnist.pt`,
		Args: positional("RUN or CHECKPOINT"),
		RunE: a.body(func(_ *cobra.Command, args []string) error {
			if err := checkOut("export", "the model", &out); err != nil {
				return err
			}
			e, err := trainer.Export(trainer.ExportOptions{Path: args[0], Out: out, Version: version})
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(e)
			}
			quantised := ""
			if e.Quantized > 0 {
				quantised = fmt.Sprintf(" (%d layers' weights at a byte each)", e.Quantized)
			}
			fmt.Fprintf(a.out, "%s: %s (width %d) of %s, %d parameters%s, %d bytes; images [N, %d, %d, %d] in [0, 1] to logits [N, %d]\n",
				e.Out, e.Arch, e.Width, e.Checkpoint, e.Parameters, quantised, e.Bytes, e.Input[0], e.Input[1], e.Input[2], e.Classes)
			return nil
		}),
	}
	cmd.Flags().StringVar(&out, "out", "", "the file to write (required)")
	return cmd
}
