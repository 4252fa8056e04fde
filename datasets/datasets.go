// Package datasets reads and draws the image sets: published ones (MNIST, Fashion-MNIST, CIFAR-10 and -100, SVHN) from their files,
// a user's own from folders or archives of images, and digits, which the program draws itself. It is pure Go; the trainer moves a set to the device.
package datasets

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Set is one part of a data set on the host.
type Set struct {
	Name    string // the data set's name, for example "mnist"
	N       int    // samples
	C, H, W int    // channels, height, width
	Classes int
	Names   []string // the classes', where they are folders of images
	Pixels  []byte   // images [C, H, W] row-major, 0 to 255, the set's own and others; may be a file mapped into memory, which must not be written to
	Labels  []uint16 // [N], each below Classes

	at      []int32 // the samples' places among Pixels; nil: they are the first N
	byClass bool    // the samples are sorted by class
}

// Size is the number of bytes of an image.
func (s *Set) Size() int { return s.C * s.H * s.W }

// Image is sample i's pixels [C, H, W]; they must not be written to.
func (s *Set) Image(i int) []byte {
	if s.at != nil {
		i = int(s.at[i])
	}
	return s.Pixels[i*s.Size() : (i+1)*s.Size()]
}

// Bytes are all samples' pixels [N, C, H, W]; they must not be written to.
func (s *Set) Bytes() []byte {
	if s.at == nil {
		return s.Pixels[:s.N*s.Size()]
	}
	out := make([]byte, 0, s.N*s.Size())
	for i := range s.N {
		out = append(out, s.Image(i)...)
	}
	return out
}

// Subset returns the samples at idx, in that order, with the pixels where they are. Each index must lie in [0, N).
func (s *Set) Subset(idx []int) *Set {
	out := *s
	out.N, out.at, out.Labels = len(idx), make([]int32, 0, len(idx)), make([]uint16, 0, len(idx))
	for _, i := range idx {
		out.Labels = append(out.Labels, s.Labels[i])
		if s.at != nil {
			i = int(s.at[i])
		}
		out.at = append(out.at, int32(i))
	}
	return &out
}

// Head returns the first n samples, or all where n is above N, with the pixels where they are.
func (s *Set) Head(n int) *Set {
	n = min(max(n, 0), s.N)
	out := *s
	out.N, out.Labels = n, s.Labels[:n]
	if s.at != nil {
		out.at = s.at[:n]
	}
	return &out
}

// limit returns n samples: the first, or where they are sorted by class the first of each class, by its share.
func (s *Set) limit(n int) *Set {
	if !s.byClass {
		return s.Head(n)
	}
	byClass := members(s.Labels, s.Classes)
	var idx []int
	for c, count := range quotas(byClass, n, s.N) {
		idx = append(idx, byClass[c][:count]...)
	}
	return s.Subset(idx)
}

// Parts is a data set ready for training.
type Parts struct {
	Train, Validation, Test *Set // Validation has N = 0 where Options.Validation is 0
	// SHA256 is a fingerprint (hexadecimal) of the shapes, pixels and labels of the training set before
	// the split and of the test set, both after the limits.
	SHA256 string
	// Note says what a reader of the results should know of the data, such as that images were left out; empty: nothing.
	Note string
}

// Options says what Load returns.
type Options struct {
	Dataset string // one of Names
	// Dir is where files are looked for; where empty, $RAPT_DATA_DIR and then ./data. "digits" needs none.
	Dir string
	// Validation is held out of the training set: below 1 a fraction of it, from 1 on a count.
	Validation            float64
	TrainLimit, TestLimit int    // the first so many samples only, of image folders the first of each class; 0 is no limit
	Seed                  uint64 // of the split and of the drawn set

	// Of images that are files of their own (image_folder, and CIFAR-10 as JPEG):
	Size         int     // each is scaled and cropped to Size by Size pixels; 0: they keep their own, which must be one
	TestFraction float64 // of a folder without a test part that is held out as one; 0: 0.2
	OnError      string  // Refuse, which empty means too, or Skip
	CacheDir     string  // where decoded images are kept; empty: rapt in the user's cache folder
}

