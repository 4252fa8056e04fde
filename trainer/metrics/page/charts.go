package page

import (
	"bytes"
	"cmp"
	"fmt"
	"html/template"
	"image/color"
	"maps"
	"math"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Figure is a chart and what its colours mean.
type Figure struct {
	SVG    template.HTML
	Legend []Entry
}

// Entry is one of a legend.
type Entry struct {
	Name   string
	Color  template.CSS
	Dashed bool
}

// The colours of clean and robust accuracy, and of other curves.
var (
	blue   = color.RGBA{R: 31, G: 119, B: 180, A: 255}
	red    = color.RGBA{R: 214, G: 39, B: 40, A: 255}
	grey   = color.RGBA{R: 150, G: 150, B: 150, A: 255}
	colors = []color.RGBA{blue, red, {R: 44, G: 160, B: 44, A: 255}, {R: 148, G: 103, B: 189, A: 255}, {R: 255, G: 127, B: 14, A: 255},
		{R: 23, G: 190, B: 207, A: 255}, {R: 140, G: 86, B: 75, A: 255}, {R: 227, G: 119, B: 194, A: 255}}
)

const width, height = 24 * vg.Centimeter, 9 * vg.Centimeter

// drawing is a figure that is being made.
type drawing struct {
	*plot.Plot
	legend []Entry
}

func newDrawing(x, y string) *drawing {
	p := plot.New()
	p.X.Label.Text, p.Y.Label.Text = x, y
	p.X.Padding, p.Y.Padding = 0, 0
	grid := plotter.NewGrid()
	grid.Vertical.Width = 0
	grid.Horizontal.Color = color.Gray{Y: 220}
	p.Add(grid)
	return &drawing{Plot: p}
}

func (d *drawing) explain(name string, c color.RGBA, dashed bool) {
	d.legend = append(d.legend, Entry{name, template.CSS(fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B)), dashed})
}

func (d *drawing) figure() (*Figure, error) {
	c := vgsvg.New(width, height)
	d.Draw(draw.New(c))
	var out bytes.Buffer
	if _, err := c.WriteTo(&out); err != nil {
		return nil, err
	}
	text := out.String() // plot escapes what it writes
	return &Figure{template.HTML(text[max(0, strings.Index(text, "<svg")):]), d.legend}, nil
}

// curve is a line for each stage that has any of its points, in one colour.
func (d *drawing) curve(name string, stages []plotter.XYs, c color.RGBA, dashed bool) error {
	for _, points := range stages {
		l, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		l.Color, dots.Color = c, c
		dots.Shape, dots.Radius = draw.CircleGlyph{}, vg.Points(1.5)
		if dashed {
			l.Dashes = []vg.Length{vg.Points(4), vg.Points(3)}
		}
		d.Add(l, dots)
	}
	if len(stages) > 0 {
		d.explain(name, c, dashed)
	}
	return nil
}

// metric is one of the run's epochs, in per cent, cut where a stage ends. Epochs without it are left out.
func (r *Run) metric(name string) (out []plotter.XYs) {
	last := ""
	for i, e := range r.Epochs {
		v, ok := e.Values[name]
		if !ok || math.IsInf(v, 0) || math.IsNaN(v) {
			continue
		}
		if e.Stage != last {
			out, last = append(out, nil), e.Stage
		}
		out[len(out)-1] = append(out[len(out)-1], plotter.XY{X: float64(i + 1), Y: 100 * v})
	}
	return out
}

// stages marks where stages begin, from the second on by a line.
func (d *drawing) stages(r *Run, low, high float64) error {
	var names plotter.XYLabels
	for i, e := range r.Epochs {
		if i > 0 && e.Stage == r.Epochs[i-1].Stage {
			continue
		}
		at := float64(i) + 0.5
		names.XYs, names.Labels = append(names.XYs, plotter.XY{X: at, Y: low}), append(names.Labels, " "+e.Stage)
		if i == 0 {
			continue
		}
		border, err := plotter.NewLine(plotter.XYs{{X: at, Y: low}, {X: at, Y: high}})
		if err != nil {
			return err
		}
		border.Color = grey
		d.Add(border)
	}
	labels, err := plotter.NewLabels(names)
	if err != nil {
		return err
	}
	for i := range labels.TextStyle {
		labels.TextStyle[i].Rotation, labels.TextStyle[i].Color, labels.TextStyle[i].YAlign = math.Pi/2, grey, draw.YTop
	}
	d.Add(labels)
	d.X.Min, d.X.Max = 0.5, float64(len(r.Epochs))+0.5
	d.Y.Min, d.Y.Max = low, high
	return nil
}

