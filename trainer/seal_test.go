package trainer

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

func TestARunWhoseMetricsAreLostIsNotDone(t *testing.T) {
	run, err := checkpoint.OpenRun(t.TempDir(), checkpoint.Options{})
	require.NoError(t, err)
	defer run.Close()
	p := &pipeline{run: run}
	p.metrics, err = metrics.Open(run.Dir, 0, false)
	require.NoError(t, err)
	require.NoError(t, p.metrics.Close()) // once more fails, as on a disk that is gone
	assert.ErrorContains(t, p.seal(&metrics.Report{}), "cannot write the metrics: ")
	assert.False(t, checkpoint.IsDone(run.Dir))

	p.metrics, err = metrics.Open(run.Dir, 0, true)
	require.NoError(t, err)
	require.NoError(t, p.seal(&metrics.Report{}))
	assert.True(t, checkpoint.IsDone(run.Dir))
	p.options.Stages = []string{"pretrain"}
	assert.ErrorContains(t, p.seal(&metrics.Report{}), "cannot write the metrics: ", "a single stage tells it too")
}
