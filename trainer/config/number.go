package config

import (
	"errors"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// Number is a float64 that a config may also write as a fraction: 0.3, 1e-4, 8/255. It is always finite.
type Number float64

var decimal = regexp.MustCompile(`^[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?$`)

var errNumber = errors.New("a number such as 0.3, 1e-4 or 8/255 is needed")

// ParseNumber reads 0.3, 1e-4 or 8/255.
func ParseNumber(text string) (Number, error) {
	top, bottom, fraction := strings.Cut(text, "/")
	value, err := parseDecimal(top)
	if err != nil {
		return 0, err
	}
	if fraction {
		divisor, err := parseDecimal(bottom)
		if err != nil {
			return 0, err
		}
		value /= divisor
	}
	if math.IsInf(value, 0) || math.IsNaN(value) {
		return 0, errNumber
	}
	return Number(value), nil
}

func parseDecimal(text string) (float64, error) {
	text = strings.TrimSpace(text)
	if !decimal.MatchString(text) {
		return 0, errNumber
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, errNumber
	}
	return value, nil
}
