package trainer

import (
	"fmt"
	"math"
	"sync"

	"rapt/trainer/metrics"
)

// meter shows how far an attack is: images done, with the share of the work in hand, and how many still stand. Workers report to it.
type meter struct {
	mu       sync.Mutex
	progress metrics.Progress
	title    string
	share    map[int64]float64 // done of each chunk, by its first image
	fallen   map[int64]int     // images broken in it
	size     map[int64]int     // images in it
	stand    int               // images at the attack's begin
}

func newMeter(p metrics.Progress, title string, ids []int64, chunks [][]int64) *meter {
	m := &meter{progress: p, title: title, share: map[int64]float64{}, fallen: map[int64]int{}, size: map[int64]int{}, stand: len(ids)}
	left := 0
	for _, c := range chunks {
		m.size[c[0]] = len(c)
		left += len(c)
	}
	if p != nil && left > 0 {
		p.Start(title, left)
	} else {
		m.progress = nil
	}
	return m
}

// of is an attack's progress function for one chunk.
func (m *meter) of(ids []int64) func(standing int, done float64) {
	return func(standing int, done float64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.share[ids[0]], m.fallen[ids[0]] = min(max(done, 0), 1), len(ids)-standing
		m.show()
	}
}

func (m *meter) finished(ids []int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.share[ids[0]] = 1
	m.show()
}

func (m *meter) show() {
	if m.progress == nil {
		return
	}
	images, stand := 0.0, m.stand
	for first, share := range m.share {
		images += share * float64(m.size[first])
		stand -= m.fallen[first]
	}
	m.progress.Detail(fmt.Sprintf("%d standing", stand))
	m.progress.Update(int(images), math.NaN(), 0)
}

func (m *meter) done() {
	if m.progress != nil {
		m.progress.Done()
	}
}
