package datasets

import (
	"context"
	"time"

	"github.com/gofrs/flock"
)

const lockRetry = 100 * time.Millisecond

// hold takes the lock on a file, which stays there for others. Where another process has it, waiting is told once, and the wait ends
// when ctx does.
func hold(ctx context.Context, path string, waiting func()) (*flock.Flock, error) {
	lock := flock.New(path, flock.SetPermissions(0o644)) // other users may wait for it too
	got, err := lock.TryLock()
	if err == nil && !got {
		waiting()
		_, err = lock.TryLockContext(ctx, lockRetry)
	}
	return lock, err
}
