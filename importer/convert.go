package importer

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// converter carries one config over.
type converter struct {
	*Config
	*old
	family  string // whose scripts the config is for: mnist, cifar10 or imagenet
	robust  bool   // adv_main.py rather than main.py
	oldArch string
}

func (v *converter) convert(dataset string) {
	v.robust = v.section("adv") != nil
	v.oldArch, _ = v.text("general", "arch")
	if v.oldArch == "" {
		v.problems = append(v.problems, "general.arch is missing: the name of an architecture is needed")
		return
	}
	v.chooseDataset(dataset)
	v.run()
	v.data()
	v.model()
	v.training()
	v.adversary()
	v.prune()
	for _, stage := range []string{"pretrain", "admm", "retrain"} {
		if v.section(stage) != nil {
			v.stage(stage)
		}
	}
	v.evaluate()
	v.handedOn()
	v.unneeded()
	v.rest()
}

// families are the data sets by whose scripts a config was read.
var families = map[string]string{"mnist": "mnist", "digits": "mnist", "cifar10": "cifar10", "image_folder": "imagenet"}

// chooseDataset takes the one asked for, or tells it by what only one of the three templates has.
func (v *converter) chooseDataset(dataset string) {
	epsilon, _ := v.number("adv", "epsilon")
	switch {
	case dataset != "":
		v.Dataset = dataset
	case v.key("general", "data") != nil || v.key("general", "dist_url") != nil:
		v.Dataset = "image_folder"
	case v.robust && epsilon > 1 || !slices.Contains([]string{"lenet", "lenet_bn", "lenet_adv"}, v.oldArch):
		v.Dataset = "cifar10"
	default:
		v.Dataset = "mnist"
	}
	v.family = families[v.Dataset]
	if v.family == "" {
		v.problems = append(v.problems, fmt.Sprintf("--dataset is %q: the original project had mnist and cifar10, and image_folder for ImageNet", dataset))
	}
}

func (v *converter) run() {
	for _, section := range []string{"adv", "general"} {
		for _, key := range []string{"random_seed", "seed"} {
			if seed, ok := v.whole(section, key, 0); ok {
				v.set("run", "seed", seed)
			}
		}
	}
	if every, ok := v.whole("general", "print_freq", 1); ok {
		v.set("run", "log_every", every)
	}
	for _, key := range []string{"gpu_id", "gpu"} {
		if gpu, ok := v.text("general", key); ok && gpu == "all" {
			v.Note("general.%s is all: rapt trains on one device, and run.device is auto", key)
		} else if ok && gpu != "0" {
			v.Note("general.%s is %s: run.device is auto; cuda:%s is the same GPU", key, gpu, gpu)
		}
	}
}

// data has the batch sizes, which only the imagenet config could change.
func (v *converter) data() {
	batch, evaluated := 64, 1000
	switch v.family {
	case "cifar10":
		batch, evaluated = 128, 100
		v.Note("the original cropped (padding 4) and flipped CIFAR-10's training images, and no key of its configs said so: see data.augment")
	case "imagenet":
		batch, evaluated = 256, 256
		v.Note("the original cropped and flipped ImageNet's images (224 x 224) and normalised them by their mean and deviation; rapt trains on pixels in [0,1]")
	}
	if given, ok := v.whole("general", "batch_size", 1); ok {
		batch, evaluated = given, given
	}
	v.set("data", "dataset", v.Dataset)
	if dir, ok := v.text("general", "data"); ok {
		v.set("data", "dir", dir)
	}
	v.set("data", "batch_size", batch)
	v.set("data", "eval_batch_size", evaluated)
}

// wide are the architectures whose width the original's scripts took from width_multiplier.
var wide = map[string][]string{"mnist": {"lenet_adv"}, "cifar10": {"lenet", "lenet_adv", "vgg16_adv", "vgg16_ori_adv", "resnet18_adv"}}

