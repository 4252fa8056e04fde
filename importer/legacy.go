package importer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"

	"rapt/pickle"
)

// legacy is a file of torch.save before PyTorch 1.6, or with _use_new_zipfile_serialization=False: pickles of a magic number, the
// protocol 1001, facts of the machine, the objects, and the keys of the storages; then for each key the number of its elements
// and the elements. These are little-endian whatever the machine was: PyTorch turns them round where it is not.
type legacy struct {
	file  *os.File
	size  int64
	seen  map[string]*storage // by key: those that lie in the file
	views []*view
}

// view is a storage that is part of another.
type view struct {
	*storage
	root   *storage
	offset int64 // elements of the root
}

// loadLegacy unpickles the objects and finds the storages.
func loadLegacy(f *os.File, size int64) (any, error) {
	l := &legacy{file: f, size: size, seen: map[string]*storage{}}
	count := &counter{r: f}
	r := bufio.NewReader(count)
	magic, err := pickle.Load(r, pickle.Options{MaxItems: 10})
	if err != nil {
		return nil, err
	}
	want, _ := new(big.Int).SetString("1950a86a20f9469cfc6c", 16)
	if n, ok := magic.(*big.Int); !ok || n.Cmp(want) != 0 {
		return nil, errors.New("does not begin with torch.save's magic number")
	}
	protocol, err := pickle.Load(r, pickle.Options{MaxItems: 10})
	if err != nil {
		return nil, err
	}
	if protocol != any(int64(1001)) {
		return nil, errors.New("is not of torch.save's protocol 1001, the only one known")
	}
	if _, err := pickle.Load(r, pickle.Options{MaxItems: 1000}); err != nil { // facts of the machine, which nothing depends on
		return nil, err
	}
	root, err := pickle.Load(r, options(l.storage))
	if err != nil {
		return nil, err
	}
	keys, err := pickle.Load(r, pickle.Options{})
	if err != nil {
		return nil, err
	}
	list, ok := keys.(*pickle.List)
	if !ok {
		return nil, errors.New("lacks the list of its storages")
	}
	return root, l.place(list.Items, count.n-int64(r.Buffered()))
}

// counter counts what was read through it.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// storage reads the id ("storage", type, key, place, numel, view); a view is (key, offset, numel), or None.
func (l *legacy) storage(id pickle.Tuple) (*storage, error) {
	s, err := newStorage(id)
	if err != nil {
		return nil, err
	}
	root := l.seen[s.key]
	if root == nil {
		root = s
		l.seen[s.key] = s
	}
	if root.dtype != s.dtype || root.numel != s.numel {
		return nil, fmt.Errorf("storage %.40q is given two types or sizes", s.key)
	}
	if len(id) < 6 || id[5] == nil {
		return root, nil
	}
	part, _ := id[5].(pickle.Tuple)
	if len(part) == 3 {
		offset, ok := part[1].(int64)
		numel, ok2 := part[2].(int64)
		if ok && ok2 && offset >= 0 && numel >= 0 && offset <= root.numel && numel <= root.numel-offset {
			v := &view{&storage{key: s.key, dtype: s.dtype, numel: numel}, root, offset}
			l.views = append(l.views, v)
			return v.storage, nil
		}
	}
	return nil, fmt.Errorf("a view of storage %.40q lies outside it", s.key)
}

// place finds where each storage lies, from the byte at.
func (l *legacy) place(keys []any, at int64) error {
	placed := map[string]bool{}
	for _, k := range keys {
		key, _ := pickle.Text(k)
		s := l.seen[key]
		if s == nil || placed[key] {
			return fmt.Errorf("the list of its storages holds %.40q, which is unknown or there twice", key)
		}
		placed[key] = true
		var head [8]byte
		if _, err := l.file.ReadAt(head[:], at); err != nil {
			return errors.New("is truncated")
		}
		at += 8
		if n := int64(binary.LittleEndian.Uint64(head[:])); n != s.numel {
			return fmt.Errorf("storage %.40q should have %d elements and has %d", key, s.numel, n)
		}
		if s.size() > l.size-at {
			return errors.New("is truncated")
		}
		from, size := at, s.size()
		s.load = func() ([]byte, error) {
			b := make([]byte, size) // checked: the file is this long
			_, err := l.file.ReadAt(b, from)
			return b, err
		}
		at += size
	}
	for key := range l.seen {
		if !placed[key] {
			return fmt.Errorf("the file lacks storage %.40q", key)
		}
	}
	for _, v := range l.views {
		width := int64(max(1, v.dtype.Size()))
		v.load = func() ([]byte, error) {
			b, err := v.root.bytes()
			if err != nil {
				return nil, err
			}
			return b[v.offset*width:][:v.size()], nil
		}
	}
	return nil
}
