package trainer

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"sync/atomic"

	"rapt/cgo/nn"
	"rapt/datasets"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// Predict writes a checkpoint's logits on its data set's test images, in order: logits [N, classes] F32, labels [N] I64, and where they are asked
// for the images, images [N, C, H, W] F32.
func Predict(ctx context.Context, o PredictOptions) (n int, err error) {
	m, err := openModel(ctx, o.Path, o.DataDir, o.Device, o.Limit)
	if err != nil {
		return 0, err
	}
	defer lost(&err)
	out := &checkpoint.File{Metadata: map[string]string{"dataset": m.dataset, "arch": m.spec.Arch, "checkpoint": filepath.Base(m.path)}}
	if len(m.devs) > 1 {
		return 0, &InputError{fmt.Errorf("--device %s: logits are computed on one device", o.Device)}
	}
	err = m.with(m.devs, o.Workers, func(t *team, d *images) error {
		logits, err := t.logits(ctx, d, o.BatchSize, o.Console.progress("predict", d.n))
		if err != nil {
			return err
		}
		labels, err := d.labels.Int64s()
		if err != nil {
			return err
		}
		for i, label := range labels {
			if _, err := sightOf(logits[i*m.spec.Classes:(i+1)*m.spec.Classes], int(label)); err != nil {
				return fmt.Errorf("image %d: %w", i, err)
			}
		}
		n = d.n
		out.Tensors = []checkpoint.Tensor{checkpoint.F32("logits", []int64{int64(n), int64(m.spec.Classes)}, logits), checkpoint.I64("labels", []int64{int64(n)}, labels)}
		if o.Images {
			out.Tensors = append(out.Tensors, imagesOf(m.test))
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, checkpoint.Write(o.Out, out)
}

// progress shows how far work on so many images is.
func (c Console) progress(title string, images int) metrics.Progress {
	if c.Out == nil {
		c.Out = io.Discard
	}
	p := metrics.NewProgress(c.Out, c.IsTTY)
	p.Start(title, images)
	return p
}

// logits are the model's of all images in order, [N, classes]; batch 0 takes so many at a time as an evaluation does.
func (t *team) logits(ctx context.Context, d *images, batch int, p metrics.Progress) ([]float32, error) {
	defer p.Done()
	var done atomic.Int64
	seen := func(images int) { p.Update(int(done.Add(int64(images))), math.NaN(), 0) }
	out := make([]float32, d.n*t.members[0].model.Spec.Classes)
	return out, t.each(func(m *member) error { return m.logits(ctx, d, cmp.Or(batch, chunkSize), out, seen) })
}

// logits fills in those of the member's share of the batches.
func (m *member) logits(ctx context.Context, d *images, batch int, out []float32, seen func(images int)) (err error) {
	for at := m.id * batch; at < d.n; at += m.of * batch {
		if ctx.Err() != nil {
			return ErrInterrupted
		}
		end := min(at+batch, d.n)
		var part []float32
		m.s.NoGrad(func() {
			m.s.Do(func() {
				x, _ := m.slice(d, at, end)
				part, err = m.model.Forward(x, nn.Eval).Float32s()
			})
		})
		if err != nil {
			return err
		}
		copy(out[at*len(out)/d.n:], part)
		seen(end - at)
	}
	return nil
}

// imagesOf is a set's pixels as the network gets them, in [0, 1].
func imagesOf(set *datasets.Set) checkpoint.Tensor {
	pixels := make([]float32, 0, set.N*set.Size())
	for i := range set.N {
		pixels = append(pixels, original(set, i, set.Size())...)
	}
	return checkpoint.F32("images", []int64{int64(set.N), int64(set.C), int64(set.H), int64(set.W)}, pixels)
}
