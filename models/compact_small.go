package models

import (
	"maps"
	"slices"

	torch "rapt/cgo"
)

// small is the network of the channels that are read.
func (c *compactor) small() (*Model, error) {
	spec := c.model.Spec
	spec.Channels = map[string]int64{}
	rows := map[*unit][]int{}         // that are kept
	read := map[*unit]map[int][]int{} // channels that are kept, by the first of the bundle that they are of
	for _, b := range c.wires {
		var kept []int
		for ch := range b.channels {
			if b.isRead(ch) {
				kept = append(kept, ch)
			}
		}
		if len(kept) == 0 {
			kept = []int{0} // a layer has at least one
		}
		for _, u := range b.makers() {
			rows[u] = kept
			spec.Channels[u.name] = int64(len(kept))
		}
		for _, t := range b.to {
			if read[t.unit] == nil {
				read[t.unit] = map[int][]int{}
			}
			for _, ch := range kept {
				read[t.unit][t.at] = append(read[t.unit][t.at], t.at+ch)
			}
		}
	}
	values := maps.Clone(c.values) // a norm beside all wires stays as it is
	for _, u := range c.units {
		var channels, columns []int // nil keeps all
		for _, at := range slices.Sorted(maps.Keys(read[u])) {
			channels = append(channels, read[u][at]...)
		}
		if channels != nil {
			columns = wide(channels, u.in/u.channels)
		}
		values[u.name+".weight"] = part(u.weight, u.out, rows[u], u.in, columns, u.area)
		if u.bias != nil {
			values[u.name+".bias"] = part(u.bias, u.out, rows[u], 1, nil, 1)
		}
		if u.behind != nil {
			u.behind.part(values, rows[u])
		}
		if u.before != nil {
			u.before.part(values, channels)
		}
	}
	s := c.model.State[0].Tensor.Session()
	m, err := New(s, spec, nil)
	if err != nil {
		return nil, err
	}
	s.NoGrad(func() {
		for i, e := range m.State {
			if e.Tensor.DType() != torch.Float32 { // a counter
				e.Tensor.Copy_(*c.model.State[i].Tensor)
			}
		}
	})
	return m, write(m, values)
}

// part adds what is left of the norm to a state dict.
func (n *statistics) part(values map[string][]float32, channels []int) {
	for name, v := range map[string][]float32{"weight": n.scale, "bias": n.shift, "running_mean": n.mean, "running_var": n.variance} {
		values[n.name+"."+name] = part(v, len(v), channels, 1, nil, 1)
	}
}

// wide are the numbers of those channels, of n numbers each.
func wide(channels []int, n int) []int {
	var out []int
	for _, ch := range channels {
		for i := range n {
			out = append(out, ch*n+i)
		}
	}
	return out
}

// part is v, of the shape [out, in, area], without the rows and columns that are not kept; nil keeps all.
func part(v []float32, out int, rows []int, in int, columns []int, area int) []float32 {
	if rows == nil {
		rows = wide([]int{0}, out)
	}
	if columns == nil {
		columns = wide([]int{0}, in)
	}
	kept := make([]float32, 0, len(rows)*len(columns)*area)
	for _, r := range rows {
		for _, c := range columns {
			kept = append(kept, v[(r*in+c)*area:][:area]...)
		}
	}
	return kept
}
