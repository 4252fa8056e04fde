package datasets

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// plain is a PNG of one colour.
func plain(t testing.TB, w, h int, c color.Color) []byte {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.Set(i%w, i/w, c)
	}
	return pngOf(t, img)
}

// tree is files by name; twoClasses has the names that most tests need.
type tree map[string][]byte

func twoClasses(t testing.TB) tree {
	files := tree{}
	for _, part := range []string{"train", "test"} {
		for label, class := range []string{"ant", "bee"} {
			for i := range 4 {
				files[fmt.Sprintf("%s/%s/%d.png", part, class, i)] = plain(t, 4, 3, color.RGBA{uint8(10 * i), uint8(100 * label), uint8(len(part)), 255})
			}
		}
	}
	return files
}

func (f tree) write(t testing.TB) string {
	dir := t.TempDir()
	for name, raw := range f {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, raw, 0o644))
	}
	return dir
}

// tar packs the files in the given order of names.
func (f tree) tar(t testing.TB, names []string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: name, Size: int64(len(f[name])), Mode: 0o644, Typeflag: tar.TypeReg}))
		_, err := w.Write(f[name])
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func (f tree) sorted() []string { return slices.Sorted(maps.Keys(f)) }

func writeFile(t testing.TB, name string, raw []byte) string {
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, raw, 0o644))
	return path
}

func loadImages(t testing.TB, dir string, o Options) (*Parts, error) {
	o.Dataset, o.Dir = "image_folder", dir
	if o.CacheDir == "" {
		o.CacheDir = t.TempDir()
	}
	return Load(context.Background(), o)
}

func TestImageFolder(t *testing.T) {
	files := twoClasses(t)
	parts, err := loadImages(t, files.write(t), Options{})
	require.NoError(t, err)
	train := parts.Train
	assert.Equal(t, [5]int{8, 3, 3, 4, 2}, [5]int{train.N, train.C, train.H, train.W, train.Classes})
	assert.Equal(t, "image_folder", train.Name)
	assert.Equal(t, []uint16{0, 0, 0, 0, 1, 1, 1, 1}, train.Labels)
	assert.Equal(t, 8, parts.Test.N)
	assert.Empty(t, parts.Note)
	// Image 6 is train/bee/2.png: red 20, green 100, blue 5.
	want := slices.Concat(bytes.Repeat([]byte{20}, 12), bytes.Repeat([]byte{100}, 12), bytes.Repeat([]byte{5}, 12))
	assert.Equal(t, want, train.Bytes()[6*36:7*36])

	// The same images come from archives, in whatever order, and within another folder.
	names := files.sorted()
	slices.Reverse(names)
	inner := tree{}
	for name, raw := range files {
		inner["./all/images/"+name] = raw
	}
	for name, path := range map[string]string{
		"tar":     writeFile(t, "a.tar", files.tar(t, names)),
		"tar.gz":  writeFile(t, "a.tar.gz", gzipped(t, files.tar(t, names), 6)),
		"nested":  writeFile(t, "a.tar", inner.tar(t, inner.sorted())),
		"misname": writeFile(t, "a.zip", files.tar(t, names)),
	} {
		other, err := loadImages(t, path, Options{})
		require.NoError(t, err, name)
		assert.Equal(t, parts.SHA256, other.SHA256, name)
	}
}

func TestImagesOfATarXZ(t *testing.T) {
	parts, err := loadImages(t, filepath.Join("testdata", "small.tar.xz"), Options{Validation: 2, Seed: 1})
	require.NoError(t, err)
	assert.Equal(t, [3]int{6, 2, 4}, [3]int{parts.Train.N, parts.Validation.N, parts.Test.N})
	assert.Equal(t, []uint16{0, 0, 1, 1}, parts.Test.Labels)
	assert.Equal(t, []byte{40, 200, 100}, []byte{parts.Test.Bytes()[3*192], parts.Test.Bytes()[3*192+64], parts.Test.Bytes()[3*192+128]})
}

