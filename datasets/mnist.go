package datasets

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// publishedFile is one file of a published data set. Several gzip versions of the MNIST files circulate,
// so the checksum is that of the content.
type publishedFile struct {
	stem   string // the part of the name before "-idx3-ubyte"
	kind   string // "idx3-ubyte" or "idx1-ubyte"
	size   int64  // of the content, in bytes
	sha256 string // of the content
}

// name is what mirrors call the packed file.
func (f publishedFile) name() string { return f.stem + "-" + f.kind + ".gz" }

// spellings are the names under which the file may lie; an unpacked file goes before a packed one.
func (f publishedFile) spellings() []string {
	dash, dot := f.stem+"-"+f.kind, f.stem+"."+f.kind
	return []string{dash, dot, dash + ".gz", dot + ".gz"}
}

var mnistFiles = []publishedFile{
	{"train-images", "idx3-ubyte", 47040016, "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
	{"train-labels", "idx1-ubyte", 60008, "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
	{"t10k-images", "idx3-ubyte", 7840016, "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
	{"t10k-labels", "idx1-ubyte", 10008, "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"},
}

// folders are where a data set's files may lie below dir; the last is torchvision's layout.
func folders(dir, dataset string) []string {
	return []string{dir, filepath.Join(dir, dataset), filepath.Join(dir, strings.ToUpper(dataset), "raw")}
}

// locate finds a data set's files, all in one folder, so that two versions never mix: the first folder
// that has them all, or else the one that has most. A path is empty where the file is missing.
func locate(dir, dataset string, files []publishedFile) (folder string, paths []string) {
	most := 0
	for _, candidate := range folders(dir, dataset) {
		found, count := make([]string, len(files)), 0
		for i, f := range files {
			if found[i] = firstFile(candidate, f.spellings()); found[i] != "" {
				count++
			}
		}
		if paths == nil || count > most {
			folder, paths, most = candidate, found, count
		}
	}
	return folder, paths
}

func firstFile(folder string, names []string) string {
	for _, name := range names {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		}
	}
	return ""
}

// missingError says which files were not found, where they were looked for and what gets them.
func missingError(dir, dataset string, files []publishedFile, paths []string) error {
	var missing []string
	for i, path := range paths {
		if path == "" {
			missing = append(missing, strings.TrimSuffix(files[i].name(), ".gz")+"[.gz]")
		}
	}
	if missing == nil {
		return nil
	}
	return inputErrorf("%s: %s: %w (looked in %s); get it with `rapt data fetch %s`, or set data.dir or $RAPT_DATA_DIR",
		dataset, strings.Join(missing, ", "), fs.ErrNotExist, strings.Join(folders(dir, dataset), ", "), dataset)
}

// loadMNIST reads MNIST, or a set in its format: 28 by 28 images of one channel, labels 0 to 9.
func loadMNIST(o Options) (train, test *Set, err error) {
	dir := ResolveDir(o.Dir)
	_, paths := locate(dir, "mnist", mnistFiles)
	if err := missingError(dir, "mnist", mnistFiles, paths); err != nil {
		return nil, nil, err
	}
	if train, err = readLabelledImages(paths[0], paths[1]); err != nil {
		return nil, nil, err
	}
	test, err = readLabelledImages(paths[2], paths[3])
	return train, test, err
}

func readLabelledImages(imagesPath, labelsPath string) (*Set, error) {
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
	return &Set{Name: "mnist", N: dims[0], C: 1, H: side, W: side, Classes: classes, Pixels: pixels, Labels: labels}, nil
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
