package datasets

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"github.com/mikelolasagasti/xz"
)

// An archive of images hardly packs; one that grows to more than this is made to fill memory or time.
const (
	maxUnpackRatio = 200
	maxUnpackSlack = 64 << 20
)

// archive reads a .tar, .tar.gz or .tar.xz, told by its first bytes. Nothing of it is ever written to its names.
type archive struct {
	path string
	file *os.File
	body *boundedReader
	tar  *tar.Reader
}

func openArchive(path string) (*archive, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, &InputError{Err: err}
	}
	a, err := newArchive(path, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return a, nil
}

func newArchive(path string, f *os.File) (*archive, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, &InputError{Err: err}
	}
	buffered := bufio.NewReaderSize(f, 1<<18)
	var r io.Reader
	if magic, _ := buffered.Peek(6); bytes.Equal(magic, []byte("\xfd7zXZ\x00")) {
		r, err = newXZ(buffered)
	} else {
		r, err = unpack(buffered)
	}
	if err != nil {
		return nil, inputErrorf("%s: %w", path, err)
	}
	body := &boundedReader{r: r, left: info.Size()*maxUnpackRatio + maxUnpackSlack}
	return &archive{path: path, file: f, body: body, tar: tar.NewReader(body)}, nil
}

func (a *archive) Close() error { return a.file.Close() }

// Read reads from the file that next found.
func (a *archive) Read(p []byte) (int, error) { return a.tar.Read(p) }

// member is a file or a folder of an archive.
type member struct {
	name string // relative, with slashes
	size int64
	dir  bool
}

// next finds the next file or folder; io.EOF tells that the archive ended as it should. Other errors are input errors.
func (a *archive) next() (member, error) {
	for {
		h, err := a.tar.Next()
		if err == io.EOF {
			return member{}, a.end()
		}
		if err != nil {
			return member{}, a.fault(err)
		}
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg, tar.TypeDir:
		default:
			return member{}, inputErrorf("%s: %.80q is a link or a device; an archive of plain files and folders is needed", a.path, h.Name)
		}
		if sparse(h) {
			return member{}, inputErrorf("%s: %.80q is a sparse file, whose holes take no room in the archive; pack it without tar's --sparse", a.path, h.Name)
		}
		name, err := memberName(h.Name)
		if err != nil {
			return member{}, inputErrorf("%s: %w", a.path, err)
		}
		if name == "." {
			continue
		}
		return member{name: name, size: h.Size, dir: h.Typeflag == tar.TypeDir}, nil
	}
}

// sparse tells of a file in one of the PAX forms of GNU tar's sparse files; the older form has a type of its own. The reader makes up
// their zeros, which the limit of what an archive unpacks to does not see.
func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// Names in an archive cost as little as its content: no longer than a path may be, and no deeper than a folder of images.
const (
	maxName  = 4096
	maxDepth = 16
)

func memberName(name string) (string, error) {
	if len(name) > maxName || strings.Count(name, "/") > maxDepth+2 { // ./ before it and a / at its end
		return "", fmt.Errorf("the name %.80q.. is longer than %d bytes or nested more than %d deep", name, maxName, maxDepth)
	}
	if path.IsAbs(name) || strings.ContainsAny(name, "\\\x00") {
		return "", fmt.Errorf("%.80q is no relative path with slashes", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part == ".." {
			return "", fmt.Errorf("%.80q leads out of the archive", name)
		}
	}
	return path.Clean(name), nil
}

// end checks that the archive has its end mark, and reads on so that what is packed checks its own checksums.
func (a *archive) end() error {
	if a.body.ended {
		return inputErrorf("%s: the archive is truncated: its end mark is missing", a.path)
	}
	if _, err := io.Copy(io.Discard, a.body); err != nil {
		return a.fault(err)
	}
	return io.EOF
}

func (a *archive) fault(err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = errors.New("the archive is truncated")
	}
	if errors.Is(err, tar.ErrHeader) {
		err = errors.New("this is no tar archive, packed with gzip or xz or not, or it is damaged")
	}
	return inputErrorf("%s: %w", a.path, err)
}

// boundedReader ends an archive that unpacks to more than it should, and remembers whether its input ended.
type boundedReader struct {
	r     io.Reader
	left  int64
	ended bool
}

func (b *boundedReader) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("it unpacks to more than %d times its size, which no archive of images does", maxUnpackRatio)
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	b.ended = b.ended || n == 0 && err == io.EOF
	return n, err
}

// xzReader says in its errors that the packing is at fault.
type xzReader struct{ z *xz.Reader }

func newXZ(r io.Reader) (io.Reader, error) {
	z, err := xz.NewReader(r, xz.DefaultDictMax) // a dictionary of 64 MiB, as xz -9 takes
	if err != nil {
		return nil, xzError(err)
	}
	return xzReader{z}, nil
}

func (x xzReader) Read(p []byte) (int, error) {
	n, err := x.z.Read(p)
	if err != nil && err != io.EOF {
		err = xzError(err)
	}
	return n, err
}

func xzError(err error) error {
	switch {
	case errors.Is(err, xz.ErrMemlimit):
		return errors.New("the xz file wants a dictionary of more than 64 MiB; pack it with xz -9 or less")
	case errors.Is(err, xz.ErrBuf), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("the xz file is truncated or corrupt")
	}
	return fmt.Errorf("the xz file is corrupt (%w)", err)
}
