package checkpoint

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// spare is what a save leaves free on the disk for the log and the metrics.
const spare = 1 << 20

// room refuses to begin a save that the disk cannot hold: one that fails half-way has filled it for everybody else.
func (r *Run) room(dir string, need int64) error {
	free, err := r.free(dir)
	if err != nil || free >= need+spare { // where it cannot be told, the writing will show
		return nil
	}
	return fmt.Errorf("the disk of %s has %.1f MB free and %.1f MB are needed: free some, then the same command goes on", dir, float64(free)/1e6, float64(need+spare)/1e6)
}

// FreeBytes is what this user may still write on the disk of a folder.
func FreeBytes(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Bsize, nil
}

// size is what the file will take on disk, but for its header.
func (f *File) size() (n int64) {
	if f == nil {
		return 0
	}
	for _, t := range f.Tensors {
		n += int64(len(t.Data))
	}
	return n
}
