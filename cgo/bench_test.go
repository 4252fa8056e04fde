package torch_test

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	torch "rapt/cgo"
)

// BenchmarkSmallOp is the price of the border: one operation on one element, and its part in freeing it.
func BenchmarkSmallOp(b *testing.B) {
	bench(b, func(s *torch.Session) {
		x := s.Ones(1)
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += 100 {
			s.Do(func() {
				for range 100 {
					x.Detach()
				}
			})
		}
	})
}

// BenchmarkBinaryOp adds two tensors of one element.
func BenchmarkBinaryOp(b *testing.B) {
	bench(b, func(s *torch.Session) {
		x := s.Ones(1)
		b.ReportAllocs()
		b.ResetTimer()
		for i := 0; i < b.N; i += 100 {
			s.Do(func() {
				for range 100 {
					x.Add(x)
				}
			})
		}
	})
}

// BenchmarkNumel is the price of a call that makes nothing.
func BenchmarkNumel(b *testing.B) {
	bench(b, func(s *torch.Session) {
		x := s.Ones(1)
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			x.Numel()
		}
	})
}

// BenchmarkResidentMemory reads the process's resident memory after 300 and after 3,000 PGD steps on a small LeNet.
func BenchmarkResidentMemory(b *testing.B) {
	for range b.N {
		bench(b, func(s *torch.Session) {
			a := newAttack(s)
			var early, late float64
			for i := range 3000 {
				if i%10 == 0 {
					a.restart()
				}
				a.step()
				switch i + 1 {
				case 300:
					early = residentMiB(b)
				case 3000:
					late = residentMiB(b)
				}
			}
			b.ReportMetric(early, "MiB@300")
			b.ReportMetric(late, "MiB@3000")
			b.ReportMetric(late/early, "ratio")
		})
	}
}

func bench(b *testing.B, f func(*torch.Session)) {
	err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		f(s)
		return s.Err()
	})
	if err != nil {
		b.Fatal(err)
	}
}

var vmRSS = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)

func residentMiB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("needs Linux's /proc: ", err)
	}
	kb, err := strconv.ParseFloat(string(vmRSS.FindSubmatch(status)[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}
