package datasets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"

	"rapt/pickle"
)

const (
	cifarSide  = 32
	cifarImage = 3 * cifarSide * cifarSide // bytes: the red, the green and the blue plane
	// maxCIFARFile is above the largest file, CIFAR-100's train, and above all files of an archive together.
	maxCIFARFile = 256 << 20
)

// cifar is CIFAR-10 or CIFAR-100 in one of its versions, of which the folder is what the archive holds.
type cifar struct {
	name        string
	classes     int
	archive     publishedFile
	folder      string
	train, test []publishedFile
	parse       func(raw []byte) (batch, error)
}

// batch is the content of one file.
type batch struct {
	pixels []byte // [n, 3, 32, 32]
	labels []int64
}

func cifarArchive(name, kind, sum string) publishedFile {
	return publishedFile{names: []string{name}, fetch: name, sum: checksum{kind, sum}}
}

// cifarFiles are files as they come out of an archive: pairs of a name and the MD5, where that is published.
func cifarFiles(pairs ...string) []publishedFile {
	var out []publishedFile
	for pair := range slices.Chunk(pairs, 2) {
		out = append(out, publishedFile{names: pair[:1], sum: checksum{"MD5", pair[1]}})
	}
	return out
}

var (
	cifar10Binary = &cifar{name: "cifar10", classes: 10, folder: "cifar-10-batches-bin", parse: binaryBatch(1),
		archive: cifarArchive("cifar-10-binary.tar.gz", "SHA-256", "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"),
		train:   cifarFiles("data_batch_1.bin", "", "data_batch_2.bin", "", "data_batch_3.bin", "", "data_batch_4.bin", "", "data_batch_5.bin", ""),
		test:    cifarFiles("test_batch.bin", "")}
	cifar10Python = &cifar{name: "cifar10", classes: 10, folder: "cifar-10-batches-py", parse: pythonBatch("labels"),
		archive: cifarArchive("cifar-10-python.tar.gz", "SHA-256", "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"),
		train: cifarFiles("data_batch_1", "c99cafc152244af753f735de768cd75f", "data_batch_2", "d4bba439e000b95fd0a9bffe97cbabec",
			"data_batch_3", "54ebc095f3ab1f0389bbae665268c751", "data_batch_4", "634d18415352ddfa80567beed471001a",
			"data_batch_5", "482c414d41f54cd18b22e5b47cb7c3cb"),
		test: cifarFiles("test_batch", "40351d587109b95175f43aff81a1287e")}
	cifar100Binary = &cifar{name: "cifar100", classes: 100, folder: "cifar-100-binary", parse: binaryBatch(2),
		archive: cifarArchive("cifar-100-binary.tar.gz", "MD5", "03b5dce01913d631647c71ecec9e9cb8"),
		train:   cifarFiles("train.bin", ""), test: cifarFiles("test.bin", "")}
	cifar100Python = &cifar{name: "cifar100", classes: 100, folder: "cifar-100-python", parse: pythonBatch("fine_labels"),
		archive: cifarArchive("cifar-100-python.tar.gz", "MD5", "eb9058c3a382ffc7106e4002c42a8d85"),
		train:   cifarFiles("train", "16019d7e3df5f24257cddd939b257f8d"), test: cifarFiles("test", "f0ef6b0ae62326f3e7ffdfab6717acfc")}
)

// cifarMirror is the authors' own page.
const cifarMirror = "https://www.cs.toronto.edu/~kriz/"

var cifar10 = &published{
	name:     "cifar10",
	folders:  []string{"", "cifar10", "CIFAR10"},
	mirrors:  []string{cifarMirror, "https://mindspore-website.obs.cn-north-4.myhuaweicloud.com/notebook/datasets/"},
	download: 2,
	forms: []form{cifar10Binary.unpacked(), cifar10Python.unpacked(), cifar10Binary.packed(), cifar10Python.packed(),
		{files: []publishedFile{{names: []string{"cifar10-jpeg.tar.xz"}}}, load: loadCIFARJPEG}},
}

var cifar100 = &published{
	name:     "cifar100",
	folders:  []string{"", "cifar100", "CIFAR100"},
	mirrors:  []string{cifarMirror},
	download: 2,
	forms:    []form{cifar100Binary.unpacked(), cifar100Python.unpacked(), cifar100Binary.packed(), cifar100Python.packed()},
}

func (c *cifar) files() []publishedFile { return slices.Concat(c.train, c.test) }

// unpacked is the folder that the archive holds.
func (c *cifar) unpacked() form {
	return form{folder: c.folder, files: c.files(), load: func(_ context.Context, paths []string, _ Options) (*Parts, error) {
		return c.parts(func(i int) ([]byte, string, error) {
			raw, err := readWhole(paths[i])
			return raw, paths[i], err
		})
	}}
}

