package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	"rapt/datasets"
)

// decodeShort is how many images the reference's settings are tried with.
const decodeShort = 5000

// decoding is a row of decoding CIFAR-10's 60,000 images as JPEG, of an unpacked folder or of the archive.
type decoding struct{ packed bool }

func (d decoding) name() string {
	if d.packed {
		return "decode/cifar10-tar.xz"
	}
	return "decode/cifar10"
}

func (d decoding) task() task { return task{d.name(), noJPEG, d.measure} }

func noJPEG(*bench) string {
	if jpegArchive() == "" {
		return "there is no cifar10-jpeg.tar.xz in $RAPT_DATA_DIR, data or ../shared/data"
	}
	return ""
}

// jpegArchive is CIFAR-10 as JPEG files; empty where there is none.
func jpegArchive() string {
	for _, dir := range []string{os.Getenv("RAPT_DATA_DIR"), "data", filepath.Join("..", "shared", "data")} {
		path := filepath.Join(dir, "cifar10-jpeg.tar.xz")
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return ""
}

// measure fills the row. Ours ends with the cache file mapped and its fingerprint taken, as a run's first start does.
func (d decoding) measure(b *bench, r *row) error {
	dir, err := os.MkdirTemp("", "rapt-decode-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	folder, source := filepath.Join(dir, "images"), jpegArchive()
	if err := os.Mkdir(folder, 0o755); err != nil {
		return err
	}
	if out, err := exec.Command("tar", "-xJf", source, "-C", folder).CombinedOutput(); err != nil {
		return fmt.Errorf("tar -xJf %s: %w: %s", source, err, out)
	}
	r.Note = join(r.Note, "ours: into the cache file, flushed to the disk; the reference: ImageFolder of the unpacked folder into memory")
	if !d.packed {
		source = folder
	}
	decode := func() error {
		cache, err := os.MkdirTemp(dir, "cache-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(cache)
		_, err = datasets.Load(context.Background(), datasets.Options{Dataset: "image_folder", Dir: source, CacheDir: cache})
		return err
	}
	ask := request{"op": "image-folder", "data": folder}
	c := contest{request: ask, short: ask.with(request{"limit": decodeShort}), tries: b.decoders()}
	return b.compare(r, func(int) ([]float64, error) { return repeat(1, decode) }, c, min(b.rounds, 3), 1)
}

// decoders are the reference's settings: with no, one and as many loading processes as there are processors.
func (b *bench) decoders() []setting {
	var out []setting
	for _, n := range slices.Compact([]int{0, 1, b.workers}) {
		if len(b.children) > 0 {
			out = append(out, setting{name: fmt.Sprintf("num_workers %d", n), child: b.children[0], keys: request{"num_workers": n}, usual: n == 0})
		}
	}
	return out
}