// Training is the accuracy on held-out images, clean and under the attack that is trained against, over all stages' epochs. The model as it
// would be if it were pruned then is dashed. It is nil where no epoch has ended.
func (r *Run) Training() (*Figure, error) {
	if len(r.Epochs) == 0 {
		return nil, nil
	}
	d := newDrawing("epoch, over all stages", "validation accuracy, %")
	if err := d.stages(r, 0, 100); err != nil {
		return nil, err
	}
	for _, c := range []struct {
		name, metric string
		color        color.RGBA
		dashed       bool
	}{{"clean", "val/clean_acc", blue, false}, {"attacked", "val/pgd_acc", red, false}, {"clean, if pruned then", "admm/hard_prune_clean_acc", blue, true},
		{"attacked, if pruned then", "admm/hard_prune_pgd_acc", red, true}} {
		if err := d.curve(c.name, r.metric(c.metric), c.color, c.dashed); err != nil {
			return nil, err
		}
	}
	return d.figure()
}

const residual = "admm/primal_rel/"

// Residuals are ADMM's primal residuals by layer, which are to become small; nil where there was no update.
func (r *Run) Residuals() (*Figure, error) {
	layers, highest := map[string]bool{}, 0.0
	for _, e := range r.Epochs {
		for name, v := range e.Values {
			if strings.HasPrefix(name, residual) && !math.IsInf(v, 0) && !math.IsNaN(v) {
				layers[name], highest = true, max(highest, 100*v)
			}
		}
	}
	if len(layers) == 0 {
		return nil, nil
	}
	d := newDrawing("epoch, over all stages", "||W - Z|| / ||W||, %")
	if err := d.stages(r, 0, max(1, highest)); err != nil {
		return nil, err
	}
	for i, name := range slices.Sorted(maps.Keys(layers)) {
		label := strings.TrimSuffix(strings.TrimPrefix(name, residual), ".weight")
		if err := d.curve(label, r.metric(name), colors[i%len(colors)], i/len(colors)%2 == 1); err != nil {
			return nil, err
		}
	}
	return d.figure()
}

// point is one model of the chart of what pruning costs. Numbers are fractions; robust is NaN where the model was not attacked.
type point struct {
	name                  string
	pruned, clean, robust float64
}

// tradeOff is accuracy, clean and attacked, by what is pruned; nil where nothing differs in that.
func tradeOff(points []point) (*Figure, error) {
	if !slices.ContainsFunc(points, func(at point) bool { return at.pruned != points[0].pruned }) {
		return nil, nil
	}
	d, low := newDrawing("pruned, %", "test accuracy, %"), 0.0
	for _, kind := range []struct {
		name  string
		color color.RGBA
		of    func(point) float64
	}{{"clean", blue, func(at point) float64 { return at.clean }}, {"attacked", red, func(at point) float64 { return at.robust }}} {
		var places, names plotter.XYLabels
		for _, at := range points {
			if y := kind.of(at); !math.IsNaN(y) {
				places.XYs = append(places.XYs, plotter.XY{X: 100 * at.pruned, Y: 100 * y})
				names.Labels = append(names.Labels, at.name)
			}
		}
		if len(places.XYs) == 0 {
			continue
		}
		dots, err := plotter.NewScatter(places.XYs)
		if err != nil {
			return nil, err
		}
		dots.Color, dots.Shape, dots.Radius = kind.color, draw.CircleGlyph{}, vg.Points(3)
		names.XYs = apart(places.XYs)
		for i := range names.XYs {
			names.XYs[i].X++ // to the right of the point
			low = min(low, names.XYs[i].Y-2)
		}
		labels, err := plotter.NewLabels(names)
		if err != nil {
			return nil, err
		}
		for i := range labels.TextStyle {
			labels.TextStyle[i].YAlign, labels.TextStyle[i].Color = draw.YCenter, kind.color
		}
		d.Add(dots, labels)
		d.explain(kind.name, kind.color, false)
	}
	d.X.Min, d.X.Max, d.Y.Min, d.Y.Max = 0, 120, low, 105 // room for names
	d.X.Tick.Marker = plot.ConstantTicks{{Value: 0, Label: "0"}, {Value: 20, Label: "20"}, {Value: 40, Label: "40"}, {Value: 60, Label: "60"}, {Value: 80, Label: "80"}, {Value: 100, Label: "100"}}
	return d.figure()
}

// apart moves the names of points up or down as far as it takes to read them, where they are beside each other.
func apart(points plotter.XYs) plotter.XYs {
	const tall, wide = 4.5, 25 // of a name, in the chart's units
	out := slices.Clone(points)
	order := make([]int, len(out))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(points[b].Y, points[a].Y) })
	for n, i := range order { // from above, each below those that are set already
		for _, j := range order[:n] {
			if math.Abs(out[i].X-out[j].X) < wide && out[j].Y-out[i].Y < tall {
				out[i].Y = out[j].Y - tall
			}
		}
	}
	return out
}
