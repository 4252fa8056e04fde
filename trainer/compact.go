package trainer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"rapt/models"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// CompactOptions of Compact.
type CompactOptions struct {
	Path, Out       string // a run's folder or a checkpoint file, and the file to write
	Limit           int    // test images to compare on; 0 is as many as the run was tested on
	BatchSize       int
	DataDir, Device string
	Workers         int
	Console         Console
}

// UnequalError says that what was to be equal is not; nothing was written.
type UnequalError struct{ text string }

func (e *UnequalError) Error() string { return e.text }

// Compact writes a checkpoint of the same function without the channels that pruning emptied, smaller and dense, once its logits on the
// test images are found to be equal but for rounding.
func Compact(ctx context.Context, o CompactOptions) (out *metrics.Compaction, err error) {
	defer lost(&err)
	whole, err := openFile(o.Path)
	if err == nil {
		err = whole.compactable()
	}
	if err == nil {
		err = whole.readTest(ctx, o.DataDir, o.Device, o.Limit)
	}
	if err != nil {
		return nil, err
	}
	if len(whole.devs) > 1 {
		return nil, &InputError{fmt.Errorf("--device %s: the models are compared on one device", o.Device)}
	}
	if sameFile(whole.path, o.Out) {
		return nil, &InputError{fmt.Errorf("--out %s is the checkpoint itself: another file is needed", o.Out)}
	}
	out = &metrics.Compaction{Schema: 1, Checkpoint: whole.path, Out: o.Out, Dataset: whole.dataset, Arch: whole.spec.Arch, Width: whole.spec.Width,
		Device: whole.devs[0].String(), Unfinished: whole.unfinished}
	defer func() { err = notWritten(err, o.Out) }()
	small := *whole
	small.path = o.Out
	var before, after []float32
	err = whole.with(whole.devs, o.Workers, func(t *team, d *images) (err error) {
		if err = small.compacted(t.members[0].model, out); err == nil {
			before, out.ImagesPerSecond.Before, err = t.timedLogits(ctx, d, o, "the whole network")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = small.with(small.devs, o.Workers, func(t *team, d *images) (err error) { // read as any checkpoint is
		after, out.ImagesPerSecond.After, err = t.timedLogits(ctx, d, o, "the smaller one")
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := equalLogits(&out.Reduction, smallerNetwork, roundingOn(whole.devs[0]), before, after, whole.test.Labels); err != nil {
		return nil, err
	}
	if err := checkpoint.Write(o.Out, small.file); err != nil {
		return nil, err
	}
	if out.Bytes.Before, err = sizeOf(whole.path); err == nil {
		out.Bytes.After, err = sizeOf(o.Out)
	}
	return out, err
}

// notWritten says in an UnequalError what follows from it.
func notWritten(err error, out string) error {
	var unequal *UnequalError
	if errors.As(err, &unequal) {
		return &UnequalError{fmt.Sprintf("%s. %s is not written; please report this", unequal.text, out)}
	}
	return err
}

// compactable refuses a model that nothing can be taken out of, before images are read.
func (o *opened) compactable() error {
	return o.outlined(func(m *models.Model) error {
		if !models.Wired(m) {
			return &InputError{fmt.Errorf("%s is a %s: its channels are %s, and none can be taken out", o.path, o.spec.Arch, models.Unfollowed(m))}
		}
		return nil
	})
}

func sameFile(a, b string) bool {
	x, errA := os.Stat(a)
	y, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(x, y)
}

func sizeOf(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// compacted puts what is left of model, which is o's, in the place of o's file, and says in out what that is.
func (o *opened) compacted(model *models.Model, out *metrics.Compaction) error {
	file, spec, err := takeOut(model, o.file.Metadata, &out.Reduction)
	if err != nil {
		return err
	}
	if !shrank(&out.Reduction) {
		return &InputError{fmt.Errorf("%s has %s", out.Checkpoint, nothingToTakeOut)}
	}
	o.file, o.spec = file, spec
	o.file.Metadata["compacted_from"] = o.model
	if _, err := quantizationIn(o.file, out.Parameters.After); err != nil {
		return &UnequalError{fmt.Sprintf("what is left of %s: %v", out.Checkpoint, err)}
	}
	return nil
}

const nothingToTakeOut = "no channel that could be taken out: every one is read by a weight that is not zero. Pruning by filter, coupled_filter or bn_filter empties channels; " +
	"pruning single weights or columns rarely does"

func shrank(r *metrics.Reduction) bool {
	return slices.ContainsFunc(r.Channels, func(c metrics.CompactedChannels) bool { return c.After < c.Before })
}

// takeOut makes a file of what is left of a model without the channels that are not in use, and says what that makes of it. meta is that of the model's
// own file.
func takeOut(model *models.Model, meta map[string]string, r *metrics.Reduction) (file *checkpoint.File, spec models.Spec, err error) {
	small, err := models.Compact(model, meta["quantized"] == "") // or weights would leave their levels
	if err != nil {
		return nil, spec, err
	}
	for _, w := range models.Wiring(model) {
		if len(w.To) > 0 {
			first := w.From[0]
			r.Channels = append(r.Channels, metrics.CompactedChannels{Layers: slices.Concat(w.From, w.Gates), Before: channelsOf(model, first), After: small.Spec.Channels[first]})
		}
	}
	costs, err := models.Cost(model)
	if err != nil {
		return nil, spec, err
	}
	left, err := models.Cost(small)
	if err != nil {
		return nil, spec, err
	}
	r.Parameters = metrics.Change{Before: model.Parameters(), After: small.Parameters()}
	r.MACs = metrics.Change{Before: costs.MACs, After: left.MACs}
	meta = maps.Clone(meta)
	meta["channels"] = channelList(small.Spec.Channels)
	small.State[0].Tensor.Session().Do(func() { file, err = modelFile(small, meta) })
	return file, small.Spec, err
}

func channelsOf(m *models.Model, layer string) int64 {
	for _, e := range m.State {
		if e.Name == layer+".weight" {
			return e.Tensor.Size(0)
		}
	}
	return 0
}

// timedLogits are those of all images, and how many of them a second took at best: what takes little is done again, for a second.
func (t *team) timedLogits(ctx context.Context, d *images, o CompactOptions, title string) (logits []float32, perSecond float64, err error) {
	for began := time.Now(); err == nil && (logits == nil || time.Since(began) < time.Second); {
		if logits != nil {
			o.Console = Console{} // once is enough
		}
		progress, pass := o.Console.progress(title, d.n), time.Now()
		logits, err = t.logits(ctx, d, o.BatchSize, progress)
		perSecond = max(perSecond, float64(d.n)/time.Since(pass).Seconds())
	}
	return logits, perSecond, err
}

// smallerNetwork is equalLogits' name for what is left of a network.
const smallerNetwork = "the smaller network"

// equalLogits compares the logits of a network and of what was made of it on the same images, by what the order of sums may do to them (roundingOn). what names the latter.
func equalLogits(out *metrics.Reduction, what string, rounding float64, before, after []float32, labels []uint16) error {
	out.Images = len(labels)
	classes := len(before) / len(labels)
	off, where := 0.0, 0
	rightBefore, rightAfter := 0, 0
	for i, label := range labels {
		a, b := before[i*classes:(i+1)*classes], after[i*classes:(i+1)*classes]
		x, err := sightOf(a, int(label))
		y, errB := sightOf(b, int(label))
		if err := cmp.Or(err, errB); err != nil {
			return fmt.Errorf("image %d: %w", i, err)
		}
		for k := range a {
			d := math.Abs(float64(a[k]) - float64(b[k]))
			out.LargestDifference = max(out.LargestDifference, d)
			if d /= rounding * (1 + float64(x.size)); d > off {
				off, where = d, i
			}
		}
		if x.class == y.class {
			out.SameClass++
		}
		if x.class == int(label) {
			rightBefore++
		}
		if y.class == int(label) {
			rightAfter++
		}
	}
	out.CleanAccuracy = metrics.Measured{Before: share(rightBefore, len(labels)), After: share(rightAfter, len(labels))}
	if off > 1 {
		return &UnequalError{fmt.Sprintf("%s is not the same function: the logits of image %d differ by %.3g times what rounding may do", what, where, off)}
	}
	return nil
}
