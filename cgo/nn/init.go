package nn

import (
	"fmt"
	"math"
	"strings"

	torch "rapt/cgo"
)

// Inits are the names that Init knows.
var Inits = []string{"default", "uniform", "normal", "xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal"}

// Init fills a network's parameters from g. "default" is PyTorch's own for each layer; the other schemes fill the
// weights of convolutions and linear layers as torch.nn.init does, which is what the original calls: uniform in [0, 1), normal with
// standard deviation 1, gain 1 for xavier and orthogonal, ReLU's for kaiming. Their biases stay as by default. Batch norm starts at scale 1, shift 0.
func Init(root Module, scheme string, g *torch.Generator) (err error) {
	entries := StateDict(root)
	if len(entries) == 0 {
		return nil
	}
	s := entries[0].Tensor.Session()
	if s == nil {
		return fmt.Errorf("cannot initialise %s: %w", entries[0].Name, entries[0].Tensor.Err())
	}
	s.Do(func() { err = fill(s, entries, scheme, g) })
	return err
}

func fill(s *torch.Session, entries []Entry, scheme string, g *torch.Generator) error {
	bound := 0.0 // of the layer whose weight came last: its bias follows
	for _, e := range entries {
		if s.Err() != nil {
			return s.Err()
		}
		t := e.Tensor.Detach()
		isWeight := strings.HasSuffix(e.Name, "weight")
		switch {
		case e.Buffer:
		case e.Kind == Norm && isWeight:
			t.Fill_(1)
		case e.Kind == Norm:
			t.Fill_(0)
		case isWeight:
			fanIn, fanOut := fans(t.Shape())
			bound = 1 / math.Sqrt(fanIn)
			drawn := t.Contiguous() // numbers come in the order of memory: which weight has which is not to be a matter of layout
			if err := initWeight(drawn, scheme, fanIn, fanOut, g); err != nil {
				return err
			}
			if !t.IsContiguous() {
				t.Copy_(drawn)
			}
		default:
			t.Uniform_(g, -bound, bound)
		}
	}
	return s.Err()
}

func fans(shape []int64) (in, out float64) {
	if len(shape) < 2 {
		return 1, 1
	}
	area := 1.0
	for _, d := range shape[2:] {
		area *= float64(d)
	}
	return float64(shape[1]) * area, float64(shape[0]) * area
}

func initWeight(t torch.Tensor, scheme string, in, out float64, g *torch.Generator) error {
	uniform := func(b float64) { t.Uniform_(g, -b, b) }
	normal := func(std float64) { t.Normal_(g, 0, std) }
	switch scheme {
	case "default", "": // kaiming uniform with a = sqrt(5)
		uniform(1 / math.Sqrt(in))
	case "uniform":
		t.Uniform_(g, 0, 1)
	case "normal":
		normal(1)
	case "xavier_uniform":
		uniform(math.Sqrt(6 / (in + out)))
	case "xavier_normal":
		normal(math.Sqrt(2 / (in + out)))
	case "kaiming_uniform":
		uniform(math.Sqrt(6 / in))
	case "kaiming_normal":
		normal(math.Sqrt(2 / in))
	case "orthogonal":
		return orthogonal(t, g)
	default:
		return fmt.Errorf("unknown initialisation %q: want one of %s", scheme, strings.Join(Inits, ", "))
	}
	return nil
}

// orthogonal fills t, seen as [out, rest], with orthonormal rows or columns, whichever are fewer
// (Saxe et al., arXiv 1312.6120), by Gram-Schmidt in float64 on the host.
func orthogonal(t torch.Tensor, g *torch.Generator) error {
	rows, cols := int(t.Size(0)), int(t.Numel()/max(t.Size(0), 1))
	flip := rows > cols
	if flip {
		rows, cols = cols, rows
	}
	raw, err := t.Session().RandN(g, int64(rows*cols)).To(torch.Float64).Float64s()
	if err != nil {
		return err
	}
	for i := range rows {
		v := raw[i*cols : (i+1)*cols]
		for range 2 { // twice is enough for float64
			for j := range i {
				u := raw[j*cols : (j+1)*cols]
				axpy(v, u, -dot(v, u))
			}
		}
		scale := 1 / math.Sqrt(dot(v, v))
		for k := range v {
			v[k] *= scale
		}
	}
	out := make([]float32, len(raw))
	for i, x := range raw {
		if flip {
			out[(i%cols)*rows+i/cols] = float32(x)
		} else {
			out[i] = float32(x)
		}
	}
	t.Copy_(t.Session().FromFloat32(out, t.Shape()...))
	return nil
}

func dot(a, b []float64) (sum float64) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}

func axpy(y, x []float64, a float64) {
	for i := range y {
		y[i] += a * x[i]
	}
}
