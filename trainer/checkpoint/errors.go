package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"syscall"
)

// InputError says that a file or folder the user named cannot be used as it is:
// missing, truncated, hostile, foreign, or in use. Nothing has been changed when
// it is returned, and trying again without repairing the cause does not help.
type InputError struct {
	Path    string // the file or folder
	Problem string // what is wrong with it and, where it helps, what would be right
	Err     error  // the cause, if the system reported one
}

func (e *InputError) Error() string { return e.Path + ": " + e.Problem }

// Unwrap lets errors.Is find the cause, for example fs.ErrNotExist.
func (e *InputError) Unwrap() error { return e.Err }

func badInput(path, format string, args ...any) *InputError {
	return &InputError{Path: path, Problem: fmt.Sprintf(format, args...)}
}

// osInput turns an error of the os package into an InputError without
// repeating the path that such errors carry. Only what the user can put right
// is one: a disk that fails is worth another try.
func osInput(path, what string, err error) error {
	var pe *fs.PathError
	cause := err
	if errors.As(err, &pe) {
		cause = pe.Err
	}
	for _, theirs := range []error{fs.ErrNotExist, fs.ErrPermission, fs.ErrExist, syscall.ENOTDIR, syscall.EISDIR, syscall.EROFS, syscall.ENAMETOOLONG,
		syscall.ELOOP, syscall.EINVAL, io.EOF, io.ErrUnexpectedEOF} {
		if errors.Is(err, theirs) {
			return &InputError{Path: path, Problem: what + ": " + cause.Error(), Err: err}
		}
	}
	return fmt.Errorf("%s: %s: %w", path, what, cause)
}
