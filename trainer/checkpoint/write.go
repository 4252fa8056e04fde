package checkpoint

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"unicode/utf8"

	"github.com/google/renameio/v2"
)

const metadataKey = "__metadata__"

// maxHeader is the format's own limit on the JSON header.
const maxHeader = 100_000_000

// Write stores f at path: beside it first, then renamed, so that a reader sees
// the old file or the new one and nothing between. Equal input gives equal bytes.
//
// The header lists the tensors in the given order. The data is laid out by
// falling element size, as the format's own library does, so that every tensor
// is aligned for readers that map the file.
func Write(path string, f *File) error {
	return WriteAtomic(path, func(w io.Writer) error { return encode(w, f) })
}

// encode writes f as safetensors.
func encode(w io.Writer, f *File) error {
	layout := slices.Clone(f.Tensors)
	slices.SortStableFunc(layout, func(a, b Tensor) int { return b.DType.Size() - a.DType.Size() })
	begin := make(map[string]int, len(layout))
	offset := 0
	for _, t := range layout {
		if err := t.check(); err != nil {
			return err
		}
		if _, twice := begin[t.Name]; twice || t.Name == metadataKey || !utf8.ValidString(t.Name) {
			return fmt.Errorf("tensor name %q is reserved, not UTF-8, or used twice", t.Name)
		}
		begin[t.Name] = offset
		offset += len(t.Data)
	}
	header, err := encodeHeader(f, begin)
	if err != nil {
		return err
	}
	if len(header) > maxHeader {
		return fmt.Errorf("the header of %d bytes is longer than the format's limit of %d", len(header), maxHeader)
	}
	if err := binary.Write(w, binary.LittleEndian, uint64(len(header))); err != nil {
		return err
	}
	if _, err := w.Write(header); err != nil {
		return err
	}
	for _, t := range layout {
		if _, err := w.Write(t.Data); err != nil {
			return err
		}
	}
	return nil
}

// encodeHeader returns the JSON header padded with spaces to a multiple of 8.
// It is put together by hand because a Go map would not keep the order.
func encodeHeader(f *File, begin map[string]int) ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	if len(f.Metadata) > 0 {
		for k, v := range f.Metadata {
			if !utf8.ValidString(k) || !utf8.ValidString(v) {
				return nil, fmt.Errorf("metadata %q is not UTF-8", k)
			}
		}
		m, err := json.Marshal(f.Metadata) // sorts the keys
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, "%q:%s", metadataKey, m)
	}
	for _, t := range f.Tensors {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		shape, err := json.Marshal(append([]int64{}, t.Shape...)) // a scalar is [], not null
		if err != nil {
			return nil, err
		}
		at := begin[t.Name]
		fmt.Fprintf(&b, `%s:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, name, t.DType, shape, at, at+len(t.Data))
	}
	b.WriteByte('}')
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	return b.Bytes(), nil
}

// WriteAtomic fills a file beside path, syncs it, renames it to path and syncs
// the folder.
func WriteAtomic(path string, fill func(io.Writer) error) error {
	t, err := pending(path, fill)
	if err != nil {
		return err
	}
	defer t.Cleanup() // nothing to clean after success, and the first error matters otherwise
	if err := t.CloseAtomicallyReplace(); err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

// pending writes and syncs a file beside path, ready to be renamed.
func pending(path string, fill func(io.Writer) error) (*renameio.PendingFile, error) {
	t, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return nil, fmt.Errorf("cannot write %s: %w", path, err)
	}
	w := bufio.NewWriterSize(t, 1<<16)
	err = fill(w)
	if err == nil {
		err = w.Flush()
	}
	if err == nil {
		err = t.Sync()
	}
	if err != nil {
		t.Cleanup()
		return nil, fmt.Errorf("cannot write %s: %w", path, err)
	}
	return t, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
