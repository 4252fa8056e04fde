package datasets

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"image"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

// allocated is how much memory was taken while f ran, freed or not.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

// header is a tar archive of one member, of which nothing but the header is there.
func header(t testing.TB, h tar.Header) []byte {
	var b bytes.Buffer
	require.NoError(t, tar.NewWriter(&b).WriteHeader(&h))
	return b.Bytes()
}

// sparseTar has a member in GNU tar's PAX form 0.1 of a sparse file: all of its size is a hole.
func sparseTar(t testing.TB, name string, size int64) []byte {
	records := ""
	for _, r := range [][2]string{{"GNU.sparse.name", name}, {"GNU.sparse.size", fmt.Sprint(size)}, {"GNU.sparse.numblocks", "1"},
		{"GNU.sparse.map", fmt.Sprintf("%d,0", size)}} {
		line := " " + r[0] + "=" + r[1] + "\n"
		n := len(line) + 2
		if n > 99 {
			n++
		}
		records += fmt.Sprint(n) + line
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "PaxHeaders/x", Size: int64(len(records)), Mode: 0o644, Typeflag: tar.TypeReg}))
	_, err := w.Write([]byte(records))
	require.NoError(t, err)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "x", Mode: 0o644, Typeflag: tar.TypeReg}))
	require.NoError(t, w.Close())
	raw := b.Bytes()
	raw[156] = 'x' // the writer refuses such records, so the type is changed, and the checksum after it
	copy(raw[148:156], fmt.Sprintf("%06o\x00 ", headerSum(raw[:512])))
	return raw
}

func headerSum(block []byte) (sum int) {
	for i, b := range block {
		if i >= 148 && i < 156 {
			b = ' '
		}
		sum += int(b)
	}
	return sum
}

// bigDictionary changes an xz file to ask for a dictionary of 4 GiB - 1.
func bigDictionary(t testing.TB, xz []byte) []byte {
	out := bytes.Clone(xz)
	block := out[12 : 12+4*(int(out[12])+1)]
	at := bytes.Index(block, []byte{0x21, 0x01}) // the filter LZMA2 and the length of its properties
	require.Positive(t, at)
	block[at+2] = 40
	binary.LittleEndian.PutUint32(block[len(block)-4:], crc32.ChecksumIEEE(block[:len(block)-4]))
	return out
}

// measures says that a test measures memory, of which the race detector, which has -short, takes its own.
func measures(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("measures memory, of which the race detector takes its own; runs without -short")
	}
}

// TestHostileArchivesTakeLittleMemory walks archives that TestArchivesThatAreRefused has too, and others, without decoding images.
func TestHostileArchivesTakeLittleMemory(t *testing.T) {
	measures(t)
	long, deep := strings.Repeat("n", 200_000)+".png", strings.Repeat("d/", 200)+"x.png"
	xz := testdata(t, "small.tar.xz")
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"absolute":         {header(t, tar.Header{Name: "/etc/passwd.png"}), "no relative path"},
		"traversal":        {header(t, tar.Header{Name: "a/../../b.png"}), "leads out of the archive"},
		"backslashes":      {header(t, tar.Header{Name: `..\b.png`}), "no relative path"},
		"symlink":          {header(t, tar.Header{Name: "a/x.png", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}), "a link or a device"},
		"hard link":        {header(t, tar.Header{Name: "a/x.png", Typeflag: tar.TypeLink, Linkname: "../b"}), "a link or a device"},
		"character device": {header(t, tar.Header{Name: "a/zero.png", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 5}), "a link or a device"},
		"block device":     {header(t, tar.Header{Name: "a/x.png", Typeflag: tar.TypeBlock}), "a link or a device"},
		"named pipe":       {header(t, tar.Header{Name: "a/x.png", Typeflag: tar.TypeFifo}), "a link or a device"},
		"petabytes":        {header(t, tar.Header{Name: "a/x.txt", Size: 1 << 52}), "truncated"},
		"petabytes packed": {gzipped(t, header(t, tar.Header{Name: "a/x.txt", Size: 1 << 52}), 9), "truncated"},
		"sparse":           {sparseTar(t, "a/x.png", 60<<20), "sparse file"},
		"sparse petabytes": {sparseTar(t, "a/x.png", 1<<52), "sparse file"},
		"long name":        {header(t, tar.Header{Name: long}), "longer than 4096 bytes"},
		"deep name":        {header(t, tar.Header{Name: deep}), "nested more than 16 deep"},
		"gzip bomb":        {gzipped(t, append(header(t, tar.Header{Name: "a/x.txt", Size: 1 << 30}), make([]byte, 100<<20)...), 9), "unpacks to more than 200 times"},
		"xz dictionary":    {bigDictionary(t, xz), "dictionary of more than 64 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, "a.tar", c.raw)
			var err error
			used := allocated(func() {
				var a *archive
				if a, err = openArchive(path); err != nil {
					return
				}
				defer a.Close()
				for err == nil {
					_, err = a.next()
				}
			})
			var input *InputError
			require.ErrorAs(t, err, &input)
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "a.tar")
			assert.Less(t, len(err.Error()), 400)
			assert.Less(t, used, uint64(4<<20))
		})
	}
}

