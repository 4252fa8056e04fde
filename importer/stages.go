package importer

import (
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// prune carries over what is removed.
func (v *converter) prune() {
	kind, ok := v.text("general", "sparsity_type")
	ratios, found := v.ratios(v.oldArch)
	if !found {
		if v.section("admm") != nil || v.section("retrain") != nil {
			v.problems = append(v.problems, fmt.Sprintf("general.arch is %s, and there is no section %s with prune_ratios", v.oldArch, v.oldArch))
		}
		return
	}
	if ok && !slices.Contains([]string{"irregular", "column", "filter", "bn_filter"}, kind) {
		v.problem(v.key("general", "sparsity_type"), "general.sparsity_type", "irregular, column, filter or bn_filter")
		return
	}
	if ok {
		v.set("prune", "sparsity_type", v.kindOf(kind, ratios))
	}
	list := &yaml.Node{Kind: yaml.MappingNode}
	for _, r := range ratios {
		list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: r.layer}, &yaml.Node{Kind: yaml.ScalarNode, Value: plain(r.value)})
	}
	v.set("prune", "ratios", list)
	if v.boolean("admm", "masked_progressive") {
		v.set("prune", "hold_zeros", true)
	}
	v.boolean("retrain", "masked_progressive") // the mask of the retraining holds all zeros anyway
	var others []string
	for _, s := range v.sections {
		if s.name != v.oldArch && len(s.keys) > 0 && s.keys[0].name == "prune_ratios" {
			v.key(s.name, "prune_ratios")
			others = append(others, fmt.Sprintf("%.60q", s.name))
		}
	}
	if len(others) > 0 {
		v.Note("the prune_ratios of %s are left out: general.arch is %s", strings.Join(others, ", "), v.oldArch)
	}
}

// kindOf is the sparsity type for what the original did: it applied a type to whatever layers were named, and bn_filter took single
// weights of a convolution, filter and irregular single scales of a batch norm.
func (v *converter) kindOf(kind string, ratios []ratio) string {
	norms := 0
	for _, r := range ratios {
		if strings.HasPrefix(r.layer, "bn") {
			norms++
		}
	}
	switch {
	case kind == "bn_filter" && norms == 0 && len(ratios) > 0:
		v.Note("general.sparsity_type is bn_filter and no bnN has a ratio: the original then pruned single weights of the convolutions, and prune.sparsity_type is irregular")
		return "irregular"
	case (kind == "filter" || kind == "irregular") && norms == len(ratios) && norms > 0:
		v.Note("general.sparsity_type is %s and all ratios are of bnN: the original then pruned scales of batch norms, and prune.sparsity_type is bn_filter", kind)
		return "bn_filter"
	case kind == "bn_filter" && norms < len(ratios) || kind != "bn_filter" && norms > 0:
		v.Note("prune.ratios: %s does not fit all the layers that have ratios, and rapt refuses such", kind)
	}
	return kind
}

// stage carries over one of pretrain, admm and retrain.
func (v *converter) stage(name string) {
	epochs, ok := v.whole(name, "epochs", 0)
	if ok {
		v.set(name, "epochs", epochs)
		if v.family == "mnist" && epochs > 0 && name == "pretrain" {
			v.Note("epochs: mnist's scripts trained one more in every stage than their config says; rapt does what it says")
		}
	}
	v.optimizer(name)
	if name == "admm" {
		v.set(name, "lr_schedule", raw("admm"))
		if s, ok := v.text(name, "lr_scheduler"); ok && s != "default" {
			v.Note("admm.lr_scheduler is %s: the original's ADMM stage used its own cycle whatever stood there, and so does admm.lr_schedule", s)
		}
		v.admm()
		return
	}
	warm, _ := v.whole(name, "warmup_epochs", 0)
	v.schedule(name, epochs)
	from, ok := v.number(name, "warmup_lr")
	if warm > 0 {
		v.set(name, "warmup_epochs", warm)
		if ok {
			v.Note("%s.warmup_lr is %s: rapt's warm-up begins near 0", name, plain(from))
		}
	}
}

func (v *converter) optimizer(stage string) {
	optimizer, ok := v.text(stage, "optimizer")
	if ok && optimizer != "sgd" && optimizer != "adam" {
		v.problem(v.key(stage, "optimizer"), stage+".optimizer", "sgd or adam")
		return
	}
	if ok {
		v.set(stage, "optimizer", optimizer)
	}
	if lr, ok := v.number(stage, "lr"); ok {
		v.set(stage, "lr", numeral(lr))
	}
	momentum, decay := 0.9, 1e-4
	if v.family == "mnist" && v.robust {
		decay = 1e-6
	}
	if m, ok := v.number("general", "momentum"); ok {
		momentum = m
	}
	if d, ok := v.number("general", "weight_decay"); ok {
		decay = d
	}
	if optimizer == "sgd" {
		v.set(stage, "momentum", numeral(momentum))
		v.set(stage, "weight_decay", numeral(decay))
	}
}

