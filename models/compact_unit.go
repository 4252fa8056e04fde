package models

import "slices"

// unit is a convolution or linear layer, the batch norm behind it and the one that it reads by.
type unit struct {
	name              string
	out, in, area     int // of the weight [out, in, area]
	channels          int // that it reads, each as in / channels numbers; 0 of the image's
	padded, depthwise bool
	weight, bias      []float32 // bias is nil where there is none
	behind, before    *statistics
}

// statistics are a batch norm's numbers, by channel.
type statistics struct {
	name                         string
	scale, shift, mean, variance []float32
}

// hold has the norm make v of channel o, whatever comes.
func (n *statistics) hold(o int, v float32) (changed bool) {
	for _, set := range []struct {
		x []float32
		v float32
	}{{n.scale, 0}, {n.shift, v}, {n.mean, 0}, {n.variance, 1}} {
		changed = changed || set.x[o] != set.v
		set.x[o] = set.v
	}
	return changed
}

// row are the weights that make channel o.
func (u *unit) row(o int) []float32 { n := u.in * u.area; return u.weight[o*n : (o+1)*n] }

// column are the weights of channel o that read channel ch.
func (u *unit) column(o, ch int) []float32 {
	n := u.in / u.channels * u.area
	return u.row(o)[ch*n : (ch+1)*n]
}

// reads tells whether any weight reads channel ch.
func (u *unit) reads(ch int) bool { return u.needs(ch, nil) }

// needs tells whether any weight reads channel ch for a channel that is live; live is nil where all are.
func (u *unit) needs(ch int, live []bool) bool {
	for o := range u.out {
		if (live == nil || live[o]) && !zero(u.column(o, ch)) {
			return true
		}
	}
	return false
}

// still tells whether channel o is the same for every image by what makes it.
func (u *unit) still(o int) bool { return u.behind != nil && u.behind.scale[o] == 0 || zero(u.row(o)) }

// unshown clears the weights of channels that the batch norm behind does not show.
func (u *unit) unshown() {
	for o := range u.out {
		if u.behind != nil && u.behind.scale[o] == 0 {
			clear(u.row(o))
		}
	}
}

// blind tells whether the batch norm that u reads by shows it the same in channel ch for every image.
func (u *unit) blind(ch int) bool { return u.before != nil && u.before.scale[ch] == 0 }

// hold makes channel o the number v.
func (u *unit) hold(o int, v float32) (changed bool) {
	changed = !zero(u.row(o))
	clear(u.row(o))
	if u.behind != nil {
		changed = u.behind.hold(o, v) || changed
		v = 0
	}
	if u.bias != nil {
		changed = changed || u.bias[o] != v
		u.bias[o] = v
	}
	return changed
}

func zero(v []float32) bool { return !slices.ContainsFunc(v, func(x float32) bool { return x != 0 }) }

// takes tells whether what a channel of one number adds is the same for all pixels, and can be added in another way.
func (u *unit) takes() bool { return !u.padded && (u.bias != nil || u.behind != nil) }

// take has u read channel ch, which is v, no more.
func (u *unit) take(ch int, v float64) {
	for o := range u.out {
		w, sum := u.column(o, ch), 0.0
		for _, x := range w {
			sum += float64(x)
		}
		clear(w)
		switch {
		case v == 0:
		case u.bias != nil:
			u.bias[o] += float32(sum * v)
		default:
			u.behind.mean[o] -= float32(sum * v)
		}
	}
}
