package models

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"strings"

	"github.com/agnivade/levenshtein"

	torch "rapt/cgo"
	"rapt/cgo/nn"
)

// maker builds a network; the spec has been checked, and holds its input and width.
type maker func(s *torch.Session, sp Spec) nn.Module

// architecture is a network for one size of images, or for all from some size on.
type architecture struct {
	input  [3]int64 // [C, H, W] that it is usually given
	least  int64    // it takes images of any channels, of at least so many pixels a side; 0: its usual input alone
	widths bool     // takes a width multiplier
	make   maker
}

// architectures are the networks by the original's names. A name with several has one for each input; the first is the usual one.
var architectures = map[string][]architecture{
	"lenet":     {alone(1, 28, newLeNet), widened(alone(3, 32, newLeNetCIFAR))},
	"lenet_bn":  {alone(1, 28, newLeNetBN)},
	"lenet_adv": {widened(alone(1, 28, newLeNetAdv))},

	"vgg11":         {from(32, vgg(vgg11, 16, 1))},
	"vgg13":         {from(32, vgg(vgg13, 16, 1))},
	"vgg16":         {from(32, vgg(vgg16, 16, 1))},
	"vgg19":         {from(32, vgg(vgg19, 16, 1))},
	"vgg16_1by8":    {from(32, vgg(vgg16, 2, 1))},
	"vgg16_1by16":   {from(32, vgg(vgg16, 1, 1))},
	"vgg16_1by32":   {from(32, vgg(vgg16, 1, 2))},
	"vgg16_adv":     {widened(from(32, newVGG16Adv))},
	"vgg16_ori_adv": {widened(from(32, newVGG16OriAdv))},

	"resnet18":          {from(1, basicResNet(64, 2, 2, 2, 2))},
	"resnet34":          {from(1, basicResNet(64, 3, 4, 6, 3))},
	"resnet50":          {from(1, bottleneckResNet(3, 4, 6, 3))},
	"resnet101":         {from(1, bottleneckResNet(3, 4, 23, 3))},
	"resnet152":         {from(1, bottleneckResNet(3, 8, 36, 3))},
	"resnet18_1by16":    {from(1, basicResNet(4, 2, 2, 2, 2))},
	"resnet18_adv":      {widened(from(1, newResNet18Adv))},
	"resnet18_adv_wide": {from(1, newResNet18AdvWide)},
	"preact_resnet18":   {from(1, preActResNet(64, preActBlock, 2, 2, 2, 2))},
	"preact_resnet34":   {from(1, preActResNet(64, preActBlock, 3, 4, 6, 3))},
	"preact_resnet50":   {from(1, preActResNet(256, preActBottleneck, 3, 4, 6, 3))},
	"senet18":           {from(1, newSENet18)},
	"resnext29_2x64d":   {from(1, resNeXt29(2, 64))},
	"resnext29_4x64d":   {from(1, resNeXt29(4, 64))},
	"resnext29_8x64d":   {from(1, resNeXt29(8, 64))},
	"resnext29_32x4d":   {from(1, resNeXt29(32, 4))},
	"wrn_28_4":          {from(1, wideResNet(28, 4))},
	"wrn_28_10":         {from(1, wideResNet(28, 10))},
	"wrn_34_10":         {from(1, wideResNet(34, 10))},
	"dpn26":             {from(1, dpn(2, 2, 2, 2))},
	"dpn92":             {from(1, dpn(3, 4, 20, 3))},

	"googlenet":        {from(1, newGoogLeNet)},
	"densenet121":      {from(8, denseNet(32, 6, 12, 24, 16))},
	"densenet_cifar":   {from(8, denseNet(12, 6, 12, 24, 16))},
	"pnasneta":         {from(1, pnasNet(44, pnasCellA))},
	"pnasnetb":         {from(1, pnasNet(32, pnasCellB))},
	"mobilenet":        {from(1, newMobileNet)},
	"mobilenetv2":      {from(1, newMobileNetV2)},
	"shufflenetg2":     {from(1, shuffleNet(2, 200, 400, 800))},
	"shufflenetg3":     {from(1, shuffleNet(3, 240, 480, 960))},
	"shufflenetv2_0.5": {from(1, shuffleNetV2(48, 96, 192, 1024))},
	"shufflenetv2_1":   {from(1, shuffleNetV2(116, 232, 464, 1024))},
	"shufflenetv2_1.5": {from(1, shuffleNetV2(176, 352, 704, 1024))},
	"shufflenetv2_2":   {from(1, shuffleNetV2(224, 488, 976, 2048))},
}

// alone is for images of c channels and side x side pixels alone.
func alone(c, side int64, m maker) architecture {
	return architecture{input: [3]int64{c, side, side}, make: m}
}

// from is for images of at least side x side pixels: it ends in global pooling. CIFAR's are the usual ones.
func from(side int64, m maker) architecture {
	return architecture{input: [3]int64{3, 32, 32}, least: side, make: m}
}