type source struct {
	name      string
	load      func(ctx context.Context, o Options) (*Parts, error) // Train, Test and Note
	published *published                                           // what Fetch gets and Verify checks; nil where there is none
	origin    string                                               // where the images of such a set come from
}

var sources = []source{
	of(mnist),
	of(fashionMNIST),
	of(cifar10),
	of(cifar100),
	of(svhn),
	{name: "image_folder", load: loadImageFolder, origin: "data.dir names your own images"},
	{name: "digits", load: loadDigits, origin: "the program draws it itself"},
}

func of(p *published) source { return source{name: p.name, load: p.load, published: p} }

func init() {
	slices.SortFunc(sources, func(a, b source) int { return strings.Compare(a.name, b.name) })
}

// Names returns the data sets that Load knows, sorted.
func Names() []string {
	names := make([]string, len(sources))
	for i, s := range sources {
		names[i] = s.name
	}
	return names
}

// Known says which data set was meant where Load knows none of that name.
func Known(name string) error {
	_, err := findSource(name)
	return err
}

func findSource(name string) (*source, error) {
	nearest, best := "", math.MaxInt
	for i := range sources {
		if sources[i].name == name {
			return &sources[i], nil
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(name), sources[i].name); d < best {
			nearest, best = sources[i].name, d
		}
	}
	hint := ""
	if best <= 3 {
		hint = fmt.Sprintf("; did you mean %q?", nearest)
	}
	return nil, inputErrorf("unknown data set %q%s (known: %s)", name, hint, strings.Join(Names(), ", "))
}

// ResolveDir returns the folder that data files are looked for in: dir, or where it is empty
// $RAPT_DATA_DIR, or where that is unset "data".
func ResolveDir(dir string) string {
	if dir == "" {
		dir = os.Getenv("RAPT_DATA_DIR")
	}
	if dir == "" {
		dir = "data"
	}
	return dir
}

// Load reads or draws a data set and holds a validation part out of its training set. The split is
// stratified by class and a pure function of the seed; the limits come first. Faults in the options or
// the files are an *InputError. When ctx ends while images are decoded, so does Load, with its error.
func Load(ctx context.Context, o Options) (*Parts, error) {
	src, err := findSource(o.Dataset)
	if err != nil {
		return nil, err
	}
	if o.TrainLimit < 0 || o.TestLimit < 0 {
		return nil, inputErrorf("train_limit %d and test_limit %d must be 0 (no limit) or above", o.TrainLimit, o.TestLimit)
	}
	parts, err := src.load(ctx, o)
	if err != nil {
		return nil, err
	}
	train, test := parts.Train, parts.Test
	if o.TrainLimit > 0 && o.TrainLimit < train.N {
		train = train.limit(o.TrainLimit)
	}
	if o.TestLimit > 0 && o.TestLimit < test.N {
		test = test.limit(o.TestLimit)
	}
	held, err := validationCount(o.Validation, train.N)
	if err != nil {
		return nil, err
	}
	parts.Train, parts.Validation, parts.Test, parts.SHA256 = train, train.Head(0), test, fingerprint(train, test)
	if held > 0 {
		keep, hold := stratify(train.Labels, train.Classes, held, domainSplit, o.Seed)
		parts.Train, parts.Validation = train.Subset(keep), train.Subset(hold)
	}
	return parts, nil
}

func fingerprint(sets ...*Set) string {
	h := sha256.New()
	for _, s := range sets {
		fmt.Fprintf(h, "%d %d %d %d %d\n", s.N, s.C, s.H, s.W, s.Classes)
		if s.at == nil {
			h.Write(s.Bytes())
		}
		for i := range s.at {
			h.Write(s.Image(i))
		}
		h.Write(labelBytes(s))
	}
	return hex.EncodeToString(h.Sum(nil))
}

// labelBytes are the labels as bytes, or where there are more than 256 classes as two each, the low one first.
func labelBytes(s *Set) []byte {
	if s.Classes <= 256 {
		out := make([]byte, s.N)
		for i, label := range s.Labels {
			out[i] = byte(label)
		}
		return out
	}
	out := make([]byte, 0, 2*s.N)
	for _, label := range s.Labels {
		out = binary.LittleEndian.AppendUint16(out, label)
	}
	return out
}