// TestBombOfXZ: 100 MiB of zeros in a tar, by xz -9.
func TestBombOfXZ(t *testing.T) {
	measures(t)
	var err error
	used := allocated(func() { _, err = loadImages(t, filepath.Join("testdata", "zeros.tar.xz"), Options{}) })
	assert.ErrorContains(t, err, "unpacks to more than 200 times")
	// A dictionary of 64 MiB, and as much that decodeAll sets aside and never touches.
	assert.Less(t, used, uint64(160<<20))
}

func TestImagesTooLargeForAnArchive(t *testing.T) {
	measures(t)
	const size = maxImageFile + 1
	files := twoClasses(t)
	huge := append(header(t, tar.Header{Name: "train/ant/x.png", Size: size}), make([]byte, (size+511)/512*512)...)
	path := writeFile(t, "a.tar.gz", gzipped(t, append(huge, files.tar(t, files.sorted())...), 1))
	used := allocated(func() {
		_, err := loadImages(t, path, Options{})
		assert.ErrorContains(t, err, "has 67108865 bytes; images of up to 67108864 are read")
	})
	assert.Less(t, used, uint64(80<<20), "64 MiB are set aside by decodeAll")
}

func TestCIFARArchiveIsBounded(t *testing.T) {
	files := tree{"cifar-10-batches-bin/data_batch_1.bin": make([]byte, 1<<20)}
	raw := files.tar(t, files.sorted())
	raw = append(raw[:len(raw)-1024], header(t, tar.Header{Name: "cifar-10-batches-bin/test_batch.bin", Size: maxCIFARFile - 1<<20 + 1})...)
	path := writeFile(t, "cifar-10-binary.tar.gz", raw)
	var err error
	used := allocated(func() { _, err = cifar10Binary.unpack(path) })
	assert.ErrorContains(t, err, "the archive's files have more than 268435456 bytes")
	assert.Less(t, used, uint64(16<<20))
}

// claims changes the sides in a JPEG's frame header.
func claims(t testing.TB, jpeg []byte, w, h uint16) []byte {
	out := bytes.Clone(jpeg)
	at := max(bytes.Index(out, []byte{0xff, 0xc0}), bytes.Index(out, []byte{0xff, 0xc2}))
	require.Positive(t, at)
	binary.BigEndian.PutUint16(out[at+5:], h)
	binary.BigEndian.PutUint16(out[at+7:], w)
	return out
}

// smallCanvas is a WebP whose canvas has 8 by 8 pixels, and its lossless frame w by h.
func smallCanvas(w, h uint32) []byte { return losslessWebP(w, h, make([]byte, 11)) }

func losslessWebP(w, h uint32, content []byte) []byte {
	frame := binary.LittleEndian.AppendUint32([]byte{0x2f}, (w-1)|(h-1)<<14)
	frame = append(frame, content...)
	body := append([]byte("WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x07\x00\x00VP8L"), binary.LittleEndian.AppendUint32(nil, uint32(len(frame)))...)
	body = append(body, frame...)
	return append(binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(len(body))), body...)
}

// manyTrees is a lossless WebP of 8 by 8 pixels and few bytes whose tiles use the last of 65,536 groups of Huffman trees (GO-2026-6222).
func manyTrees() []byte {
	var bits []byte // least significant first
	put := func(value, count int) {
		for i := range count {
			bits = append(bits, byte(value>>i&1))
		}
	}
	put(0, 1)                                         // no transform
	put(0, 1)                                         // no colour cache
	put(1, 1)                                         // groups by tile
	put(0, 3)                                         // of 4 by 4 pixels
	put(0, 1)                                         // the image of groups: no colour cache
	for _, symbol := range []int{255, 255, 0, 0, 0} { // green and red are the group's number; each tree has this one symbol
		put(0b101, 3)
		put(symbol, 8)
	}
	content := make([]byte, 32)
	for i, bit := range bits {
		content[i/8] |= bit << (i % 8)
	}
	return losslessWebP(8, 8, content)
}

