package models

import (
	torch "rapt/cgo"
	"rapt/cgo/nn"
	F "rapt/cgo/nn/functional"
)

// The original's LeNets for MNIST end in log-softmax: their logits are log-probabilities. Max-pooling comes before ReLU,
// which gives the same values for a quarter of the work.

// leNet has two 5x5 convolutions and two linear layers. With batch norm, norms is set.
type leNet struct {
	conv1, conv2 *nn.Conv2dModule
	fc1, fc2     *nn.LinearModule
	norms        [3]*nn.BatchNormModule // after conv1, conv2, fc1; nil without batch norm
}

// newLeNet is LeNet-5 as 20-50-500-10 (Caffe's), 431,080 parameters.
func newLeNet(s *torch.Session, sp Spec) nn.Module {
	return &leNet{
		conv1: nn.Conv2d(s, 1, 20, 5, torch.ConvOptions{}, true),
		conv2: nn.Conv2d(s, 20, 50, 5, torch.ConvOptions{}, true),
		fc1:   nn.Linear(s, 800, 500, true),
		fc2:   nn.Linear(s, 500, int64(sp.Classes), true),
	}
}

// newLeNetBN is LeNet-5 with batch norm after each layer but the last.
func newLeNetBN(s *torch.Session, sp Spec) nn.Module {
	n := newLeNet(s, sp).(*leNet)
	n.norms = [3]*nn.BatchNormModule{nn.BatchNorm2d(s, 20), nn.BatchNorm2d(s, 50), nn.BatchNorm1d(s, 500)}
	return n
}

// newLeNetAdv is the adversarially trained LeNet of arXiv 1903.12561, Table 1: 2w, 4w and 64w units.
func newLeNetAdv(s *torch.Session, sp Spec) nn.Module {
	w := int64(sp.Width)
	pad := torch.ConvOptions{Padding: 2}
	return &leNet{
		conv1: nn.Conv2d(s, 1, 2*w, 5, pad, true),
		conv2: nn.Conv2d(s, 2*w, 4*w, 5, pad, true),
		fc1:   nn.Linear(s, 196*w, 64*w, true),
		fc2:   nn.Linear(s, 64*w, int64(sp.Classes), true),
	}
}

// Forward implements nn.Module.
func (n *leNet) Forward(x torch.Tensor, m nn.Mode) torch.Tensor {
	for i, conv := range []*nn.Conv2dModule{n.conv1, n.conv2} {
		if n.norms[i] == nil {
			x = conv.Forward(x, m)
		} else {
			x = nn.ConvNorm(x, conv, n.norms[i], m, false)
		}
		x = F.MaxPoolRelu(x, 2)
	}
	x = x.Flatten()
	if n.norms[2] == nil {
		x = nn.LinearRelu(x, n.fc1, m)
	} else {
		x = F.Relu(n.norms[2].Forward(n.fc1.Forward(x, m), m))
	}
	return F.LogSoftmax(n.fc2.Forward(x, m), 1)
}

// Children implements nn.Module.
func (n *leNet) Children() []nn.Child {
	layers := []nn.Child{{Name: "conv1", Module: n.conv1}, {Name: "conv2", Module: n.conv2}, {Name: "fc1", Module: n.fc1}, {Name: "fc2", Module: n.fc2}}
	if n.norms[0] == nil {
		return layers
	}
	out := []nn.Child{}
	for i, c := range layers {
		out = append(out, c)
		if i < len(n.norms) {
			out = append(out, nn.Child{Name: c.Name + "_bn", Module: n.norms[i]})
		}
	}
	return out
}

// newLeNetCIFAR is LeNet-5 for 32x32 colour images: 6w, 16w, 120w and 84w units (arXiv 1903.12561, Table 1).
func newLeNetCIFAR(s *torch.Session, sp Spec) nn.Module {
	w := int64(sp.Width)
	n := &parts{s: s}
	conv1 := nn.Conv2d(s, 3, 6*w, 5, torch.ConvOptions{}, true)
	conv2 := nn.Conv2d(s, 6*w, 16*w, 5, torch.ConvOptions{}, true)
	fc1, fc2 := nn.Linear(s, 25*16*w, 120*w, true), nn.Linear(s, 120*w, 84*w, true)
	fc3 := nn.Linear(s, 84*w, int64(sp.Classes), true)
	layers := []nn.Module{conv1, conv2, fc1, fc2, fc3}
	for i, name := range []string{"conv1", "conv2", "fc1", "fc2", "fc3"} {
		n.add(name, layers[i])
	}
	n.forward = func(x torch.Tensor, m nn.Mode) torch.Tensor {
		for _, c := range []*nn.Conv2dModule{conv1, conv2} {
			x = F.MaxPoolRelu(c.Forward(x, m), 2)
		}
		return fc3.Forward(nn.LinearRelu(nn.LinearRelu(x.Flatten(), fc1, m), fc2, m), m)
	}
	n.wires = func(w *wiring) { w.through(layers...) }
	return n
}
