package datasets

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
)

// idxPublished is a file of a set in MNIST's format, under each of its spellings; an unpacked file goes before a packed one.
func idxPublished(stem, kind string, size int64, sum checksum) publishedFile {
	dash, dot := stem+"-"+kind, stem+"."+kind
	return publishedFile{names: []string{dash, dot, dash + ".gz", dot + ".gz"}, fetch: dash + ".gz", size: size, sum: sum}
}

// idxFiles are a set's four files, from the checksums of its training images, training labels, test images and test labels.
func idxFiles(kind string, content bool, sums [4]string) []publishedFile {
	var files []publishedFile
	for i, f := range []struct {
		stem, kind string
		size       int64
	}{
		{"train-images", "idx3-ubyte", 47040016}, {"train-labels", "idx1-ubyte", 60008},
		{"t10k-images", "idx3-ubyte", 7840016}, {"t10k-labels", "idx1-ubyte", 10008},
	} {
		if !content {
			f.size = 0
		}
		files = append(files, idxPublished(f.stem, f.kind, f.size, checksum{kind, sums[i]}))
	}
	return files
}

var mnist = &published{
	name:    "mnist",
	folders: []string{"", "mnist", filepath.Join("MNIST", "raw")}, // the last is torchvision's
	// One of them has no TLS, which the checksums make up for.
	mirrors: []string{
		"https://ossci-datasets.s3.amazonaws.com/mnist/",
		"https://storage.googleapis.com/cvdf-datasets/mnist/",
		"http://yann.lecun.com/exdb/mnist/",
	},
	forms: []form{{load: loadIDX("mnist"), files: idxFiles("SHA-256", true, [4]string{
		"ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
		"65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
		"0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
		"ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
	})}},
}

// fashionMNIST has MNIST's names and format. Of its packed files the MD5 is published, of their content nothing.
var fashionMNIST = &published{
	name:    "fashion_mnist",
	folders: []string{"fashion_mnist", filepath.Join("FashionMNIST", "raw"), ""},
	mirrors: []string{
		"http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
		"https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
	},
	forms: []form{{load: loadFashion, files: idxFiles("MD5", false, [4]string{
		"8d4fb7e6c68d591d4c3dfef9ec88bf0d", "25c81989df183df01b3e8a0aad5dffbe",
		"bef4ecab320f06d8554ea6380940ec79", "bb300cfdad3c16e7a12a480ee83cd310",
	})}},
}

// loadIDX reads a set in MNIST's format: 28 by 28 images of one channel, labels 0 to 9.
func loadIDX(name string) func(ctx context.Context, paths []string, o Options) (*Parts, error) {
	return func(_ context.Context, paths []string, _ Options) (*Parts, error) {
		train, err := readLabelledImages(name, paths[0], paths[1])
		if err != nil {
			return nil, err
		}
		test, err := readLabelledImages(name, paths[2], paths[3])
		return &Parts{Train: train, Test: test}, err
	}
}

// loadFashion refuses MNIST itself, whose files have the same names.
func loadFashion(ctx context.Context, paths []string, o Options) (*Parts, error) {
	if labels := mnist.forms[0].files[1]; labels.matches(paths[1]) {
		return nil, inputErrorf("%s is MNIST's, not Fashion-MNIST's; set data.dataset to mnist, or data.dir to the folder of Fashion-MNIST", paths[1])
	}
	return loadIDX("fashion_mnist")(ctx, paths, o)
}

func readLabelledImages(name, imagesPath, labelsPath string) (*Set, error) {
	const side, classes = 28, 10
	labelDims, labels, err := readIDXFile(labelsPath, 1)
	if err != nil {
		return nil, err
	}
	for i, label := range labels {
		if label >= classes {
			return nil, inputErrorf("%s: label %d of sample %d is out of range; labels go from 0 to %d", labelsPath, label, i, classes-1)
		}
	}
	dims, pixels, err := readIDXFile(imagesPath, 3)
	if err != nil {
		return nil, err
	}
	if !slices.Equal(dims[1:], []int{side, side}) {
		return nil, inputErrorf("%s: images are %d by %d, and should be %d by %d", imagesPath, dims[1], dims[2], side, side)
	}
	if dims[0] != labelDims[0] {
		return nil, inputErrorf("%s has %d images but %s has %d labels; the counts must be equal", imagesPath, dims[0], labelsPath, labelDims[0])
	}
	return &Set{Name: name, N: dims[0], C: 1, H: side, W: side, Classes: classes, Pixels: pixels, Labels: widen(labels)}, nil
}

// readIDXFile reads an IDX file that must have rank dimensions; its errors are input errors with the path.
func readIDXFile(path string, rank int) (dims []int, data []byte, err error) {
	r, err := openContent(path)
	if err != nil {
		return nil, nil, fileError(path, err)
	}
	defer r.Close()
	dims, data, err = ReadIDX(r)
	if err != nil {
		return nil, nil, fileError(path, err)
	}
	if len(dims) != rank {
		return nil, nil, inputErrorf("%s: the IDX header gives %d dimensions, and should give %d", path, len(dims), rank)
	}
	return dims, data, nil
}

func fileError(path string, err error) error {
	var withPath *fs.PathError
	if errors.As(err, &withPath) {
		return &InputError{Err: err}
	}
	return inputErrorf("%s: %w", path, err)
}

func widen(labels []byte) []uint16 {
	out := make([]uint16, len(labels))
	for i, label := range labels {
		out[i] = uint16(label)
	}
	return out
}
