package models

import (
	"strconv"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	F "rapt/cgo/nn/functional"
)

// resNet is ResNet-18 for 32x32 images (He et al., arXiv 1512.03385, with CIFAR's 3x3 stem): four layers of two basic blocks.
type resNet struct {
	conv1  *nn.Conv2dModule
	bn1    *nn.BatchNormModule
	layers [4][2]*basicBlock
	linear *nn.LinearModule
}

// basicBlock is two 3x3 convolutions and a shortcut round them, which is a 1x1 convolution where the shape changes.
type basicBlock struct {
	conv1, conv2 *nn.Conv2dModule
	bn1, bn2     *nn.BatchNormModule
	shortcut     *shortcut // nil where the input is added as it is
}

type shortcut struct {
	conv *nn.Conv2dModule
	norm *nn.BatchNormModule
}

// newResNet18Adv has 4w, 8w, 16w and 32w channels (arXiv 1903.12561, Table 1): at w = 16 it is ResNet-18 itself.
func newResNet18Adv(s *torch.Session, sp Spec) nn.Module {
	c := 4 * int64(sp.Width)
	n := &resNet{conv1: conv3x3(s, 3, c, 1), bn1: nn.BatchNorm2d(s, c)}
	in := c
	for i, stride := range []int64{1, 2, 2, 2} {
		out := c << i
		n.layers[i] = [2]*basicBlock{newBasicBlock(s, in, out, stride), newBasicBlock(s, out, out, 1)}
		in = out
	}
	n.linear = nn.Linear(s, in, int64(sp.Classes), true)
	return n
}

func conv3x3(s *torch.Session, in, out, stride int64) *nn.Conv2dModule {
	return nn.Conv2d(s, in, out, 3, torch.ConvOptions{Stride: stride, Padding: 1}, false)
}

func newBasicBlock(s *torch.Session, in, out, stride int64) *basicBlock {
	b := &basicBlock{conv1: conv3x3(s, in, out, stride), bn1: nn.BatchNorm2d(s, out), conv2: conv3x3(s, out, out, 1), bn2: nn.BatchNorm2d(s, out)}
	if stride != 1 || in != out {
		b.shortcut = &shortcut{nn.Conv2d(s, in, out, 1, torch.ConvOptions{Stride: stride}, false), nn.BatchNorm2d(s, out)}
	}
	return b
}

// Forward implements nn.Module.
func (n *resNet) Forward(x torch.Tensor, m nn.Mode) torch.Tensor {
	x = nn.ConvNorm(x, n.conv1, n.bn1, m, true)
	for _, layer := range n.layers {
		for _, block := range layer {
			x = block.Forward(x, m)
		}
	}
	return n.linear.Forward(x.AvgPool2d(4, 4, 0).Flatten(), m)
}

// Children implements nn.Module.
func (n *resNet) Children() []nn.Child {
	out := []nn.Child{{Name: "conv1", Module: n.conv1}, {Name: "bn1", Module: n.bn1}}
	for i, layer := range n.layers {
		out = append(out, nn.Child{Name: "layer" + strconv.Itoa(i+1), Module: sequence{layer[0], layer[1]}})
	}
	return append(out, nn.Child{Name: "linear", Module: n.linear})
}

// Forward implements nn.Module.
func (b *basicBlock) Forward(x torch.Tensor, m nn.Mode) torch.Tensor {
	y := nn.ConvNorm(x, b.conv1, b.bn1, m, true)
	y = nn.ConvNorm(y, b.conv2, b.bn2, m, false)
	if b.shortcut != nil {
		x = b.shortcut.Forward(x, m)
	}
	return F.AddRelu(y, x)
}

// Children implements nn.Module.
func (b *basicBlock) Children() []nn.Child {
	out := []nn.Child{{Name: "conv1", Module: b.conv1}, {Name: "bn1", Module: b.bn1}, {Name: "conv2", Module: b.conv2}, {Name: "bn2", Module: b.bn2}}
	if b.shortcut != nil {
		out = append(out, nn.Child{Name: "shortcut", Module: b.shortcut})
	}
	return out
}

// Forward implements nn.Module.
func (c *shortcut) Forward(x torch.Tensor, m nn.Mode) torch.Tensor {
	return nn.ConvNorm(x, c.conv, c.norm, m, false)
}

// Children implements nn.Module.
func (c *shortcut) Children() []nn.Child {
	return []nn.Child{{Name: "0", Module: c.conv}, {Name: "1", Module: c.norm}}
}

// sequence runs modules one after the other, by the names 0, 1, ...
type sequence []nn.Module

// Forward implements nn.Module.
func (q sequence) Forward(x torch.Tensor, m nn.Mode) torch.Tensor {
	for _, part := range q {
		x = part.Forward(x, m)
	}
	return x
}

// Children implements nn.Module.
func (q sequence) Children() []nn.Child {
	var out []nn.Child
	for i, part := range q {
		out = append(out, nn.Child{Name: strconv.Itoa(i), Module: part})
	}
	return out
}
