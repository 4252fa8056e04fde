package metrics

import (
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// series is a metric of ours as Prometheus has it.
type series struct {
	name, help string
	scale      float64 // ours times this is in the name's unit; 0 is 1
}

// exported are the metrics by our names. A name that ends in / is of each layer, which becomes a label. All have the
// label stage. docs/monitoring.md lists them.
var exported = map[string]series{
	"train/loss":           {name: "rapt_train_loss", help: "Mean training loss of the epoch so far."},
	"train/clean_acc":      {name: "rapt_train_clean_accuracy_ratio", help: "Accuracy on training images as they are, 0 to 1."},
	"train/adv_acc":        {name: "rapt_train_robust_accuracy_ratio", help: "Accuracy on the adversarial training images of the epoch so far, 0 to 1."},
	"train/lr":             {name: "rapt_learning_rate", help: "Learning rate."},
	"train/images_per_sec": {name: "rapt_train_images_per_second", help: "Training images per second over the stage, validation left out; once an epoch."},
	"val/clean_acc":        {name: "rapt_validation_clean_accuracy_ratio", help: "Accuracy on the validation images, 0 to 1; once an epoch."},
	"val/pgd_acc":          {name: "rapt_validation_robust_accuracy_ratio", help: "Accuracy on the validation images under the attack that is trained against, 0 to 1; once an epoch."},
	"admm/loss":            {name: "rapt_admm_penalty", help: "ADMM's penalty, rho/2 ||W - Z + U||^2, after the last update of Z and U."},
	"admm/rho":             {name: "rapt_admm_rho", help: "ADMM's rho, the largest of the layers'."},
	"admm/hard_prune_clean_acc": {name: "rapt_admm_pruned_clean_accuracy_ratio",
		help: "Accuracy on the validation images of the model as it would be if it were pruned now, 0 to 1."},
	"admm/hard_prune_pgd_acc": {name: "rapt_admm_pruned_robust_accuracy_ratio",
		help: "The same under the attack that is trained against, 0 to 1."},
	"sparsity/total":   {name: "rapt_sparsity_ratio", help: "Share of the prunable weights that are zero, 0 to 1; in stages that train under a mask."},
	"time/epoch_s":     {name: "rapt_epoch_duration_seconds", help: "Seconds that the last epoch took, its validation with it."},
	"gpu/mem_mb":       {name: "rapt_gpu_memory_peak_bytes", help: "The most bytes that tensors have had on the GPU; once an epoch.", scale: 1e6},
	"admm/primal/":     {name: "rapt_admm_primal_residual", help: "||W - Z|| of a layer at the last update."},
	"admm/dual/":       {name: "rapt_admm_dual_residual", help: "||Z - Z before|| of a layer at the last update."},
	"admm/primal_rel/": {name: "rapt_admm_primal_residual_ratio", help: "||W - Z|| / ||W|| of a layer at the last update; 0.01 and less is converged."},
	"admm/dual_rel/":   {name: "rapt_admm_dual_residual_ratio", help: "||Z - Z before|| / ||W|| of a layer at the last update; 0.01 and less is converged."},
	"admm/energy/":     {name: "rapt_admm_cut_energy_ratio", help: "Share of a layer's squared norm that pruning now would cut, 0 to 1."},
	"admm/rho/":        {name: "rapt_admm_layer_rho", help: "ADMM's rho of a layer, where admm.rho_mode gives each its own."},
	"sparsity/":        {name: "rapt_layer_sparsity_ratio", help: "Share of a layer's weights that are zero, 0 to 1."},
}

var (
	stepDesc     = prometheus.NewDesc("rapt_step", "Training step, counted over all stages of the run.", []string{"stage"}, nil)
	epochDesc    = prometheus.NewDesc("rapt_epoch", "Epoch of the stage that is under way or has just ended, from 1.", []string{"stage"}, nil)
	stageDesc    = prometheus.NewDesc("rapt_stage_info", "1 for the stage that is at work.", []string{"stage"}, nil)
	runDesc      = prometheus.NewDesc("rapt_run_info", "1; the run's name and rapt's version.", []string{"run", "version"}, nil)
	progressDesc = prometheus.NewDesc("rapt_last_progress_timestamp_seconds", "When the last metrics were logged, in seconds since 1970.", nil, nil)
	savedDesc    = prometheus.NewDesc("rapt_last_checkpoint_timestamp_seconds", "When the newest checkpoint of the run was saved, in seconds since 1970.", nil, nil)
)

// descs are those of exported, by our names.
var descs = func() map[string]*prometheus.Desc {
	out := map[string]*prometheus.Desc{}
	for ours, s := range exported {
		labels := []string{"stage"}
		if strings.HasSuffix(ours, "/") {
			labels = append(labels, "layer")
		}
		out[ours] = prometheus.NewDesc(s.name, s.help, labels, nil)
	}
	return out
}()

// ExportOptions of Serve.
type ExportOptions struct {
	Run, Version string // labels of rapt_run_info
	Folder       string // the run's, for the time of its newest checkpoint
}

// runCollector holds the last values of the stage at work. It is both Prometheus' and a Logger's.
type runCollector struct {
	options ExportOptions

	mu     sync.Mutex
	stage  string // empty before the first row
	epoch  int
	step   int64
	at     time.Time
	values map[string]float64
}

// Observe takes a row. Values of an earlier row of the same stage stay until a new one comes.
func (c *runCollector) Observe(stage string, epoch int, step int64, values map[string]float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if stage != c.stage || c.values == nil {
		c.values = map[string]float64{}
	}
	c.stage, c.epoch, c.step, c.at = stage, epoch, step, time.Now()
	for k, v := range values {
		c.values[k] = v
	}
}

// Describe is prometheus.Collector's.
func (c *runCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range descs {
		to <- d
	}
	for _, d := range []*prometheus.Desc{stepDesc, epochDesc, stageDesc, runDesc, progressDesc, savedDesc} {
		to <- d
	}
}

// Collect is prometheus.Collector's.
func (c *runCollector) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(runDesc, 1, c.options.Run, c.options.Version)
	if saved := newest(os.DirFS(c.options.Folder), "checkpoints/*/*.json"); !saved.IsZero() {
		gauge(savedDesc, unixSeconds(saved))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		return
	}
	gauge(stepDesc, float64(c.step), c.stage)
	gauge(epochDesc, float64(c.epoch), c.stage)
	gauge(stageDesc, 1, c.stage)
	gauge(progressDesc, unixSeconds(c.at))
	for name, v := range c.values {
		ours, labels := name, []string{c.stage}
		if _, ok := exported[ours]; !ok {
			slash := strings.LastIndexByte(name, '/') + 1
			ours, labels = name[:slash], append(labels, strings.ToValidUTF8(name[slash:], "?"))
		}
		if s, ok := exported[ours]; ok {
			if s.scale != 0 {
				v *= s.scale
			}
			gauge(descs[ours], v, labels...)
		}
	}
}

// newest is when the newest of a pattern's files was written; zero where there is none.
func newest(folder fs.FS, pattern string) (at time.Time) {
	names, _ := fs.Glob(folder, pattern) // fails for a bad pattern only
	for _, name := range names {
		if info, err := fs.Stat(folder, name); err == nil && info.ModTime().After(at) {
			at = info.ModTime()
		}
	}
	return at
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1e3 }
