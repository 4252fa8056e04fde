package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	F "rapt/cgo/nn/functional"
)

// pool stands for 2x2 max-pooling among the widths of a VGG's convolutions.
const pool = 0

// The layers of VGG-11, 13, 16 and 19 (Simonyan and Zisserman, arXiv 1409.1556), in units of 1/16 of their channels.
var (
	vgg11 = []int64{4, pool, 8, pool, 16, 16, pool, 32, 32, pool, 32, 32, pool}
	vgg13 = []int64{4, 4, pool, 8, 8, pool, 16, 16, pool, 32, 32, pool, 32, 32, pool}
	vgg16 = []int64{4, 4, pool, 8, 8, pool, 16, 16, 16, pool, 32, 32, 32, pool, 32, 32, 32, pool}
	vgg19 = []int64{4, 4, pool, 8, 8, pool, 16, 16, 16, 16, pool, 32, 32, 32, 32, pool, 32, 32, 32, 32, pool}
)

// vgg is a VGG with batch norm and one linear layer, and times/by of the widths in layers: all of them at 16/1.
func vgg(layers []int64, times, by int64) maker {
	return func(s *torch.Session, sp Spec) nn.Module { return newVGG(s, sp, layers, times, by, true) }
}

// newVGG16Adv is VGG-16 of 4w, 8w, 16w and 32w channels (arXiv 1903.12561, Table 1).
func newVGG16Adv(s *torch.Session, sp Spec) nn.Module {
	return newVGG(s, sp, vgg16, int64(sp.Width), 1, true)
}

// newVGG16OriAdv is, whatever its name in the original says, VGG-11's layers without batch norm, of 4w to 32w channels.
func newVGG16OriAdv(s *torch.Session, sp Spec) nn.Module {
	return newVGG(s, sp, vgg11, int64(sp.Width), 1, false)
}

func newVGG(s *torch.Session, sp Spec, layers []int64, times, by int64, norm bool) nn.Module {
	n, features := &parts{s: s}, &parts{s: s}
	var steps []step
	var convs []*nn.Conv2dModule
	in, at := sp.Input[0], 0 // at: PyTorch's place in the sequence of convolution, batch norm, ReLU and pooling
	for i, c := range layers {
		if c == pool {
			at++
			continue
		}
		out := c * times / by
		conv := nn.Conv2d(s, in, out, 3, torch.ConvOptions{Padding: 1}, true)
		pooled := layers[i+1] == pool // the last layer is one; max-pooling before ReLU gives the same for a quarter of the work
		steps = append(steps, features.vggLayer(&at, conv, norm, pooled))
		convs, in = append(convs, conv), out
	}
	features.forward = inOrder(steps...)
	all := n.add("features", features)
	linear, classes := n.linear("classifier", in, sp.Classes)
	n.forward = inOrder(all, globalPool, classes)
	n.wires = func(w *wiring) {
		w.through(modules(convs)...)
		w.through(linear)
	}
	return n
}

// vggLayer is a convolution, batch norm where there is one, ReLU and where pooled says so the pooling that follows. at moves past the
// first three.
func (p *parts) vggLayer(at *int, c *nn.Conv2dModule, norm, pooled bool) step {
	name := strconv.Itoa(*at)
	var layer step
	if *at += 2; norm {
		layer = p.convNorm(name, strconv.Itoa(*at-1), c, !pooled)
		*at++
	} else {
		bare := p.add(name, c)
		layer = func(x torch.Tensor, m nn.Mode) torch.Tensor {
			if x = bare(x, m); !pooled {
				x = x.Relu()
			}
			return x
		}
	}
	if !pooled {
		return layer
	}
	return func(x torch.Tensor, m nn.Mode) torch.Tensor { return F.MaxPoolRelu(layer(x, m), 2) }
}
