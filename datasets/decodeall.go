package datasets

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

const (
	maxSide     = 4096      // of Options.Size
	namedFiles  = 3         // of the broken ones
	maxWaiting  = 256 << 20 // bytes of files that are read and not decoded yet
	maxDecoding = 2 << 30   // bytes that images take while they are decoded, all together
)

// decoding is the images of a source on their way into a cache file: decoded by all processors as they come, kept one after the
// other in a temporary file, and brought into their order at the end.
type decoding struct {
	src   imageSource
	size  int
	skip  bool
	spill *os.File

	// As many processors as there are may each have the largest of images: they wait for room.
	waiting, room *semaphore.Weighted

	mu      sync.Mutex
	out     *bufio.Writer // to the temporary file
	end     int64         // of it
	w, h    int           // of every image, once there is one
	first   string
	samples []sample
	broken  []string // the first ones by name, of
	broke   int
	folders []string
}

// sample is a decoded image in the temporary file.
type sample struct {
	name     string
	at       int64
	channels int
}

// decodeAll decodes a source into w, but for the file's beginning.
func decodeAll(ctx context.Context, src imageSource, o Options, w io.WriterAt) (*cacheHeader, error) {
	spill, err := os.CreateTemp(spillDir(w), "rapt-decoding-")
	if err != nil {
		return nil, &cacheDirError{err}
	}
	defer spill.Close()
	if err := os.Remove(spill.Name()); err != nil { // it goes when it is closed
		return nil, err
	}
	d := &decoding{src: src, size: o.Size, skip: o.OnError == Skip, spill: spill, out: bufio.NewWriterSize(spill, 1<<20),
		waiting: semaphore.NewWeighted(maxWaiting), room: semaphore.NewWeighted(maxDecoding)}
	if err := d.run(ctx); err != nil {
		return nil, err
	}
	l, err := arrange(d.samples, d.folders, d.broke)
	if err != nil {
		return nil, inputErrorf("%s: %w", strings.TrimSuffix(src.full(""), ": "), err)
	}
	return d.write(ctx, l, w)
}

// spillDir is the folder of the cache file: there is room for the images, or there will be none for the cache either.
func spillDir(w io.WriterAt) string {
	if f, ok := w.(interface{ Name() string }); ok {
		return path.Dir(f.Name())
	}
	return ""
}

// encoded is a file; size bytes are kept free for it until it is decoded.
type encoded struct {
	name  string
	size  int64
	large error // why it is not read; size is 0 then
	read  func() ([]byte, error)
}