func TestGreyImages(t *testing.T) {
	grey := func(v byte) []byte {
		img := image.NewGray(image.Rect(0, 0, 2, 2))
		for i := range img.Pix {
			img.Pix[i] = v
		}
		return pngOf(t, img)
	}
	files := tree{"a/1.png": grey(7), "a/2.png": grey(8), "b/1.png": grey(9), "b/2.png": grey(10)}
	parts, err := loadImages(t, files.write(t), Options{TestFraction: 0.5})
	require.NoError(t, err)
	assert.Equal(t, 1, parts.Train.C)
	files["b/2.png"] = plain(t, 2, 2, color.RGBA{1, 2, 3, 255})
	parts, err = loadImages(t, files.write(t), Options{TestFraction: 0.5})
	require.NoError(t, err)
	assert.Equal(t, 3, parts.Train.C)
	first := parts.Train
	if parts.Test.Bytes()[0] < first.Bytes()[0] {
		first = parts.Test
	}
	assert.Equal(t, bytes.Repeat([]byte{7}, 12), first.Bytes()[:12], "grey among colour has three equal channels")
}

func TestSplitOfASingleTree(t *testing.T) {
	files := tree{}
	for class := range 3 {
		for i := range 10 {
			files[fmt.Sprintf("top/c%d/%d.png", class, i)] = plain(t, 1, 1, color.RGBA{uint8(class), uint8(i), 0, 255})
		}
	}
	dir := files.write(t)
	cache := t.TempDir()
	parts, err := loadImages(t, dir, Options{Seed: 3, CacheDir: cache})
	require.NoError(t, err)
	assert.Equal(t, [2]int{24, 6}, [2]int{parts.Train.N, parts.Test.N})
	assert.Equal(t, []uint16{0, 0, 1, 1, 2, 2}, parts.Test.Labels)
	assert.Contains(t, parts.Note, "6 of its 30 images")
	again, err := loadImages(t, dir, Options{Seed: 3, CacheDir: cache, TrainLimit: 1})
	require.NoError(t, err)
	assert.Equal(t, parts.Test, again.Test, "an evaluation, which wants no training images, finds the same test set")
	other, err := loadImages(t, dir, Options{Seed: 4, CacheDir: cache, TestFraction: 0.5})
	require.NoError(t, err)
	assert.Equal(t, 15, other.Test.N)
	assert.NotEqual(t, parts.Test.Bytes(), other.Test.Bytes()[:len(parts.Test.Bytes())])

	// Limits leave the classes balanced, though the images are sorted by class.
	limited, err := loadImages(t, dir, Options{Seed: 3, CacheDir: cache, TrainLimit: 6, TestLimit: 3})
	require.NoError(t, err)
	assert.Equal(t, []uint16{0, 0, 1, 1, 2, 2}, limited.Train.Labels)
	assert.Equal(t, []uint16{0, 1, 2}, limited.Test.Labels)
}

func TestManyClasses(t *testing.T) {
	files := tree{}
	one := plain(t, 1, 1, color.White)
	for class := range 300 {
		files[fmt.Sprintf("train/%03d/x.png", class)] = one
		files[fmt.Sprintf("val/%03d/x.png", class)] = one
	}
	parts, err := loadImages(t, writeFile(t, "a.tar", files.tar(t, files.sorted())), Options{})
	require.NoError(t, err)
	assert.Equal(t, 300, parts.Test.Classes)
	assert.Equal(t, uint16(299), parts.Test.Labels[299], "val is the test part where there is no test")
}

func TestSizesMustBeEqualOrGiven(t *testing.T) {
	files := twoClasses(t)
	files["train/ant/9.jpg"] = testdata(t, "420-large.jpg")
	dir := files.write(t)
	_, err := loadImages(t, dir, Options{})
	var input *InputError
	require.ErrorAs(t, err, &input)
	assert.ErrorContains(t, err, "set data.size")
	assert.ErrorContains(t, err, "48 by 40")
	parts, err := loadImages(t, dir, Options{Size: 6})
	require.NoError(t, err)
	assert.Equal(t, [3]int{9, 6, 6}, [3]int{parts.Train.N, parts.Train.H, parts.Train.W})
}

