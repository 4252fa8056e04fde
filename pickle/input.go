package pickle

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDigits bounds a whole number, whose decimal reading takes quadratic time.
const maxDigits = 4096

func (m *machine) byte() (byte, error) {
	if m.read >= m.o.MaxBytes {
		return 0, m.tooLong()
	}
	b, err := m.in.ReadByte()
	if err == nil {
		m.read++
	}
	return b, err
}

func (m *machine) tooLong() error {
	return fmt.Errorf("it is longer than %d bytes, the limit here", m.o.MaxBytes)
}

// bytes reads n bytes. Memory is taken as they come, not as they are claimed.
func (m *machine) bytes(n uint64) ([]byte, error) {
	if left := uint64(m.o.MaxBytes - m.read); n > left {
		return nil, fmt.Errorf("it claims a value of %d bytes, and the limit here leaves it %d", n, left)
	}
	var b []byte
	var got int
	var err error
	if n <= 1<<16 {
		b = make([]byte, n)
		got, err = io.ReadFull(m.in, b)
	} else {
		var buf bytes.Buffer
		var copied int64
		copied, err = io.CopyN(&buf, m.in, int64(n))
		b, got = buf.Bytes(), int(copied)
	}
	m.read += int64(got)
	return b, err
}

// uint reads a little-endian number of so many bytes, at most 8.
func (m *machine) uint(size int) (uint64, error) {
	b, err := m.bytes(uint64(size))
	if err != nil {
		return 0, err
	}
	var full [8]byte
	copy(full[:], b)
	return binary.LittleEndian.Uint64(full[:]), nil
}

// counted reads a length of so many bytes, then as many bytes.
func (m *machine) counted(size int) ([]byte, error) {
	n, err := m.uint(size)
	if err != nil {
		return nil, err
	}
	return m.bytes(n)
}

// text reads counted UTF-8. Python may write lone surrogates, which no name or number of ours needs.
func (m *machine) text(size int) (string, error) {
	b, err := m.counted(size)
	if err == nil && !utf8.Valid(b) {
		err = errors.New("a string of it is not UTF-8")
	}
	return string(b), err
}

// line reads up to the next line feed, which it leaves out.
func (m *machine) line() (string, error) {
	var line []byte
	for {
		part, err := m.in.ReadSlice('\n')
		m.read += int64(len(part))
		line = append(line, part...)
		if m.read > m.o.MaxBytes {
			return "", m.tooLong()
		}
		if err == nil {
			return string(line[:len(line)-1]), nil
		}
		if len(part) == 0 || err == io.EOF {
			return "", err
		}
	}
}

// index reads a line with a memo's index.
func (m *machine) index() (int64, error) {
	s, err := m.line()
	if err != nil {
		return 0, err
	}
	i, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%.40q is no memo index", s)
	}
	return i, nil
}

// decimal reads the whole number of protocol 0, with or without Python 2's L.
func decimal(s string) (any, error) {
	s = strings.TrimSuffix(strings.TrimSpace(s), "L")
	if i, err := strconv.ParseInt(s, 10, 64); err == nil {
		return i, nil
	}
	if len(s) <= maxDigits {
		if n, ok := new(big.Int).SetString(s, 10); ok {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%.40q is no whole number of at most %d digits", s, maxDigits)
}

// twosComplement reads a little-endian signed number of any length.
func twosComplement(b []byte) (any, error) {
	if len(b) > maxDigits {
		return nil, fmt.Errorf("a whole number of it has %d bytes, more than %d", len(b), maxDigits)
	}
	n := new(big.Int)
	be := make([]byte, len(b))
	for i, x := range b {
		be[len(b)-1-i] = x
	}
	n.SetBytes(be)
	if len(b) > 0 && b[len(b)-1]&0x80 != 0 {
		n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(8*len(b))))
	}
	if n.IsInt64() {
		return n.Int64(), nil
	}
	return n, nil
}

// quoted reads a str of protocol 0: Python's repr, in either kind of quotes, with its backslash escapes.
func quoted(s string) (Bytes, error) {
	s = strings.TrimSpace(s)
	if len(s) < 2 || s[0] != s[len(s)-1] || s[0] != '\'' && s[0] != '"' {
		return nil, errors.New("a string of it is not in quotes")
	}
	s = s[1 : len(s)-1]
	out := Bytes{}
	for len(s) > 0 {
		b, rest, err := unescape(s)
		if err != nil {
			return nil, err
		}
		out, s = append(out, b...), rest
	}
	return out, nil
}

var escapes = map[byte]string{'\\': "\\", '\'': "'", '"': "\"", 'n': "\n", 'r': "\r", 't': "\t"}

// unescape takes the first character of a string literal as Python's repr writes it.
func unescape(s string) (char, rest string, err error) {
	if s[0] != '\\' {
		return s[:1], s[1:], nil
	}
	if len(s) >= 2 {
		if e, ok := escapes[s[1]]; ok {
			return e, s[2:], nil
		}
	}
	if len(s) >= 4 && s[1] == 'x' {
		if n, err := strconv.ParseUint(s[2:4], 16, 8); err == nil {
			return string([]byte{byte(n)}), s[4:], nil
		}
	}
	return "", "", fmt.Errorf("a string of it has the escape %.4q, which is none of Python's repr", s)
}

// rawUnicode reads a unicode string of protocol 0: \uXXXX and \UXXXXXXXX, every other byte a character of Latin-1.
func rawUnicode(s string) (string, error) {
	var out strings.Builder
	for i := 0; i < len(s); {
		size := 0
		if s[i] == '\\' && i+1 < len(s) {
			size = map[byte]int{'u': 4, 'U': 8}[s[i+1]]
		}
		if size == 0 {
			out.WriteRune(rune(s[i]))
			i++
			continue
		}
		if i+2+size > len(s) {
			return "", errors.New("a string of it ends within an escape")
		}
		n, err := strconv.ParseUint(s[i+2:i+2+size], 16, 32)
		if err != nil || !utf8.ValidRune(rune(n)) {
			return "", fmt.Errorf("a string of it has the escape %q, which is no character", s[i:i+2+size])
		}
		out.WriteRune(rune(n))
		i += 2 + size
	}
	return out.String(), nil
}
