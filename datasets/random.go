package datasets

import (
	"math"
	"math/bits"
)

// stream is a counter-based generator: its k-th value is the splitmix64 mix of key + k*golden. The
// standard library's generators may change their derived values between Go versions; this one cannot.
type stream struct{ key, counter uint64 }

const golden = 0x9e3779b97f4a7c15

// Domains keep the streams of different uses apart under one seed.
const (
	domainOrder = iota + 1
	domainSplit
	domainDigitTrain
	domainDigitTest
	domainTest
	domainLabels = 1 << 32 // added to a part's domain
)

func mix64(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// newStream returns the stream of a seed, a domain and an index (an epoch, a class, a sample).
func newStream(seed, domain, index uint64) *stream {
	key := mix64(seed + golden)
	key = mix64(key ^ mix64(domain^0xd1b54a32d192ed03))
	key = mix64(key ^ mix64(index^0x8cb92ba72f3d8dd7))
	return &stream{key: key}
}

func (s *stream) next() uint64 {
	s.counter++
	return mix64(s.key + s.counter*golden)
}

// below returns an unbiased integer in [0, n), n > 0 (Lemire's multiply-and-reject).
func (s *stream) below(n uint64) uint64 {
	hi, lo := bits.Mul64(s.next(), n)
	if lo < n {
		for threshold := -n % n; lo < threshold; {
			hi, lo = bits.Mul64(s.next(), n)
		}
	}
	return hi
}

// unit returns a float in [0, 1).
func (s *stream) unit() float64 { return float64(s.next()>>11) / (1 << 53) }

// between returns a float in [a, b).
func (s *stream) between(a, b float64) float64 { return a + (b-a)*s.unit() }

// normal returns a standard normal value (Box-Muller; the second value of the pair is dropped).
func (s *stream) normal() float64 {
	u := 1 - s.unit()
	return math.Sqrt(-2*math.Log(u)) * math.Cos(2*math.Pi*s.unit())
}

// shuffle permutes a slice in place (Fisher-Yates).
func shuffle[T any](s *stream, v []T) {
	for i := len(v) - 1; i > 0; i-- {
		j := s.below(uint64(i) + 1)
		v[i], v[j] = v[j], v[i]
	}
}

// Order is the sampler: the permutation of [0, n) in which an epoch visits the training samples, a pure
// function of (seed, epoch). The sample at a position of the epoch is Order(...)[position], so a resumed
// epoch needs only its position. The values do not depend on the Go version or the machine.
func Order(seed uint64, epoch, n int) []int64 {
	order := make([]int64, max(n, 0))
	for i := range order {
		order[i] = int64(i)
	}
	shuffle(newStream(seed, domainOrder, uint64(epoch)), order)
	return order
}
