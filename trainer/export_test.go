package trainer

import (
	"context"
	"io"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/trainer/config"
)

// tiny is a whole run of a fraction of a second: 48 training images in two steps an epoch, 12 to validate on, 40 to test.
const tiny = `
run: {name: tiny, workers: 1, device: cpu}
data: {dataset: digits, train_limit: 60, validation: 12, test_limit: 40, batch_size: 24}
model: {arch: lenet_adv}
training: {method: pgd}
adversary: {epsilon: 0.2, step_size: 0.1, steps: 2}
prune: {sparsity_type: irregular, ratio: 0.9}
pretrain: {epochs: 2, optimizer: sgd, lr: 0.05, momentum: 0.9, nesterov: true, weight_decay: 1e-4, lr_schedule: cosine}
admm: {epochs: 2, lr: 2e-3, rho: 0.1, update_every: 1}
retrain: {epochs: 2, lr: 2e-3}
evaluate: {attacks: [pgd-3], suspicion: false}
`

// Settings is the tiny run, in the folder out, with some keys set otherwise.
func Settings(t testing.TB, out string, sets ...string) *config.Config {
	t.Helper()
	cfg, err := config.Parse([]byte(tiny), "tiny.yaml", append([]string{"run.out_dir=" + filepath.ToSlash(out)}, sets...))
	require.NoError(t, err)
	return cfg
}

// Quiet are options that show nothing to anybody.
func Quiet() RunOptions { return RunOptions{Console: Console{Out: io.Discard}, Version: "v-test"} }

// Apart runs f with a team on each of these devices, whatever a config says, as if they were several GPUs.
func Apart(t testing.TB, f func(), devices ...torch.Device) {
	t.Helper()
	defer func(before func(string) ([]torch.Device, error)) { devicesOf = before }(devicesOf)
	devicesOf = func(string) ([]torch.Device, error) { return devices, nil }
	f()
}

// EndsAfter is a context that ends when it has been looked at n times: at one place of a run, the same each time.
func EndsAfter(n int) context.Context {
	c := &counted{Context: context.Background()}
	c.left.Store(int64(n))
	return c
}

type counted struct {
	context.Context
	left atomic.Int64
}

func (c *counted) Err() error {
	if c.left.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// Compares says that a test compares numbers and is long: the race detector, which has -short, finds nothing in it that it does not in others.
func Compares(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("long, and compares what races do not change; runs without -short")
	}
}
