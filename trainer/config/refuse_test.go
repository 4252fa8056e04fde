package config

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/adversarial"
)

// refusal is what is added to the smallest config, on its line 4, and all that it is refused with.
type refusal struct{ text, want string }

func testRefusals(t *testing.T, cases []refusal) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.text, func(t *testing.T) {
			assert.Equal(t, c.want, strings.Join(problemsOf(t, smallest+c.text), "\n"))
		})
	}
}

func TestUnknownKeys(t *testing.T) {
	testRefusals(t, []refusal{
		{"adversary: {epsiln: 0.3}", `configs/x.yaml:4: unknown key "adversary.epsiln"; did you mean "epsilon"?`},
		{"adversary: {eps: 0.3}", `configs/x.yaml:4: unknown key "adversary.eps"; did you mean "epsilon"?`},
		{"adversary: {Step-Size: 0.3}", `configs/x.yaml:4: unknown key "adversary.Step-Size"; did you mean "step_size"?`},
		{"training:\n  epsilon: 0.3", `configs/x.yaml:5: unknown key "training.epsilon"; did you mean "adversary.epsilon" or "evaluate.epsilon"?`},
		{"retrain: {rho: 1}", `configs/x.yaml:4: unknown key "retrain.rho"; did you mean "admm.rho" or "quantize_admm.rho"?`},
		{"training: {zebra: 1}", `configs/x.yaml:4: unknown key "training.zebra"; the keys of training are method, beta, replays, guard, guard_drop, awp_gamma, awp_warmup, label_smoothing, mixup_alpha, ema_decay and patience`},
		{"adversry: {epsilon: 0.3}", `configs/x.yaml:4: unknown section "adversry"; did you mean "adversary"?`},
		{"batch_size: 3", `configs/x.yaml:4: unknown section "batch_size"; did you mean "data.batch_size"?`},
		{"zebra: 3", `configs/x.yaml:4: unknown section "zebra"; the sections are run, data, model, training, adversary, prune, pretrain, admm, retrain, compact, quantize, quantize_admm, quantize_retrain and evaluate`},
		{"'': 3", `configs/x.yaml:4: unknown section ""; the sections are run, data, model, training, adversary, prune, pretrain, admm, retrain, compact, quantize, quantize_admm, quantize_retrain and evaluate`},
		{strings.Repeat("z", 100) + ": 1", `configs/x.yaml:4: unknown section "` + strings.Repeat("z", 80) + `..."; the sections are run, data, model, training, adversary, prune, pretrain, admm, retrain, compact, quantize, quantize_admm, quantize_retrain and evaluate`},
	})
}

func TestWrongShapes(t *testing.T) {
	testRefusals(t, []refusal{
		{"run:\n  seed: 1\n  seed: 2", "configs/x.yaml:6: run.seed is given twice, first on line 5"},
		{"model: {width: 3}", "configs/x.yaml:4: model is given twice, first on line 2"},
		{"prune:\n  ratios:\n    fc1: 0.1\n    fc1: 0.2", "configs/x.yaml:7: prune.ratios.fc1 is given twice, first on line 6"},
		{"run: 3", `configs/x.yaml:4: run is "3": name, out_dir, seed, device, workers, precision, deterministic, cuda_graphs, log_every, keep_last, save_every and grace are its keys`},
		{"training: [3]", "configs/x.yaml:4: training is a list: method, beta, replays, guard, guard_drop, awp_gamma, awp_warmup, label_smoothing, mixup_alpha, ema_decay and patience are its keys"},
		{"[a, b]: 3", "configs/x.yaml:4: a key is a list: a word is needed"},
		{"training: {<<: {method: pgd}}", "configs/x.yaml:4: merge keys (<<) are not read: write the keys out"},
		{"---\nrun: {}", "configs/x.yaml:4: a second YAML document begins here; a config is one"},
	})
	for text, want := range map[string]string{
		"":                       "configs/x.yaml: the config is empty; it needs at least data.dataset, model.arch and a stage's epochs",
		"# nothing\n":            "configs/x.yaml: the config is empty; it needs at least data.dataset, model.arch and a stage's epochs",
		"- a\n":                  "configs/x.yaml:1: the config is a list: sections such as run, data and model are needed",
		"hello\n":                `configs/x.yaml:1: the config is "hello": sections such as run, data and model are needed`,
		"run:\n  seed: 1\n a: 2": "configs/x.yaml:2: not valid YAML: did not find expected key",
		"run: *nothing\n":        "configs/x.yaml: not valid YAML: unknown anchor 'nothing' referenced",
	} {
		assert.Equal(t, []string{want}, problemsOf(t, text), text)
	}
}

