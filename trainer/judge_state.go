package trainer

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"rapt/trainer/limits"
)

// saveEvery is the least time between two savings. What a kill can cost is as much, and the chunks in hand.
var saveEvery = 2 * time.Second

// stateFile is where an evaluation is saved while it is under way: PATH is JSON, PATH.images the adversarial images, as raw float32.
// Images are appended first, then the JSON is written beside and renamed, so that it never counts one that is not there.
type stateFile struct {
	path        string
	fingerprint string
	chosen      bool // named by the user: then it must work
	size        int  // values of an image

	lock  *flock.Flock
	there bool // on disk
	last  time.Time
	order []int        // the images' numbers, in the order of PATH.images
	held  map[int]bool // the same, as a set
}

// saved is the JSON.
type saved struct {
	Schema      int          `json:"schema"` // 1
	Fingerprint string       `json:"fingerprint"`
	Attacks     []string     `json:"attacks"`
	Clean       *outcome     `json:"clean"`
	Loss        []float64    `json:"loss"` // of the clean images
	Tried       [][]*outcome `json:"tried"`
	Images      []int        `json:"images"`
}

// fingerprint of all that an evaluation's outcome depends on.
func fingerprint(parts ...any) string {
	return fmt.Sprintf("%x", sha256.Sum256(fmt.Appendf(nil, "%#v", parts)))
}

// asks is what the evaluation's groups are, for its fingerprint.
func (e *evaluation) asks() (out []any) {
	for _, g := range e.groups {
		out = append(out, g.name, len(g.parts), g.limit)
		for _, p := range g.parts {
			norm, epsilon := p.Ball()
			out = append(out, p.Name(), norm, epsilon)
		}
	}
	return out
}

// defaultState is RUN/eval/FINGERPRINT.json for a checkpoint of a run, and CHECKPOINT.eval-FINGERPRINT.json for another.
func defaultState(model, fingerprint string) string {
	stages := filepath.Dir(filepath.Dir(model))
	if filepath.Base(stages) == "checkpoints" {
		return filepath.Join(filepath.Dir(stages), "eval", fingerprint[:16]+".json")
	}
	return model + ".eval-" + fingerprint[:16] + ".json"
}

// openState reads what an earlier evaluation of the same kind left, into e.
func openState(path string, chosen bool, print string, size int, e *evaluation) (*stateFile, error) {
	s := &stateFile{path: path, fingerprint: print, chosen: chosen, size: size, last: time.Now(), held: map[int]bool{}}
	text, err := limits.ReadFile(path, e.stateSize())
	if errors.Is(err, fs.ErrNotExist) {
		if info, err := os.Stat(filepath.Dir(path)); chosen && (err != nil || !info.IsDir()) {
			return nil, &InputError{fmt.Errorf("--state %s: there is no folder %s", path, filepath.Dir(path))}
		}
		return s, nil
	}
	if err != nil {
		return nil, &InputError{fmt.Errorf("the state of the evaluation cannot be read: %w", err)}
	}
	if int64(len(text)) > e.stateSize() {
		return nil, s.damaged("it is larger than the state of such an evaluation can be")
	}
	var v saved
	if err := json.Unmarshal(text, &v); err != nil || v.Schema != 1 {
		return nil, s.damaged("it is not what rapt wrote")
	}
	if v.Fingerprint != print {
		return nil, &InputError{fmt.Errorf("%s is the state of an evaluation of another model, or with other images, attacks or seed: remove it or give another --state", path)}
	}
	if !e.fits(&v) {
		return nil, s.damaged("it is not of these images and attacks")
	}
	if err := s.acquire(); err != nil {
		return nil, err
	}
	if err := s.readImages(&v, e); err != nil {
		s.close()
		return nil, err
	}
	e.clean, e.loss, e.tried = v.Clean, v.Loss, v.Tried
	return s, nil
}

func (s *stateFile) damaged(why string) error {
	return &InputError{fmt.Errorf("%s is damaged (%s): remove it to begin the evaluation anew", s.path, why)}
}

// stateSize is more than the JSON of this evaluation can have: a prediction, a margin and a step for each image and part, and the loss.
func (e *evaluation) stateSize() int64 {
	parts := 2
	for _, g := range e.groups {
		parts += len(g.parts)
	}
	return 1<<20 + 128*int64(parts)*int64(len(e.labels))
}