// run reads, decodes and stores all images.
func (d *decoding) run(ctx context.Context) error {
	// Decoders leave much behind. Beside a heap of a few megabytes it would be collected after every few hundred images; memory that
	// is never touched takes no room, and lets it wait.
	unused := make([]byte, 64<<20)
	defer runtime.KeepAlive(unused)
	group, ctx := errgroup.WithContext(ctx)
	workers := runtime.GOMAXPROCS(0)
	queue := make(chan encoded, 4*workers)
	group.Go(func() error {
		defer close(queue)
		return d.src.each(ctx, sink{
			reserve: func(size int64) error { return d.waiting.Acquire(ctx, size) },
			folder:  func(name string) { d.folders = append(d.folders, name) },
			file: func(e encoded) error {
				select {
				case queue <- e:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			},
		})
	})
	for range workers {
		group.Go(func() error {
			for e := range queue {
				if err := ctx.Err(); err != nil {
					return err
				}
				if err := d.take(ctx, e); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// take decodes and stores one image. One that is broken is an error, or noted.
func (d *decoding) take(ctx context.Context, e encoded) error {
	defer d.waiting.Release(e.size)
	if err := e.unfit(); err != nil {
		return d.refuse(e, err)
	}
	raw, err := e.read()
	if err != nil { // the disk's or the system's fault: left out, a sound image would be missing for good
		return fmt.Errorf("%s cannot be read: %w; see to that and start again", d.src.full(e.name), err)
	}
	f, err := openPicture(raw)
	if err == nil && f.cost(d.size) > maxDecoding {
		err = tooLong(f.w, f.h, d.size)
	}
	if err != nil {
		return d.refuse(e, err)
	}
	cost := f.cost(d.size)
	if err := d.room.Acquire(ctx, cost); err != nil {
		return err
	}
	defer d.room.Release(cost)
	p, err := f.decode(d.size)
	if err != nil {
		return d.refuse(e, err)
	}
	return d.store(e.name, p)
}

// unfit tells of a file that is not to be read.
func (e encoded) unfit() error {
	if _, known := imageKind(e.name); !known {
		return fmt.Errorf("%s images are not read: JPEG, PNG or WebP is needed", path.Ext(e.name))
	}
	return e.large
}

// refuse is for an image that cannot be decoded.
func (d *decoding) refuse(e encoded, err error) error {
	if !d.skip {
		return inputErrorf("%s: %w; repair or remove it, or set data.on_error to skip", d.src.full(e.name), err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.broke++
	d.broken = append(d.broken, fmt.Sprintf("%s (%v)", e.name, err))
	if len(d.broken) > 100*namedFiles { // of millions only the first are named
		slices.Sort(d.broken)
		d.broken = d.broken[:namedFiles]
	}
	return nil
}

func (d *decoding) store(name string, p picture) error {
	pixels := p.planar()
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first == "" {
		d.first, d.w, d.h = name, p.w, p.h
	}
	if p.w != d.w || p.h != d.h {
		return inputErrorf("%s has %d by %d pixels and %s has %d by %d: set data.size to the side that all are to be scaled and cropped to",
			d.src.full(d.first), d.w, d.h, name, p.w, p.h)
	}
	d.samples = append(d.samples, sample{name, d.end, p.channels()})
	d.end += int64(len(pixels))
	if _, err := d.out.Write(pixels); err != nil {
		return fmt.Errorf("decoded images cannot be stored: %w", err)
	}
	return nil
}

// write puts the images into their order.
func (d *decoding) write(ctx context.Context, l *layout, w io.WriterAt) (*cacheHeader, error) {
	h := &cacheHeader{CRC: crcText(0), C: 1, H: d.h, W: d.w, Train: len(l.train), Test: len(l.test), Classes: l.classes, Note: d.note()}
	if slices.ContainsFunc(d.samples, func(s sample) bool { return s.channels == 3 }) {
		h.C = 3
	}
	h.Key = d.src.key() // as the finished header has it, so that its length is right
	begin, err := h.encode()
	if err != nil {
		return nil, err
	}
	sum := crc32.New(castagnoli)
	out := bufio.NewWriterSize(io.MultiWriter(io.NewOffsetWriter(w, int64(len(begin))), sum), 1<<20)
	if err := d.out.Flush(); err != nil {
		return nil, fmt.Errorf("decoded images cannot be stored: %w", err)
	}
	all, err := unix.Mmap(int(d.spill.Fd()), 0, int(d.end), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("stored images cannot be read back: %w", err)
	}
	defer unix.Munmap(all)
	order := slices.Concat(l.train, l.test)
	for _, s := range order {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		pixels := all[s.at:][:d.w*d.h*s.channels]
		for range h.C / s.channels { // grey among colour has three equal channels
			if _, err := out.Write(pixels); err != nil {
				return nil, err
			}
		}
	}
	labels := make([]byte, 0, 2*len(order))
	for _, s := range order {
		labels = binary.LittleEndian.AppendUint16(labels, s.label)
	}
	if _, err := out.Write(labels); err != nil {
		return nil, err
	}
	if err := out.Flush(); err != nil {
		return nil, err
	}
	h.CRC = crcText(sum.Sum32())
	return h, nil
}

// note tells of the images that were left out.
func (d *decoding) note() string {
	if d.broke == 0 {
		return ""
	}
	slices.Sort(d.broken)
	named := strings.Join(d.broken[:min(namedFiles, d.broke)], ", ")
	if d.broke > namedFiles {
		named += ", .."
	}
	return fmt.Sprintf("%d of %d images are broken and were left out: %s", d.broke, d.broke+len(d.samples), named)
}