func TestWrongTypes(t *testing.T) {
	const whole, number = "a whole number (at most 2147483647) is needed", "a number such as 0.3, 1e-4 or 8/255 is needed"
	testRefusals(t, []refusal{
		{"adversary: {steps: many}", `configs/x.yaml:4: adversary.steps is "many": ` + whole},
		{"adversary: {steps: 1.5}", `configs/x.yaml:4: adversary.steps is "1.5": ` + whole},
		{"adversary: {steps: 3000000000}", `configs/x.yaml:4: adversary.steps is "3000000000": ` + whole},
		{"adversary: {steps: }", `configs/x.yaml:4: adversary.steps has no value: ` + whole},
		{"adversary: {steps: [1, 2]}", `configs/x.yaml:4: adversary.steps is [1, 2]: ` + whole},
		{"adversary: {epsilon: big}", `configs/x.yaml:4: adversary.epsilon is "big": ` + number},
		{"adversary: {epsilon: 8/0}", `configs/x.yaml:4: adversary.epsilon is "8/0": ` + number},
		{"adversary: {epsilon: .nan}", `configs/x.yaml:4: adversary.epsilon is ".nan": ` + number},
		{"adversary: {epsilon: {a: 1}}", `configs/x.yaml:4: adversary.epsilon is a mapping: ` + number},
		{"adversary: {random_start: yes}", `configs/x.yaml:4: adversary.random_start is "yes": true or false is needed`},
		{"adversary: {random_start: !!bool maybe}", `configs/x.yaml:4: adversary.random_start is "maybe": true or false is needed`},
		{"adversary: {norm: [2]}", `configs/x.yaml:4: adversary.norm is [2]: one line of text is needed`},
		{"run: {name: !!binary aGk=}", `configs/x.yaml:4: run.name has the tag !!binary: one line of text is needed`},
		{`run: {name: "a\nb"}`, `configs/x.yaml:4: run.name is "a\nb": one line of text is needed`},
		{"run: {seed: -1}", `configs/x.yaml:4: run.seed is "-1": a whole number from 0 to 18446744073709551615 is needed`},
		{"admm: {milestones: 3}", `configs/x.yaml:4: admm.milestones is "3": a list of whole numbers such as [50, 75] is needed`},
		{"admm: {milestones: [3, x]}", `configs/x.yaml:4: admm.milestones is [3, x]: a list of whole numbers such as [50, 75] is needed`},
		{"evaluate: {attacks: pgd-40}", `configs/x.yaml:4: evaluate.attacks is "pgd-40": a list of words such as [pgd-10, pgd-40] is needed`},
		{"prune: {ratios: 0.5}", `configs/x.yaml:4: prune.ratios is "0.5": a mapping such as {conv1.weight: 0.8, fc1.weight: 0.9} is needed`},
		{"prune: {ratios: {fc1: most}}", `configs/x.yaml:4: prune.ratios.fc1 is "most": ` + number},
		{"prune: {ratios: {'': 0.5}}", `configs/x.yaml:4: prune.ratios names a layer "": a name such as conv1.weight is needed`},
	})
}

