package checkpoint

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// lockName marks a folder as a run of rapt and is locked while one is at work
// in it. It is written before anything else and never removed.
const lockName = "run.lock"

const lockTitle = "rapt run folder"

// Options says what to do with a run folder that exists already. With neither
// set, it is refused.
type Options struct {
	Resume    bool // go on with what is there
	Overwrite bool // remove the files that rapt wrote there and begin anew; wins over Resume
}

// Run is a run's folder, held by this process until Close.
type Run struct {
	Dir     string
	Resumed bool             // the folder held an earlier run, which goes on
	Warn    func(msg string) // told, where set, that a torn checkpoint was passed over
	lock    *flock.Flock
	stop    func() error                    // set by tests: an error stands for a kill before a rename
	free    func(dir string) (int64, error) // bytes left on a folder's disk

	passed []string // checkpoints that were not whole when they were read, so that .prev was

	earlier, latest *aside // the saves that may still be under way
}

// OpenRun creates or enters the run folder dir and locks it. A folder that
// cannot be written, that another process holds, that holds a run while opts
// allows neither way on, or that holds files but no run of rapt is an
// *InputError, and is left as it is.
func OpenRun(dir string, opts Options) (*Run, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, osInput(dir, "cannot create the run folder", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, osInput(dir, "cannot read the run folder", err)
	}
	ours := len(entries) == 0 || isRun(dir)
	if !ours {
		return nil, badInput(dir, "holds files that are not a run of rapt, such as %s; choose another run.name or run.out_dir", entries[0].Name())
	}
	r := &Run{Dir: dir, free: FreeBytes}
	if err := r.acquire(); err != nil {
		return nil, err
	}
	if err := r.settle(opts); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// settle decides, under the lock, between a new run, resuming and overwriting.
func (r *Run) settle(opts Options) error {
	r.removeLeftovers()
	files := r.files(runPatterns)
	switch {
	case opts.Overwrite:
		for _, f := range append(files, r.files(guestPatterns)...) {
			if err := os.Remove(f); err != nil {
				return osInput(f, "cannot remove it for --overwrite", err)
			}
		}
	case len(files) == 0:
	case opts.Resume:
		r.Resumed = true
	default:
		return badInput(r.Dir, "holds a run already; resume it, choose another run.name, or give --overwrite")
	}
	return nil
}

// HasMore reports whether the folder holds what a run writes after its config.yaml.
func (r *Run) HasMore() bool {
	for _, pattern := range []string{"metrics.*", "report.json", "DONE", "checkpoints/*/*"} {
		if found, _ := filepath.Glob(r.Path(pattern)); len(found) > 0 {
			return true
		}
	}
	return false
}

// isRun looks for the title that acquire writes, or for a part of it: a lost node may have left no more.
func isRun(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	title, err := io.ReadAll(io.LimitReader(f, int64(len(lockTitle))))
	return err == nil && strings.HasPrefix(lockTitle, string(title))
}

func (r *Run) acquire() error {
	path := r.Path(lockName)
	r.lock = flock.New(path, flock.SetFlag(os.O_CREATE|os.O_RDWR), flock.SetPermissions(0o644))
	got, err := r.lock.TryLock()
	if err != nil {
		return osInput(r.Dir, "cannot lock the run folder", err)
	}
	if !got {
		holder := "another process"
		if b, err := os.ReadFile(path); err == nil && len(b) < 1000 {
			if _, who, ok := strings.Cut(strings.TrimSpace(string(b)), "\n"); ok {
				holder = who
			}
		}
		return badInput(r.Dir, "is in use by %s; wait for it to end or choose another run.name", holder)
	}
	host, _ := os.Hostname()
	who := fmt.Sprintf("%s\nprocess %d on %s\n", lockTitle, os.Getpid(), host)
	if err := r.sign(path, who); err != nil {
		r.lock.Close()
		return osInput(r.Dir, "cannot write in the run folder", err)
	}
	return nil
}

// sign writes who holds the lock. It is not renamed into place, as the lock belongs to this very file; the title is there at any time.
func (r *Run) sign(path, who string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.WriteAt([]byte(who), 0); err != nil {
		return err
	}
	if err := f.Truncate(int64(len(who))); err != nil {
		return err
	}
	return f.Sync()
}

// Close waits for what is being saved, whose error Wait gives, and lets the folder go; what it holds stays.
func (r *Run) Close() error {
	_ = r.Wait()
	return r.lock.Close()
}

// Path joins the elements below the run folder.
func (r *Run) Path(elem ...string) string {
	return filepath.Join(append([]string{r.Dir}, elem...)...)
}

// WriteFile stores data below the run folder, atomically.
func (r *Run) WriteFile(name string, data []byte) error {
	return WriteAtomic(r.Path(name), func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteJSON stores v as indented JSON, atomically.
func (r *Run) WriteJSON(name string, v any) error {
	b, err := indented(v)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", r.Path(name), err)
	}
	return r.WriteFile(name, b)
}

// ReadJSON fills v from a file of the run folder.
func (r *Run) ReadJSON(name string, v any) error {
	b, err := os.ReadFile(r.Path(name))
	if err != nil {
		return osInput(r.Path(name), "cannot read it", err)
	}
	if err := json.Unmarshal(b, v); err != nil {
		return badInput(r.Path(name), "is not the JSON that rapt wrote: %v", err)
	}
	return nil
}

// MarkDone writes DONE: every stage has ended and the report is there.
func (r *Run) MarkDone() error { return r.WriteFile("DONE", nil) }

// IsDone tells whether MarkDone has been called on the run in a folder.
func IsDone(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "DONE"))
	return err == nil
}

