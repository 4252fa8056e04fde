package trainer

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"rapt/datasets"
	"rapt/trainer/config"
)

// undecodedError ends work before it began.
type undecodedError struct{}

func (undecodedError) Error() string {
	return "interrupted while images were decoded, of which nothing is kept: the same command begins with them again"
}

// Is lets it count as ErrInterrupted.
func (undecodedError) Is(target error) bool { return target == ErrInterrupted }

func loadData(ctx context.Context, o datasets.Options) (*datasets.Parts, error) {
	parts, err := datasets.Load(ctx, o)
	if err != nil && errors.Is(err, ctx.Err()) {
		return nil, undecodedError{}
	}
	return parts, err
}

// load reads the config's data set.
func (p *pipeline) load(ctx context.Context) (err error) {
	if err := datasets.Known(p.cfg.Data.Dataset); err != nil {
		return p.cfg.Errorf("data.dataset", "%v", err)
	}
	p.parts, err = loadData(ctx, dataOptions(p.cfg))
	return err
}

// dataOptions is what a config asks of its data set.
func dataOptions(c *config.Config) datasets.Options {
	d := c.Data
	return datasets.Options{Dataset: d.Dataset, Dir: d.Dir, Validation: float64(d.Validation), TrainLimit: d.TrainLimit, TestLimit: d.TestLimit,
		Seed: c.Run.Seed, Size: d.Size, TestFraction: float64(d.TestFraction), OnError: d.OnError, CacheDir: d.CacheDir}
}

// describeData adds to a checkpoint's metadata how images that are files of their own were read, so that the same test set is found
// again. Other sets need no more than their names.
func describeData(meta map[string]string, d config.Data) {
	add := func(key, value string, given bool) {
		if given {
			meta[key] = value
		}
	}
	add("data_dir", d.Dir, d.Dataset == "image_folder")
	add("data_size", strconv.Itoa(d.Size), d.Size > 0)
	add("data_test_fraction", float(float64(d.TestFraction)), d.TestFraction > 0)
	add("data_on_error", d.OnError, d.OnError != datasets.Refuse)
	add("data_cache_dir", d.CacheDir, d.CacheDir != "")
}

// classNames are a set's, as the list that PyTorch's ImageFolder has, in JSON.
func classNames(s *datasets.Set) string {
	text, _ := json.Marshal(s.Names) // strings
	return string(text)
}

// testData is what a checkpoint's metadata says of its test set.
func testData(meta map[string]string) (o datasets.Options, wrong string) {
	o = datasets.Options{Dir: meta["data_dir"], OnError: meta["data_on_error"], CacheDir: meta["data_cache_dir"], TrainLimit: 1}
	var err error
	if v, ok := meta["data_size"]; ok {
		if o.Size, err = strconv.Atoi(v); err != nil {
			return o, "data_size"
		}
	}
	if v, ok := meta["data_test_fraction"]; ok {
		if o.TestFraction, err = strconv.ParseFloat(v, 64); err != nil {
			return o, "data_test_fraction"
		}
	}
	return o, ""
}
