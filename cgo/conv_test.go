package torch_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

// conv is a convolution's sizes, and with them a plain reference.
type conv struct {
	n, c, h, w, o, kh, kw       int
	stride, pad, dilate, groups int
}

func (k conv) out() (h, w int) {
	return (k.h+2*k.pad-k.dilate*(k.kh-1)-1)/k.stride + 1, (k.w+2*k.pad-k.dilate*(k.kw-1)-1)/k.stride + 1
}

func (k conv) options() torch.ConvOptions {
	return torch.ConvOptions{Stride: int64(k.stride), Padding: int64(k.pad), Dilation: int64(k.dilate), Groups: int64(k.groups)}
}

func (k conv) data() (x, w, b, up []float64) {
	oh, ow := k.out()
	return noise(11, k.n*k.c*k.h*k.w), noise(12, k.o*k.c/k.groups*k.kh*k.kw), noise(13, k.o), noise(14, k.n*k.o*oh*ow)
}

// each calls f for every product that the convolution sums: y[yi] += x[xi] * w[wi].
func (k conv) each(f func(yi, xi, wi, o int)) {
	oh, ow := k.out()
	cg, og := k.c/k.groups, k.o/k.groups
	for i := range k.n * k.o * oh * ow * cg * k.kh * k.kw {
		kx, ky, c := i%k.kw, i/k.kw%k.kh, i/k.kw/k.kh%cg
		yi := i / k.kw / k.kh / cg
		px, py, o, n := yi%ow, yi/ow%oh, yi/ow/oh%k.o, yi/ow/oh/k.o
		ix, iy := px*k.stride-k.pad+kx*k.dilate, py*k.stride-k.pad+ky*k.dilate
		if ix < 0 || ix >= k.w || iy < 0 || iy >= k.h {
			continue
		}
		f(yi, ((n*k.c+o/og*cg+c)*k.h+iy)*k.w+ix, ((o*cg+c)*k.kh+ky)*k.kw+kx, o)
	}
}

func (k conv) forward(x, w, b []float64) []float64 {
	oh, ow := k.out()
	y := make([]float64, k.n*k.o*oh*ow)
	for i := range y {
		y[i] = b[i/ow/oh%k.o]
	}
	k.each(func(yi, xi, wi, _ int) { y[yi] += x[xi] * w[wi] })
	return y
}

func (k conv) backward(x, w, up []float64) (gx, gw, gb []float64) {
	oh, ow := k.out()
	gx, gw, gb = make([]float64, len(x)), make([]float64, len(w)), make([]float64, k.o)
	k.each(func(yi, xi, wi, _ int) {
		gx[xi] += up[yi] * w[wi]
		gw[wi] += up[yi] * x[xi]
	})
	for i, v := range up {
		gb[i/ow/oh%k.o] += v
	}
	return gx, gw, gb
}

func (k conv) inputs(s *torch.Session, d torch.DType) (x, w, b, up torch.Tensor) {
	oh, ow := k.out()
	xs, ws, bs, us := k.data()
	x = s.FromFloat64(xs, int64(k.n), int64(k.c), int64(k.h), int64(k.w)).To(d)
	w = s.FromFloat64(ws, int64(k.o), int64(k.c/k.groups), int64(k.kh), int64(k.kw)).To(d)
	return x, w, s.FromFloat64(bs, int64(k.o)).To(d), s.FromFloat64(us, int64(k.n), int64(k.o), int64(oh), int64(ow)).To(d)
}

func TestConv2d(t *testing.T) {
	for _, k := range []conv{
		{2, 3, 6, 7, 4, 3, 3, 1, 0, 1, 1},
		{2, 3, 6, 7, 4, 3, 3, 1, 1, 1, 1},
		{1, 3, 9, 8, 5, 3, 2, 2, 1, 1, 1},
		{2, 4, 9, 9, 6, 3, 3, 1, 2, 2, 1},
		{2, 4, 7, 7, 6, 3, 3, 2, 1, 1, 2},
		{1, 6, 7, 7, 6, 3, 3, 1, 1, 1, 6},
		{3, 5, 4, 4, 2, 1, 1, 3, 0, 1, 1},
	} {
		session(t, func(s *torch.Session) {
			x, w, b, up := k.input(s)
			xs, ws, bs, us := k.data()
			y := x.Conv2d(w, b, k.options())
			near(t, k.forward(xs, ws, bs), y, 1e-12, k)
			near(t, k.forward(xs, ws, make([]float64, k.o)), x.Conv2d(w, torch.Tensor{}, k.options()), 1e-12, k)
			gx, gw, gb := k.backward(xs, ws, us)
			g := s.Grad(y.Mul(up).Sum(), x, w, b)
			near(t, gx, g[0], 1e-12, k)
			near(t, gw, g[1], 1e-12, k)
			near(t, gb, g[2], 1e-12, k)
			require.Equal(t, y.Shape(), x.ChannelsLast().Conv2d(w, b, k.options()).Shape())
		})
	}
}

