package main

import (
	"context"
	"fmt"
	"regexp"
	"runtime"

	"rapt/datasets"
)

// task is a row that could be measured.
type task struct {
	name    string
	missing func(*bench) string // why it cannot be; empty: it can
	measure func(*bench, *row) error
}

func (t training) task() task { return task{t.name(), t.missing, t.measure} }

func (t training) scalingTask() task {
	return task{fmt.Sprintf("scaling/%s/w%d", t.arch, t.width), func(b *bench) string {
		if b.workers < 2 {
			return "there is one processor"
		}
		return t.missing(b)
	}, t.measureScaling}
}

// The adversarial settings of the papers: MNIST's and CIFAR-10's.
func lenetAdv(width, batch int, precision string) training {
	return training{"lenet_adv", width, batch, 40, "0.3", "0.01", "adam", precision}
}

func colour(arch string, width, batch int, precision string) training {
	return training{arch, width, batch, 10, "8/255", "2/255", "sgd", precision}
}

func cpuTasks() []task {
	var out []task
	for _, w := range []int{1, 4, 16} {
		out = append(out, lenetAdv(w, 64, "").task())
	}
	out = append(out, colour("resnet18_adv", 1, 128, "").task(),
		task{"natural-epoch/mnist/lenet/b64", noMNIST, measureEpoch})
	for _, w := range []int{1, 4, 16} {
		out = append(out, lenetAdv(w, 64, "").scalingTask())
	}
	return append(out,
		task{"startup", (*bench).noBinary, measureStartup},
		decoding{}.task(), decoding{packed: true}.task(),
		task{"projection/resnet18_adv/w16", nothing, resnet(16).measureProjection},
		task{"admm-update/resnet18_adv/w16", nothing, resnet(16).measureUpdate})
}

func cudaTasks() []task {
	var out []task
	for _, precision := range []string{"", "tf32", "bf16"} {
		for _, batch := range []int{128, 512} {
			out = append(out, colour("resnet18_adv", 16, batch, precision).task(), colour("vgg16", 1, batch, precision).task())
		}
		out = append(out, lenetAdv(16, 64, precision).task())
	}
	return append(out, task{"startup", (*bench).noBinary, measureStartup})
}

func nothing(*bench) string { return "" }

func noMNIST(b *bench) string {
	dir := mnist()
	if dir == "" {
		return "there is no MNIST in $RAPT_DATA_DIR, data or ../shared/data: rapt data fetch mnist gets it"
	}
	if _, err := datasets.Load(context.Background(), datasets.Options{Dataset: "mnist", Dir: dir}); err != nil {
		return err.Error()
	}
	return ""
}

// chosen are the device's tasks whose names match.
func chosen(cuda bool, only *regexp.Regexp) []task {
	all := cpuTasks()
	if cuda {
		all = cudaTasks()
	}
	var out []task
	for _, t := range all {
		if only.MatchString(t.name) {
			out = append(out, t)
		}
	}
	return out
}

// run measures the tasks one after the other. The machine's rates are taken before and after them, and the higher ones hold.
func (b *bench) run(tasks []task, res *results) error {
	var err error
	if res.Rates, err = b.rates(nil); err != nil {
		return err
	}
	failed := 0
	for _, t := range tasks {
		r := row{Name: t.name}
		if r.Skipped = t.missing(b); r.Skipped == "" {
			fmt.Fprintln(b.progress, "bench:", t.name)
			if err := t.measure(b, &r); err != nil {
				r = row{Name: t.name, Failed: err.Error()}
				failed++
			}
			b.forget()
		}
		res.Rows = append(res.Rows, r)
		if b.out != "" { // in case that is all there is time for
			res.Rows[len(res.Rows)-1].finish(res.Rates)
			if err := res.write(b.out); err != nil {
				return err
			}
		}
	}
	if res.Rates, err = b.rates(res.Rates); err != nil {
		return err
	}
	for i := range res.Rows {
		res.Rows[i].finish(res.Rates)
	}
	if failed > 0 {
		return fmt.Errorf("%d rows failed", failed)
	}
	return nil
}

func (b *bench) rates(known *rates) (*rates, error) {
	fmt.Fprintln(b.progress, "bench: the machine's rates")
	r, err := measureRates(b.device, b.workers)
	if err != nil {
		return nil, err
	}
	runtime.GC()
	return known.better(r), nil
}