func indented(v any) ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(b, '\n'), err
}

// runPatterns are the files that rapt writes in a run folder, and all that
// --overwrite may remove there. DONE goes first, so that a half-removed run is
// not taken for a finished one.
var runPatterns = []string{
	"DONE", "report.json", "strategy.yaml", "config.yaml", "env.json", "log.txt", "log-*.txt",
	"metrics.jsonl", "metrics.csv", "events.out.tfevents.*",
	"checkpoints/*/last.json", "checkpoints/*/last.safetensors", "checkpoints/*/last.state.safetensors",
	"checkpoints/*/last.prev.json", "checkpoints/*/last.prev.safetensors", "checkpoints/*/last.prev.state.safetensors",
	"checkpoints/*/best.json", "checkpoints/*/best.safetensors", "checkpoints/*/best.state.safetensors",
	"checkpoints/*/best.prev.json", "checkpoints/*/best.prev.safetensors", "checkpoints/*/best.prev.state.safetensors",
}

// guestPatterns are what other commands left: interrupted evaluations of the run's models and its page, and all of theirs that --overwrite may
// remove. They hold no lock on the folder: at no other time are their temporary files known to be nobody's.
var guestPatterns = []string{"report.html", ".report.html[0-9]*", "eval/" + fingerprint + ".json", "eval/" + fingerprint + ".json.images", "eval/." + fingerprint + ".json[0-9]*"}

var fingerprint = strings.Repeat("[0-9a-f]", 16)

// files lists what rapt wrote here, the lock file apart.
func (r *Run) files(patterns []string) []string {
	var files []string
	for _, p := range patterns {
		files = append(files, r.glob(p)...)
	}
	return files
}

// removeLeftovers deletes the temporary files of a process that was killed
// while it wrote: the name with a dot before it and digits behind.
func (r *Run) removeLeftovers() {
	for _, p := range runPatterns {
		dir, name := filepath.Split(p)
		for _, f := range r.glob(dir + "." + name + "[0-9]*") {
			os.Remove(f) // at worst it stays
		}
	}
}

// glob matches a pattern below the run folder, whose own name is taken literally.
func (r *Run) glob(pattern string) []string {
	names, _ := fs.Glob(os.DirFS(r.Dir), pattern) // fails only for a bad pattern
	for i, n := range names {
		names[i] = r.Path(n)
	}
	return names
}
