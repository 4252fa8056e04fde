package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// shuffleNet has 1x1 convolutions in so many groups, and shuffles the channels between them (Zhang et al., arXiv 1707.01083). out are the
// layers' channels.
func shuffleNet(groups int64, out ...int64) maker {
	return func(s *torch.Session, sp Spec) nn.Module {
		n := &parts{s: s}
		steps := []step{n.convNorm("conv1", "bn1", conv(s, sp.Input[0], 24, 1, 1), true)}
		in := int64(24)
		for i, blocks := range []int{4, 8, 4} {
			var layer sequence
			for j := range blocks {
				if j == 0 { // its output is put beside its input
					layer = append(layer, shuffled(s, in, out[i]-in, 2, groups))
				} else {
					layer = append(layer, shuffled(s, out[i], out[i], 1, groups))
				}
			}
			in = out[i]
			steps = append(steps, n.add("layer"+strconv.Itoa(i+1), layer))
		}
		_, classes := n.linear("linear", in, sp.Classes)
		n.forward = inOrder(append(steps, globalPool, classes)...)
		return n
	}
}

func shuffled(s *torch.Session, in, out, stride, groups int64) *parts {
	p := &parts{s: s}
	mid, g := out/4, groups
	if in == 24 { // the stem's channels are too few for groups
		g = 1
	}
	squeeze := p.convNorm("conv1", "bn1", grouped(s, in, mid, 1, 1, g), true)
	rest := inOrder(p.convNorm("conv2", "bn2", grouped(s, mid, mid, 3, stride, mid), true),
		p.convNorm("conv3", "bn3", grouped(s, mid, out, 1, 1, groups), false))
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor {
		y := rest(shuffle(squeeze(x, m), g), m)
		if stride == 2 {
			return concat(y, x.AvgPool2d(3, 2, 1)).Relu()
		}
		return y.Add(x).Relu()
	}
	return p
}

// shuffleNetV2 passes half of the channels on as they are, and shuffles the halves (Ma et al., arXiv 1807.11164). out are the three
// layers' channels and those of the last convolution.
func shuffleNetV2(out ...int64) maker {
	return func(s *torch.Session, sp Spec) nn.Module {
		n := &parts{s: s}
		first, last := conv(s, sp.Input[0], 24, 3, 1), conv(s, out[2], out[3], 1, 1)
		steps := []step{n.convNorm("conv1", "bn1", first, true)}
		in := int64(24)
		var all []*parts
		for i, blocks := range []int{3, 7, 3} {
			down := shuffleDown(s, in, out[i])
			layer := sequence{down}
			all = append(all, down)
			for range blocks {
				b := shuffleHalf(s, out[i])
				layer, all = append(layer, b), append(all, b)
			}
			in = out[i]
			steps = append(steps, n.add("layer"+strconv.Itoa(i+1), layer))
		}
		steps = append(steps, n.convNorm("conv2", "bn2", last, true), globalPool)
		linear, classes := n.linear("linear", out[3], sp.Classes)
		n.forward = inOrder(append(steps, classes)...)
		n.wires = func(w *wiring) {
			w.through(first)
			w.parts(all)
			w.through(last, linear)
		}
		return n
	}
}

// shuffleHalf works on the second half of c channels.
func shuffleHalf(s *torch.Session, c int64) *parts {
	p := &parts{s: s}
	half := c / 2
	c1, c2, c3 := conv(s, half, half, 1, 1), grouped(s, half, half, 3, 1, half), conv(s, half, half, 1, 1)
	right := inOrder(p.convNorm("conv1", "bn1", c1, true), p.convNorm("conv2", "bn2", c2, false), p.convNorm("conv3", "bn3", c3, true))
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor {
		return shuffle(concat(channels(x, 0, half), right(channels(x, half, c), m)), 2)
	}
	p.wires = func(w *wiring) { w.alone(c1, c2, c3) }
	return p
}

// shuffleDown makes out channels of half the map: two branches, each of one half.
func shuffleDown(s *torch.Session, in, out int64) *parts {
	p := &parts{s: s}
	half := out / 2
	c1, c2 := grouped(s, in, in, 3, 2, in), conv(s, in, half, 1, 1)
	c3, c4, c5 := conv(s, in, half, 1, 1), grouped(s, half, half, 3, 2, half), conv(s, half, half, 1, 1)
	left := inOrder(p.convNorm("conv1", "bn1", c1, false), p.convNorm("conv2", "bn2", c2, true))
	right := inOrder(p.convNorm("conv3", "bn3", c3, true), p.convNorm("conv4", "bn4", c4, false), p.convNorm("conv5", "bn5", c5, true))
	p.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor { return shuffle(concat(left(x, m), right(x, m)), 2) }
	p.wires = func(w *wiring) {
		w.alone(c1, c2)
		w.alone(c3, c4, c5)
	}
	return p
}