func (k conv) input(s *torch.Session) (x, w, b, up torch.Tensor) {
	x, w, b, up = k.inputs(s, torch.Float64)
	return x.RequiresGrad_(true), w.RequiresGrad_(true), b.RequiresGrad_(true), up
}

// thin are convolutions that kernels of our own take, wholly or in part, and some at the edges of what they take.
var thin = []conv{
	{2, 1, 12, 12, 8, 5, 5, 1, 2, 1, 1},
	{2, 1, 12, 10, 8, 5, 5, 1, 0, 1, 1},
	{2, 3, 9, 8, 4, 3, 3, 1, 1, 1, 1},
	{1, 4, 6, 7, 3, 3, 2, 1, 1, 1, 1},
	{3, 2, 5, 5, 5, 1, 1, 1, 0, 1, 1},
	{1, 3, 7, 7, 2, 3, 3, 1, 2, 1, 1}, // padding to the full correlation
	{1, 3, 7, 7, 2, 2, 3, 1, 2, 1, 1}, // padding beyond the kernel: libtorch's
	{2, 1, 12, 12, 8, 5, 5, 2, 2, 1, 1},
	{2, 3, 9, 7, 17, 3, 3, 2, 1, 1, 1},
	{2, 5, 8, 8, 9, 1, 1, 2, 0, 1, 1},
	{2, 3, 7, 5, 4, 2, 2, 2, 0, 1, 1},
	{1, 20, 6, 6, 18, 3, 3, 2, 1, 1, 1}, // libtorch's but for the input gradient
	{1, 9, 6, 6, 16, 3, 3, 1, 1, 1, 1},  // libtorch's forward
	{2, 2, 4, 4, 3, 3, 3, 1, 1, 1, 1},
	{1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1},
	{1, 2, 3, 40, 3, 3, 5, 1, 0, 1, 1},
	{3, 20, 6, 6, 34, 3, 3, 1, 0, 1, 1}, // much lost at the rows' ends: gradients by rows
	{2, 17, 7, 6, 33, 3, 3, 1, 0, 1, 1},
	{2, 6, 6, 6, 17, 3, 4, 1, 0, 1, 1},
	{2, 18, 7, 7, 20, 3, 3, 1, 1, 1, 1}, // odd numbers of channels, nothing lost
	{2, 2, 9, 9, 4, 3, 3, 3, 1, 1, 1},   // stride 3, dilation, groups: libtorch's
	{2, 2, 9, 9, 4, 3, 3, 1, 1, 2, 1},
	{2, 4, 9, 9, 4, 3, 3, 1, 1, 1, 2},
}

// Thin convolutions against the plain reference, in every choice of gradients and with each set of kernels.
func TestThinConv(t *testing.T) {
	for _, k := range thin {
		xs, ws, bs, us := k.data()
		gx, gw, gb := k.backward(xs, ws, us)
		eachKernels(t, func(name string) {
			what := fmt.Sprintf("%+v, kernels %s", k, name)
			session(t, func(s *torch.Session) {
				x, w, b, up := k.inputs(s, torch.Float32)
				loss := func(x, w, b torch.Tensor) torch.Tensor {
					y := x.Conv2d(w, b, k.options())
					return y.Mul(up).Sum()
				}
				near(t, k.forward(xs, ws, bs), x.RequiresGrad_(true).Conv2d(w, b, k.options()), 3e-5, what)
				near(t, gx, s.Grad(loss(x, w, b), x)[0], 3e-5, what, "input only, plain weights")
				near(t, gx, s.Grad(loss(x, w, torch.Tensor{}), x)[0], 3e-5, what, "no bias")
				w.RequiresGrad_(true)
				b.RequiresGrad_(true)
				near(t, gx, s.Grad(loss(x, w, b), x)[0], 3e-5, what, "input only")
				near(t, gw, s.Grad(loss(x, w, b), w)[0], 3e-5, what, "weights only")
				near(t, gb, s.Grad(loss(x, w, b), b)[0], 3e-5, what, "bias only")
				near(t, gw, s.Grad(loss(x, w, torch.Tensor{}), w)[0], 3e-5, what, "weights, no bias")
				g := s.Grad(loss(x, w, b), x, w, b)
				near(t, gx, g[0], 3e-5, what, "all")
				near(t, gw, g[1], 3e-5, what, "all")
				near(t, gb, g[2], 3e-5, what, "all")
				near(t, gw, s.Grad(loss(x.Detach(), w, b), w)[0], 3e-5, what, "an input without gradient")
				inner := s.Grad(loss(x.MulScalar(2), w, b), x)[0]
				near(t, scaled(k, xs, ws, us), inner, 3e-5, what, "an input that was computed")
			})
		})
	}
}

