package datasets

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/draw"
	"golang.org/x/image/webp"
)

// maxPixels is the largest image that is decoded, 8192 by 8192: a header may claim anything.
const maxPixels = 1 << 26

// picture is an image of bytes, row by row: 1 channel a pixel, or 4 of which the last is not used.
type picture struct {
	w, h, c int
	pix     []byte // [h, w, c]
}

func newPicture(w, h, c int) picture { return picture{w, h, c, make([]byte, w*h*c)} }

// format is a kind of image file.
type format struct {
	magic  string // a ? stands for any byte
	config func(io.Reader) (image.Config, error)
	decode func(io.Reader) (image.Image, error)
	check  func(pictureFile) error // that the file may be what its header claims
	yuv    *colours                // of YCbCr; nil where there is none
}

// JPEG's luma and chroma take the whole range (JFIF 1.02). WebP's (RFC 6386, section 9.2) are those of ITU-R BT.601: luma in
// [16, 235] and chroma in [16, 240].
var formats = []format{
	{"\xff\xd8\xff", jpeg.DecodeConfig, jpeg.Decode, checkJPEG, newColours(0, 1, 1.402, 0.344136, 0.714136, 1.772)},
	{"\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode, checkPNG, nil},
	{"RIFF????WEBP", webp.DecodeConfig, webp.Decode, checkWebP, newColours(16, 1.164383, 1.596027, 0.391762, 0.812968, 2.017232)},
}

func formatOf(raw []byte) *format {
	for i, f := range formats {
		if len(raw) < len(f.magic) {
			continue
		}
		same := true
		for j := range len(f.magic) {
			same = same && (f.magic[j] == '?' || f.magic[j] == raw[j])
		}
		if same {
			return &formats[i]
		}
	}
	return nil
}

// pictureFile is a whole JPEG, PNG or WebP file whose header was read.
type pictureFile struct {
	*format
	raw  []byte
	w, h int
}

// openPicture reads the header of an image file, and refuses sizes that would take much memory for nothing.
func openPicture(raw []byte) (f pictureFile, err error) {
	defer recoverDamage(&err)
	if len(raw) == 0 {
		return f, errors.New("the file is empty")
	}
	kind := formatOf(raw)
	if kind == nil {
		return f, errors.New("this is no JPEG, PNG or WebP image")
	}
	c, err := kind.config(bytes.NewReader(raw))
	if err != nil {
		return f, imageError(err)
	}
	if c.Width < 1 || c.Height < 1 || c.Width > maxPixels/c.Height {
		return f, fmt.Errorf("the image has %d by %d pixels; 1 to %d in all are read", c.Width, c.Height, maxPixels)
	}
	f = pictureFile{kind, raw, c.Width, c.Height}
	return f, kind.check(f)
}

// decode decodes the file, turned upright where a JPEG says how. Grey stays grey, 16 bits become their upper 8, alpha is dropped as
// PIL's convert("RGB") does, and CMYK becomes RGB. A size above 0 scales and crops it, see fit.
func (f pictureFile) decode(size int) (p picture, err error) {
	defer recoverDamage(&err)
	img, err := f.format.decode(bytes.NewReader(f.raw))
	if err != nil {
		return p, imageError(err)
	}
	p = toPicture(img, f.format)
	if f.magic == formats[0].magic {
		p = p.upright(orientation(f.raw))
	}
	if size > 0 {
		return p.fit(size)
	}
	return p, nil
}

// recoverDamage makes a decoder's fault on a hostile file that file's fault.
func recoverDamage(err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("the image is damaged (%v)", cause)
	}
}

func imageError(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the image is truncated")
	}
	return fmt.Errorf("the image is damaged or of a kind that is not read (%w)", err)
}

// toPicture takes the pixels out of an image.
func toPicture(img image.Image, f *format) picture {
	b := img.Bounds()
	w, h := b.Dx(), b.Dy()
	switch m := img.(type) {
	case *image.Gray:
		p := newPicture(w, h, 1)
		for y := range h {
			copy(p.pix[y*w:(y+1)*w], m.Pix[y*m.Stride:])
		}
		return p
	case *image.Gray16:
		p := newPicture(w, h, 1)
		for i := range p.pix {
			p.pix[i] = m.Pix[i/w*m.Stride+i%w*2]
		}
		return p
	case *image.YCbCr:
		return fromYCbCr(m, f.yuv)
	case *image.NYCbCrA:
		return fromYCbCr(&m.YCbCr, f.yuv)
	}
	p := newPicture(w, h, 4)
	for i := range w * h {
		x := color.NRGBAModel.Convert(img.At(b.Min.X+i%w, b.Min.Y+i/w)).(color.NRGBA)
		copy(p.pix[4*i:], []byte{x.R, x.G, x.B, 255})
	}
	return p
}

// fit scales the picture so that its shorter side is size, then crops size by size around its centre: torchvision's Resize and
// CenterCrop. The filter is the triangle, widened where it makes the image smaller (x/image/draw's BiLinear, PIL's BILINEAR).
func (p picture) fit(size int) (picture, error) {
	w, h := scaled(p.w, p.h, size)
	if w > maxPixels/h {
		return p, tooLong(p.w, p.h, size)
	}
	if w != p.w || h != p.h {
		scaled := newPicture(w, h, p.c)
		from, to := p.image(), scaled.image()
		draw.BiLinear.Scale(to, to.Bounds(), from, from.Bounds(), draw.Src, nil)
		p = scaled
	}
	if w == h {
		return p, nil
	}
	x, y := centre(w-size), centre(h-size)
	out := newPicture(size, size, p.c)
	for i := range size {
		at := ((y+i)*w + x) * p.c
		copy(out.pix[i*size*p.c:(i+1)*size*p.c], p.pix[at:])
	}
	return out, nil
}

// scaled is how many pixels an image has whose shorter side was made size.
func scaled(w, h, size int) (int, int) {
	if w < h {
		return size, size * h / w
	}
	return size * w / h, size
}

func tooLong(w, h, size int) error {
	return fmt.Errorf("the image has %d by %d pixels, too long a shape or too large to scale to %d", w, h, size)
}

// centre is half of what is cut off, rounded as torchvision does.
func centre(excess int) int { return int(math.RoundToEven(float64(excess) / 2)) }

// image is the picture as an image over the same bytes.
func (p picture) image() draw.Image {
	if p.c == 1 {
		return &image.Gray{Pix: p.pix, Stride: p.w, Rect: image.Rect(0, 0, p.w, p.h)}
	}
	return &image.RGBA{Pix: p.pix, Stride: 4 * p.w, Rect: image.Rect(0, 0, p.w, p.h)}
}

// channels is 1 for grey and 3 for colour.
func (p picture) channels() int { return min(p.c, 3) }

// planar gives the pixels as [channels, h, w].
func (p picture) planar() []byte {
	if p.c == 1 {
		return p.pix
	}
	n := p.w * p.h
	out := make([]byte, 3*n)
	red, green, blue := out[:n], out[n:2*n], out[2*n:]
	for i := range n {
		x := p.pix[4*i : 4*i+4]
		red[i], green[i], blue[i] = x[0], x[1], x[2]
	}
	return out
}
