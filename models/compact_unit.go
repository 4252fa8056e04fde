package models

import "slices"

// unit is a convolution or linear layer and the batch norm behind it.
type unit struct {
	name, norm        string // norm is empty where there is none
	out, in, area     int    // of the weight [out, in, area]
	padded, depthwise bool
	weight, bias      []float32 // bias is nil where there is none
	scale, shift      []float32 // the batch norm's, nil where there is none
	mean, variance    []float32
}

// row are the weights that make channel o.
func (u *unit) row(o int) []float32 { n := u.in * u.area; return u.weight[o*n : (o+1)*n] }

// column are the weights of channel o that read channel ch of so many.
func (u *unit) column(o, ch, channels int) []float32 {
	n := u.in / channels * u.area
	return u.row(o)[ch*n : (ch+1)*n]
}

// reads tells whether any weight reads channel ch of so many.
func (u *unit) reads(ch, channels int) bool {
	for o := range u.out {
		if !zero(u.column(o, ch, channels)) {
			return true
		}
	}
	return false
}

// still tells whether channel o is the same for every image by what makes it.
func (u *unit) still(o int) bool { return u.scale != nil && u.scale[o] == 0 || zero(u.row(o)) }

// hold makes channel o the number v.
func (u *unit) hold(o int, v float32) (changed bool) {
	set := func(x []float32, v float32) {
		if x != nil {
			changed = changed || x[o] != v
			x[o] = v
		}
	}
	changed = !zero(u.row(o))
	clear(u.row(o))
	if u.scale == nil {
		set(u.bias, v)
		return changed
	}
	set(u.bias, 0)
	set(u.scale, 0)
	set(u.shift, v)
	set(u.mean, 0)
	set(u.variance, 1)
	return changed
}

func zero(v []float32) bool { return !slices.ContainsFunc(v, func(x float32) bool { return x != 0 }) }

// takes tells whether what a channel of one number adds is the same for all pixels, and can be added in another way.
func (u *unit) takes() bool { return !u.padded && (u.bias != nil || u.mean != nil) }

// take has u read channel ch, which is v, no more.
func (u *unit) take(ch, channels int, v float64) {
	for o := range u.out {
		w, sum := u.column(o, ch, channels), 0.0
		for _, x := range w {
			sum += float64(x)
		}
		clear(w)
		switch {
		case v == 0:
		case u.bias != nil:
			u.bias[o] += float32(sum * v)
		default:
			u.mean[o] -= float32(sum * v)
		}
	}
}