func readWhole(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Size() > maxCIFARFile {
		err = inputErrorf("%s has %d bytes, more than any file of CIFAR", path, info.Size())
	}
	if err != nil {
		return nil, fileError(path, err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fileError(path, err)
	}
	return raw, nil
}

// packed is the archive.
func (c *cifar) packed() form {
	return form{files: []publishedFile{c.archive}, load: func(_ context.Context, paths []string, _ Options) (*Parts, error) {
		contents, err := c.unpack(paths[0])
		if err != nil {
			return nil, err
		}
		return c.parts(func(i int) ([]byte, string, error) {
			raw, where := contents[i], paths[0]+": "+c.files()[i].names[0]
			contents[i] = nil
			if raw == nil {
				return nil, "", inputErrorf("%s is missing", where)
			}
			return raw, where, nil
		})
	}}
}

// unpack reads the archive's files into memory.
func (c *cifar) unpack(archive string) ([][]byte, error) {
	a, err := openArchive(archive)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	contents := make([][]byte, len(c.files()))
	left := int64(maxCIFARFile)
	for {
		m, err := a.next()
		if err == io.EOF {
			return contents, nil
		}
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(c.files(), func(f publishedFile) bool { return f.names[0] == path.Base(m.name) })
		if i < 0 || m.dir {
			continue
		}
		if left -= m.size; contents[i] != nil || left < 0 {
			return nil, inputErrorf("%s: %s is there twice, or the archive's files have more than %d bytes", archive, m.name, maxCIFARFile)
		}
		if contents[i], err = io.ReadAll(a); err != nil {
			return nil, a.fault(err)
		}
	}
}

// parts reads all files, in their order.
func (c *cifar) parts(read func(i int) (raw []byte, where string, err error)) (*Parts, error) {
	empty := Set{Name: c.name, C: 3, H: cifarSide, W: cifarSide, Classes: c.classes}
	train, test := empty, empty
	for i := range c.files() {
		set := &train
		if i >= len(c.train) {
			set = &test
		}
		raw, where, err := read(i)
		if err != nil {
			return nil, err
		}
		b, err := c.parse(raw)
		if err == nil {
			err = set.add(b)
		}
		if err != nil {
			return nil, inputErrorf("%s: %w", where, err)
		}
	}
	return &Parts{Train: &train, Test: &test}, nil
}

// add appends a batch.
func (s *Set) add(b batch) error {
	if len(b.labels) == 0 || len(b.pixels) != len(b.labels)*cifarImage {
		return fmt.Errorf("it has %d labels and %d bytes of pixels; %d bytes a label are due", len(b.labels), len(b.pixels), cifarImage)
	}
	for i, label := range b.labels {
		if label < 0 || label >= int64(s.Classes) {
			return fmt.Errorf("label %d of image %d is out of range; labels go from 0 to %d", label, i, s.Classes-1)
		}
		s.Labels = append(s.Labels, uint16(label))
	}
	s.Pixels = append(s.Pixels, b.pixels...)
	s.N += len(b.labels)
	return nil
}

// binaryBatch reads records of so many label bytes, the last of which is the (fine) label, and an image.
func binaryBatch(labels int) func(raw []byte) (batch, error) {
	return func(raw []byte) (b batch, err error) {
		record := labels + cifarImage
		if len(raw) == 0 || len(raw)%record != 0 {
			return b, fmt.Errorf("the file has %d bytes, and should have a multiple of %d: it is truncated, or another file", len(raw), record)
		}
		b.pixels = make([]byte, 0, len(raw)/record*cifarImage)
		for r := range slices.Chunk(raw, record) {
			b.labels = append(b.labels, int64(r[labels-1]))
			b.pixels = append(b.pixels, r[labels:]...)
		}
		return b, nil
	}
}

// pythonBatch reads a pickled dict of a NumPy array "data", uint8 [n, 3072], and a list of labels.
func pythonBatch(key string) func(raw []byte) (batch, error) {
	return func(raw []byte) (b batch, err error) {
		v, err := pickle.Load(bytes.NewReader(raw), pickle.Options{Allow: pickle.NumPy(), MaxBytes: maxCIFARFile})
		if err != nil {
			return b, err
		}
		d, ok := v.(*pickle.Dict)
		if !ok {
			return b, errors.New("the pickle holds no dict")
		}
		data, _ := d.Get("data")
		a, ok := data.(*pickle.NDArray)
		if !ok || a.DType.Kind != 'u' || a.DType.Size != 1 || len(a.Shape) != 2 || a.Shape[1] != cifarImage || a.Fortran && a.Shape[0] > 1 {
			return b, fmt.Errorf(`the pickle's "data" is no NumPy array of bytes with %d a row`, cifarImage)
		}
		labels, _ := d.Get(key)
		list, ok := labels.(*pickle.List)
		if !ok {
			return b, fmt.Errorf("the pickle has no list %q", key)
		}
		b.pixels = a.Data
		for i, item := range list.Items {
			label, ok := item.(int64)
			if !ok {
				return b, fmt.Errorf("label %d in the pickle is no whole number", i)
			}
			b.labels = append(b.labels, label)
		}
		return b, nil
	}
}

// loadCIFARJPEG reads CIFAR-10 as an archive of JPEG files: the sorted names of its classes have CIFAR-10's order.
func loadCIFARJPEG(ctx context.Context, paths []string, o Options) (*Parts, error) {
	o.Size = 0
	parts, err := readImages(ctx, paths[0], "cifar10", o)
	if err != nil {
		return nil, err
	}
	if s := parts.Train; s.Classes != 10 || s.C != 3 || s.H != cifarSide || s.W != cifarSide || parts.Test.N == 0 {
		return nil, inputErrorf("%s does not hold train and test images of CIFAR-10: 10 classes, 32 by 32, in colour", paths[0])
	}
	parts.note("CIFAR-10 is read from " + filepath.Base(paths[0]) +
		", which was compressed anew as JPEG: its pixels are not those of the published files, and results may differ")
	return parts, nil
}
