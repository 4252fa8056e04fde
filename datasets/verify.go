package datasets

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
)

// FileStatus is what Verify found out about one file.
type FileStatus struct {
	Name string // as published, for example "train-images-idx3-ubyte.gz"
	Path string // where it was found; empty where it is missing
	Kind string // of the checksum, "SHA-256" or "MD5"
	Sum  string // of the file, or of what it unpacks to for MNIST; empty where it is missing or does not unpack
	OK   bool
	Err  error // why it is not OK: an *InputError (missing, unreadable; an *UncheckedError where no checksum is published) or a *ChecksumError
}

// Verify compares a data set's files below dir (resolved as by ResolveDir) with the checksums that were published: MNIST's
// whatever gzip version they are packed in, others' as they are. It returns the state of each file, none for a set
// that has no published files, and an error that joins theirs: one with a *ChecksumError where a file
// has other content, only *InputErrors where files are missing or cannot be checked.
func Verify(dir, dataset string) ([]FileStatus, error) {
	src, err := findSource(dataset)
	if err != nil || src.published == nil {
		return nil, err
	}
	dir = ResolveDir(dir)
	at := src.published.locate(dir)
	missing := src.published.missing(dir, at)
	states := make([]FileStatus, len(at.paths))
	errs := []error{missing}
	for i, f := range at.form.files {
		states[i] = FileStatus{Name: f.name(), Path: at.paths[i], Kind: f.sum.kind, Err: missing}
		if at.paths[i] == "" {
			continue
		}
		states[i].Sum, states[i].Err = f.check(at.paths[i])
		states[i].OK = states[i].Err == nil
		errs = append(errs, states[i].Err)
	}
	return states, errors.Join(errs...)
}

// check compares the file at path with the published one and returns its checksum.
func (f publishedFile) check(path string) (sum string, err error) {
	if err := f.checkable(path); err != nil {
		return "", err
	}
	fault := ChecksumError{Path: path, Kind: f.sum.kind, Want: f.sum.value, Content: f.size > 0}
	r, err := f.open(path)
	if errors.As(err, new(*gzipFault)) {
		fault.Err = err
		return "", &fault
	}
	if err != nil {
		return "", fileError(path, err)
	}
	defer r.Close()
	limit := int64(math.MaxInt64)
	if f.size > 0 { // one byte more than it should have is enough to know: an archive made to unpack to terabytes stops there
		limit = f.size + 1
	}
	h := f.sum.hash()
	n, err := io.Copy(h, io.LimitReader(r, limit))
	if err == nil && n == limit {
		err = fmt.Errorf("it has more than its %d bytes", f.size)
	}
	if err != nil {
		fault.Err = err
		return "", &fault
	}
	if sum = hex.EncodeToString(h.Sum(nil)); sum != f.sum.value {
		fault.Got = sum
		return sum, &fault
	}
	return sum, nil
}

// checkable says why nothing published tells of the file at path.
func (f publishedFile) checkable(path string) error {
	base := strings.TrimSuffix(filepath.Base(path), ".part")
	switch {
	case f.sum.value == "":
		return unchecked("%s cannot be checked: no checksum of this form of the data is published", path)
	case f.size == 0 && base != f.name():
		return unchecked("%s cannot be checked: only of %s, as it is published, there is a checksum", path, f.name())
	}
	return nil
}

func (f publishedFile) open(path string) (io.ReadCloser, error) {
	if f.size > 0 {
		return openContent(path)
	}
	return os.Open(path)
}

// matches tells whether the file at path is this one.
func (f publishedFile) matches(path string) bool {
	_, err := f.check(path)
	return err == nil
}
