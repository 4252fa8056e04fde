package datasets

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// A cache file holds decoded images: the magic, the header's length and CRC-32C (4 bytes each, little-endian), the header as
// JSON, zeros up to a multiple of cachePage, the pixels [N, C, H, W] of the training and then of the test part, and their labels
// (2 bytes each, little-endian). The magic's last digits are the version of the format and of how images are decoded.
const (
	cacheMagic = "RAPTIM01"
	cachePage  = 4096
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// cacheHeader says what a cache file holds.
type cacheHeader struct {
	Key     string   `json:"key"` // of what it was made from
	CRC     string   `json:"crc"` // CRC-32C of pixels and labels, eight digits
	C       int      `json:"c"`
	H       int      `json:"h"`
	W       int      `json:"w"`
	Train   int      `json:"train"` // samples
	Test    int      `json:"test"`  // 0 where the source has no test part
	Classes []string `json:"classes"`
	Note    string   `json:"note,omitempty"`
}

func (h *cacheHeader) pixels() int64 { return int64(h.Train+h.Test) * int64(h.C*h.H*h.W) }
func (h *cacheHeader) data() int64   { return h.pixels() + 2*int64(h.Train+h.Test) }

// encode gives the file's beginning, whose length does not depend on the CRC.
func (h *cacheHeader) encode() ([]byte, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	out := binary.LittleEndian.AppendUint32([]byte(cacheMagic), uint32(len(text)))
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(text, castagnoli))
	out = append(out, text...)
	return append(out, make([]byte, -len(out)&(cachePage-1))...), nil
}

// cached gives the images of a cache file, made by build where it is missing, out of date or damaged. Of processes that want the
// same one at once, one builds it and the others wait.
func cached(ctx context.Context, path, key string, build func(io.WriterAt) (*cacheHeader, error)) (*Parts, error) {
	if parts, err := openCache(path, key); err == nil {
		return parts, nil
	}
	lock, err := hold(ctx, path+".lock", func() {})
	if err != nil && errors.Is(err, ctx.Err()) {
		return nil, err
	}
	if err != nil {
		return nil, &cacheDirError{err}
	}
	defer lock.Unlock()
	if parts, err := openCache(path, key); err == nil { // another process was faster
		return parts, nil
	}
	removeLeftovers(path)
	if err := writeCache(path, key, build); err != nil {
		return nil, err
	}
	return openCache(path, key)
}

// removeLeftovers removes what processes that were killed had written of a file; whoever holds its lock may.
func removeLeftovers(path string) {
	dir := filepath.Dir(path)
	names, _ := fs.Glob(os.DirFS(dir), "."+filepath.Base(path)+"[0-9]*") // renameio's
	for _, name := range names {
		_ = os.Remove(filepath.Join(dir, name))
	}
}

// cacheDirError is a folder in which no cache file can be made.
type cacheDirError struct{ error }

func (e *cacheDirError) Unwrap() error { return e.error }

func writeCache(path, key string, build func(io.WriterAt) (*cacheHeader, error)) error {
	file, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return &cacheDirError{err}
	}
	defer file.Cleanup()
	h, err := build(file)
	if err != nil {
		return err
	}
	h.Key = key
	begin, err := h.encode()
	if err == nil {
		_, err = file.WriteAt(begin, 0)
	}
	if err == nil {
		err = file.CloseAtomicallyReplace() // flushed to the disk first
	}
	if err != nil {
		return fmt.Errorf("the decoded images cannot be kept in %s: %w", path, err)
	}
	return nil
}

var errStale = errors.New("made from something else")

// openCache maps a cache file into memory, read-only and for the process's life, after checking that it is whole.
func openCache(path, key string) (*Parts, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() < cachePage {
		return nil, errors.New("truncated")
	}
	all, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	h, data, err := readCache(all)
	if err == nil && h.Key != key {
		err = errStale
	}
	if err != nil {
		return nil, errors.Join(err, unix.Munmap(all))
	}
	return h.parts(data), nil
}

