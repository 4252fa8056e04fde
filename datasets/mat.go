package datasets

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
)

// The types of elements in a MAT-file of level 5 ("MAT-File Format", MathWorks, table 1-1), and how many bytes a value has.
const (
	matInt8       = 1
	matInt32      = 5
	matUint32     = 6
	matMatrix     = 14
	matCompressed = 15
)

var matSizes = map[uint32]int64{1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8}

// maxMATBytes is the largest array that is read: SVHN's largest has 225 MB.
const maxMATBytes = 1 << 30

// maxMATRatio is how many times its bytes a packed array may have: images of digits hardly get smaller, labels four times.
const maxMATRatio = 64

// matArray is a numeric array: real, its first index the fastest.
type matArray struct {
	class byte // 6 is double, 9 uint8
	kind  uint32
	dims  []int
	data  []byte // little-endian
}

// readMAT reads the named numeric arrays of a little-endian MAT-file of level 5, packed with zlib or not, and passes over others.
// Memory grows with what is really read, never with what a header claims.
func readMAT(r io.Reader, names ...string) (map[string]*matArray, error) {
	var header [128]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return nil, matEnd(err)
	}
	switch {
	case string(header[124:]) == "\x00\x02IM":
		return nil, errors.New("this is a MAT-file of version 7.3; one of version 5 to 7 is needed")
	case string(header[124:]) != "\x00\x01IM":
		return nil, errors.New("this is no little-endian MAT-file of level 5")
	}
	found := map[string]*matArray{}
	for {
		kind, size, err := matTag(r)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, matEnd(err)
		}
		body := &io.LimitedReader{R: r, N: size}
		name, a, err := matElement(body, kind, size, names)
		if err == nil && a != nil && found[name] != nil {
			err = fmt.Errorf("the array %s is there twice", name)
		}
		if err == nil {
			_, err = io.Copy(io.Discard, body)
		}
		if err == nil && body.N > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, matEnd(err)
		}
		if a != nil {
			found[name] = a
		}
	}
	for _, name := range names {
		if found[name] == nil {
			return nil, fmt.Errorf("the MAT-file has no array %s", name)
		}
	}
	return found, nil
}

func matEnd(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the MAT-file is truncated")
	}
	return err
}

// matTag reads an element's type and size; io.EOF where the file ends before it.
func matTag(r io.Reader) (kind uint32, size int64, err error) {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return 0, 0, err
	}
	return binary.LittleEndian.Uint32(b[:]), int64(binary.LittleEndian.Uint32(b[4:])), nil
}

// matElement reads one of the file's elements: an array, or a packed one. The array is nil where its name is none of names.
func matElement(r io.Reader, kind uint32, size int64, names []string) (string, *matArray, error) {
	if kind == matMatrix {
		return matNumbers(r, maxMATBytes, names)
	}
	if kind != matCompressed {
		return "", nil, fmt.Errorf("the MAT-file has an element of type %d where an array is due", kind)
	}
	z, err := zlib.NewReader(r)
	if err != nil {
		return "", nil, packedError(err)
	}
	packed := size
	kind, size, err = matTag(z)
	if err != nil {
		return "", nil, packedError(err)
	}
	if kind != matMatrix {
		return "", nil, fmt.Errorf("the MAT-file has a packed element of type %d where an array is due", kind)
	}
	name, a, err := matNumbers(io.LimitReader(z, size), min(maxMATBytes, maxMATRatio*packed+1<<12), names)
	if err == nil && a != nil { // to the end, so that zlib checks its checksum
		var extra int64
		if extra, err = io.Copy(io.Discard, io.LimitReader(z, 8)); err == nil && extra == 8 {
			err = errors.New("a packed array of the MAT-file has bytes after its end")
		}
	}
	return name, a, packedError(err)
}

// packedError keeps the fault of the packing apart from a file that ends early.
func packedError(err error) error {
	if errors.Is(err, zlib.ErrChecksum) || errors.Is(err, zlib.ErrHeader) || errors.Is(err, zlib.ErrDictionary) {
		return fmt.Errorf("a packed array of the MAT-file is corrupt (%w)", err)
	}
	return err
}

