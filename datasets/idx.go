package datasets

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxIDXBytes is the largest content an IDX file may announce: MNIST's largest has 47 MB.
const maxIDXBytes = 1 << 30

// ReadIDX reads one IDX file of unsigned bytes: the bytes 0, 0, 8 (the element type) and the number of
// dimensions (1 to 4), each dimension as a big-endian uint32, then the elements row-major. The input must
// end there. Memory grows with what is really read, never with what the header claims.
func ReadIDX(r io.Reader) (dims []int, data []byte, err error) {
	var magic [4]byte
	if err := readHeader(r, magic[:]); err != nil {
		return nil, nil, err
	}
	if magic[0] != 0 || magic[1] != 0 {
		return nil, nil, fmt.Errorf("this is no IDX file: it starts with %#x, and should with two zero bytes", magic)
	}
	if magic[2] != 8 {
		return nil, nil, fmt.Errorf("the IDX element type is %#x, and should be 0x8 (unsigned bytes)", magic[2])
	}
	if magic[3] < 1 || magic[3] > 4 {
		return nil, nil, fmt.Errorf("the IDX header gives %d dimensions, and should give 1 to 4", magic[3])
	}
	dims = make([]int, magic[3])
	want := uint64(1)
	for i := range dims {
		var b [4]byte
		if err := readHeader(r, b[:]); err != nil {
			return nil, nil, err
		}
		d := binary.BigEndian.Uint32(b[:])
		// want is at most 2^30 and d below 2^32, so that the product cannot overflow.
		if want *= uint64(d); d == 0 || want > maxIDXBytes {
			return nil, nil, fmt.Errorf("the IDX header's dimension %d is %d: the content must have 1 to %d bytes in all", i+1, d, maxIDXBytes)
		}
		dims[i] = int(d)
	}
	data, err = readExactly(r, int(want))
	return dims, data, err
}

func readHeader(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return errors.New("the file ends within its IDX header")
	}
	return err
}

// readExactly reads want bytes and then the end of the input. The buffer doubles with what has arrived.
func readExactly(r io.Reader, want int) ([]byte, error) {
	data := make([]byte, 0, min(want, 1<<20))
	for len(data) < want {
		if len(data) == cap(data) {
			grown := make([]byte, len(data), min(want, 2*cap(data)))
			copy(grown, data)
			data = grown
		}
		n, err := io.ReadFull(r, data[len(data):cap(data)])
		data = data[:len(data)+n]
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil, fmt.Errorf("the file is truncated: its header announces %d bytes of content and %d are there", want, len(data))
		}
		if err != nil {
			return nil, err
		}
	}
	// Reading on to the end also makes gzip check its checksum.
	var extra [1]byte
	switch n, err := io.ReadFull(r, extra[:]); {
	case n > 0:
		return nil, fmt.Errorf("the file has bytes after the %d that its header announces", want)
	case err != io.EOF:
		return nil, err
	}
	return data, nil
}

// contentReader reads a file's content, unpacked where it is gzip (told by its first bytes, not its name).
type contentReader struct {
	io.Reader
	file *os.File
}

func (c *contentReader) Close() error { return c.file.Close() }

func openContent(path string) (*contentReader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	buffered := bufio.NewReaderSize(f, 1<<16)
	r, err := unpack(buffered)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &contentReader{Reader: r, file: f}, nil
}

// unpack returns the content of r: unpacked where it starts with gzip's magic, as it is otherwise.
func unpack(r *bufio.Reader) (io.Reader, error) {
	if magic, _ := r.Peek(2); len(magic) < 2 || magic[0] != 0x1f || magic[1] != 0x8b {
		return r, nil
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, gzipError(err)
	}
	return gzipReader{z}, nil
}

// gzipReader says in its errors that the packing is at fault, and keeps a cut archive apart from a
// content that ends early.
type gzipReader struct{ z *gzip.Reader }

func (g gzipReader) Read(p []byte) (int, error) {
	n, err := g.z.Read(p)
	if err != nil && err != io.EOF {
		err = gzipError(err)
	}
	return n, err
}

// gzipFault is an archive that does not unpack.
type gzipFault struct{ err error }

func (e *gzipFault) Error() string { return e.err.Error() }
func (e *gzipFault) Unwrap() error { return e.err }

func gzipError(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return &gzipFault{errors.New("the gzip file is truncated")}
	}
	return &gzipFault{fmt.Errorf("the gzip file is corrupt (%w)", err)}
}
