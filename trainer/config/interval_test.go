package config

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestInterval(t *testing.T) {
	for text, want := range map[Interval]struct {
		steps int
		after time.Duration
	}{"0": {}, "500": {steps: 500}, "10m": {after: 10 * time.Minute}, "1h30m": {after: 90 * time.Minute}, "90s": {after: 90 * time.Second}} {
		steps, after, err := text.Every()
		assert.NoError(t, err, text)
		assert.Equal(t, want.steps, steps, text)
		assert.Equal(t, want.after, after, text)
	}
	for _, text := range []Interval{"", "-5", "-5m", "0s", "99999999999", "1000000h", "ten"} {
		_, _, err := text.Every()
		assert.Error(t, err, text)
	}
}

func TestDuration(t *testing.T) {
	for text, want := range map[Duration]time.Duration{"0": 0, "0s": 0, "20": 20 * time.Second, "2m": 2 * time.Minute} {
		got, err := text.Time()
		assert.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []Duration{"", "-1", "-1s", "1000000h", "a while"} {
		_, err := text.Time()
		assert.Error(t, err, text)
	}
}
