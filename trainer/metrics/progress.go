package metrics

import (
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
)

// Progress shows how far an epoch is. On a terminal that is a bar, elsewhere a
// line now and then. Write prints a log line without tearing the bar, so it is
// the writer to give to NewLog. It is safe for several goroutines.
type Progress interface {
	io.Writer
	// Start begins an epoch of so many images.
	Start(title string, totalImages int)
	// Update tells the images done, the mean loss and the accuracy (a fraction); a loss that is not a number is for work
	// that has none to show.
	Update(doneImages int, loss, acc float64)
	// Detail is shown beside the title from the next Update on, such as "812 standing".
	Detail(text string)
	// Done removes the bar.
	Done()
}

// plainEvery is the least time between two lines where there is no terminal.
const plainEvery = 30 * time.Second

// NewProgress writes to w; isTTY says that w is a terminal. One that can do
// nothing (TERM=dumb) gets plain lines. No colours are used, so NO_COLOR holds.
func NewProgress(w io.Writer, isTTY bool) Progress {
	if isTTY && os.Getenv("TERM") != "dumb" {
		return &barProgress{w: w}
	}
	return &lineProgress{w: w, now: time.Now}
}

type barProgress struct {
	mu    sync.Mutex
	w     io.Writer
	bar   *progressbar.ProgressBar // nil between epochs
	title string
	more  string // the detail
	total int
}

func (p *barProgress) Start(title string, totalImages int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.title, p.more, p.total = title, "", max(totalImages, 1)
	p.bar = progressbar.NewOptions(p.total,
		progressbar.OptionSetWriter(p.w),
		progressbar.OptionUseANSICodes(true),
		progressbar.OptionSetTheme(progressbar.ThemeASCII),
		progressbar.OptionSetWidth(12),
		progressbar.OptionThrottle(200*time.Millisecond),
		progressbar.OptionShowIts(),
		progressbar.OptionSetItsString("images"),
		progressbar.OptionSetPredictTime(true),
		progressbar.OptionClearOnFinish(),
		progressbar.OptionSetDescription(title),
	)
}

func (p *barProgress) Update(doneImages int, loss, acc float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar == nil {
		return
	}
	text := titled(p.title, p.more)
	if !math.IsNaN(loss) {
		text += fmt.Sprintf(" loss %.3f acc %.1f%%", loss, 100*acc)
	}
	p.bar.Describe(text)
	p.bar.Set(min(doneImages, p.total)) // a bar that cannot be drawn stops nothing
}

func (p *barProgress) Detail(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more = text
}

func (p *barProgress) Done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.Clear()
		p.bar = nil
	}
}

func (p *barProgress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bar != nil {
		p.bar.Clear() // the next Update draws it again
	}
	return p.w.Write(b)
}

type lineProgress struct {
	mu          sync.Mutex
	w           io.Writer
	now         func() time.Time
	title, more string
	total       int
	began, last time.Time
}

func (p *lineProgress) Start(title string, totalImages int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.title, p.more, p.total = title, "", totalImages
	p.began = p.now()
	p.last = p.began
}

func (p *lineProgress) Update(doneImages int, loss, acc float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.now()
	if now.Sub(p.last) < plainEvery {
		return
	}
	p.last = now
	perSecond := float64(doneImages) / now.Sub(p.began).Seconds()
	left := "?"
	if perSecond > 0 {
		left = time.Duration(float64(p.total-doneImages) / perSecond * float64(time.Second)).Round(time.Second).String()
	}
	so := ""
	if !math.IsNaN(loss) {
		so = fmt.Sprintf(" loss %.4f, accuracy %.2f %%,", loss, 100*acc)
	}
	fmt.Fprintf(p.w, "%s %d/%d images, %.0f images/s,%s %s left\n", titled(p.title, p.more), doneImages, p.total, perSecond, so, left)
}

func (p *lineProgress) Detail(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.more = text
}

func (p *lineProgress) Done() {}

func titled(title, more string) string {
	if more == "" {
		return title
	}
	return title + ", " + more
}

func (p *lineProgress) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.w.Write(b)
}