func TestWrongValues(t *testing.T) {
	testRefusals(t, []refusal{
		{"adversary: {epsilon: 8}", "configs/x.yaml:4: adversary.epsilon is 8: pixels are in [0,1], did you mean 8/255?"},
		{"adversary: {epsilon: 1.5}", "configs/x.yaml:4: adversary.epsilon is 1.5: pixels are in [0,1], so a number above 0 and at most 1 is needed"},
		{"adversary: {epsilon: 0}", "configs/x.yaml:4: adversary.epsilon is 0: a number above 0 is needed"},
		{"adversary: {epsilon: -0.3}", "configs/x.yaml:4: adversary.epsilon is -0.3: a number above 0 is needed"},
		{"adversary: {norm: L2}", "configs/x.yaml: adversary.epsilon is missing: mnist has no usual radius in the norm L2"},
		{"adversary: {step_size: 2}", "configs/x.yaml:4: adversary.step_size is 2: pixels are in [0,1], did you mean 2/255?"},
		{"adversary: {step_size: 0}", "configs/x.yaml:4: adversary.step_size is 0: a number above 0 is needed"},
		{"adversary: {steps: 0}", "configs/x.yaml:4: adversary.steps is 0: at least 1 is needed"},
		{"adversary: {norm: L1}", `configs/x.yaml:4: adversary.norm is L1, in which only rapt eval attacks, by --norm L1 --epsilon 10 or so: Linf or L2 is needed`},
		{"adversary: {loss: dlr}", `configs/x.yaml:4: adversary.loss is "dlr": only ce is known`},
		{"adversary: {batch_norm: off}", `configs/x.yaml:4: adversary.batch_norm is "off": one of eval, train is needed`},
		{"training: {method: pdg}", `configs/x.yaml:4: training.method is "pdg": one of natural, pgd, trades, mart, fgsm_rs, free is needed; did you mean "pgd"?`},
		{"training: {label_smoothing: 1}", "configs/x.yaml:4: training.label_smoothing is 1: a number from 0 to below 1 is needed"},
		{"training: {mixup_alpha: -1}", "configs/x.yaml:4: training.mixup_alpha is -1: a number of 0 or more is needed"},
		{"prune: {ratio: 1}", "configs/x.yaml:4: prune.ratio is 1: that would remove everything; a fraction from 0 to below 1 is needed"},
		{"prune: {ratio: 90}", "configs/x.yaml:4: prune.ratio is 90: the fraction removed is needed, from 0 to below 1; did you mean 0.9?"},
		{"prune: {ratio: -0.1}", "configs/x.yaml:4: prune.ratio is -0.1: the fraction removed is needed, from 0 to below 1"},
		{"prune:\n  ratios:\n    fc1: 100", "configs/x.yaml:6: prune.ratios.fc1 is 100: the fraction removed is needed, from 0 to below 1"},
		{"prune: {sparsity_type: irregluar}", `configs/x.yaml:4: prune.sparsity_type is "irregluar": one of irregular, filter, coupled_filter, column, bn_filter, block, pattern, blocks of another size such as block8x1, or N:M such as 2:4, with N below M and M at most 32, is needed; did you mean "irregular"?`},
		{"run: {name: a/b}", `configs/x.yaml:4: run.name is "a/b": the name of one folder is needed, without slashes; run.out_dir says where it lies`},
		{"run: {name: ..}", `configs/x.yaml:4: run.name is "..": the name of one folder is needed, without slashes; run.out_dir says where it lies`},
		{"run: {name: }", `configs/x.yaml:4: run.name is "": the name of one folder is needed, without slashes; run.out_dir says where it lies`},
		{"run: {out_dir: ''}", "configs/x.yaml:4: run.out_dir is empty: the folder for the run's own folder is needed, such as runs"},
		{"run: {device: gpu}", `configs/x.yaml:4: run.device is "gpu": auto, cpu, cuda, cuda:N or several GPUs such as cuda:0,cuda:1 is needed`},
		{"run: {device: 'cuda:x'}", `configs/x.yaml:4: run.device is "cuda:x": auto, cpu, cuda, cuda:N or several GPUs such as cuda:0,cuda:1 is needed`},
		{"run: {device: 'cuda:0,cpu'}", `configs/x.yaml:4: run.device is "cuda:0,cpu": auto, cpu, cuda, cuda:N or several GPUs such as cuda:0,cuda:1 is needed`},
		{"run: {device: 'cuda,cuda'}", `configs/x.yaml:4: run.device is "cuda,cuda": auto, cpu, cuda, cuda:N or several GPUs such as cuda:0,cuda:1 is needed`},
		{"run: {workers: -1}", "configs/x.yaml:4: run.workers is -1: 0 (one a core) to 1024 is needed"},
		{"run: {precision: tf32, device: cpu}", "configs/x.yaml:4: run.precision is tf32, which only CUDA has: fp32 or bf16 is needed with run.device cpu"},
		{"run: {precision: fp16}", `configs/x.yaml:4: run.precision is "fp16": one of fp32, tf32, bf16 is needed; did you mean "fp32"?`},
		{"run: {save_every: -1}", `configs/x.yaml:4: run.save_every is "-1": a number of steps such as 500, or a time such as 10m or 90s, is needed; 0 is never`},
		{"run: {save_every: soon}", `configs/x.yaml:4: run.save_every is "soon": a number of steps such as 500, or a time such as 10m or 90s, is needed; 0 is never`},
		{"run: {grace: -2s}", `configs/x.yaml:4: run.grace is "-2s": a time such as 20s or 2m is needed`},
		{"run: {grace: [1]}", `configs/x.yaml:4: run.grace is [1]: one line of text is needed`},
		{"run: {log_every: 0}", "configs/x.yaml:4: run.log_every is 0: at least 1 is needed"},
		{"run: {keep_last: 0}", "configs/x.yaml:4: run.keep_last is 0: 2, the newest checkpoint and the one before it, is what is built so far"},
		{"evaluate: {epsilon: 16}", "configs/x.yaml:4: evaluate.epsilon is 16: pixels are in [0,1], did you mean 16/255?"},
		{"evaluate: {step_size: -1}", "configs/x.yaml:4: evaluate.step_size is -1: a number above 0, or 0 for the usual one, is needed"},
		{"evaluate: {attacks: [pdg-40]}", `configs/x.yaml:4: evaluate.attacks has a wrong entry: unknown attack "pdg-40", did you mean pgd-40? (known: ` + strings.Join(adversarial.Names(), ", ") + ")"},
		{"evaluate: {attacks: [pgd-4, pgd-4]}", "configs/x.yaml:4: evaluate.attacks holds pgd-4 twice"},
		{"prune: {round_to: 0}", "configs/x.yaml:4: prune.round_to is 0: at least 1 is needed"},
		{"prune: {round_to: 8}", "configs/x.yaml:4: prune.round_to is 8, but irregular removes no channels, as filter, coupled_filter, bn_filter do"},
		{"evaluate: {baselines: [naturl]}", `configs/x.yaml:4: evaluate.baselines holds "naturl": natural, one_shot, gradual, scratch, mask and lottery are known`},
		{"evaluate: {baselines: [natural, natural]}", "configs/x.yaml:4: evaluate.baselines holds natural twice"},
		{"evaluate: {baselines: [one_shot]}", "configs/x.yaml:4: evaluate.baselines holds one_shot, but nothing is to be pruned: prune.ratio or prune.ratios above 0 is needed"},
	})
}