// TestHostileImagesTakeLittleMemory: what a few bytes claim is not allocated.
func TestHostileImagesTakeLittleMemory(t *testing.T) {
	jpeg, progressive := testdata(t, "420-large.jpg"), testdata(t, "420-progressive.jpg")
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"PNG of 60000 by 60000":     {hugePNG(60000, 60000), "has 60000 by 60000 pixels; 1 to 67108864 in all are read"},
		"PNG of 8192 by 8192":       {hugePNG(8192, 8192), "33 bytes cannot hold 8192 by 8192 pixels"},
		"PNG of 67108864 by 1":      {hugePNG(1<<26, 1), "cannot hold"},
		"JPEG of 65535 by 65535":    {claims(t, jpeg, 65535, 65535), "has 65535 by 65535 pixels"},
		"JPEG of 8192 by 8192":      {claims(t, jpeg, 8192, 8192), "cannot hold 8192 by 8192 pixels"},
		"progressive JPEG":          {claims(t, progressive, 65535, 1024), "cannot hold 65535 by 1024 pixels"},
		"JPEG cut":                  {jpeg[:300], "truncated"},
		"WebP frame beyond canvas":  {smallCanvas(16384, 16384), "its frame has another size than its canvas"},
		"WebP frame within canvas":  {smallCanvas(4, 4), "its frame has another size than its canvas"},
		"WebP of 65536 groups":      {manyTrees(), "too many Huffman trees"},
		"WebP that is a header":     {testdata(t, "lossy.webp")[:20], "image is"},
		"an image that is no image": {bytes.Repeat([]byte{0}, 1<<20), "no JPEG, PNG or WebP"},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			used := allocated(func() { _, err = decodePicture(c.raw, 0) })
			require.ErrorContains(t, err, c.says)
			assert.Less(t, used, uint64(1<<20))
		})
	}
	f, err := openPicture(pngOf(t, image.NewGray(image.Rect(0, 0, 4096, 4096))))
	require.NoError(t, err, "a white image is not taken for one that lies")
	assert.Greater(t, f.cost(0), int64(8*4096*4096))
	assert.LessOrEqual(t, pictureFile{w: 8192, h: 8192}.cost(0), int64(maxDecoding), "all images that are read have room")
}

func TestShapesThatAreTooLargeToScale(t *testing.T) {
	raw := hugePNG(224, 290_000)
	raw = append(raw, make([]byte, 300_000)...) // enough for what it claims
	files := tree{"a/1.png": raw, "b/1.png": raw}
	used := allocated(func() {
		_, err := loadImages(t, files.write(t), Options{Size: 224, TestFraction: 0.5})
		assert.ErrorContains(t, err, "too long a shape or too large to scale to 224")
	})
	assert.Less(t, used, uint64(80<<20))
}

// TestImagesWaitForRoom: of many processors each with a large image, some wait.
func TestImagesWaitForRoom(t *testing.T) {
	raw := plain(t, 100, 100, image.White)
	d := &decoding{src: &imageArchive{path: "a.tar"}, waiting: semaphore.NewWeighted(maxWaiting), room: semaphore.NewWeighted(maxDecoding)}
	require.True(t, d.room.TryAcquire(maxDecoding-1000))
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	one := encoded{name: "a/1.png", read: func() ([]byte, error) { return raw, nil }}
	require.ErrorIs(t, d.take(ctx, one), context.DeadlineExceeded)
	require.Empty(t, d.samples)

	files := twoClasses(t)
	path := writeFile(t, "a.tar", files.tar(t, files.sorted()))
	info, err := os.Stat(path)
	require.NoError(t, err)
	full := semaphore.NewWeighted(10) // less than any of the images
	err = (&imageArchive{path, info}).each(context.Background(), sink{
		reserve: func(size int64) error { return full.Acquire(ctx, size) },
		file:    func(encoded) error { t.Error("an image was read without room for it"); return nil },
		folder:  func(string) {},
	})
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestManyBrokenImages: of those that are left out only a few are remembered.
func TestManyBrokenImages(t *testing.T) {
	d := &decoding{skip: true}
	for i := range 5000 {
		require.NoError(t, d.refuse(encoded{name: fmt.Sprintf("a/%04d.png", 4999-i)}, fmt.Errorf("no image")))
	}
	assert.Less(t, len(d.broken), 1000)
	d.samples = make([]sample, 10)
	assert.Equal(t, "5000 of 5010 images are broken and were left out: a/0000.png (no image), a/0001.png (no image), a/0002.png (no image), ..", d.note())
}
