// Package config reads, completes and checks the YAML file that describes a run.
//
//	cfg, err := config.Load("configs/mnist.yaml", []string{"adversary.epsilon=8/255"})
//
// Load is strict: an unknown key, a wrong type or a value out of range is refused with its line and what would be right,
// and every problem found is reported at once, as an [*Error]. What the file leaves out gets the data set's defaults, so the
// Config that comes back is complete, and [Config.YAML] writes it as a file that gives the same Config again.
//
// Whether an architecture, a data set or a layer exists is for other packages to say: [Config.Errorf] lets them say it with the
// line of the key. The attacks alone it knows itself, from package adversarial, which links libtorch.
package config

import "rapt/trainer/limits"

// Config is a complete run.
type Config struct {
	Run       Run       `yaml:"run"`
	Data      Data      `yaml:"data"`
	Model     Model     `yaml:"model"`
	Training  Training  `yaml:"training"`
	Adversary Adversary `yaml:"adversary"`
	Prune     Prune     `yaml:"prune"`
	Pretrain  Stage     `yaml:"pretrain"`
	ADMM      Stage     `yaml:"admm"`
	Retrain   Stage     `yaml:"retrain"`
	Compact   Stage     `yaml:"compact"` // of the smaller network that is left without the channels that pruning emptied

	Quantize        Quantize `yaml:"quantize"`
	QuantizeADMM    Stage    `yaml:"quantize_admm"`
	QuantizeRetrain Stage    `yaml:"quantize_retrain"`

	Evaluate Evaluate `yaml:"evaluate"`

	name    string            // the file's name, for messages
	origins map[string]origin // where each key that was given came from
}

// Run says where and how a run is done.
type Run struct {
	Name          string `yaml:"name"`          // the run's folder is OutDir/Name; one path element; default: the config file's base name
	OutDir        string `yaml:"out_dir"`       // default runs
	Seed          uint64 `yaml:"seed"`          // default 1
	Device        string `yaml:"device"`        // auto, cpu, cuda or cuda:N; default auto
	Workers       int    `yaml:"workers"`       // CPU threads; 0 is one a core, see Threads; they change how floating sums are grouped
	Precision     string `yaml:"precision"`     // fp32, tf32 (CUDA only) or bf16 (training steps alone: weights, losses and evaluation stay float32); default fp32
	Deterministic bool   `yaml:"deterministic"` // only deterministic kernels on CUDA; the CPU's always are
	CUDAGraphs    bool   `yaml:"cuda_graphs"`   // record a step once and replay it, on CUDA; default true
	LogEvery      int    `yaml:"log_every"`     // steps between two log lines; default 50
	KeepLast      int    `yaml:"keep_last"`     // how many of a stage's latest checkpoints are kept; default 2

	SaveEvery Interval `yaml:"save_every"` // how often a stage's checkpoint is saved within an epoch, besides each epoch's end; default 10m
	Grace     Duration `yaml:"grace"`      // how long a signal waits for the step under way and the save before all ends without; default 20s
}

// Threads is the number of CPU threads to use: Workers, or where that is 0 as many as can be at work at once.
func (r Run) Threads() int {
	if r.Workers > 0 {
		return r.Workers
	}
	return limits.Threads()
}

