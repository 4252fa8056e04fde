package config

import (
	"errors"
	"strconv"
	"time"
)

// Interval is how often something is done: every so many steps, or whenever so much time has passed. Written 500, 10m or 90s.
type Interval string

// Duration is a length of time, written 20s, 2m or 1h30m, or as a whole number of seconds.
type Duration string

var (
	errInterval = errors.New("a number of steps such as 500, or a time such as 10m or 90s, is needed; 0 is never")
	errDuration = errors.New("a time such as 20s or 2m is needed")
)

// maxDuration keeps sums of times within what a time.Duration holds.
const maxDuration = 10 * 365 * 24 * time.Hour

// Every is the interval in steps, or in time where steps is 0; both are 0 for never.
func (i Interval) Every() (steps int, after time.Duration, err error) {
	if n, e := strconv.ParseInt(string(i), 10, 32); e == nil && n >= 0 {
		return int(n), 0, nil
	}
	after, err = time.ParseDuration(string(i))
	if err != nil || after <= 0 || after > maxDuration {
		return 0, 0, errInterval
	}
	return 0, after, nil
}

// Time is the length.
func (d Duration) Time() (time.Duration, error) {
	if n, e := strconv.ParseInt(string(d), 10, 32); e == nil && n >= 0 {
		return time.Duration(n) * time.Second, nil
	}
	t, err := time.ParseDuration(string(d))
	if err != nil || t < 0 || t > maxDuration {
		return 0, errDuration
	}
	return t, nil
}