// readCache checks a cache file and finds its data.
func readCache(all []byte) (*cacheHeader, []byte, error) {
	const fixed = len(cacheMagic) + 8
	if len(all) < fixed || !bytes.HasPrefix(all, []byte(cacheMagic)) {
		return nil, nil, errors.New("no cache file of this version")
	}
	size, sum := binary.LittleEndian.Uint32(all[len(cacheMagic):]), binary.LittleEndian.Uint32(all[len(cacheMagic)+4:])
	if int64(size) > int64(len(all)-fixed) {
		return nil, nil, errors.New("truncated")
	}
	text := all[fixed : fixed+int(size)]
	if crc32.Checksum(text, castagnoli) != sum {
		return nil, nil, errors.New("the header is damaged")
	}
	h := new(cacheHeader)
	if err := json.Unmarshal(text, h); err != nil {
		return nil, nil, err
	}
	if !h.possible(len(all)) {
		return nil, nil, errors.New("the header is impossible")
	}
	begin := (int64(fixed) + int64(size) + cachePage - 1) / cachePage * cachePage
	if int64(len(all)) != begin+h.data() {
		return nil, nil, errors.New("the length is wrong")
	}
	data := all[begin:]
	if crcText(crc32.Checksum(data, castagnoli)) != h.CRC {
		return nil, nil, errors.New("the content is damaged")
	}
	for i := h.pixels(); i < int64(len(data)); i += 2 {
		if int(binary.LittleEndian.Uint16(data[i:])) >= len(h.Classes) {
			return nil, nil, errors.New("a label is out of range")
		}
	}
	return h, data, nil
}

// possible tells whether a header's numbers may be those of a file of so many bytes: its checksum is no proof against malice, where others
// can write to the folder.
func (h *cacheHeader) possible(size int) bool {
	for _, n := range []int{h.C, h.H, h.W} {
		if n < 1 || n > maxPixels {
			return false
		}
	}
	if h.Train < 0 || h.Test < 0 || h.Train > size || h.Test > size { // below what overflows
		return false
	}
	return h.C <= 3 && h.W <= maxPixels/h.H && int64(h.Train+h.Test) <= int64(size)/int64(h.C*h.H*h.W)
}

func crcText(sum uint32) string { return fmt.Sprintf("%08x", sum) }

// parts are the sets over a cache file's data. Their pixels must not be written to.
func (h *cacheHeader) parts(data []byte) *Parts {
	size := h.C * h.H * h.W
	labels := make([]uint16, h.Train+h.Test)
	for i := range labels {
		labels[i] = binary.LittleEndian.Uint16(data[int(h.pixels())+2*i:])
	}
	set := func(from, to int) *Set {
		return &Set{N: to - from, C: h.C, H: h.H, W: h.W, Classes: len(h.Classes), Names: h.Classes, byClass: true,
			Pixels: data[from*size : to*size : to*size], Labels: labels[from:to:to]}
	}
	return &Parts{Train: set(0, h.Train), Test: set(h.Train, h.Train+h.Test), Note: h.Note}
}

var unsafeInName = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// cacheName is the name of the cache file for a source: its base name, and a hash of where it lies and how it is read.
func cacheName(source string, how ...any) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q", source, fmt.Sprint(how...)))
	base := unsafeInName.ReplaceAllString(filepath.Base(source), "_")
	return fmt.Sprintf("%.64s-%x.images", base, sum[:8])
}

// cachedIn is cached in a folder: dir, or where that is empty the user's cache folder. Where the latter cannot be written the
// images are kept for this process alone, and the note says so.
func cachedIn(ctx context.Context, dir, name, key string, build func(io.WriterAt) (*cacheHeader, error)) (*Parts, error) {
	usual := dir == ""
	var err error
	if usual {
		dir, err = os.UserCacheDir()
		dir = filepath.Join(dir, "rapt")
	}
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		parts, failed := cached(ctx, filepath.Join(dir, name), key, build)
		if !errors.As(failed, new(*cacheDirError)) {
			return parts, failed
		}
		err = failed
	}
	if !usual {
		return nil, inputErrorf("data.cache_dir: decoded images cannot be kept in %s: %w", dir, err)
	}
	reason := err
	own, err := os.MkdirTemp("", "rapt-images-")
	if err != nil {
		return nil, fmt.Errorf("decoded images can be kept nowhere: %w; set data.cache_dir", err)
	}
	defer os.RemoveAll(own) // the mapping stays
	parts, err := cached(ctx, filepath.Join(own, name), key, build)
	if err != nil {
		return nil, err
	}
	parts.note(fmt.Sprintf("the images are decoded at every start, since they cannot be kept (%v); data.cache_dir names a folder for them", reason))
	return parts, nil
}
