package importer

import (
	"archive/zip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"rapt/pickle"
)

// maxStorages bounds what is read of a file's storages together, since compressed ones may claim to be far larger than the file.
const maxStorages = 4 << 30

// maxRatio is how much smaller than its content a storage may be: torch.save compresses nothing, and whoever does gains little on weights.
const maxRatio = 100

// archive is a file of torch.save since PyTorch 1.6: a zip with NAME/data.pkl and NAME/data/KEY for each storage.
type archive struct {
	prefix string // "NAME/"
	files  map[string]*zip.File
	big    bool
	seen   map[string]*storage
	left   int64 // bytes of storages that may still be read
}

// loadZip unpickles NAME/data.pkl.
func loadZip(f *os.File, size int64) (any, error) {
	z, err := zip.NewReader(f, size)
	if err != nil {
		return nil, fmt.Errorf("is truncated or damaged: %s", strings.TrimPrefix(err.Error(), "zip: "))
	}
	a := &archive{files: map[string]*zip.File{}, seen: map[string]*storage{}, left: maxStorages}
	main := ""
	for _, file := range z.File {
		if _, twice := a.files[file.Name]; twice {
			return nil, fmt.Errorf("holds %.80q twice", file.Name)
		}
		a.files[file.Name] = file
		if dir, ok := strings.CutSuffix(file.Name, "/data.pkl"); ok && !strings.Contains(dir, "/") {
			if main != "" {
				return nil, fmt.Errorf("holds both %.80q and %.80q", main, file.Name)
			}
			main, a.prefix = file.Name, dir+"/"
		}
	}
	if main == "" {
		return nil, errors.New("is a zip file, but not one of torch.save: it holds no data.pkl")
	}
	if a.files[a.prefix+"constants.pkl"] != nil {
		return nil, errors.New("is a TorchScript program: " + saveStateDict)
	}
	if err := a.byteOrder(); err != nil {
		return nil, err
	}
	r, err := a.files[main].Open()
	if err != nil {
		return nil, fmt.Errorf("cannot be unpacked: %w", err)
	}
	defer r.Close()
	return pickle.Load(r, options(a.storage))
}

// byteOrder reads NAME/byteorder, which PyTorch 2.1 and newer write; before, it was the machine's, and nearly always little.
func (a *archive) byteOrder() error {
	file := a.files[a.prefix+"byteorder"]
	if file == nil {
		return nil
	}
	b, err := unpack(file, int64(min(file.UncompressedSize64, 16)))
	if err == nil && string(b) != "little" && string(b) != "big" {
		err = fmt.Errorf("says that its byte order is %.20q; little or big is known", b)
	}
	a.big = string(b) == "big"
	return err
}

// storage finds NAME/data/KEY.
func (a *archive) storage(id pickle.Tuple) (*storage, error) {
	s, err := newStorage(id)
	if err != nil {
		return nil, err
	}
	if old := a.seen[s.key]; old != nil {
		if old.dtype != s.dtype || old.numel != s.numel {
			return nil, fmt.Errorf("storage %.40q is given two types or sizes", s.key)
		}
		return old, nil
	}
	file := a.files[a.prefix+"data/"+s.key]
	if file == nil {
		return nil, fmt.Errorf("the file lacks storage %.40q", s.key)
	}
	if file.UncompressedSize64 != uint64(s.size()) {
		return nil, fmt.Errorf("storage %.40q should have %d bytes and has %d", s.key, s.size(), file.UncompressedSize64)
	}
	if file.UncompressedSize64 > maxRatio*file.CompressedSize64+4096 {
		return nil, fmt.Errorf("storage %.40q is packed more than %d times smaller than it is, as no network's weights are", s.key, maxRatio)
	}
	s.big = a.big
	s.load = func() ([]byte, error) {
		if a.left -= s.size(); a.left < 0 {
			return nil, fmt.Errorf("the file's tensors take more than %d bytes, the limit", int64(maxStorages))
		}
		return unpack(file, s.size())
	}
	a.seen[s.key] = s
	return s, nil
}

// unpack reads a file of exactly size bytes; memory is taken as they come, and the checksum is compared.
func unpack(file *zip.File, size int64) ([]byte, error) {
	r, err := file.Open()
	if err != nil {
		return nil, fmt.Errorf("cannot be unpacked: %w", err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, size+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("is damaged: %s", strings.TrimPrefix(err.Error(), "zip: "))
	case int64(len(b)) != size:
		return nil, fmt.Errorf("is damaged: %d bytes are due", size)
	}
	return b, nil
}
