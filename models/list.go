package models

import (
	torch "rapt/cgo"
)

// Info is what List tells of a network.
type Info struct {
	Name       string   `json:"name"`
	Input      [3]int64 `json:"input"` // channels, height and width that the numbers are for
	Least      int64    `json:"least"` // it takes images of any channels, of at least so many pixels a side; 0: Input alone
	Widths     bool     `json:"widths"`
	Width      int      `json:"width"`
	Parameters int64    `json:"parameters"`
	MACs       int64    `json:"macs"`   // multiply-accumulates of one image
	Layers     int      `json:"layers"` // convolutions and linear layers
}

// fullWidth is the widest of arXiv 1903.12561: there vgg16_adv and resnet18_adv are VGG-16 and ResNet-18 themselves.
const fullWidth = 16

// List describes every architecture for 10 classes, those with widths at 1 and at 16, sorted by name.
func List() (out []Info, err error) {
	for _, name := range Names() {
		for _, a := range architectures[name] {
			widths := []int{1}
			if a.widths {
				widths = append(widths, fullWidth)
			}
			for _, w := range widths {
				one, err := describe(Spec{Arch: name, Width: w, Classes: 10, Input: a.input})
				if err != nil {
					return nil, err
				}
				one.Least, one.Widths = a.least, a.widths
				out = append(out, one)
			}
		}
	}
	return out, nil
}

// describe counts on shapes alone.
func describe(sp Spec) (info Info, err error) {
	err = torch.Run(torch.CPU, torch.Options{Threads: 1, ShapesOnly: true}, func(s *torch.Session) error {
		m, err := New(s, sp, nil)
		if err != nil {
			return err
		}
		cost, err := Cost(m)
		info = Info{Name: sp.Arch, Input: m.Input, Width: m.Spec.Width, Parameters: m.Parameters(), MACs: cost.MACs, Layers: len(cost.Layers)}
		return err
	})
	return info, err
}