func TestWrongDataAndModel(t *testing.T) {
	for text, want := range map[string]string{
		"model: {arch: lenet}":                                                      "configs/x.yaml: data.dataset is missing: the name of a data set such as digits or mnist is needed",
		"data: {dataset: }\nmodel: {arch: lenet}":                                   "configs/x.yaml:2: data.dataset is missing: the name of a data set such as digits or mnist is needed",
		"data: {dataset: mnist}":                                                    "configs/x.yaml: model.arch is missing: the name of an architecture such as lenet_adv is needed",
		"data: {dataset: m}\nmodel: {arch: a, width: 0}":                            "configs/x.yaml:3: model.width is 0: at least 1 is needed",
		"data: {dataset: m}\nmodel: {arch: a, init: he}":                            `configs/x.yaml:3: model.init is "he": one of default, uniform, normal, xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal, orthogonal is needed`,
		"model: {arch: a}\ndata: {dataset: m, validation: 0}":                       "configs/x.yaml:3: data.validation is 0: a fraction of the training images (0.05) or how many of them (3000) is needed",
		"model: {arch: a}\ndata: {dataset: m, validation: 1.5}":                     "configs/x.yaml:3: data.validation is 1.5: a fraction of the training images (0.05) or how many of them (3000) is needed",
		"model: {arch: a}\ndata: {dataset: m, validation: 300, train_limit: 300}":   "configs/x.yaml:3: data.validation is 300: data.train_limit leaves 300 images, and some are needed to train on",
		"model: {arch: a}\ndata: {dataset: m, train_limit: -1}":                     "configs/x.yaml:3: data.train_limit is -1: at least 0 is needed",
		"model: {arch: a}\ndata: {dataset: m, test_limit: -1}":                      "configs/x.yaml:3: data.test_limit is -1: at least 0 is needed",
		"model: {arch: a}\ndata: {dataset: image_folder}":                           "configs/x.yaml: data.dir is missing: image_folder needs the folder, .tar, .tar.gz or .tar.xz that holds a folder of images a class",
		"model: {arch: a}\ndata: {dataset: image_folder, dir: d, size: 5000}":       "configs/x.yaml:3: data.size is 5000: a side of 1 to 4096 pixels, or 0 for the images' own, is needed",
		"model: {arch: a}\ndata: {dataset: image_folder, dir: d, test_fraction: 1}": "configs/x.yaml:3: data.test_fraction is 1: a number from 0 to below 1 is needed",
		"model: {arch: a}\ndata: {dataset: m, size: 32}":                            "configs/x.yaml:3: data.size is 32: only the images of image_folder are scaled",
		"model: {arch: a}\ndata: {dataset: m, test_fraction: 0.1}":                  "configs/x.yaml:3: data.test_fraction is 0.1: m has a test set of its own; only image_folder may not",
		"model: {arch: a}\ndata: {dataset: m, on_error: skipp}":                     `configs/x.yaml:3: data.on_error is "skipp": one of refuse, skip is needed; did you mean "skip"?`,
		"model: {arch: a}\ndata: {dataset: m, batch_size: 0}":                       "configs/x.yaml:3: data.batch_size is 0: at least 1 is needed",
		"model: {arch: a}\ndata: {dataset: m, eval_batch_size: 0}":                  "configs/x.yaml:3: data.eval_batch_size is 0: at least 1 is needed",
		"model: {arch: a}\ndata: {dataset: m, mean: [0.1]}":                         "configs/x.yaml:3: data.mean is given without data.std: both or neither are needed",
		"model: {arch: a}\ndata: {dataset: m, std: [0.1]}":                          "configs/x.yaml:3: data.std is given without data.mean: both or neither are needed",
		"model: {arch: a}\ndata: {dataset: m, std: [1, 1], mean: [0.1]}":            "configs/x.yaml:3: data.std holds 2 numbers and data.mean 1: one for each channel is needed in both",
		"model: {arch: a}\ndata: {dataset: m, std: [0], mean: [0.1]}":               "configs/x.yaml:3: data.std is 0: a number above 0 is needed",
		"model: {arch: a}\ndata: {dataset: m, std: [1], mean: 0.1}":                 `configs/x.yaml:3: data.mean is "0.1": a list of numbers such as [0.49, 0.48, 0.45] is needed`,
	} {
		assert.Equal(t, []string{want}, problemsOf(t, "pretrain: {epochs: 1}\n"+text), text)
	}
}

