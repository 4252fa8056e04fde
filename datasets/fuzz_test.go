package datasets

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cacheOf is a cache file with the given header and data, whose checksums hold: CRC in the header becomes the data's.
func cacheOf(text, data []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("CRC"), []byte(crcText(crc32.Checksum(data, castagnoli))))
	out := binary.LittleEndian.AppendUint32([]byte(cacheMagic), uint32(len(text)))
	out = binary.LittleEndian.AppendUint32(out, crc32.Checksum(text, castagnoli))
	out = append(out, text...)
	return append(append(out, make([]byte, -len(out)&(cachePage-1))...), data...)
}

// TestHostileCaches: a cache file whose checksums hold may still be another's work, where others can write to the folder.
func TestHostileCaches(t *testing.T) {
	for text, c := range map[string]struct {
		data int
		says string
	}{
		`{"crc":"CRC","c":1,"h":1,"w":1,"train":1,"test":1,"classes":["a"]}`:                                      {6, ""},
		`{"crc":"CRC","c":1,"h":1,"w":1,"train":1,"test":1,"classes":[]}`:                                         {6, "a label is out of range"},
		`{"crc":"CRC","c":0,"h":1,"w":1,"train":1,"test":1,"classes":["a"]}`:                                      {4, "impossible"},
		`{"crc":"CRC","c":1,"h":-1,"w":-1,"train":1,"test":1,"classes":["a"]}`:                                    {6, "impossible"},
		`{"crc":"CRC","c":1,"h":1,"w":1,"train":-1,"test":3,"classes":["a"]}`:                                     {6, "impossible"},
		`{"crc":"CRC","c":1,"h":1,"w":1,"train":9223372036854775807,"test":-9223372036854775805,"classes":["a"]}`: {6, "impossible"},
		`{"crc":"CRC","c":4294967296,"h":4294967296,"w":1,"train":1,"test":1,"classes":["a"]}`:                    {4, "impossible"},
		`{"crc":"CRC","c":3,"h":67108864,"w":67108864,"train":683212743470724133,"test":0,"classes":["a"]}`:       {4, "impossible"},
		`{"crc":"CRC","c":1,"h":1,"w":1,"train":3,"test":1,"classes":["a"]}`:                                      {6, "the length is wrong"},
		`{"crc":"00000000","c":1,"h":1,"w":1,"train":1,"test":1,"classes":["a"]}`:                                 {6, "the content is damaged"},
		`{"crc":"CRC","c":1,"h":1,"w":1,"train":"1","test":1,"classes":["a"]}`:                                    {6, "cannot unmarshal"},
		`{"crc":"CRC","c":1,"h":1,"w":1,"train":1,"test":1,"classes":["a"]`:                                       {6, "unexpected end"},
		strings.Repeat(`{"c":`, 20_000):                                                                           {6, "exceeded max depth"},
	} {
		raw := cacheOf([]byte(text), make([]byte, c.data))
		used := allocated(func() {
			_, _, err := readCache(raw)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says, "%.120s", text)
		})
		require.Less(t, used, uint64(2<<20))
	}
}

func FuzzCache(f *testing.F) {
	f.Add([]byte(`{"key":"k","crc":"CRC","c":1,"h":2,"w":2,"train":2,"test":1,"classes":["a","b"],"note":"n"}`), make([]byte, 18))
	f.Add([]byte(`{"crc":"CRC","c":3,"h":1,"w":1,"train":1,"test":0,"classes":["a"]}`), make([]byte, 5))
	f.Add([]byte(`{"crc":"CRC","c":-1,"h":-1,"w":1,"train":1,"classes":null}`), []byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, text, data []byte) {
		h, got, err := readCache(cacheOf(text, data))
		if err != nil {
			return
		}
		p := h.parts(got)
		for _, s := range []*Set{p.Train, p.Test} {
			require.Len(t, s.Bytes(), s.N*s.C*s.H*s.W)
			require.Len(t, s.Labels, s.N)
			for _, label := range s.Labels {
				require.Less(t, int(label), s.Classes)
			}
		}
	})
}

// FuzzCIFAR tries files of both versions.
func FuzzCIFAR(f *testing.F) {
	raw, err := os.ReadFile(filepath.Join("..", "pickle", "testdata", "batch.pkl"))
	require.NoError(f, err)
	f.Add(raw)
	f.Add(make([]byte, 2*(1+cifarImage)))
	f.Add(bytes.Repeat([]byte{10}, 2+cifarImage))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, c := range []*cifar{cifar10Binary, cifar10Python, cifar100Binary, cifar100Python} {
			b, err := c.parse(raw)
			s := &Set{C: 3, H: cifarSide, W: cifarSide, Classes: c.classes}
			if err != nil || s.add(b) != nil {
				continue
			}
			require.Positive(t, s.N)
			require.Len(t, s.Bytes(), s.N*cifarImage)
			for _, label := range s.Labels {
				require.Less(t, int(label), c.classes)
			}
		}
	})
}

// FuzzLayout tries names of images and folders, a line each; those of folders end in a slash.
func FuzzLayout(f *testing.F) {
	f.Add("a/1.png\na/2.png\nb/1.png\nc/")
	f.Add("x/train/a/1.png\nx/train/b/1.png\nx/test/a/1.png\nx/test/\n")
	f.Add("train/a/b/c/1.png\nval/a/1.png\ntrain/1.png")
	f.Fuzz(func(t *testing.T, text string) {
		var samples []sample
		var folders []string
		for i, line := range strings.Split(text, "\n") {
			name, err := memberName(line)
			switch {
			case err != nil || name == ".":
			case strings.HasSuffix(line, "/"):
				folders = append(folders, name)
			default:
				samples = append(samples, sample{name: name, at: int64(i)})
			}
		}
		l, err := arrange(samples, folders, 0)
		if err != nil {
			return
		}
		require.Len(t, append(l.train, l.test...), len(samples))
		require.NotEmpty(t, l.train)
		for _, s := range append(l.train, l.test...) {
			require.Contains(t, "/"+s.name, "/"+l.classes[s.label]+"/")
		}
	})
}
