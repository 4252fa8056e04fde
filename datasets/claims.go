package datasets

import (
	"bytes"
	"errors"
	"fmt"
	"image"

	"golang.org/x/image/riff"
	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
)

// A header of a few bytes may claim an image of hundreds of megabytes, which decoders allocate before they look for its content.

// cost is about how many bytes are in use while a file is decoded and scaled to size: up to 8 a pixel in the decoder and 4 here twice;
// scaled ones take 4 twice; and the scaling 32 for each pixel of the new width and the old height.
func (f pictureFile) cost(size int) int64 {
	total := 16 * int64(f.w) * int64(f.h)
	if size > 0 {
		w, h := scaled(f.w, f.h, size)
		total += 8*int64(w)*int64(h) + 32*int64(w)*int64(f.h)
	}
	return total
}

// cannotHold is the fault of a file of which so many bytes are the least that its pixels take.
func (f pictureFile) cannotHold(least int) error {
	if len(f.raw) >= least {
		return nil
	}
	return fmt.Errorf("the image is truncated: %d bytes cannot hold %d by %d pixels", len(f.raw), f.w, f.h)
}

// checkPNG: deflate makes at most 1032 bytes of one (zlib's technical details). The header comes first: after 8 bytes of magic and 8 of
// its chunk, the sides, the bits of a sample and the kind of colour.
func checkPNG(f pictureFile) error {
	bits, samples := int(f.raw[24]), map[byte]int{2: 3, 4: 2, 6: 4}[f.raw[25]]
	return f.cannotHold(f.w * f.h / 8 * bits * max(samples, 1) / 1032)
}

// checkJPEG: each block of 64 pixels takes at least one bit.
func checkJPEG(f pictureFile) error { return f.cannotHold(f.w * f.h / 64 / 8) }

// checkWebP: a frame may be larger than the canvas that the header claims, and would be decoded in its own size.
func checkWebP(f pictureFile) error {
	_, chunks, err := riff.NewReader(bytes.NewReader(f.raw))
	if err != nil {
		return imageError(err)
	}
	for {
		id, size, data, err := chunks.Next()
		if err != nil {
			return imageError(err)
		}
		var w, h int
		switch id {
		case riff.FourCC{'V', 'P', '8', ' '}:
			d := vp8.NewDecoder()
			d.Init(data, int(size))
			var header vp8.FrameHeader
			header, err = d.DecodeFrameHeader()
			w, h = header.Width, header.Height
		case riff.FourCC{'V', 'P', '8', 'L'}:
			var c image.Config
			c, err = vp8l.DecodeConfig(data)
			w, h = c.Width, c.Height
		default:
			continue
		}
		if err == nil && (w != f.w || h != f.h) {
			return errors.New("the image is damaged: its frame has another size than its canvas")
		}
		return imageError(err)
	}
}
