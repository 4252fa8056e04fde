package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"rapt/models"
	"rapt/trainer/metrics"
)

func (a *app) modelsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "models",
		Short: "List the networks that model.arch may name, with their sizes",
		Long: `Lists the networks by the names that model.arch takes: the images that each is for, whether it has a width (model.width), parameters,
multiply-accumulates for one image, and convolutions and linear layers, for 10 classes. A network that takes any images takes any channels too; its numbers
are for the input that is shown.

A network of your own is named custom, and comes from an ONNX model: see rapt import.`,
		Example: `  rapt models
  rapt models --json`,
		Args: positional(),
		RunE: a.body(func(*cobra.Command, []string) error {
			all, err := models.List()
			if err != nil {
				return err
			}
			if a.json {
				return a.writeJSON(map[string]any{"schema": 1, "models": all})
			}
			showModels(a.out, all)
			return nil
		}),
	}
}

func showModels(w io.Writer, all []models.Info) {
	var rows [][]string
	for _, m := range all {
		takes, width := "this alone", "-"
		switch {
		case m.Least == 1:
			takes = "any"
		case m.Least > 1:
			takes = fmt.Sprintf("any from %dx%d", m.Least, m.Least)
		}
		if m.Widths {
			width = fmt.Sprint(m.Width)
		}
		input := fmt.Sprintf("%dx%dx%d", m.Input[0], m.Input[1], m.Input[2])
		rows = append(rows, []string{m.Name, input, takes, width, fmt.Sprint(m.Parameters), fmt.Sprintf("%.2fM", float64(m.MACs)/1e6), fmt.Sprint(m.Layers)})
	}
	metrics.Grid(w, []string{"name", "input", "takes", "width", "parameters", "MACs", "layers"}, rows)
}
