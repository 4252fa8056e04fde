package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// turn is one side's part of a round: so many timings, in milliseconds.
type turn func(n int) ([]float64, error)

// setting is one way to run the reference.
type setting struct {
	name  string
	child *child
	keys  request
	usual bool // PyTorch as it comes
}

// settings are those to try: each allocator with each number of threads, and on a GPU each variant.
func (b *bench) settings(precision string) []setting {
	var out []setting
	if b.device.IsCUDA() {
		variants := map[string][]string{"": {"eager"}, "tf32": {"eager-tf32"}, "bf16": {"compile-bf16-cl", "bf16-cl"}}[precision]
		for _, v := range variants {
			out = append(out, setting{name: v, child: b.children[0], keys: request{"device": b.device.String(), "variant": v}, usual: v == "eager"})
		}
		return out
	}
	for i, c := range b.children {
		if i == 0 {
			out = append(out, setting{name: fmt.Sprintf("as it comes (%s)", plural(b.threads, "thread")), child: c, keys: request{}, usual: true})
		}
		for _, n := range b.threadCounts() {
			out = append(out, setting{name: plural(n, "thread") + ", " + c.allocator, child: c, keys: request{"threads": n}})
		}
	}
	return out
}

// threadCounts are 1 to all processors; where there are more than four, the powers of two and all.
func (b *bench) threadCounts() []int {
	var out []int
	for n := 1; n <= b.workers; n++ {
		if b.workers <= 4 || n&(n-1) == 0 || n == b.workers {
			out = append(out, n)
		}
	}
	return out
}

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// contest is the reference's side of a row.
type contest struct {
	request request   // what is timed
	short   request   // the same made shorter, for choosing the setting; nil: request itself
	tries   []setting // empty where there is no reference
}

// compare fills r with both sides' times, taken in turns. rounds and most limit how many there are.
func (b *bench) compare(r *row, ours turn, c contest, rounds, most int) error {
	if _, err := ours(1); err != nil { // what is not warm yet
		return err
	}
	first, err := ours(1)
	if err != nil {
		return err
	}
	var chosen []setting
	if len(c.tries) > 0 {
		if chosen = b.choose(r, c); len(chosen) == 0 {
			r.Note = join(r.Note, "no setting of the reference works")
		}
	}
	mine, theirs := []float64{}, make([][]float64, len(chosen))
	for range rounds {
		b.rest()
		ms, err := ours(b.count(median(first), most))
		if err != nil {
			return err
		}
		mine = append(mine, ms...)
		for i, s := range chosen {
			b.rest()
			n := b.count(r.Tried[s.name], most)
			if c.short != nil {
				n = 1
			}
			a, err := s.child.ask(c.request.with(s.keys).with(request{"repeat": n}))
			if err != nil {
				return err
			}
			theirs[i] = append(theirs[i], a.Milliseconds...)
		}
	}
	r.Ours, r.Samples = median(mine), len(mine)
	for i, s := range chosen {
		ms := median(theirs[i])
		if s.usual {
			r.Default = ms
		}
		if r.Reference == 0 || ms < r.Reference {
			r.Reference, r.Setting = ms, s.name
		}
	}
	return nil
}

// choose times every setting in a few steps. It gives the two fastest, of which the rounds will tell, and the usual one.
func (b *bench) choose(r *row, c contest) []setting {
	ask := c.request
	if c.short != nil {
		ask = c.short
	}
	r.Tried = map[string]float64{}
	for _, s := range c.tries {
		probe := ask.with(s.keys).with(request{"warmup": 1, "repeat": 1})
		if c.short != nil { // long enough to be its own warm-up
			probe = probe.with(request{"warmup": 0})
		}
		a, err := s.child.ask(probe)
		if err == nil && !b.quick && c.short == nil {
			a, err = s.child.ask(probe.with(request{"warmup": 0, "repeat": b.count(a.Milliseconds[0], 5)}))
		}
		if err != nil {
			r.Note = join(r.Note, s.name+": "+err.Error())
			continue
		}
		r.Tried[s.name] = median(a.Milliseconds)
	}
	var out []setting
	for _, s := range c.tries {
		if _, ok := r.Tried[s.name]; ok {
			out = append(out, s)
		}
	}
	slices.SortStableFunc(out, func(x, y setting) int { return cmp.Compare(r.Tried[x.name], r.Tried[y.name]) })
	best := out[:min(2, len(out))]
	for _, s := range out[len(best):] {
		if s.usual {
			best = append(slices.Clone(best), s)
		}
	}
	return best
}

// count is how many steps of so many milliseconds make a turn of about half a second: two at least, unless they are slow.
func (b *bench) count(ms float64, most int) int {
	if ms > 5000 {
		return 1
	}
	if b.quick {
		return 2
	}
	return max(2, min(most, int(500/max(ms, 1))))
}

// rest lets the threads of the side that had its turn go to sleep.
func (b *bench) rest() {
	if !b.device.IsCUDA() {
		time.Sleep(150 * time.Millisecond)
	}
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
