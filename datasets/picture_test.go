package datasets

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func testdata(t testing.TB, name string) []byte {
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return raw
}

// decodePicture reads a whole file, as the images of a set are read.
func decodePicture(raw []byte, size int) (picture, error) {
	f, err := openPicture(raw)
	if err != nil {
		return picture{}, err
	}
	return f.decode(size)
}

// TestPicturesAreAsPILDecodesThem: testdata/pictures.py made both. Lossless images are equal. Of lossy ones a decoder may round the
// cosine transform and the colours its own way, and WebP's chroma is interpolated otherwise.
func TestPicturesAreAsPILDecodesThem(t *testing.T) {
	for name, c := range map[string]struct {
		most     int     // difference of a value
		mean     float64 // difference
		channels int
	}{
		"444.jpg": {3, 0.3, 3}, "422.jpg": {3, 0.3, 3}, "420.jpg": {3, 0.3, 3}, "420-large.jpg": {3, 0.3, 3}, "420-progressive.jpg": {3, 0.3, 3},
		"grey.jpg": {1, 0.3, 1}, "cmyk.jpg": {4, 0.8, 3},
		"lossless.webp": {0, 0, 3}, "lossy.webp": {4, 0.8, 3},
		"alpha.png": {0, 0, 3}, "palette.png": {0, 0, 3},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodePicture(testdata(t, name), 0)
			require.NoError(t, err)
			want, err := decodePicture(testdata(t, name+".png"), 0)
			require.NoError(t, err)
			assert.Equal(t, c.channels, got.channels())
			most, mean := difference(t, want, got)
			assert.LessOrEqual(t, most, c.most)
			assert.LessOrEqual(t, mean, c.mean)
		})
	}
}

func difference(t *testing.T, a, b picture) (most int, mean float64) {
	require.Equal(t, [3]int{a.w, a.h, a.c}, [3]int{b.w, b.h, b.c})
	x, y := a.planar(), b.planar()
	for i := range x {
		d := int(x[i]) - int(y[i])
		most = max(most, d, -d)
		mean += float64(max(d, -d)) / float64(len(x))
	}
	return most, mean
}

// TestFitIsResizeAndCentreCrop compares with PIL's BILINEAR, which torchvision's Resize takes, and its CenterCrop.
func TestFitIsResizeAndCentreCrop(t *testing.T) {
	for size, name := range map[int]string{16: "57x40-16.png", 50: "57x40-50.png"} {
		got, err := decodePicture(testdata(t, "57x40.png"), size)
		require.NoError(t, err)
		want, err := decodePicture(testdata(t, name), 0)
		require.NoError(t, err)
		most, mean := difference(t, want, got)
		assert.LessOrEqual(t, most, 2, name)
		assert.LessOrEqual(t, mean, 0.5, name)
	}
	upright, err := decodePicture(pngOf(t, image.NewGray(image.Rect(0, 0, 3, 9))), 5)
	require.NoError(t, err)
	assert.Equal(t, [3]int{5, 5, 1}, [3]int{upright.w, upright.h, upright.c})
	_, err = decodePicture(pngOf(t, image.NewGray(image.Rect(0, 0, 1, 8000))), 4096)
	assert.ErrorContains(t, err, "too long a shape")
}

func pngOf(t testing.TB, img image.Image) []byte {
	var b bytes.Buffer
	require.NoError(t, png.Encode(&b, img))
	return b.Bytes()
}

func TestSixteenBitsKeepTheirUpperEight(t *testing.T) {
	grey := image.NewGray16(image.Rect(0, 0, 2, 1))
	grey.SetGray16(1, 0, color.Gray16{0xabcd})
	p, err := decodePicture(pngOf(t, grey), 0)
	require.NoError(t, err)
	assert.Equal(t, picture{2, 1, 1, []byte{0, 0xab}}, p)

	clear := image.NewNRGBA64(image.Rect(0, 0, 1, 1))
	clear.SetNRGBA64(0, 0, color.NRGBA64{0x1234, 0x5678, 0x9abc, 0xffff})
	p, err = decodePicture(pngOf(t, clear), 0)
	require.NoError(t, err)
	assert.Equal(t, []byte{0x12, 0x56, 0x9a}, p.planar())
}

