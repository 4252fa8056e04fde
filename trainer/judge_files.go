package trainer

import (
	"encoding/csv"
	"image"
	"image/color"
	"image/png"
	"io"
	"math"
	"slices"
	"strconv"

	"rapt/datasets"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// sampleHeader is the first line of --csv.
var sampleHeader = []string{"index", "label", "clean_prediction", "clean_margin", "broken_by", "step", "prediction", "margin"}

// samples is a line for each image. broken_by is the attack that broke it first, "clean" where the network gets it wrong as it is, and
// empty where it stands; prediction and margin are then those of the attack that came nearest.
func (e *evaluation) samples() [][]string {
	rows := [][]string{sampleHeader}
	number := func(v float32) string { return strconv.FormatFloat(float64(v), 'g', -1, 32) }
	for i := range int64(len(e.labels)) {
		by, step := "", ""
		prediction, margin := e.clean.Prediction[i], e.clean.Margin[i]
		if g, p := e.breaker(i); !e.cleanly(i) {
			by = "clean"
		} else if g >= 0 {
			o := e.tried[g][p]
			by, prediction, margin = e.groups[g].partName(p), o.Prediction[i], o.Margin[i]
			if o.Step[i] >= 0 {
				step = strconv.Itoa(o.Step[i])
			}
		} else if o := e.nearest(i); o != nil {
			prediction, margin = o.Prediction[i], o.Margin[i]
		}
		rows = append(rows, []string{strconv.FormatInt(i, 10), strconv.Itoa(int(e.labels[i])), strconv.Itoa(e.clean.Prediction[i]), number(e.clean.Margin[i]),
			by, step, strconv.Itoa(prediction), number(margin)})
	}
	return rows
}

// nearest is the attack that left image i the least margin, nil where none tried it.
func (e *evaluation) nearest(i int64) (least *outcome) {
	for g, parts := range e.tried {
		for _, o := range parts {
			if !e.groups[g].apart && o.seen(i) && (least == nil || o.Margin[i] < least.Margin[i]) {
				least = o
			}
		}
	}
	return least
}

// curveRows is the curve as lines of a CSV file.
func curveRows(c *metrics.Curve) [][]string {
	rows := [][]string{{"attack", "norm", "epsilon", "accuracy", "low", "high"}}
	for _, p := range c.Points {
		rows = append(rows, []string{c.Attack, c.Norm, float(p.Epsilon), float(p.Accuracy), float(p.Interval[0]), float(p.Interval[1])})
	}
	return rows
}

func writeCSV(path string, rows [][]string) error {
	return checkpoint.WriteAtomic(path, func(w io.Writer) error { return csv.NewWriter(w).WriteAll(rows) })
}

// adversarialFile holds every image as the worst case left it: images [N, C, H, W] F32, the original where no attack broke it;
// labels and predictions [N] I64; broken_by [N] I64, the attack's place in the metadata's "attacks", -1 where none did.
func (e *evaluation) adversarialFile(set *datasets.Set, meta map[string]string) *checkpoint.File {
	size := set.C * set.H * set.W
	var pixels []float32
	var labels, predictions, by []int64
	names, first := "", make([]int, len(e.groups))
	count := 0
	for g, group := range e.groups {
		first[g] = count
		for p := range group.parts {
			if group.apart {
				continue
			}
			if count++; names != "" {
				names += ","
			}
			names += group.partName(p)
		}
	}
	for i, label := range e.labels {
		image, prediction, breaker := e.kept[i], e.clean.Prediction[i], int64(-1)
		if image == nil {
			image = original(set, i, size)
		} else if g, p := e.breaker(int64(i)); g >= 0 {
			prediction, breaker = e.tried[g][p].Prediction[i], int64(first[g]+p)
		}
		pixels = append(pixels, image...)
		labels, predictions, by = append(labels, int64(label)), append(predictions, int64(prediction)), append(by, breaker)
	}
	n := int64(len(e.labels))
	meta["attacks"] = names
	return &checkpoint.File{Metadata: meta, Tensors: []checkpoint.Tensor{
		checkpoint.F32("images", []int64{n, int64(set.C), int64(set.H), int64(set.W)}, pixels), checkpoint.I64("labels", []int64{n}, labels),
		checkpoint.I64("predictions", []int64{n}, predictions), checkpoint.I64("broken_by", []int64{n}, by)}}
}

// original is an image of the set as the network gets it.
func original(set *datasets.Set, i, size int) []float32 {
	out := make([]float32, size)
	for j, b := range set.Image(i) {
		out[j] = float32(b) / 255
	}
	return out
}

// The grid has at most so many images, with so many pixels between them.
const (
	gridColumns = 16
	gridGap     = 2
)

// grid draws broken images, one a column: the original, the change, the adversarial image. The change is drawn so that grey is none and
// black and white are the largest change of the picture.
func (e *evaluation) grid(set *datasets.Set) (image.Image, bool) {
	var ids []int
	for i, image := range e.kept {
		if image != nil && len(ids) < gridColumns {
			ids = append(ids, i)
		}
	}
	if len(ids) == 0 {
		return nil, false
	}
	size, scale := set.C*set.H*set.W, max(1, 64/set.W)
	w, h := set.W*scale+gridGap, set.H*scale+gridGap
	out := image.NewRGBA(image.Rect(0, 0, w*len(ids)+gridGap, 3*h+gridGap))
	for k := range out.Pix {
		out.Pix[k] = 255
	}
	for k, i := range ids {
		clean, moved := original(set, i, size), e.kept[i]
		change := slices.Clone(moved)
		largest := 0.0
		for j := range change {
			change[j] -= clean[j]
			largest = max(largest, math.Abs(float64(change[j])))
		}
		for j := range change {
			change[j] = float32(0.5 + float64(change[j])/max(2*largest, 1e-12))
		}
		for row, pixels := range [][]float32{clean, change, moved} {
			draw(out, set, pixels, k*w+gridGap, row*h+gridGap, scale)
		}
	}
	return out, true
}

// draw puts one image of the set's shape, values in [0, 1], at x, y. Of other than three channels the first is drawn in grey.
func draw(out *image.RGBA, set *datasets.Set, pixels []float32, x, y, scale int) {
	value := func(c, row, col int) uint8 {
		if set.C != 3 {
			c = 0
		}
		return uint8(math.Round(255 * float64(min(max(pixels[(c*set.H+row)*set.W+col], 0), 1))))
	}
	for row := range set.H * scale {
		for col := range set.W * scale {
			r, c := row/scale, col/scale
			out.SetRGBA(x+col, y+row, color.RGBA{value(0, r, c), value(1, r, c), value(2, r, c), 255})
		}
	}
}

func writePNG(path string, picture image.Image) error {
	return checkpoint.WriteAtomic(path, func(w io.Writer) error { return png.Encode(w, picture) })
}