// matNumbers reads an array: flags, dimensions, name and numbers, of no more than so many bytes.
func matNumbers(r io.Reader, most int64, names []string) (string, *matArray, error) {
	flags, err := matPart(r, matUint32, 8)
	if err != nil {
		return "", nil, err
	}
	dims, err := matPart(r, matInt32, 4*8)
	if err != nil {
		return "", nil, err
	}
	text, err := matPart(r, matInt8, 64)
	if err != nil {
		return "", nil, err
	}
	name := string(text)
	if !slices.Contains(names, name) {
		return name, nil, nil
	}
	a := &matArray{}
	if len(flags) != 8 || len(dims) < 8 || len(dims)%4 != 0 {
		return name, nil, fmt.Errorf("the array %s of the MAT-file has a damaged header", name)
	}
	a.class = flags[0]
	if a.class < 6 || a.class > 13 || flags[1]&0x08 != 0 {
		return name, nil, fmt.Errorf("the array %s of the MAT-file is not of real numbers (class %d)", name, a.class)
	}
	count := int64(1)
	for i := 0; i < len(dims); i += 4 {
		d := int64(int32(binary.LittleEndian.Uint32(dims[i:])))
		if count *= d; d < 1 || count > maxMATBytes {
			return name, nil, fmt.Errorf("the array %s of the MAT-file has a dimension of %d; 1 to %d values in all are read", name, d, maxMATBytes)
		}
		a.dims = append(a.dims, int(d))
	}
	a.kind, a.data, err = matData(r, count, most)
	if err != nil {
		err = fmt.Errorf("the array %s of the MAT-file: %w", name, err)
	}
	return name, a, err
}

// matPart reads a small part of an array, of a type and of no more than so many bytes.
func matPart(r io.Reader, kind uint32, most int64) ([]byte, error) {
	found, small, size, err := matPartTag(r)
	if err != nil {
		return nil, noEOF(err)
	}
	if found != kind || size > most {
		return nil, fmt.Errorf("an array of the MAT-file has a part of type %d with %d bytes, and type %d with at most %d is due", found, size, kind, most)
	}
	if small != nil {
		return small, nil
	}
	data := make([]byte, (size+7)/8*8)
	_, err = io.ReadFull(r, data)
	return data[:size], noEOF(err)
}

// matPartTag reads the tag of a part; one of up to four bytes has them in the tag.
func matPartTag(r io.Reader) (kind uint32, small []byte, size int64, err error) {
	kind, size, err = matTag(r)
	if err != nil || kind>>16 == 0 {
		return kind, nil, size, err
	}
	if kind>>16 > 4 {
		return 0, nil, 0, fmt.Errorf("the MAT-file has a damaged tag (%#x)", kind)
	}
	small = binary.LittleEndian.AppendUint32(nil, uint32(size))
	return kind & 0xffff, small[:kind>>16], int64(kind >> 16), nil
}

// matData reads so many numbers.
func matData(r io.Reader, count, most int64) (kind uint32, data []byte, err error) {
	kind, small, size, err := matPartTag(r)
	if err != nil {
		return 0, nil, noEOF(err)
	}
	if each := matSizes[kind]; each == 0 || size != count*each {
		return 0, nil, fmt.Errorf("its dimensions want %d numbers, and there are %d bytes of type %d", count, size, kind)
	}
	if small != nil {
		return kind, small, nil
	}
	if size > most {
		return 0, nil, fmt.Errorf("it has %d bytes, and no more than %d are read of an array, and of a packed one %d times its own", size, maxMATBytes, maxMATRatio)
	}
	var b bytes.Buffer
	if _, err := io.CopyN(&b, r, size); err != nil {
		return 0, nil, noEOF(err)
	}
	_, err = io.CopyN(io.Discard, r, -size&7)
	return kind, b.Bytes(), noEOF(err)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// whole gives the numbers as integers; those of a float must be whole.
func (a *matArray) whole() ([]int64, error) {
	each := int(matSizes[a.kind])
	out := make([]int64, 0, len(a.data)/each)
	for v := range slices.Chunk(a.data, each) {
		var f float64
		switch a.kind {
		case 1:
			f = float64(int8(v[0]))
		case 2:
			f = float64(v[0])
		case 3:
			f = float64(int16(binary.LittleEndian.Uint16(v)))
		case 4:
			f = float64(binary.LittleEndian.Uint16(v))
		case 5:
			f = float64(int32(binary.LittleEndian.Uint32(v)))
		case 6:
			f = float64(binary.LittleEndian.Uint32(v))
		case 7:
			f = float64(math.Float32frombits(binary.LittleEndian.Uint32(v)))
		case 9:
			f = math.Float64frombits(binary.LittleEndian.Uint64(v))
		}
		if f != math.Trunc(f) || math.Abs(f) > 1<<53 {
			return nil, fmt.Errorf("%v is no whole number", f)
		}
		out = append(out, int64(f))
	}
	return out, nil
}
