package checkpoint

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"unicode/utf8"
)

// maxRank is the largest number of dimensions accepted; libtorch stops at 64.
const maxRank = 64

// TensorInfo describes a tensor without its data. Offsets are bytes from the
// end of the header.
type TensorInfo struct {
	Name       string
	DType      DType
	Shape      []int64
	Begin, End int64
}

// Read loads a safetensors file. It trusts nothing in it: sizes are compared
// with the file's before memory is taken for them, and anything that is not
// exactly the format is an *InputError that names the file and the fault.
func Read(path string) (*File, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return decode(path, f, size)
}

// ReadSummed is Read, and gives the SHA-256 of what was read too, in
// hexadecimal: another file may be at path a moment later.
func ReadSummed(path string) (*File, string, error) {
	f, size, err := open(path)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	h := sha256.New()
	file, err := decode(path, io.TeeReader(f, h), size)
	return file, hex.EncodeToString(h.Sum(nil)), err
}

// ReadHeader reads the header alone: the metadata, and the tensors in the
// order of the header. It makes all the checks that Read makes.
func ReadHeader(path string) (meta map[string]string, infos []TensorInfo, err error) {
	f, size, err := open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	return decodeHeader(path, f, size)
}

// Infos are the header's entries of the file's tensors, without their places.
func (f *File) Infos() []TensorInfo {
	out := make([]TensorInfo, len(f.Tensors))
	for i, t := range f.Tensors {
		out[i] = TensorInfo{Name: t.Name, DType: t.DType, Shape: t.Shape}
	}
	return out
}

// open refuses what is not a regular file before opening it, since opening a
// named pipe would wait for ever.
func open(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, osInput(path, "cannot read the checkpoint", err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, badInput(path, "is not a file; expected a safetensors checkpoint")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, osInput(path, "cannot read the checkpoint", err)
	}
	return f, info.Size(), nil
}

// decode reads a whole file of the given size from r; path is for messages.
func decode(path string, r io.Reader, size int64) (*File, error) {
	meta, infos, err := decodeHeader(path, r, size)
	if err != nil {
		return nil, err
	}
	var total int64
	for _, t := range infos {
		total = max(total, t.End)
	}
	data := make([]byte, total) // checked: the file is this long
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, osInput(path, "cannot read the tensors", err)
	}
	f := &File{Metadata: meta, Tensors: make([]Tensor, len(infos))}
	for i, t := range infos {
		f.Tensors[i] = Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, Data: data[t.Begin:t.End:t.End]}
	}
	return f, nil
}

func decodeHeader(path string, r io.Reader, size int64) (map[string]string, []TensorInfo, error) {
	if size < 8 {
		return nil, nil, badInput(path, "is %d bytes long, too short for a safetensors file", size)
	}
	var length [8]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, nil, osInput(path, "cannot read the header", err)
	}
	n := binary.LittleEndian.Uint64(length[:])
	if magic := length[:]; n > maxHeader && (bytes.HasPrefix(magic, []byte("PK\x03\x04")) || magic[0] == 0x80 && magic[1] <= 5) { // a zip archive or a pickle
		return nil, nil, badInput(path, "is not a safetensors file; if it is PyTorch's, rapt import makes a checkpoint of it")
	}
	if n > maxHeader && !slices.ContainsFunc(length[:], func(b byte) bool { return b < '\t' || b > '~' }) {
		return nil, nil, badInput(path, "is a text: a checkpoint (.safetensors) or a run's folder is needed")
	}
	if n > maxHeader {
		return nil, nil, badInput(path, "is not a safetensors file: it claims a header of %d bytes, above the limit of %d", n, maxHeader)
	}
	if n > uint64(size-8) {
		return nil, nil, badInput(path, "is truncated or not a safetensors file: it claims a header of %d bytes and has %d", n, size-8)
	}
	header := make([]byte, n)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, nil, osInput(path, "cannot read the header", err)
	}
	meta, infos, err := parseHeader(header)
	if err == nil {
		err = checkLayout(infos, size-8-int64(n))
	}
	if err != nil {
		return nil, nil, badInput(path, "is not a valid safetensors file: %v", err)
	}
	return meta, infos, nil
}

// checkLayout demands that the tensors fill the data section without a hole,
// an overlap or a rest.
func checkLayout(infos []TensorInfo, section int64) error {
	byOffset := slices.Clone(infos)
	slices.SortStableFunc(byOffset, func(a, b TensorInfo) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), cmp.Compare(a.End, b.End))
	})
	var at int64
	for _, t := range byOffset {
		if t.Begin != at {
			return fmt.Errorf("tensor %.80q begins at byte %d, where %d is due (a hole or an overlap)", t.Name, t.Begin, at)
		}
		at = t.End
	}
	if at > section {
		return fmt.Errorf("the tensors need %d bytes and the file has %d; it is truncated", at, section)
	}
	if at < section {
		return fmt.Errorf("%d bytes follow the last tensor", section-at)
	}
	return nil
}

// headerParser walks the header token by token: unlike decoding into a map that
// sees duplicates, keeps the order, and takes memory only for what is allowed.
type headerParser struct{ dec *json.Decoder }