// Data says what is trained and tested on.
type Data struct {
	Dataset       string `yaml:"dataset"`         // required
	Dir           string `yaml:"dir"`             // folder of the data set's files, for image_folder the folder or archive itself; empty: $RAPT_DATA_DIR, or where that is unset data
	Size          int    `yaml:"size"`            // image_folder: images are scaled and cropped to so many pixels a side; 0: they keep their own, which must be one
	TestFraction  Number `yaml:"test_fraction"`   // image_folder without a test part: the fraction that becomes one; 0 is 0.2
	OnError       string `yaml:"on_error"`        // refuse or skip an image file that cannot be read; default refuse
	CacheDir      string `yaml:"cache_dir"`       // where decoded images are kept; empty: rapt in the user's cache folder
	Validation    Number `yaml:"validation"`      // held out of the training set: below 1 a fraction, from 1 a count; default 0.05
	TrainLimit    int    `yaml:"train_limit"`     // use the first so many training images; 0 is all
	TestLimit     int    `yaml:"test_limit"`      // use the first so many test images; 0 is all
	BatchSize     int    `yaml:"batch_size"`      // default 128
	EvalBatchSize int    `yaml:"eval_batch_size"` // default 1000

	Augment Augment `yaml:"augment"` // of the training images; default: {crop: 4, flip: true} for CIFAR, else nothing

	// The network's first layer: it sees (pixels - Mean) / Std, a number for each channel. Empty, the default, is the pixels as they are.
	// Attacks are on pixels either way.
	Mean []Number `yaml:"mean"`
	Std  []Number `yaml:"std"`
}

// Augment says how each training image is changed at random, anew in each epoch.
type Augment struct {
	Crop   int  `yaml:"crop"`   // moved by up to so many pixels up, down, left and right; what comes in is black
	Flip   bool `yaml:"flip"`   // mirrored left to right, every second time
	Cutout int  `yaml:"cutout"` // a black square of that side, in pixels, somewhere on it (arXiv 1708.04552)
}

// Model says which network is trained.
type Model struct {
	Arch  string `yaml:"arch"`  // required
	Width int    `yaml:"width"` // width multiplier; default 1
	Init  string `yaml:"init"`  // default (PyTorch's), uniform, normal, xavier_uniform, xavier_normal, kaiming_uniform, kaiming_normal or orthogonal
	Load  string `yaml:"load"`  // checkpoint file to start from; empty starts from Init
}

// Training says what loss is minimised.
type Training struct {
	Method         string `yaml:"method"`          // natural, pgd, trades, mart, fgsm_rs or free; default pgd
	Beta           Number `yaml:"beta"`            // trades and mart only: weight of the divergence; default 6 and 5
	Replays        int    `yaml:"replays"`         // free only: updates on each batch; default 8
	Guard          string `yaml:"guard"`           // what to do when robust accuracy collapses: stop the stage, or (fgsm_rs, whose default it is) lower its step; else none by default
	GuardDrop      Number `yaml:"guard_drop"`      // the fall of validation robust accuracy that is a collapse; default 0.2
	AWPGamma       Number `yaml:"awp_gamma"`       // adversarial weight perturbation, with pgd, trades or mart: its size relative to a layer; default 0, none
	AWPWarmup      int    `yaml:"awp_warmup"`      // epochs of the pretrain section without it; default 0
	LabelSmoothing Number `yaml:"label_smoothing"` // in [0,1); default 0
	MixupAlpha     Number `yaml:"mixup_alpha"`     // of the Beta distribution; 0, the default, is no mixup
	EMADecay       Number `yaml:"ema_decay"`       // of the weights' moving average, in [0,1); 0, the default, is none
	Patience       int    `yaml:"patience"`        // epochs without a validation accuracy as good as the best, after which a stage ends, if not ADMM's; default 0, never
}

// Adversary is the attack trained against (PGD; pixels are in [0,1]).
type Adversary struct {
	Norm        string `yaml:"norm"`         // Linf or L2; inf, l_inf, l2 and 2 are accepted and rewritten
	Epsilon     Number `yaml:"epsilon"`      // radius of the ball; for Linf in (0,1]
	StepSize    Number `yaml:"step_size"`    // default: the data set's, or 2.5*epsilon/steps where epsilon or steps is not the data set's
	Steps       int    `yaml:"steps"`        // at least 1
	RandomStart bool   `yaml:"random_start"` // default true
	Loss        string `yaml:"loss"`         // ce
	BatchNorm   string `yaml:"batch_norm"`   // eval or train: the mode of batch norm while attacking; default eval
}