func widened(a architecture) architecture {
	a.widths = true
	return a
}

// Names are the architectures, sorted.
func Names() []string {
	var out []string
	for name := range architectures {
		out = append(out, name)
	}
	sort.Strings(out)
	return out
}

// Check refuses a spec that New could not build.
func Check(sp Spec) error {
	_, err := find(&sp)
	return err
}

// find is the architecture that a spec means, and puts the spec's width and input where they were left out.
func find(sp *Spec) (a architecture, err error) {
	if sp.Arch == Custom {
		return sp.custom()
	}
	forms, ok := architectures[sp.Arch]
	if !ok {
		return a, fmt.Errorf("unknown architecture %q%s: want one of %s", sp.Arch, nearest(sp.Arch), strings.Join(Names(), ", "))
	}
	if sp.Input == ([3]int64{}) {
		sp.Input = forms[0].input
	}
	at := slices.IndexFunc(forms, func(a architecture) bool { return a.takes(sp.Input) })
	if at < 0 {
		return a, fmt.Errorf("%s takes images of %s, not of %s", sp.Arch, wanted(forms), size(sp.Input))
	}
	a = forms[at]
	if sp.Width < 0 || sp.Width > 1024 {
		return a, fmt.Errorf("width %d of %s is out of range: want 1 to 1024", sp.Width, sp.Arch)
	}
	if sp.Width > 1 && !a.widths {
		return a, fmt.Errorf("%s has no width multiplier%s: leave model.width out", sp.Arch, forImages(forms, sp.Input))
	}
	sp.Width = max(sp.Width, 1)
	if sp.Classes < 2 {
		return a, fmt.Errorf("%d classes are too few: want at least 2", sp.Classes)
	}
	return a, sp.checkNormalisation()
}

// custom is the architecture of the spec's graph.
func (sp *Spec) custom() (a architecture, err error) {
	g, err := ParseGraph(sp.Graph)
	if err != nil {
		return a, err
	}
	classes, err := g.Classes()
	switch {
	case err != nil:
		return a, err
	case sp.Input != ([3]int64{}) && sp.Input != g.Input:
		return a, fmt.Errorf("the network takes images of %s, not of %s", size(g.Input), size(sp.Input))
	case sp.Classes != classes:
		return a, fmt.Errorf("the network tells %d classes apart, not %d", classes, sp.Classes)
	case sp.Width > 1:
		return a, fmt.Errorf("a custom network has no width multiplier: leave model.width out")
	}
	sp.Input, sp.Width = g.Input, 1
	return architecture{input: g.Input, make: func(s *torch.Session, _ Spec) nn.Module { return g.module(s) }}, sp.checkNormalisation()
}

func (a architecture) takes(in [3]int64) bool {
	if a.least == 0 {
		return in == a.input
	}
	return in[0] > 0 && in[1] >= a.least && in[2] >= a.least
}

// checkNormalisation wants a mean and a standard deviation for every channel, or none.
func (sp *Spec) checkNormalisation() error {
	if len(sp.Mean) == 0 && len(sp.Std) == 0 {
		return nil
	}
	if c := int(sp.Input[0]); len(sp.Mean) != c || len(sp.Std) != c {
		return fmt.Errorf("normalising takes as many means and standard deviations as there are channels, %d: got %d and %d", c, len(sp.Mean), len(sp.Std))
	}
	for i, v := range sp.Std {
		if !(v > 0) || math.IsInf(v, 0) || math.IsNaN(sp.Mean[i]) || math.IsInf(sp.Mean[i], 0) {
			return fmt.Errorf("mean %g and standard deviation %g of channel %d cannot normalise: want a finite mean and a standard deviation above 0", sp.Mean[i], v, i)
		}
	}
	return nil
}

func nearest(name string) string {
	for _, n := range Names() {
		if levenshtein.ComputeDistance(name, n) <= 2 {
			return fmt.Sprintf(" (did you mean %q?)", n)
		}
	}
	return ""
}

// wanted says what images an architecture takes.
func wanted(forms []architecture) string {
	var out []string
	for _, a := range forms {
		if a.least > 0 {
			out = append(out, fmt.Sprintf("%d x %d pixels or more", a.least, a.least))
		} else {
			out = append(out, size(a.input))
		}
	}
	return strings.Join(out, " or ")
}

func size(in [3]int64) string { return fmt.Sprintf("%d x %d x %d", in[0], in[1], in[2]) }

// forImages is for messages on names that mean several networks.
func forImages(forms []architecture, in [3]int64) string {
	if len(forms) < 2 {
		return ""
	}
	return " for images of " + size(in)
}

// InputsOf are the [C, H, W] that an architecture is usually given, the most usual first.
func InputsOf(arch string) (out [][3]int64) {
	for _, a := range architectures[arch] {
		out = append(out, a.input)
	}
	return out
}
