package datasets

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
)

// svhn is the Street View House Numbers, cropped digits (format 2).
var svhn = &published{
	name:    "svhn",
	folders: []string{"", "svhn", "SVHN"},
	mirrors: []string{"http://ufldl.stanford.edu/housenumbers/"}, // no TLS, which the checksums make up for as far as MD5 does
	forms: []form{{load: loadSVHN, files: []publishedFile{
		{names: []string{"train_32x32.mat"}, fetch: "train_32x32.mat", sum: checksum{"MD5", "e26dedcc434d2e4c54c9b2d4a06d8373"}},
		{names: []string{"test_32x32.mat"}, fetch: "test_32x32.mat", sum: checksum{"MD5", "eb5a983be6a315427106f1b164d9cef3"}},
	}}},
}

func loadSVHN(_ context.Context, paths []string, _ Options) (*Parts, error) {
	var sets [2]*Set
	for i, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, &InputError{Err: err}
		}
		sets[i], err = readSVHN(bufio.NewReaderSize(f, 1<<18))
		f.Close()
		if err != nil {
			return nil, fileError(path, err)
		}
	}
	return &Parts{Train: sets[0], Test: sets[1]}, nil
}

// readSVHN reads the arrays X, uint8 [32, 32, 3, n] (row, column, channel, image; the first index the fastest), and y, [n, 1] of 1
// to 10, where 10 is the digit 0.
func readSVHN(r *bufio.Reader) (*Set, error) {
	arrays, err := readMAT(r, "X", "y")
	if err != nil {
		return nil, err
	}
	const side = 32
	x, y := arrays["X"], arrays["y"]
	if len(x.dims) != 4 || !slices.Equal(x.dims[:3], []int{side, side, 3}) || x.class != 9 || x.kind != 2 {
		return nil, fmt.Errorf("the array X has the shape %v, and should be bytes of the shape [32 32 3 n]", x.dims)
	}
	n := x.dims[3]
	if len(y.dims) != 2 || y.dims[0] != n && y.dims[1] != n || len(y.data)/int(matSizes[y.kind]) != n {
		return nil, fmt.Errorf("the array y has the shape %v, and should have [%d 1], a label for each image", y.dims, n)
	}
	labels, err := y.whole()
	if err != nil {
		return nil, fmt.Errorf("y: %w", err)
	}
	s := &Set{Name: "svhn", N: n, C: 3, H: side, W: side, Classes: 10, Pixels: make([]byte, len(x.data)), Labels: make([]uint16, n)}
	for i, label := range labels {
		if label < 1 || label > 10 {
			return nil, fmt.Errorf("label %d of image %d is out of range; labels go from 1 to 10, which is the digit 0", label, i)
		}
		s.Labels[i] = uint16(label % 10)
	}
	for at := 0; at < len(x.data); at += side * side { // a plane, by columns
		from, to := x.data[at:at+side*side], s.Pixels[at:at+side*side]
		for column := range side {
			for row, v := range from[column*side : (column+1)*side] {
				to[row*side+column] = v
			}
		}
	}
	return s, nil
}