// schedule carries lr_scheduler over, whose default each script had its own of.
func (v *converter) schedule(stage string, epochs int) {
	name, ok := v.text(stage, "lr_scheduler")
	if !ok {
		return
	}
	var drops []int
	switch {
	case name == "cosine":
		v.set(stage, "lr_schedule", raw("cosine"))
		if v.family == "mnist" && v.robust {
			v.Note("%s.lr_schedule: mnist's adv_main.py moved its cosine by one batch an epoch, so that the rate hardly fell; rapt's falls to 0", stage)
		}
		return
	case name == "sgd" && v.family == "mnist" && v.robust:
		drops = []int{20}
	case name != "default":
		v.problem(v.key(stage, "lr_scheduler"), stage+".lr_scheduler", "default or cosine")
		return
	case v.family == "cifar10" && v.robust:
		drops = []int{80, 150}
	case v.family == "cifar10":
		drops = []int{150, 250, 350}
	case v.family == "imagenet":
		for at := 30; at < epochs && len(drops) < 100; at += 30 {
			drops = append(drops, at)
		}
	}
	drops = slices.DeleteFunc(drops, func(at int) bool { return at >= epochs })
	if len(drops) == 0 {
		v.set(stage, "lr_schedule", raw("constant"))
		return
	}
	v.set(stage, "lr_schedule", raw("multistep"))
	list := &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
	for _, at := range drops {
		list.Content = append(list.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: fmt.Sprint(at)})
	}
	v.set(stage, "milestones", list)
	v.set(stage, "gamma", 0.1)
}

func (v *converter) admm() {
	if rho, ok := v.number("admm", "rho"); ok {
		v.set("admm", "rho", numeral(rho))
	}
	if v.boolean("admm", "multi_rho") {
		v.set("admm", "rho_mode", raw("growth"))
		v.set("admm", "rho_growth", 1.3)
	} else {
		v.set("admm", "rho_mode", raw("fixed"))
	}
	if every, ok := v.whole("admm", "admm_epoch", 1); ok {
		v.set("admm", "update_every", every)
	}
}

// handedOn looks at the files that the original's stages handed on to each other, which rapt does itself.
func (v *converter) handedOn() {
	for _, pair := range [][2]string{{"pretrain", "admm"}, {"admm", "retrain"}} {
		before, stage := pair[0], pair[1]
		load, loads := v.text(stage, "load_model")
		save, saves := v.text(before, "save_model")
		if loads && (!saves || load != save) {
			v.Note("%s.load_model is %s, which %s does not save: here %s begins with the model that %s ended with; to begin with that file instead, "+
				"set model.load to what rapt import makes of it and the epochs before to 0", stage, load, before, stage, before)
		}
	}
	v.text("retrain", "save_model")
}

// unneeded are the keys that have no counterpart, and what to say where one was set.
func (v *converter) unneeded() {
	set := map[string]string{
		"pretrained":                  "torchvision's weights are not fetched; rapt import makes a checkpoint of them, for model.load",
		"resume":                      "a run goes on where it stopped, by the same command",
		"verify":                      "rapt sparsity CHECKPOINT does that",
		"multiprocessing_distributed": "rapt trains on one device",
	}
	for _, key := range []string{"pretrained", "resume", "verify", "multiprocessing_distributed"} {
		if n := v.key("general", key); n != nil && n.Value != "False" && n.Value != "false" {
			v.Note("general.%s is %.60s: %s", key, strings.ToValidUTF8(strings.Join(strings.Fields(n.Value), " "), "?"), set[key])
		}
	}
	if at, _ := v.number("general", "start_epoch"); at != 0 {
		v.Note("general.start_epoch is %s: a run begins at its first epoch", plain(at))
	}
	if n, _ := v.number("general", "world_size"); n > 1 {
		v.Note("general.world_size is %s: rapt trains on one device", plain(n))
	}
	for _, key := range []string{"workers", "logging", "log_dir", "rank", "dist_url", "dist_backend"} {
		v.key("general", key) // images lie in memory, and a run's folder always has its log
	}
	v.key("admm", "verbose")
}

// rest lists the keys that nothing has used.
func (v *converter) rest() {
	for _, s := range v.sections {
		if len(s.keys) == 0 {
			v.Note("%.60q (line %d) is no section of the original's, or is empty, and is left out", s.name, s.line)
		}
		for _, k := range s.keys {
			if !k.used {
				v.Note("%.120q (line %d) is no key of the original's, and is left out", s.name+"."+k.name, k.value.Line)
			}
		}
	}
}