// fits compares the sizes of what was read with what is to be done.
func (e *evaluation) fits(v *saved) bool {
	good := func(o *outcome) bool {
		if o == nil || len(o.Prediction) != len(e.labels) || len(o.Margin) != len(e.labels) || len(o.Step) != len(e.labels) {
			return false
		}
		for _, p := range o.Prediction {
			if p < -1 || p >= e.classes {
				return false
			}
		}
		return true
	}
	if !good(v.Clean) || len(v.Loss) != len(e.labels) || len(v.Tried) != len(e.tried) {
		return false
	}
	for g, parts := range v.Tried {
		if len(parts) != len(e.tried[g]) {
			return false
		}
		for _, o := range parts {
			if !good(o) {
				return false
			}
		}
	}
	return true
}

func (s *stateFile) imagesPath() string { return s.path + ".images" }

// acquire keeps other processes away from the state.
func (s *stateFile) acquire() error {
	if s.lock != nil {
		return nil
	}
	lock := flock.New(s.imagesPath(), flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o644))
	got, err := lock.TryLock()
	if err != nil {
		return &InputError{fmt.Errorf("the evaluation cannot be saved: %w", err)}
	}
	if !got {
		return &InputError{fmt.Errorf("%s is in use by another process: wait for it to end or give another --state", s.path)}
	}
	s.lock, s.there = lock, true
	return nil
}

func (s *stateFile) readImages(v *saved, e *evaluation) error {
	file, err := os.Open(s.imagesPath())
	if err != nil {
		return s.damaged("its images are not there")
	}
	defer file.Close()
	in := bufio.NewReader(file)
	for _, i := range v.Images {
		if i < 0 || i >= len(e.labels) || s.held[i] {
			return s.damaged("it counts an image that is not there")
		}
		image := make([]float32, s.size)
		if err := binary.Read(in, binary.LittleEndian, image); err != nil {
			return s.damaged("its images are not there")
		}
		e.kept[i], s.held[i] = image, true
	}
	s.order = v.Images
	return nil
}

// save writes what is done, at most every so often unless it must.
func (s *stateFile) save(e *evaluation, must bool) error {
	if !must && time.Since(s.last) < saveEvery {
		return nil
	}
	if !s.chosen {
		if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
			return fmt.Errorf("the evaluation cannot be saved: %w", err)
		}
	}
	if err := s.acquire(); err != nil {
		return err
	}
	if err := s.appendImages(e); err != nil {
		return fmt.Errorf("the evaluation cannot be saved: %w", err)
	}
	v := saved{Schema: 1, Fingerprint: s.fingerprint, Clean: e.clean, Loss: e.loss, Tried: e.tried, Images: s.order}
	for _, g := range e.groups {
		v.Attacks = append(v.Attacks, g.name)
	}
	text, err := json.Marshal(v)
	if err == nil {
		err = renameio.WriteFile(s.path, append(text, '\n'), 0o644, renameio.WithTempDir(filepath.Dir(s.path)))
	}
	if err != nil {
		return fmt.Errorf("the evaluation cannot be saved: %w", err)
	}
	s.last = time.Now()
	return nil
}

// appendImages writes the images that are not in the file yet behind those that count: what a kill left after them is overwritten.
func (s *stateFile) appendImages(e *evaluation) (err error) {
	f, err := os.OpenFile(s.imagesPath(), os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Seek(int64(4*s.size*len(s.order)), io.SeekStart); err != nil {
		return err
	}
	order := s.order
	for i, image := range e.kept {
		if image == nil || s.held[i] {
			continue
		}
		if err := binary.Write(f, binary.LittleEndian, image); err != nil {
			return err
		}
		order = append(order, i)
	}
	if err := f.Sync(); err != nil {
		return err
	}
	for _, i := range order[len(s.order):] {
		s.held[i] = true
	}
	s.order = order
	return nil
}

// close lets the state go; it stays on disk.
func (s *stateFile) close() {
	if s != nil && s.lock != nil {
		s.lock.Close()
		s.lock = nil
	}
}

// remove deletes the state of an evaluation that is done.
func (s *stateFile) remove() {
	if s == nil || !s.there {
		return
	}
	os.Remove(s.path)
	os.Remove(s.imagesPath())
	s.close()
	if !s.chosen {
		os.Remove(filepath.Dir(s.path)) // where it is empty now
	}
}
