package torch

// Throw makes the shim throw a C++ exception of one kind.
var Throw = throw

// Kept is what the calling thread keeps of freed host memory, in bytes.
var Kept = kept

// Warn makes libtorch warn.
func Warn() error { return throw(4) }

// SetCapturing pretends that a capture begins or ends.
func (s *Session) SetCapturing(on bool) { s.capturing = on }
