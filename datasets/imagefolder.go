package datasets

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// What is done with an image file that cannot be read (Options.OnError).
const (
	Refuse = "refuse" // it is an error
	Skip   = "skip"   // it is left out, and Parts.Note tells
)

// defaultTestFraction is held out for testing where a folder has no test part.
const defaultTestFraction = 0.2

// loadImageFolder reads a user's own images: Options.Dir is a folder or an archive with one folder a class.
func loadImageFolder(ctx context.Context, o Options) (*Parts, error) {
	if o.Dir == "" {
		return nil, inputErrorf("image_folder needs data.dir: a folder with one folder of images a class, or a .tar, .tar.gz or .tar.xz of one")
	}
	if !(o.TestFraction >= 0 && o.TestFraction < 1) {
		return nil, inputErrorf("test_fraction is %v; a fraction from 0 (which means %v) to below 1 is needed", o.TestFraction, defaultTestFraction)
	}
	parts, err := readImages(ctx, o.Dir, "image_folder", o)
	if err != nil {
		return nil, err
	}
	if parts.Test.N > 0 {
		if o.TestFraction > 0 {
			return nil, inputErrorf("%s has a test part of its own: data.test_fraction is for a folder without one", o.Dir)
		}
		return parts, nil
	}
	return parts, parts.splitTest(o)
}

// splitTest takes a test part out of the training set, by the seed and of each class its share.
func (p *Parts) splitTest(o Options) error {
	fraction := o.TestFraction
	if fraction == 0 {
		fraction = defaultTestFraction
	}
	held, err := validationCount(fraction, p.Train.N)
	if err != nil {
		return err
	}
	all := p.Train
	keep, hold := stratify(all.Labels, all.Classes, held, domainTest, o.Seed)
	p.Train, p.Test = all.Subset(keep), all.Subset(hold)
	p.note(fmt.Sprintf("%s has no test part: %d of its %d images, drawn by run.seed, are the test set", o.Dir, held, all.N))
	return nil
}

func (p *Parts) note(text string) {
	if p.Note != "" {
		p.Note += "; "
	}
	p.Note += text
}

// readImages gives the images of a folder or an archive, decoded once and then from the cache. Without a test part, Test has N = 0.
func readImages(ctx context.Context, source, name string, o Options) (*Parts, error) {
	if o.OnError == "" {
		o.OnError = Refuse
	}
	if o.OnError != Refuse && o.OnError != Skip {
		return nil, inputErrorf("on_error is %q; %s or %s is needed", o.OnError, Refuse, Skip)
	}
	if o.Size < 0 || o.Size > maxSide {
		return nil, inputErrorf("size is %d; 1 to %d pixels, or 0 for the images' own, is needed", o.Size, maxSide)
	}
	absolute, err := filepath.Abs(source)
	if err != nil {
		return nil, err
	}
	parts, err := decoded(ctx, source, cacheName(absolute, o.Size, o.OnError), o)
	if err != nil && errors.Is(err, ctx.Err()) {
		return nil, fmt.Errorf("decoding the images of %s was interrupted: %w", source, err)
	}
	if err != nil {
		return nil, err
	}
	parts.Train.Name, parts.Test.Name = name, name
	return parts, nil
}

func decoded(ctx context.Context, source, cache string, o Options) (*Parts, error) {
	src, err := openImageSource(ctx, source)
	if err != nil {
		return nil, err
	}
	return cachedIn(ctx, o.CacheDir, cache, src.key(), func(w io.WriterAt) (*cacheHeader, error) { return decodeAll(ctx, src, o, w) })
}

// imageSource is a folder or an archive.
type imageSource interface {
	key() string // what it holds, by names, sizes and times
	each(ctx context.Context, to sink) error
	full(name string) string // for messages
}

// sink takes what a source holds; names are relative, with slashes. file is called for each image and for each file that looks like one
// but is of a kind that is not read, after reserve for its size.
type sink struct {
	reserve func(size int64) error
	file    func(encoded) error
	folder  func(name string)
}