func TestBrokenImagesAreRefusedOrSkipped(t *testing.T) {
	jpeg := testdata(t, "420.jpg")
	for name, c := range map[string]struct{ file, says string }{
		"empty": {"train/ant/x.jpg", "the file is empty"},
		"cut":   {"train/ant/x.jpg", "the image is truncated"},
		"huge":  {"train/ant/x.png", "60000 by 60000"},
		"kind":  {"train/ant/x.gif", ".gif images are not read"},
	} {
		raw := map[string][]byte{"cut": jpeg[:300], "huge": hugePNG(60000, 60000), "kind": []byte("GIF89a")}[name]
		files := twoClasses(t)
		files[c.file] = raw
		for _, source := range []string{files.write(t), writeFile(t, "a.tar", files.tar(t, files.sorted()))} {
			_, err := loadImages(t, source, Options{})
			var input *InputError
			require.ErrorAs(t, err, &input, name)
			assert.ErrorContains(t, err, filepath.FromSlash(c.file))
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "data.on_error")
			cache := t.TempDir()
			for range 2 { // decoded, and from the cache
				parts, err := loadImages(t, source, Options{OnError: Skip, CacheDir: cache})
				require.NoError(t, err, name)
				assert.Equal(t, 8, parts.Train.N, name)
				assert.Contains(t, parts.Note, "1 of 17 images are broken and were left out: "+c.file)
			}
		}
	}
	files := tree{"a/1.png": nil, "b/1.png": nil}
	_, err := loadImages(t, files.write(t), Options{OnError: Skip})
	assert.ErrorContains(t, err, "all of its 2 images are broken")
	files["a/2.png"] = plain(t, 1, 1, color.White)
	_, err = loadImages(t, files.write(t), Options{OnError: Skip})
	assert.ErrorContains(t, err, "the folder b holds no images that can be read")
}

// TestImagesThatCannotBeReadAreNoBrokenOnes: such as on a disk that fails for a while.
func TestImagesThatCannotBeReadAreNoBrokenOnes(t *testing.T) {
	for says, spoil := range map[string]func(path string) error{
		"no such file": os.Remove,
		"is a directory": func(path string) error {
			return errors.Join(os.Remove(path), os.Mkdir(path, 0o755))
		},
		"now has others": func(path string) error { return os.Truncate(path, 3) },
	} {
		dir := twoClasses(t).write(t)
		src, err := openImageSource(context.Background(), dir)
		require.NoError(t, err)
		path := filepath.Join(dir, "train", "bee", "2.png")
		require.NoError(t, spoil(path))
		for _, onError := range []string{Refuse, Skip} {
			_, err = decodeAll(context.Background(), src, Options{OnError: onError}, nil)
			assert.ErrorContains(t, err, path+" cannot be read: ")
			assert.ErrorContains(t, err, says)
			assert.NotContains(t, fmt.Sprint(err), "data.on_error")
		}
	}
}

func TestALargeFileIsABrokenOne(t *testing.T) {
	dir := twoClasses(t).write(t)
	require.NoError(t, os.Truncate(filepath.Join(dir, "train", "bee", "2.png"), maxImageFile+1)) // a hole
	_, err := loadImages(t, dir, Options{})
	assert.ErrorContains(t, err, "images of up to 67108864 are read; repair or remove it")
	parts, err := loadImages(t, dir, Options{OnError: Skip})
	require.NoError(t, err)
	assert.Contains(t, parts.Note, "1 of 16 images are broken and were left out: train/bee/2.png (the file has 67108865 bytes")
}

func TestLayoutsThatAreRefused(t *testing.T) {
	one := plain(t, 1, 1, color.White)
	for says, names := range map[string][]string{
		"holds no JPEG, PNG or WebP":              {"a/readme.txt"},
		"there are 1 classes":                     {"a/1.png", "a/2.png"},
		"1.png lies in no class's folder":         {"1.png", "a/1.png", "b/1.png"},
		"train/1.png lies in no class's":          {"train/1.png", "train/a/1.png", "test/a/1.png"},
		"other lies beside train and test":        {"train/a/1.png", "test/a/1.png", "other/a/1.png"},
		"the class c is in test and not in train": {"train/a/1.png", "train/b/1.png", "test/c/1.png"},
		"the folder b holds no images":            {"a/1.png", "b/note.txt", "c/1.png"},
	} {
		files := tree{}
		for _, name := range names {
			files[name] = one
		}
		_, err := loadImages(t, files.write(t), Options{})
		var input *InputError
		require.ErrorAs(t, err, &input, says)
		assert.ErrorContains(t, err, says)
	}
	_, err := loadImages(t, twoClasses(t).write(t), Options{TestFraction: 0.1})
	assert.ErrorContains(t, err, "test part of its own")
	for _, o := range []Options{{}, {Dir: "x", OnError: "ignore"}, {Dir: "x", Size: -1}, {Dir: "x", TestFraction: 1}, {Dir: filepath.Join(t.TempDir(), "none")}} {
		o.Dataset = "image_folder"
		_, err := Load(context.Background(), o)
		var input *InputError
		assert.ErrorAs(t, err, &input)
	}
}