func (v *converter) model() {
	v.Arch, v.Width = v.oldArch, 1
	switch {
	case v.family == "cifar10" && v.oldArch == "lenet_adv":
		v.Arch = "lenet"
		v.Note("general.arch is lenet_adv, which for CIFAR-10 was the network lenet under another name: model.arch is lenet")
	case v.family == "imagenet":
		v.Note("model.arch: %s was torchvision's network for ImageNet; rapt's of that name, where it has one, is the one for CIFAR-10", v.oldArch)
	}
	v.set("model", "arch", v.Arch)
	width, given := v.number("adv", "width_multiplier")
	switch takes := slices.Contains(wide[v.family], v.oldArch); {
	case !given:
	case !takes && width != 1:
		v.Note("adv.width_multiplier is %s: the original did not use it for %s", plain(width), v.oldArch)
	case takes && (width != float64(int(width)) || width < 1):
		v.Note("adv.width_multiplier is %s: rapt's widths are whole numbers, and model.width is 1", plain(width))
	case takes:
		v.Width = int(width)
		v.set("model", "width", v.Width)
	}
	v.init()
	if path, ok := v.text("pretrain", "load_model"); ok {
		v.set("model", "load", safetensors(path))
		v.Note("model.load: rapt import %s makes this file of pretrain.load_model", path)
	}
}

func safetensors(path string) string {
	for _, end := range []string{".pt", ".pth", ".tar"} {
		path = strings.TrimSuffix(path, end)
	}
	return path + ".safetensors"
}

// init carries init_func over, which only mnist's adv_main.py used, for the convolutions.
func (v *converter) init() {
	name, ok := v.text("adv", "init_func")
	switch {
	case !ok:
	case v.family != "mnist":
		if name != "default" {
			v.Note("adv.init_func is %s: the original did not use it for %s", name, v.family)
		}
	case name == "default":
		v.set("model", "init", "xavier_uniform")
		v.Note("model.init: the original initialised the convolutions so and left the linear layers as PyTorch does; rapt does both so")
	case slices.Contains([]string{"xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "orthogonal"}, name):
		v.set("model", "init", name)
		v.Note("model.init: the original initialised the convolutions so and left the linear layers as PyTorch does; rapt does both so")
	default:
		v.Note("adv.init_func is %s: rapt has no such initialisation, and model.init is PyTorch's", name)
	}
}

func (v *converter) training() {
	if v.robust {
		v.set("training", "method", "pgd")
		v.Note("training.method is pgd, as of adv_main.py, since the config has a section adv; natural is what main.py did")
	} else {
		v.set("training", "method", "natural")
		if v.family != "imagenet" {
			v.Note("main.py normalised the images by their mean and deviation; rapt trains on pixels in [0,1]")
		}
	}
	classes := 10.0
	if v.family == "imagenet" {
		classes = 1000
	}
	eps, _ := v.number("general", "smooth_eps")
	alpha, _ := v.number("general", "alpha")
	if eps != 0 {
		v.set("training", "label_smoothing", raw(strconv.FormatFloat(eps*classes/(classes-1), 'g', 12, 64)))
		v.Note("training.label_smoothing: the original gave smooth_eps = %s to the other classes alone, rapt gives its share to all %s", plain(eps), plain(classes))
	}
	if alpha != 0 {
		v.set("training", "mixup_alpha", numeral(alpha))
	}
	if v.family == "mnist" && v.robust && (eps != 0 || alpha != 0) {
		v.Note("general.smooth_eps and general.alpha: mnist's adv_main.py read them and did not use them; leave label_smoothing and mixup_alpha out for that")
	}
}

// raw is a value that is written without quotes.
type raw string

func numeral(v float64) raw { return raw(plain(v)) }

func (v *converter) adversary() {
	if !v.robust {
		return
	}
	v.set("adversary", "norm", raw("Linf"))
	v.length("epsilon", "epsilon")
	v.length("step_size", "step_size")
	if steps, ok := v.whole("adv", "num_steps", 1); ok {
		v.set("adversary", "steps", steps)
	}
	if v.key("adv", "random_start") != nil {
		v.set("adversary", "random_start", v.boolean("adv", "random_start"))
	}
	if loss, ok := v.text("adv", "loss_func"); ok && loss != "xent" {
		v.Note("adv.loss_func is %s: the original used the cross-entropy whatever stood there, and so does adversary.loss", loss)
	}
	v.set("adversary", "batch_norm", raw("train"))
}

// length carries a distance over, which the cifar10 scripts took in 255ths.
func (v *converter) length(key, oldKey string) {
	d, ok := v.number("adv", oldKey)
	switch {
	case !ok:
	case v.family == "mnist":
		v.set("adversary", key, numeral(d))
	default:
		v.set("adversary", key, raw(plain(d)+"/255"))
	}
}

func (v *converter) evaluate() {
	attacks := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	if steps, ok := v.whole("adv", "num_steps", 1); ok {
		attacks.Content = append(attacks.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprintf("pgd-%d", steps)})
	} else if v.robust {
		return
	}
	v.set("evaluate", "attacks", attacks)
}