func TestWrongStages(t *testing.T) {
	const pruned = "prune: {ratio: 0.5}\n"
	testRefusals(t, []refusal{
		{"admm: {epochs: -1}", "configs/x.yaml:4: admm.epochs is -1: at least 0 is needed"},
		{"admm: {epochs: 3}", "configs/x.yaml:4: admm.epochs is 3, but nothing is to be pruned: prune.ratio or prune.ratios above 0 is needed"},
		{"retrain: {epochs: 3}\nprune: {ratios: {fc1: 0}}", "configs/x.yaml:4: retrain.epochs is 3, but nothing is to be pruned: prune.ratio or prune.ratios above 0 is needed"},
		{"retrain: {optimizer: sdg}", `configs/x.yaml:4: retrain.optimizer is "sdg": one of sgd, adam is needed; did you mean "sgd"?`},
		{"retrain: {lr: 0}", "configs/x.yaml:4: retrain.lr is 0: a number above 0 is needed"},
		{"retrain: {optimizer: sgd, momentum: 1}", "configs/x.yaml:4: retrain.momentum is 1: a number from 0 to below 1 is needed"},
		{"retrain: {weight_decay: -1}", "configs/x.yaml:4: retrain.weight_decay is -1: a number of 0 or more is needed"},
		{"retrain: {lr_schedule: admm}", "configs/x.yaml:4: retrain.lr_schedule is admm, which only the admm section has: one of constant, multistep, cosine, one_cycle, piecewise is needed"},
		{"retrain: {lr_schedule: cosin}", `configs/x.yaml:4: retrain.lr_schedule is "cosin": one of constant, multistep, cosine, one_cycle, piecewise is needed; did you mean "cosine"?`},
		{"retrain: {epochs: 2, lr_schedule: one_cycle, warmup_epochs: 1}\nprune: {ratio: 0.5}", "configs/x.yaml:4: retrain.warmup_epochs is 1, but retrain.lr_schedule is one_cycle, which rises by itself: leave it out"},
		{"admm: {lr_schedule: cyclic}", `configs/x.yaml:4: admm.lr_schedule is "cyclic": one of constant, multistep, cosine, one_cycle, piecewise, admm is needed`},
		{"admm: {gamma: 0}", "configs/x.yaml:4: admm.gamma is 0: a number above 0 and at most 1 is needed"},
		{"admm: {warmup_epochs: -1}", "configs/x.yaml:4: admm.warmup_epochs is -1: at least 0 is needed"},
		{"compact: {epochs: 2}", "configs/x.yaml:4: compact.epochs is 2, but the network whose channels it takes out is cut in the retrain section: retrain.epochs above 0 is needed, or a pruned model.load and neither pretrain nor admm"},
		{"admm: {rho: 0}", "configs/x.yaml:4: admm.rho is 0: a number above 0 is needed"},
		{"admm: {rho_growth: 0.9}", "configs/x.yaml:4: admm.rho_growth is 0.9: a factor of 1 or more is needed"},
		{"admm: {update_every: 0}", "configs/x.yaml:4: admm.update_every is 0: at least 1 is needed"},
		{pruned + "admm: {epochs: 2, momentum: 0.9}", "configs/x.yaml:5: admm.momentum is 0.9, but adam has none: leave it out, or set admm.optimizer to sgd"},
		{pruned + "admm: {epochs: 2, nesterov: true}", "configs/x.yaml:5: admm.nesterov is true: sgd with a momentum above 0 is needed"},
		{pruned + "admm: {epochs: 2, warmup_epochs: 3}", "configs/x.yaml:5: admm.warmup_epochs is 3: at most the stage's 2 epochs are possible"},
		{pruned + "admm: {epochs: 9, lr_schedule: multistep}", "configs/x.yaml:5: admm.lr_schedule is multistep: admm.milestones is needed, such as [50, 75]"},
		{pruned + "admm: {epochs: 9, milestones: [3]}", "configs/x.yaml:5: admm.milestones is given, but admm.lr_schedule is admm: only multistep uses it"},
		{pruned + "admm: {epochs: 9, lr_schedule: multistep, milestones: [5, 5]}", "configs/x.yaml:5: admm.milestones holds 5 after 5: rising epochs are needed"},
		{pruned + "admm: {epochs: 9, lr_schedule: multistep, milestones: [0, 9]}",
			"configs/x.yaml:5: admm.milestones holds 0: the stage's 9 epochs leave 1 to 8\nconfigs/x.yaml:5: admm.milestones holds 9: the stage's 9 epochs leave 1 to 8"},
	})
	assert.Equal(t, []string{"configs/x.yaml: pretrain.epochs is 0, and so are admm.epochs and retrain.epochs: one of them above 0 is needed"},
		problemsOf(t, "data: {dataset: m}\nmodel: {arch: a}\n"))
	assert.Equal(t, []string{"configs/x.yaml:4: evaluate.baselines holds natural, which is trained as the pretrain section says: pretrain.epochs above 0 is needed"},
		problemsOf(t, "data: {dataset: m}\nmodel: {arch: a}\nretrain: {epochs: 1}\nevaluate: {baselines: [natural]}\nprune: {ratio: 0.5}\n"))
}