// ReLU as part of the convolution is ReLU behind it.
func TestConvRelu(t *testing.T) {
	for _, k := range thin {
		eachKernels(t, func(name string) {
			session(t, func(s *torch.Session) {
				x, w, b, up := k.inputs(s, torch.Float32)
				all := []torch.Tensor{x.RequiresGrad_(true), w.RequiresGrad_(true), b.RequiresGrad_(true)}
				o := k.options()
				want := x.Conv2d(w, b, o).Relu()
				o.ReLU = true
				got := x.Conv2d(w, b, o)
				values := func(x torch.Tensor) []float64 {
					v, err := x.Detach().To(torch.Float64).Float64s()
					require.NoError(t, err)
					return v
				}
				near(t, values(want), got, 1e-5, k, name)
				grads := s.Grad(got.Mul(up).Sum(), all...)
				for i, g := range s.Grad(want.Mul(up).Sum(), all...) {
					near(t, values(g), grads[i], 1e-5, k, name, i)
				}
			})
		})
	}
}

// scaled is the gradient for x of the convolution of 2x.
func scaled(k conv, x, w, up []float64) []float64 {
	gx, _, _ := k.backward(x, w, up)
	for i := range gx {
		gx[i] *= 2
	}
	return gx
}

func TestThinConvWithoutImages(t *testing.T) {
	session(t, func(s *torch.Session) {
		x, w := s.Zeros(0, 1, 8, 8).RequiresGrad_(true), s.Ones(4, 1, 3, 3).RequiresGrad_(true)
		g := s.Grad(x.Conv2d(w, torch.Tensor{}, torch.ConvOptions{}).Sum(), x, w)
		require.Equal(t, []int64{0, 1, 8, 8}, g[0].Shape())
		near(t, make([]float64, 36), g[1], 0)
	})
}

func TestRefusedConv2d(t *testing.T) {
	for name, f := range map[string]func(s *torch.Session, x torch.Tensor){
		"channels": func(s *torch.Session, x torch.Tensor) {
			x.Conv2d(s.Ones(4, 3, 3, 3), torch.Tensor{}, torch.ConvOptions{})
		},
		"kernel": func(s *torch.Session, x torch.Tensor) {
			x.Conv2d(s.Ones(4, 2, 9, 9), torch.Tensor{}, torch.ConvOptions{})
		},
		"weight": func(s *torch.Session, x torch.Tensor) { x.Conv2d(s.Ones(4, 2, 3), torch.Tensor{}, torch.ConvOptions{}) },
		"bias":   func(s *torch.Session, x torch.Tensor) { x.Conv2d(s.Ones(4, 2, 3, 3), s.Ones(5), torch.ConvOptions{}) },
		"stride": func(s *torch.Session, x torch.Tensor) {
			x.Conv2d(s.Ones(4, 2, 3, 3), torch.Tensor{}, torch.ConvOptions{Stride: -1})
		},
		"padding": func(s *torch.Session, x torch.Tensor) {
			x.Conv2d(s.Ones(4, 2, 3, 3), torch.Tensor{}, torch.ConvOptions{Padding: -1})
		},
		"dilation": func(s *torch.Session, x torch.Tensor) {
			x.Conv2d(s.Ones(4, 2, 3, 3), torch.Tensor{}, torch.ConvOptions{Dilation: -1})
		},
		"groups": func(s *torch.Session, x torch.Tensor) {
			x.Conv2d(s.Ones(4, 2, 3, 3), torch.Tensor{}, torch.ConvOptions{Groups: 3})
		},
		"no groups": func(s *torch.Session, x torch.Tensor) {
			x.Conv2d(s.Ones(4, 2, 3, 3), torch.Tensor{}, torch.ConvOptions{Groups: -1})
		},
		"type": func(s *torch.Session, x torch.Tensor) {
			x.Conv2d(s.Full(1, torch.Float64, 4, 2, 3, 3), torch.Tensor{}, torch.ConvOptions{})
		},
		"absent weight": func(s *torch.Session, x torch.Tensor) { x.Conv2d(torch.Tensor{}, torch.Tensor{}, torch.ConvOptions{}) },
	} {
		t.Run(name, func(t *testing.T) {
			refused(t, "Conv2d", func(s *torch.Session) { f(s, s.Ones(1, 2, 6, 6)) })
			refused(t, "Conv2d", func(s *torch.Session) { f(s, s.Ones(1, 2, 6, 6).RequiresGrad_(true)) })
		})
	}
}
