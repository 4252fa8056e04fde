package datasets

import (
	"bytes"
	"encoding/binary"
)

// orientation is how a JPEG's Exif data (tag 0x0112) says that the stored image is to be turned: 1, as it is, to 8.
func orientation(jpeg []byte) int {
	for at := 2; at+4 <= len(jpeg) && jpeg[at] == 0xff; {
		marker, size := jpeg[at+1], int(binary.BigEndian.Uint16(jpeg[at+2:]))
		if marker == 0xda || size < 2 || at+2+size > len(jpeg) { // the image itself begins, or nothing that can be read
			break
		}
		if exif, ok := bytes.CutPrefix(jpeg[at+4:at+2+size], []byte("Exif\x00\x00")); ok && marker == 0xe1 {
			return exifOrientation(exif)
		}
		at += 2 + size
	}
	return 1
}

// exifOrientation looks through the first directory of a TIFF header.
func exifOrientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.LittleEndian
	if bytes.HasPrefix(tiff, []byte("MM")) {
		order = binary.BigEndian
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return 1
	}
	entries := tiff[at+2:]
	for range order.Uint16(tiff[at:]) {
		if len(entries) < 12 {
			break
		}
		if order.Uint16(entries) == 0x0112 {
			if v := int(order.Uint16(entries[8:])); v >= 1 && v <= 8 {
				return v
			}
			break
		}
		entries = entries[12:]
	}
	return 1
}

// upright undoes an orientation: 2 to 4 mirror or turn by half, 5 to 8 swap the sides too.
func (p picture) upright(o int) picture {
	if o < 2 || o > 8 {
		return p
	}
	out := newPicture(p.w, p.h, p.c)
	if o >= 5 {
		out.w, out.h = p.h, p.w
	}
	mirrorX := o == 2 || o == 3 || o == 7 || o == 8 // of the stored image, once the sides are swapped back
	mirrorY := o == 3 || o == 4 || o == 6 || o == 7
	for y := range out.h {
		for x := range out.w {
			sx, sy := x, y
			if o >= 5 {
				sx, sy = y, x
			}
			if mirrorX {
				sx = p.w - 1 - sx
			}
			if mirrorY {
				sy = p.h - 1 - sy
			}
			copy(out.pix[(y*out.w+x)*p.c:][:p.c], p.pix[(sy*p.w+sx)*p.c:][:p.c])
		}
	}
	return out
}
