package trainer

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// key derives a seed from the run's and the place it is used at (stage, epoch, step, member, ...). Every random number of a
// run comes from such a seed, so what is drawn depends on where in the run it is and not on what was drawn before.
func key(seed uint64, place ...any) uint64 {
	sum := sha256.Sum256(fmt.Appendln([]byte{}, append([]any{seed}, place...)...))
	return binary.LittleEndian.Uint64(sum[:8])
}
