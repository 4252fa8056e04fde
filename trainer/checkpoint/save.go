package checkpoint

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// A saved checkpoint is a model file, a state file where there is trainer state,
// and a .json that is renamed into place last and carries size and SHA-256 of
// the other two and the SHA-256 of itself. Saving first moves the old set to NAME.prev.*, the .json last;
// loading looks for each file under both names. So at every moment between two
// renames one whole set can be found: the new one, or the one before.

// seal is the content of a checkpoint's .json.
type seal struct {
	Schema int             `json:"schema"`
	Model  fileID          `json:"model"`
	State  *fileID         `json:"state,omitempty"`
	Info   json.RawMessage `json:"info"`
	SHA256 string          `json:"sha256"` // of all the above
}

// sum is the SHA-256 of what the seal says, however its JSON is spaced.
func (s *seal) sum() (string, error) {
	bare := *s
	bare.SHA256 = ""
	b, err := json.Marshal(bare)
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:]), err
}

type fileID struct {
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

const (
	modelEnd = ".safetensors"
	stateEnd = ".state.safetensors"
	sealEnd  = ".json"
	prev     = ".prev"
)

// CheckpointPath is the model file of a stage's checkpoint; which is "last" or
// "best". The .json and the .state.safetensors lie beside it.
func (r *Run) CheckpointPath(stage, which string) string {
	return r.checkpoint(stage, which) + modelEnd
}

func (r *Run) checkpoint(stage, which string) string {
	return r.Path("checkpoints", stage, which)
}

// HasCheckpoint tells whether LoadCheckpoint has something to load, whole or not.
func (r *Run) HasCheckpoint(stage, which string) bool {
	_ = r.Wait() // what failed says so to whoever saves or loads
	base := r.checkpoint(stage, which)
	return exists(base+sealEnd) || exists(base+prev+sealEnd)
}

// SaveCheckpoint stores a model, its trainer state (nil for none) and info, any
// JSON value of the caller's. A process killed at any point leaves either this
// checkpoint or the one before it whole. Of "last" the one before is kept.
func (r *Run) SaveCheckpoint(stage, which string, model *File, info any, state *File) error {
	if err := r.SaveAside(stage, which, model, info, state); err != nil {
		return err
	}
	defer func() { r.earlier, r.latest = nil, nil }() // the caller has been told
	return r.Wait()
}

// write puts the files in their places; info is JSON. What was there stays whole until all of it is.
func (r *Run) write(stage, which string, model *File, info json.RawMessage, state *File) error {
	base := r.checkpoint(stage, which)
	err := r.replace(base, model, info, state)
	if err != nil && (exists(base+sealEnd) || exists(base+prev+sealEnd)) {
		err = fmt.Errorf("%w (the %s checkpoint before it is whole)", err, which)
	}
	if err != nil || which == "last" {
		return err
	}
	return remove(base+prev+sealEnd, base+prev+stateEnd, base+prev+modelEnd)
}

func (r *Run) replace(base string, model *File, info json.RawMessage, state *File) error {
	if err := os.MkdirAll(filepath.Dir(base), 0o755); err != nil {
		return fmt.Errorf("cannot create the checkpoint folder: %w", err)
	}
	if err := r.room(filepath.Dir(base), model.size()+state.size()); err != nil {
		return fmt.Errorf("cannot write the checkpoint %s: %w", base+modelEnd, err)
	}
	set, err := prepare(base, model, info, state)
	defer func() {
		for _, t := range set {
			t.Cleanup() // a no-op once renamed
		}
	}()
	if err != nil {
		return err
	}
	if err := r.rotate(base); err != nil {
		return fmt.Errorf("cannot keep the previous checkpoint: %w", err)
	}
	if state == nil { // a torn save may have left one
		if err := remove(base + stateEnd); err != nil {
			return err
		}
	}
	for _, t := range set {
		if err := r.step(t.CloseAtomicallyReplace); err != nil {
			return fmt.Errorf("cannot write the checkpoint %s: %w", base+modelEnd, err)
		}
	}
	return syncDir(filepath.Dir(base))
}

// prepare writes the files of a checkpoint beside their places, in the order in
// which they are to be renamed. What it returns is to be cleaned up, error or not.
func prepare(base string, model *File, info json.RawMessage, state *File) (set []*renameio.PendingFile, err error) {
	s := seal{Schema: 2, Info: info}
	add := func(path string, f *File) (id fileID, err error) {
		sum := sha256.New()
		t, err := pending(path, func(w io.Writer) error {
			count := &counter{w: io.MultiWriter(w, sum)}
			err := encode(count, f)
			id.Size = count.n
			return err
		})
		if err == nil {
			set = append(set, t)
		}
		id.SHA256 = hex.EncodeToString(sum.Sum(nil))
		return id, err
	}
	if s.Model, err = add(base+modelEnd, model); err != nil {
		return set, err
	}
	if state != nil {
		id, err := add(base+stateEnd, state)
		if err != nil {
			return set, err
		}
		s.State = &id
	}
	if s.SHA256, err = s.sum(); err != nil {
		return set, err
	}
	b, err := indented(s)
	if err != nil {
		return set, err
	}
	t, err := pending(base+sealEnd, func(w io.Writer) error {
		_, err := w.Write(b)
		return err
	})
	if err == nil {
		set = append(set, t)
	}
	return set, err
}

// rotate moves a checkpoint to its .prev names. One without its .json, with
// files of the wrong size, or passed over when it was read, is torn: it stays where it is to be overwritten, and
// the .prev that stands in for it is left alone.
func (r *Run) rotate(base string) error {
	if at := slices.Index(r.passed, base); at >= 0 {
		r.passed = slices.Delete(r.passed, at, at+1)
		return nil
	}
	s, err := readSeal(base + sealEnd)
	if err != nil || !s.present(base) {
		return nil
	}
	for _, end := range []string{modelEnd, stateEnd, sealEnd} {
		err := r.step(func() error { return os.Rename(base+end, base+prev+end) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// step does one of the renames of a save, unless a test stops it there.
func (r *Run) step(rename func() error) error {
	if r.stop != nil {
		if err := r.stop(); err != nil {
			return err
		}
	}
	return rename()
}

// present looks for the files of the seal by size, under both names.
func (s *seal) present(base string) bool {
	has := func(end string, id fileID) bool {
		for _, path := range []string{base + end, base + prev + end} {
			if info, err := os.Stat(path); err == nil && info.Size() == id.Size {
				return true
			}
		}
		return false
	}
	return has(modelEnd, s.Model) && (s.State == nil || has(stateEnd, *s.State))
}

// LoadCheckpoint reads a checkpoint and compares it with its checksums. Where it
// is torn or damaged, the one before it is read instead and r.Warn told. state
// is nil where none was saved. Without any checkpoint the error is
// fs.ErrNotExist; without a whole one it is an *InputError.
func (r *Run) LoadCheckpoint(stage, which string) (model, state *File, info json.RawMessage, err error) {
	base := r.checkpoint(stage, which)
	if err := r.Wait(); err != nil {
		return nil, nil, nil, err
	}
	if !r.HasCheckpoint(stage, which) {
		return nil, nil, nil, &InputError{Path: base + modelEnd, Problem: "no such checkpoint", Err: fs.ErrNotExist}
	}
	model, state, info, err = load(base, base+sealEnd)
	if err == nil {
		return model, state, info, nil
	}
	if !exists(base + prev + sealEnd) {
		return nil, nil, nil, err
	}
	first := err
	model, state, info, err = load(base, base+prev+sealEnd)
	if err != nil {
		return nil, nil, nil, badInput(base+modelEnd, "is damaged (%v), and so is the one before it, %s (%v): put a whole one back, or begin anew with --overwrite", first, filepath.Base(base)+prev+modelEnd, err)
	}
	r.passed = append(r.passed, base)
	if r.Warn != nil {
		r.Warn(fmt.Sprintf("the checkpoint %s is not whole (%v); the one before it is used", base+modelEnd, first))
	}
	return model, state, info, nil
}

// ModelSHA256 is the checksum of the model at CheckpointPath, also where a kill left it under its other name.
func (r *Run) ModelSHA256(path string) (string, error) {
	sum, err := SHA256(path)
	if errors.Is(err, fs.ErrNotExist) {
		sum, err = SHA256(strings.TrimSuffix(path, modelEnd) + prev + modelEnd)
	}
	return sum, err
}

// load reads what the seal at sealPath describes.
func load(base, sealPath string) (model, state *File, info json.RawMessage, err error) {
	s, err := readSeal(sealPath)
	if err != nil {
		return nil, nil, nil, err
	}
	if model, err = s.Model.find(base, modelEnd); err != nil {
		return nil, nil, nil, err
	}
	if s.State != nil {
		if state, err = s.State.find(base, stateEnd); err != nil {
			return nil, nil, nil, err
		}
	}
	return model, state, s.Info, nil
}

func readSeal(path string) (*seal, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, osInput(path, "cannot read it", err)
	}
	s := new(seal)
	if err := json.Unmarshal(b, s); err != nil || s.Schema != 2 {
		return nil, badInput(path, "is not the description of a checkpoint (schema 2)")
	}
	if sum, err := s.sum(); err != nil || sum != s.SHA256 {
		return nil, badInput(path, "does not have the SHA-256 that it gives; it is damaged")
	}
	return s, nil
}

// find reads the file that has this identity, under either name.
func (id fileID) find(base, end string) (*File, error) {
	f, err := id.read(base + end)
	if err == nil {
		return f, nil
	}
	if f, prevErr := id.read(base + prev + end); prevErr == nil {
		return f, nil
	}
	return nil, err
}

func (id fileID) read(path string) (*File, error) {
	in, size, err := open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	if size != id.Size {
		return nil, badInput(path, "has %d bytes where its .json says %d", size, id.Size)
	}
	sum := sha256.New()
	f, err := decode(path, io.TeeReader(in, sum), size)
	if err != nil {
		return nil, err
	}
	if hex.EncodeToString(sum.Sum(nil)) != id.SHA256 {
		return nil, badInput(path, "does not have the SHA-256 that its .json gives; it is damaged")
	}
	return f, nil
}

func remove(paths ...string) error {
	for _, p := range paths {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.n += int64(n)
	return n, err
}
