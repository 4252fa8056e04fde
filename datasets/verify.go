package datasets

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// FileStatus is what Verify found out about one file.
type FileStatus struct {
	Name   string // as published, for example "train-images-idx3-ubyte.gz"
	Path   string // where it was found; empty where it is missing
	SHA256 string // of the content, unpacked; empty where it is missing or does not unpack
	OK     bool
	Err    error // why it is not OK: an *InputError (missing, unreadable) or a *ChecksumError
}

// Verify compares the content of a data set's files below dir (resolved as by ResolveDir) with what was
// published, whatever gzip version they are packed in. It returns the state of each file, none for a set
// that the program draws itself, and an error that joins theirs: one with a *ChecksumError where a file
// has other content, only *InputErrors where files are missing.
func Verify(dir, dataset string) ([]FileStatus, error) {
	src, err := findSource(dataset)
	if err != nil || len(src.files) == 0 {
		return nil, err
	}
	dir = ResolveDir(dir)
	_, paths := locate(dir, dataset, src.files)
	missing := missingError(dir, dataset, src.files, paths)
	states := make([]FileStatus, len(src.files))
	errs := []error{missing}
	for i, f := range src.files {
		states[i] = FileStatus{Name: f.name(), Path: paths[i], Err: missing}
		if paths[i] == "" {
			continue
		}
		states[i].SHA256, states[i].Err = f.check(paths[i])
		states[i].OK = states[i].Err == nil
		errs = append(errs, states[i].Err)
	}
	return states, errors.Join(errs...)
}

// check compares the content of the file at path with the published one and returns its checksum.
func (f publishedFile) check(path string) (sum string, err error) {
	r, err := openContent(path)
	if errors.As(err, new(*gzipFault)) {
		return "", &ChecksumError{Path: path, Want: f.sha256, Err: err}
	}
	if err != nil {
		return "", fileError(path, err)
	}
	defer r.Close()
	h := sha256.New()
	// One byte more than it should have is enough to know: an archive made to unpack to terabytes stops there.
	n, err := io.Copy(h, io.LimitReader(r, f.size+1))
	if err != nil {
		return "", &ChecksumError{Path: path, Want: f.sha256, Err: err}
	}
	if n > f.size {
		return "", &ChecksumError{Path: path, Want: f.sha256, Err: fmt.Errorf("it has more than its %d bytes", f.size)}
	}
	sum = hex.EncodeToString(h.Sum(nil))
	if sum != f.sha256 {
		return sum, &ChecksumError{Path: path, Got: sum, Want: f.sha256}
	}
	return sum, nil
}