// turned puts an Exif orientation into a JPEG.
func turned(jpeg []byte, o uint16, order binary.AppendByteOrder) []byte {
	tiff := []byte("II*\x00")
	if order == binary.AppendByteOrder(binary.BigEndian) {
		tiff = []byte("MM\x00*")
	}
	tiff = order.AppendUint32(tiff, 8)
	tiff = order.AppendUint16(tiff, 1) // one entry: the tag, SHORT, one value
	tiff = order.AppendUint16(order.AppendUint16(tiff, 0x0112), 3)
	tiff = order.AppendUint16(order.AppendUint32(tiff, 1), o)
	tiff = order.AppendUint32(append(tiff, 0, 0), 0)
	exif := append([]byte("Exif\x00\x00"), tiff...)
	app1 := binary.BigEndian.AppendUint16([]byte{0xff, 0xe1}, uint16(len(exif)+2))
	return bytes.Join([][]byte{jpeg[:2], app1, exif, jpeg[2:]}, nil)
}

func TestOrientationIsApplied(t *testing.T) {
	raw := testdata(t, "grey.jpg")
	stored, err := decodePicture(raw, 0)
	require.NoError(t, err)
	w, h := stored.w, stored.h
	at := func(x, y int) byte { return stored.pix[y*w+x] }
	// Where the pixel that is shown at x, y is stored (Exif 2.3, section 4.6.4 A).
	for o, from := range map[uint16]func(x, y int) byte{
		1: func(x, y int) byte { return at(x, y) },
		2: func(x, y int) byte { return at(w-1-x, y) },
		3: func(x, y int) byte { return at(w-1-x, h-1-y) },
		4: func(x, y int) byte { return at(x, h-1-y) },
		5: func(x, y int) byte { return at(y, x) },
		6: func(x, y int) byte { return at(y, h-1-x) },
		7: func(x, y int) byte { return at(w-1-y, h-1-x) },
		8: func(x, y int) byte { return at(w-1-y, x) },
		9: func(x, y int) byte { return at(x, y) }, // there is none
	} {
		for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
			p, err := decodePicture(turned(raw, o, order), 0)
			require.NoError(t, err)
			if o >= 5 && o <= 8 {
				require.Equal(t, [2]int{h, w}, [2]int{p.w, p.h}, o)
			}
			for i, v := range p.pix {
				require.Equal(t, from(i%p.w, i/p.w), v, "orientation %d, pixel %d", o, i)
			}
		}
	}
}

// hugePNG has a header that claims so many pixels.
func hugePNG(w, h uint32) []byte {
	ihdr := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32([]byte("IHDR"), w), h)
	ihdr = append(ihdr, 8, 2, 0, 0, 0)
	out := append([]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\x0d"), ihdr...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(ihdr))
}

func TestPicturesThatAreRefused(t *testing.T) {
	jpeg := testdata(t, "420-large.jpg")
	whole := testdata(t, "57x40.png")
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"empty":        {nil, "the file is empty"},
		"text":         {[]byte("GIF89a and so on"), "no JPEG, PNG or WebP"},
		"JPEG cut":     {jpeg[:len(jpeg)/2], "truncated"},
		"JPEG no end":  {jpeg[:len(jpeg)-2], "truncated"},
		"JPEG start":   {jpeg[:4], "truncated"},
		"PNG cut":      {whole[:len(whole)-20], "unexpected EOF"},
		"PNG flipped":  {flip(whole, len(whole)/2), "damaged"},
		"WebP cut":     {testdata(t, "lossy.webp")[:100], "image is"},
		"huge PNG":     {hugePNG(60000, 60000), "60000 by 60000 pixels"},
		"PNG header":   {hugePNG(1<<31-1, 1<<31-1), "image"},
		"JPEG and PNG": {append(bytes.Clone(jpeg[:20]), whole...), "image is"},
	} {
		_, err := decodePicture(c.raw, 0)
		assert.ErrorContains(t, err, c.says, name)
	}
}

func flip(raw []byte, at int) []byte {
	out := bytes.Clone(raw)
	out[at] ^= 0x55
	return out
}

func FuzzPicture(f *testing.F) {
	for _, name := range []string{"420.jpg", "420-progressive.jpg", "cmyk.jpg", "lossless.webp", "lossy.webp", "alpha.png", "palette.png"} {
		f.Add(testdata(f, name))
	}
	f.Add(turned(testdata(f, "grey.jpg"), 6, binary.BigEndian))
	f.Add(hugePNG(1<<13, 1<<13))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := decodePicture(raw, 8)
		if err == nil {
			require.Equal(t, [2]int{8, 8}, [2]int{p.w, p.h})
			require.Len(t, p.planar(), 64*p.channels())
		}
		orientation(raw)
	})
}