// A stage that is left out may keep the milestones of its usual length.
func TestLeftOutStageIsNotRelated(t *testing.T) {
	parse(t, smallest+"retrain: {epochs: 0, lr_schedule: multistep, milestones: [50], warmup_epochs: 5}\n")
}

func TestWrongSets(t *testing.T) {
	for set, want := range map[string]string{
		"adversary.epsilon":        "--set adversary.epsilon: write it as section.key=value",
		"adversary.epsiln=0.1":     `--set adversary.epsiln=0.1: unknown key "adversary.epsiln"; did you mean "epsilon"?`,
		"adversry.epsilon=0.1":     `--set adversry.epsilon=0.1: unknown section "adversry"; did you mean "adversary"?`,
		"epsilon=0.1":              `--set epsilon=0.1: unknown section "epsilon"; did you mean "adversary.epsilon" or "evaluate.epsilon"?`,
		"training={method: pgd}":   "--set training={method: pgd}: training is a section: name one of its keys, method, beta, replays, guard, guard_drop, awp_gamma, awp_warmup, label_smoothing, mixup_alpha, ema_decay and patience",
		"adversary.epsilon=8":      "--set adversary.epsilon=8: adversary.epsilon is 8: pixels are in [0,1], did you mean 8/255?",
		"adversary.epsilon=":       "--set adversary.epsilon=: adversary.epsilon has no value: a number such as 0.3, 1e-4 or 8/255 is needed",
		"evaluate.attacks=[pgd-10": "--set evaluate.attacks=[pgd-10: not valid YAML: did not find expected ',' or ']'",
		"evaluate.attacks=pgd-10":  `--set evaluate.attacks=pgd-10: evaluate.attacks is "pgd-10": a list of words such as [pgd-10, pgd-40] is needed`,
		"prune.ratios.fc1=2":       "--set prune.ratios.fc1=2: prune.ratios.fc1 is 2: the fraction removed is needed, from 0 to below 1; did you mean 0.02?",
		"prune.ratios.fc1=[]":      "--set prune.ratios.fc1=[]: prune.ratios.fc1 is []: a number such as 0.3, 1e-4 or 8/255 is needed",
		"prune.ratios={fc1: x}":    `--set prune.ratios={fc1: x}: prune.ratios.fc1 is "x": a number such as 0.3, 1e-4 or 8/255 is needed`,
		"prune.ratios.=0.5":        `--set prune.ratios.=0.5: prune.ratios names a layer "": a name such as conv1.weight is needed`,
		"prune.ratios.\xff=0.5":    `--set "prune.ratios.\xff=0.5": prune.ratios names a layer "\xff": a name such as conv1.weight is needed`,
		"run.name=a\nb: c":         `--set "run.name=a\nb: c": not valid YAML: mapping values are not allowed in this context`,
	} {
		assert.Equal(t, []string{want}, problemsOf(t, smallest, set), set)
	}
}