func openImageSource(ctx context.Context, source string) (imageSource, error) {
	info, err := os.Stat(source)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, inputErrorf("data.dir is %s, which does not exist: a folder or an archive of images is needed", source)
		}
		return nil, inputErrorf("data.dir must be a folder or an archive of images: %w", err)
	}
	if info.IsDir() {
		return listFolder(ctx, source)
	}
	return &imageArchive{path: source, info: info}, nil
}

// imageKind tells whether a name is that of an image, and whether such images are read.
func imageKind(name string) (isImage, known bool) {
	if strings.HasPrefix(path.Base(name), ".") { // hidden, and what macOS puts into archives
		return false, false
	}
	switch strings.ToLower(path.Ext(name)) {
	case ".jpg", ".jpeg", ".png", ".webp":
		return true, true
	case ".gif", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".heic", ".avif", ".jp2", ".jxl":
		return true, false
	}
	return false, false
}

const maxImageFile = 64 << 20 // bytes

// imageFolder is a folder as it was when it was listed.
type imageFolder struct {
	root    string
	files   []string
	sizes   []int64
	folders []string
	sum     string
}

func listFolder(ctx context.Context, root string) (*imageFolder, error) {
	f := &imageFolder{root: root}
	h := sha256.New()
	var walk func(at string, depth int) error
	walk = func(at string, depth int) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if depth > maxDepth {
			return inputErrorf("%s: folders are nested more than %d deep, or link to themselves", f.full(at), maxDepth)
		}
		entries, err := os.ReadDir(f.full(at))
		if err != nil {
			return &InputError{Err: err}
		}
		for _, e := range entries {
			name := path.Join(at, e.Name())
			info, err := e.Info()
			if err == nil && e.Type()&fs.ModeSymlink != 0 {
				info, err = os.Stat(f.full(name))
			}
			isImage, _ := imageKind(name)
			switch {
			case strings.HasPrefix(e.Name(), "."):
			case err != nil:
				return &InputError{Err: err}
			case info.IsDir():
				f.folders = append(f.folders, name)
				if err := walk(name, depth+1); err != nil {
					return err
				}
			case isImage:
				f.files, f.sizes = append(f.files, name), append(f.sizes, info.Size())
				if !info.Mode().IsRegular() {
					return inputErrorf("%s is no plain file", f.full(name))
				}
				fmt.Fprintf(h, "%q %d %d\n", name, info.Size(), info.ModTime().UnixNano())
			}
		}
		return nil
	}
	err := walk("", 0)
	fmt.Fprintf(h, "%q", f.folders)
	f.sum = hex.EncodeToString(h.Sum(nil))
	return f, err
}

func (f *imageFolder) key() string { return f.sum }
func (f *imageFolder) full(name string) string {
	return filepath.Join(f.root, filepath.FromSlash(name))
}

func (f *imageFolder) each(ctx context.Context, to sink) error {
	for _, name := range f.folders {
		to.folder(name)
	}
	for i, name := range f.files {
		e := encoded{name: name, large: tooLarge(f.sizes[i]), read: func() ([]byte, error) { return readImageFile(f.full(name), f.sizes[i]) }}
		if e.large == nil {
			e.size = f.sizes[i]
		}
		err := ctx.Err()
		if err == nil {
			err = to.reserve(e.size)
		}
		if err == nil {
			err = to.file(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readImageFile reads a file of a known size. It asks the system itself: os.Open prepares each file for polling, which for a small
// image takes longer than to read it.
func readImageFile(path string, size int64) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	raw := make([]byte, size+1) // one more, to see whether it grew
	n := 0
	for n < len(raw) {
		got, err := unix.Read(fd, raw[n:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n += got; got == 0 || n == int(size) { // what a second look would find is the next start's matter
			break
		}
	}
	if n != int(size) {
		return nil, fmt.Errorf("the file had %d bytes when the folder was listed, and now has others", size)
	}
	return raw[:n], nil
}

func tooLarge(size int64) error {
	if size <= maxImageFile {
		return nil
	}
	return fmt.Errorf("the file has %d bytes; images of up to %d are read", size, maxImageFile)
}
