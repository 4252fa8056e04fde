package trainer

import (
	"fmt"
	"time"
)

// clockSlack is how far the clock may drift from the monotonic one between two looks: NTP slews by half a thousandth.
const clockSlack = time.Minute

// clockWatch sees that the machine's clock was set while a run is under way. The zero value is ready; its first look takes the time.
type clockWatch struct {
	now   func() (wall time.Time, elapsed time.Duration) // nil: the machine's; elapsed is monotonic
	wall  time.Time
	since time.Duration
}

var processBegan = time.Now()

func machineClock() (time.Time, time.Duration) {
	now := time.Now()
	return now.Round(0), now.Sub(processBegan) // rounding drops the monotonic reading, so that Sub goes by the wall
}

// look gives how far the clock jumped since the last look, 0 within clockSlack: forward is positive.
func (c *clockWatch) look() time.Duration {
	now := c.now
	if now == nil {
		now = machineClock
	}
	wall, elapsed := now()
	before, since := c.wall, c.since
	c.wall, c.since = wall, elapsed
	if before.IsZero() {
		return 0
	}
	if jump := wall.Sub(before) - (elapsed - since); jump.Abs() > clockSlack {
		return jump
	}
	return 0
}

// watchClock warns, once a jump.
func (p *pipeline) watchClock() {
	switch jump := p.clock.look(); {
	case jump > 0: // the monotonic clock stands still while a machine sleeps
		p.log.Warn(fmt.Sprintf("the clock was set %.0f s forward, or the machine slept: times in the logs are off, durations are not", jump.Seconds()))
	case jump < 0:
		p.log.Warn(fmt.Sprintf("the clock was set %.0f s back: times in the logs are off, durations are not", -jump.Seconds()))
	}
}
