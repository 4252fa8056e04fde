package datasets

import "fmt"

// InputError is a fault in what the user gave: a missing, truncated or foreign file, or an option that
// cannot be met. It is found before any work, so a command exits 2 on it.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

func inputErrorf(format string, args ...any) error {
	return &InputError{Err: fmt.Errorf(format, args...)}
}

// UncheckedError is a file that is there, but of which no checksum is published. It comes within an *InputError.
type UncheckedError struct{ error }

func unchecked(format string, args ...any) error {
	return &InputError{Err: &UncheckedError{fmt.Errorf(format, args...)}}
}

// ChecksumError says that a file was read but does not hold the content that was published. A command
// exits 3 on it. Got is empty where the content could not be unpacked; Err then says why.
type ChecksumError struct {
	Path      string
	Kind      string // of checksum: "SHA-256" or "MD5"
	Content   bool   // Got and Want are of the decompressed content, else of the file as it is
	Got, Want string // in hexadecimal
	Err       error
}

func (e *ChecksumError) Error() string {
	if e.Got == "" {
		return fmt.Sprintf("%s: the content does not unpack: %v; it should have %s %s", e.Path, e.Err, e.Kind, e.Want)
	}
	what := "file"
	if e.Content {
		what = "content"
	}
	return fmt.Sprintf("%s: the %s has %s %s and should have %s", e.Path, what, e.Kind, e.Got, e.Want)
}

func (e *ChecksumError) Unwrap() error { return e.Err }