func TestEveryProblemIsReportedInOrder(t *testing.T) {
	assert.Equal(t, []string{
		"configs/x.yaml:2: run.log_every is 0: at least 1 is needed",
		`configs/x.yaml:3: unknown key "data.datset"; did you mean "dataset"?`,
		`configs/x.yaml:4: adversary.steps is "x": a whole number (at most 2147483647) is needed`,
		"configs/x.yaml:5: prune.ratio is 1: that would remove everything; a fraction from 0 to below 1 is needed",
		"--set model.width=0: model.width is 0: at least 1 is needed",
	}, problemsOf(t, "pretrain: {epochs: 1}\nrun: {log_every: 0}\ndata: {datset: mnist}\nadversary: {steps: x}\nprune: {ratio: 1}\n", "model.width=0"))
}

func TestManyProblemsAreCut(t *testing.T) {
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "section%d: 1\n", i)
	}
	refused := problemsOf(t, text.String())
	require.Len(t, refused, 21)
	assert.Equal(t, "and 30 more", refused[20])
}

// A Config that no file stands behind is checked as well, its problems without a place.
func TestValidateWithoutAFile(t *testing.T) {
	cfg := public(parse(t, smallest))
	require.NoError(t, cfg.Validate())
	cfg.Retrain.Rho = 1
	cfg.Adversary.Epsilon = Number(math.NaN())
	cfg.Pretrain.LR = Number(math.Inf(1))
	cfg.Prune.Ratios = []LayerRatio{{Layer: "a"}, {Layer: "a"}}
	assert.EqualError(t, cfg.Validate(), "adversary.epsilon is NaN: a number above 0 is needed\nprune.ratios.a is given twice\n"+
		"pretrain.lr is +Inf: a number above 0 is needed\nretrain has rho, rho_mode, rho_growth, rho_step_growth or update_every, which only the admm section has")
}