func TestArchivesThatAreRefused(t *testing.T) {
	files := twoClasses(t)
	good := files.tar(t, files.sorted())
	with := func(h tar.Header, size int) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		h.Size, h.Mode = int64(size), 0o644
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write(make([]byte, size))
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return b.Bytes()
	}
	updated := maps.Clone(files)
	updated["./train/bee/2.png"] = plain(t, 4, 3, color.White)
	xz := testdata(t, "small.tar.xz")
	for name, c := range map[string]struct {
		raw  []byte
		says string
	}{
		"absolute":      {with(tar.Header{Name: "/etc/passwd.png"}, 1), "no relative path"},
		"traversal":     {with(tar.Header{Name: "a/../../b.png"}, 1), "leads out of the archive"},
		"symlink":       {with(tar.Header{Name: "a/x.png", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, 0), "a link or a device"},
		"hard link":     {with(tar.Header{Name: "a/x.png", Typeflag: tar.TypeLink, Linkname: "b"}, 0), "a link or a device"},
		"device":        {with(tar.Header{Name: "a/x.png", Typeflag: tar.TypeChar}, 0), "a link or a device"},
		"empty":         {nil, "truncated"},
		"no tar":        {bytes.Repeat([]byte("no tar "), 200), "no tar archive"},
		"cut":           {good[:len(good)-3000], "truncated"},
		"cut at a file": {good[:1024], "truncated"},
		"twice":         {updated.tar(t, append(files.sorted(), "./train/bee/2.png")), "a.tar: train/bee/2.png is in it twice; pack it anew"},
		"gzip cut":      {gzipped(t, good, 6)[:500], "gzip file is truncated"},
		"gzip checksum": {flip(gzipped(t, good, 6), len(gzipped(t, good, 6))-6), "gzip file is corrupt"},
		"gzip bomb":     {gzipped(t, with(tar.Header{Name: "a/readme.txt"}, 100<<20), 9), "unpacks to more than"},
		"xz cut":        {xz[:len(xz)-40], "xz file is truncated or corrupt"},
		"xz flipped":    {flip(xz, len(xz)/2), " is "}, // an image may be seen to be damaged before the archive's checksum is
	} {
		t.Run(name, func(t *testing.T) {
			_, err := loadImages(t, writeFile(t, "a.tar", c.raw), Options{})
			var input *InputError
			require.ErrorAs(t, err, &input)
			assert.ErrorContains(t, err, c.says)
			assert.ErrorContains(t, err, "a.tar")
		})
	}
}

func TestLinksInAFolderAreFollowed(t *testing.T) {
	dir := twoClasses(t).write(t)
	linked := t.TempDir()
	for _, part := range []string{"train", "test"} {
		require.NoError(t, os.Symlink(filepath.Join(dir, part), filepath.Join(linked, part)))
	}
	parts, err := loadImages(t, linked, Options{})
	require.NoError(t, err)
	assert.Equal(t, 8, parts.Test.N)
	require.NoError(t, os.Symlink(linked, filepath.Join(dir, "train", "loop")))
	_, err = loadImages(t, linked, Options{})
	assert.ErrorContains(t, err, "nested more than 16 deep")
}

func FuzzArchive(f *testing.F) {
	files := twoClasses(f)
	good := files.tar(f, files.sorted()[:3])
	f.Add(good)
	f.Add(good[:700])
	f.Add(gzipped(f, good, 6))
	f.Add(testdata(f, "small.tar.xz"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(dir, "fuzz.tar")
		require.NoError(t, os.WriteFile(path, raw, 0o644))
		a, err := openArchive(path)
		if err != nil {
			return
		}
		defer a.Close()
		for {
			m, err := a.next()
			if err != nil {
				return
			}
			require.False(t, filepath.IsAbs(m.name) || strings.HasPrefix(m.name, ".."), m.name)
			_, _ = io.Copy(io.Discard, a)
		}
	})
}
