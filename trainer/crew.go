package trainer

import (
	"cmp"
	"context"

	torch "rapt/cgo"
)

// crew are the workers of an evaluation: the members of a team. Whoever is free takes the next job, so no worker waits for another's share.
type crew struct{ jobs chan func(*worker) }

// worker is one of them, with the images on its device.
type worker struct {
	*member
	data *images
}

// crewed runs lead, which hands out work, beside the members of a team that do it, until there is no more.
func (t *team) crewed(d *images, lead func(*crew) error) error {
	c := &crew{make(chan func(*worker))}
	done := make(chan error, 1)
	go func() {
		defer close(c.jobs)
		done <- guarded(func() error { return lead(c) })
	}()
	err := t.each(func(m *member) error {
		w := &worker{m, d}
		for job := range c.jobs {
			job(w)
		}
		return nil
	})
	return cmp.Or(<-done, err)
}

// guarded is f with a panic as an error: on a goroutine of its own it would end the process.
func guarded(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = faultf("%v", p)
		}
	}()
	return f()
}

// on opens the model on the devices, with so many workers where that is the CPU, and runs lead beside all of them.
func (o *opened) on(devices []torch.Device, workers int, lead func(*crew) error) error {
	return o.with(devices, workers, func(t *team, d *images) error { return t.crewed(d, lead) })
}

// spread has the crew work on every chunk of images. What work returns is called on the caller's goroutine, in no certain order.
// When ctx ends, the work in hand is given up.
func (c *crew) spread(ctx context.Context, chunks [][]int64, work func(ctx context.Context, w *worker, ids []int64) (take func() error, err error)) error {
	type reply struct {
		take func() error
		err  error
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	replies := make(chan reply, len(chunks))
	var err error
	out := 0
	settle := func(r reply) {
		out--
		if r.err == nil {
			r.err = r.take()
		}
		if err = cmp.Or(err, r.err); err != nil {
			cancel()
		}
	}
	for _, ids := range chunks {
		job := func(w *worker) {
			var r reply
			r.err = w.run(func(*member) (err error) {
				r.take, err = work(inner, w, ids)
				return err
			})
			replies <- r
		}
		for sent := false; !sent && err == nil; {
			if ctx.Err() != nil {
				err = ErrInterrupted
				break
			}
			select {
			case c.jobs <- job:
				out++
				sent = true
			case r := <-replies:
				settle(r)
			case <-ctx.Done():
			}
		}
	}
	for out > 0 {
		settle(<-replies)
	}
	if err != nil && ctx.Err() != nil {
		return ErrInterrupted
	}
	return err
}

// chunked splits images into groups of n.
func chunked(ids []int64, n int) (out [][]int64) {
	for ; len(ids) > n; ids = ids[n:] {
		out = append(out, ids[:n])
	}
	if len(ids) > 0 {
		out = append(out, ids)
	}
	return out
}