// Prune says what is removed. A layer named in Ratios gets that ratio, every other prunable layer gets Ratio.
type Prune struct {
	SparsityType string       `yaml:"sparsity_type"` // irregular, filter, coupled_filter, column, bn_filter, pattern, block (block4x4), blockRxC or N:M; weight and channel are accepted for the first two
	Ratio        Number       `yaml:"ratio"`         // fraction removed, in [0,1); default 0, or what N:M and pattern imply: 1-N/M and 5/9
	Ratios       []LayerRatio `yaml:"ratios"`        // a mapping in the file, kept in its order
	Budget       Budget       `yaml:"budget"`        // instead of Ratio; layers in Ratios keep theirs, which counts
	Strategy     string       `yaml:"strategy"`      // a file with each layer's ratio, instead of Ratio and Ratios; see ReadStrategy
	Steps        Steps        `yaml:"steps"`         // progressive pruning: a list of ratios, or {count, shape: paper, cubic or linear}; default one step
	RoundTo      int          `yaml:"round_to"`      // filter, coupled_filter and bn_filter: a layer keeps a multiple of so many channels, or all; default 1
	HoldZeros    bool         `yaml:"hold_zeros"`    // zeros of the model that ADMM starts from stay zero, as they do from step to step; default false
}

// LayerRatio is one layer's ratio. Layer is a state-dict name (conv1.weight), one without its .weight, or an ordinal (conv1, fc2, bn3).
type LayerRatio struct {
	Layer string
	Ratio Number // fraction removed, in [0,1)
	Line  int    // in the config file; 0 where it did not come from one
}

// Stage is one of pretrain, admm, retrain and compact, or of the two that quantise.
type Stage struct {
	Epochs       int    `yaml:"epochs"`        // 0, the default, leaves the stage out
	Optimizer    string `yaml:"optimizer"`     // sgd or adam
	LR           Number `yaml:"lr"`            // above 0
	Momentum     Number `yaml:"momentum"`      // sgd only, in [0,1); default 0.9
	Nesterov     bool   `yaml:"nesterov"`      // sgd only
	WeightDecay  Number `yaml:"weight_decay"`  // at least 0
	LRSchedule   string `yaml:"lr_schedule"`   // constant, multistep, cosine, one_cycle or piecewise; admm, the ADMM stage's own cycle and its default
	Milestones   []int  `yaml:"milestones"`    // multistep only: epochs before which the rate is multiplied by Gamma
	Gamma        Number `yaml:"gamma"`         // default 0.1
	WarmupEpochs int    `yaml:"warmup_epochs"` // epochs over which the rate grows linearly to LR

	// The ADMM stage's own (arXiv 1903.12561, section 4), refused in the others.
	Rho           Number `yaml:"rho,omitempty"`             // weight of the quadratic penalty; default 1e-3
	RhoMode       string `yaml:"rho_mode,omitempty"`        // growth, fixed or balance, which sets each layer's by its residuals (Boyd et al. 2011, section 3.4.1); default growth
	RhoGrowth     Number `yaml:"rho_growth,omitempty"`      // growth only: rho is multiplied by it at every update; default 1.3
	RhoStepGrowth Number `yaml:"rho_step_growth,omitempty"` // and by it from one step of prune.steps to the next; default 2
	UpdateEvery   int    `yaml:"update_every,omitempty"`    // epochs between updates of Z and U
}

// Evaluate says what the finished models are measured with.
type Evaluate struct {
	Attacks   []string `yaml:"attacks"`   // pgd-40, apgd-ce, autoattack and so on, in adversary.norm; see docs/evaluation.md
	StepSize  Number   `yaml:"step_size"` // 0: adversary.step_size for the adversary's own attack, else 2.5*epsilon/steps
	Epsilon   Number   `yaml:"epsilon"`   // 0: adversary.epsilon
	Suspicion bool     `yaml:"suspicion"` // look for signs that the attacks failed on the run's last model; default true
	Baselines []string `yaml:"baselines"` // natural, one_shot, gradual, scratch, mask and lottery: further rows of the final table
}
