package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// search tries sizes that take what is said, and runs out of memory at oom.
func search(oom int, ms map[int]float64, bytes func(batch int) int64) batchSearch {
	return batchSearch{first: 16, most: 256, try: func(batch int) (batchTrial, error) {
		if batch >= oom {
			return batchTrial{}, fmt.Errorf("Conv2d: %w", torch.ErrOutOfMemory)
		}
		return batchTrial{Batch: batch, StepMS: ms[batch], ImagesPerSecond: 1e3 * float64(batch) / ms[batch], PeakBytes: bytes(batch)}, nil
	}}
}

func TestBatchSearch(t *testing.T) {
	ms := map[int]float64{16: 10, 32: 11, 64: 16, 128: 31, 256: 63}
	mega := func(batch int) int64 { return 300e6 + int64(batch)*1e6 }
	r, err := search(1000, ms, mega).run()
	require.NoError(t, err)
	assert.Len(t, r.Trials, 5)
	assert.Equal(t, 256, r.Largest)
	assert.Equal(t, 64, r.Efficient, "4000 images a second are 97 % of 4129")
	assert.Contains(t, r.Stopped, "256 is the largest that is tried")

	r, err = search(128, ms, mega).run()
	require.NoError(t, err)
	assert.Equal(t, 64, r.Largest)
	assert.Equal(t, "batches of 128 do not fit into the memory", r.Stopped)

	s := search(1000, ms, mega)
	s.used, s.memory = 290e6, 500e6 // 128 takes 428, 256 takes 556
	r, err = s.run()
	require.NoError(t, err)
	assert.Equal(t, 128, r.Largest)
	assert.Equal(t, "batches of 256 would take about 0.56 GB of memory, and there are 0.50 GB", r.Stopped)

	s = search(1000, ms, mega)
	s.time = 200 * time.Millisecond
	r, err = s.run()
	require.NoError(t, err)
	assert.Equal(t, 128, r.Largest, "four steps of 62 ms are too long")

	ms[8], ms[4] = 9, 8
	r, err = search(9, ms, mega).run()
	require.NoError(t, err)
	assert.Len(t, r.Trials, 1, "16 does not fit, 8 does, and 16 is not tried again")
	assert.Equal(t, []any{8, 8, "batches of 16 do not fit into the memory"}, []any{r.Largest, r.Efficient, r.Stopped})
	r, err = search(5, ms, mega).run()
	require.NoError(t, err)
	assert.Equal(t, []any{4, "batches of 8 do not fit into the memory"}, []any{r.Largest, r.Stopped})

	_, err = search(1, ms, mega).run()
	assert.EqualError(t, err, "batches of 2 do not fit into the memory: a smaller model.width is needed")
	broken := errors.New("broken")
	_, err = batchSearch{first: 1, most: 8, try: func(int) (batchTrial, error) { return batchTrial{}, broken }}.run()
	assert.ErrorIs(t, err, broken)
}

func TestDoctorFindsABatch(t *testing.T) {
	config := write(t, "small.yaml", goodConfig+"adversary: {steps: 1}\nrun: {workers: 1, device: cpu}\n")
	code, out, errOut := rapt("doctor", "--find-batch", config, "--batch-limit", "128", "--json")
	require.Zero(t, code, errOut)
	var r batchReport
	require.NoError(t, json.Unmarshal([]byte(out), &r))
	assert.Equal(t, "cpu", r.Device)
	require.Len(t, r.Trials, 3, "32, 64 and 128")
	assert.Equal(t, 32, r.Trials[0].Batch)
	assert.Equal(t, 128, r.Largest)
	assert.Positive(t, r.Efficient)
	assert.Positive(t, r.MemoryLimit)
	for _, one := range r.Trials {
		assert.Positive(t, one.StepMS)
		assert.Positive(t, one.PeakBytes)
	}

	code, out, errOut = rapt("doctor", config, "--find-batch", "--set", "data.batch_size=50", "--batch-limit", "60")
	require.Zero(t, code, errOut)
	assert.Regexp(t, `(?m)^ *batch +ms/step +images/s +peak memory\n *50 +[\d.]+ +\d+ +[\d.]+ GB\nlargest that fits: 50 \(60 is the largest that is tried`, out)
	assert.Contains(t, out, "smallest that reaches 95 % of the best throughput: 50\n")
}

func TestFindBatchRefusals(t *testing.T) {
	config := write(t, "good.yaml", goodConfig)
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "--find-batch needs a CONFIG"},
		{[]string{config, "--batch-limit", "0"}, "--batch-limit is 0, and at least 1 is needed"},
		{[]string{config, "--set", "model.arch=lenet_avd"}, `did you mean "lenet_adv"?`},
		{[]string{config, "--set", "run.device=cuda:63"}, "there is no device cuda:63"},
	} {
		code, _, errOut := rapt(append([]string{"doctor", "--find-batch"}, c.args...)...)
		assert.Equal(t, exitUsage, code)
		assert.Contains(t, errOut, c.says)
	}
}
