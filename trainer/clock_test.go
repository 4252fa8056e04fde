package trainer

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestClockWatch(t *testing.T) {
	wall, elapsed := time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC), time.Hour
	core, seen := observer.New(zap.InfoLevel)
	p := &pipeline{log: zap.New(core), clock: clockWatch{now: func() (time.Time, time.Duration) { return wall, elapsed }}}
	pass := func(byClock, really time.Duration) []observer.LoggedEntry {
		wall, elapsed = wall.Add(byClock), elapsed+really
		p.watchClock()
		return seen.TakeAll()
	}
	assert.Empty(t, pass(0, 0), "the first look")
	assert.Empty(t, pass(10*time.Hour, 10*time.Hour))
	assert.Empty(t, pass(10*time.Hour+59*time.Second, 10*time.Hour), "drift")
	for _, c := range []struct {
		byClock time.Duration
		says    string
	}{
		{time.Hour + 61*time.Second, "the clock was set 61 s forward, or the machine slept: times in the logs are off, durations are not"},
		{-2 * time.Hour, "the clock was set 10800 s back: times in the logs are off, durations are not"},
	} {
		got := pass(c.byClock, time.Hour)
		require.Len(t, got, 1)
		assert.Equal(t, c.says, got[0].Message)
		assert.Equal(t, zap.WarnLevel, got[0].Level)
		assert.Empty(t, pass(time.Hour, time.Hour), "once a jump")
	}
}

func TestTheMachinesClockGoesByBoth(t *testing.T) {
	wall, elapsed := machineClock()
	time.Sleep(20 * time.Millisecond)
	later, more := machineClock()
	assert.GreaterOrEqual(t, more-elapsed, 20*time.Millisecond)
	assert.InDelta(t, 0, (later.Sub(wall) - (more - elapsed)).Seconds(), 30)
	assert.NotContains(t, wall.String(), "m=", "a monotonic reading would make Sub go by it")
	var c clockWatch
	assert.Zero(t, c.look())
	assert.Zero(t, c.look())
}