func parseHeader(header []byte) (meta map[string]string, infos []TensorInfo, err error) {
	if !utf8.Valid(header) {
		return nil, nil, errors.New("its header is not UTF-8")
	}
	p := headerParser{json.NewDecoder(bytes.NewReader(header))}
	p.dec.UseNumber()
	seen := make(map[string]bool)
	err = p.object("the header", func(name string) error {
		if seen[name] {
			return fmt.Errorf("the name %.80q occurs twice", name)
		}
		seen[name] = true
		var err error
		if name == metadataKey {
			meta, err = p.metadata()
			return err
		}
		t, err := p.tensor(name)
		infos = append(infos, t)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	if _, err := p.dec.Token(); err != io.EOF {
		return nil, nil, errors.New("something follows its JSON header")
	}
	return meta, infos, nil
}

// object reads {"key": value, ...}, calling value for each key; value reads what
// stands there.
func (p headerParser) object(what string, value func(key string) error) error {
	if err := p.delim('{', what+" is not a JSON object"); err != nil {
		return err
	}
	for p.dec.More() {
		tok, err := p.token()
		if err != nil {
			return err
		}
		key, ok := tok.(string)
		if !ok {
			return fmt.Errorf("%s is broken JSON", what)
		}
		if err := value(key); err != nil {
			return err
		}
	}
	return p.delim('}', what+" is broken JSON")
}

func (p headerParser) metadata() (map[string]string, error) {
	meta := make(map[string]string)
	err := p.object(metadataKey, func(key string) error {
		if _, twice := meta[key]; twice {
			return fmt.Errorf("the metadata key %.80q occurs twice", key)
		}
		tok, err := p.token()
		if err != nil {
			return err
		}
		s, ok := tok.(string)
		if !ok {
			return fmt.Errorf("the metadata of key %.80q is not a string", key)
		}
		meta[key] = s
		return nil
	})
	return meta, err
}

func (p headerParser) tensor(name string) (TensorInfo, error) {
	t := TensorInfo{Name: name}
	var offsets []int64
	what := fmt.Sprintf("the entry of tensor %.80q", name)
	fields := 0
	err := p.object(what, func(key string) (err error) {
		switch {
		case key == "dtype" && t.DType == "":
			var tok json.Token
			if tok, err = p.token(); err == nil {
				s, _ := tok.(string)
				t.DType = DType(s)
				if t.DType.Size() == 0 {
					err = fmt.Errorf("tensor %.80q has the unknown type %.40q", name, fmt.Sprint(tok))
				}
			}
		case key == "shape" && t.Shape == nil:
			t.Shape, err = p.sizes(what, maxRank)
		case key == "data_offsets" && offsets == nil:
			offsets, err = p.sizes(what, 2)
		default:
			err = fmt.Errorf("%s has the unexpected key %.80q", what, key)
		}
		fields++
		return err
	})
	if err != nil {
		return t, err
	}
	if fields != 3 || len(offsets) != 2 {
		return t, fmt.Errorf("%s needs dtype, shape and two data_offsets", what)
	}
	t.Begin, t.End = offsets[0], offsets[1]
	need, ok := byteCount(t.DType, t.Shape)
	if !ok {
		return t, fmt.Errorf("tensor %.80q has the impossible shape %v", name, t.Shape)
	}
	if t.End < t.Begin || t.End-t.Begin != need {
		return t, fmt.Errorf("tensor %.80q of type %s and shape %v needs %d bytes, and its data_offsets are %d and %d",
			name, t.DType, t.Shape, need, t.Begin, t.End)
	}
	return t, nil
}

// sizes reads an array of at most limit integers that are not negative.
func (p headerParser) sizes(what string, limit int) ([]int64, error) {
	if err := p.delim('[', what+" lacks an array of sizes"); err != nil {
		return nil, err
	}
	v := []int64{}
	for p.dec.More() {
		tok, err := p.token()
		if err != nil {
			return nil, err
		}
		num, _ := tok.(json.Number)
		n, err := strconv.ParseInt(string(num), 10, 64)
		if err != nil || n < 0 {
			return nil, fmt.Errorf("%s has the size %.40q, which is no whole number from 0 to 2^63-1", what, fmt.Sprint(tok))
		}
		if len(v) == limit {
			return nil, fmt.Errorf("%s has more than %d sizes in a row", what, limit)
		}
		v = append(v, n)
	}
	return v, p.delim(']', what+" is broken JSON")
}

func (p headerParser) delim(want json.Delim, problem string) error {
	tok, err := p.token()
	if err != nil {
		return err
	}
	if tok != want {
		return errors.New(problem)
	}
	return nil
}

func (p headerParser) token() (json.Token, error) {
	tok, err := p.dec.Token()
	if err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errors.New("its header ends early")
	}
	if err != nil {
		return nil, fmt.Errorf("its header is broken JSON: %w", err)
	}
	return tok, nil
}

// SHA256 is a file's, in hexadecimal.
func SHA256(path string) (string, error) {
	f, _, err := open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", osInput(path, "cannot read the checkpoint", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
