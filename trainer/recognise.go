package trainer

import (
	"fmt"
	"slices"
	"strings"

	torch "rapt/cgo"
	"rapt/importer"
	"rapt/models"
	"rapt/trainer/checkpoint"
)

// outline is a network's state dict without the values.
type outline struct {
	spec    models.Spec
	input   [3]int64
	entries []outlined
	also    []string // other names of the network
}

type outlined struct {
	name   string
	shape  []int64
	dtype  checkpoint.DType
	buffer bool
}

func outlineOf(spec models.Spec) (*outline, error) {
	o := &outline{}
	err := torch.Run(torch.CPU, torch.Options{Threads: 1, ShapesOnly: true}, func(s *torch.Session) error {
		m, err := models.New(s, spec, nil)
		if err != nil {
			return &InputError{err}
		}
		o.spec, o.input = m.Spec, m.Input
		for _, e := range m.State {
			o.entries = append(o.entries, outlined{e.Name, e.Tensor.Shape(), fileTypes[e.Tensor.DType()], e.Buffer})
		}
		return s.Err()
	})
	return o, err
}

func (o *outline) describe() string {
	if models.Check(models.Spec{Arch: o.spec.Arch, Width: 2, Classes: 2, Input: o.input}) != nil { // it takes no width
		return o.spec.Arch
	}
	return fmt.Sprintf("%s of width %d", o.spec.Arch, max(o.spec.Width, 1))
}

// others are the network's further names, in brackets.
func (o *outline) others() string {
	if len(o.also) == 0 {
		return ""
	}
	return " (which is also " + strings.Join(o.also, " and ") + ": --arch takes any of them)"
}

func (o *outline) numel(count func(outlined) bool) (n int64) {
	for _, e := range o.entries {
		if size := int64(1); count(e) {
			for _, s := range e.shape {
				size *= s
			}
			n += size
		}
	}
	return n
}

func (o *outline) parameters() int64 { return o.numel(func(e outlined) bool { return !e.buffer }) }

// recognise finds the network whose state dict d is: the one asked for, or the one that fits.
func recognise(o ImportOptions, d *importer.StateDict) (*outline, error) {
	given := map[string]*importer.Tensor{}
	for _, t := range d.Tensors {
		if given[t.Name] != nil {
			return nil, &InputError{fmt.Errorf("%s holds %s twice", o.Path, t.Name)}
		}
		given[t.Name] = t
	}
	if o.Arch != "" {
		return o.asked(given)
	}
	var fits []*outline
	for _, arch := range models.Names() {
		for _, input := range models.InputsOf(arch) {
			spec := models.Spec{Arch: arch, Width: o.Width, Classes: 2, Input: input}
			if models.Check(spec) != nil {
				continue // it takes no width
			}
			c, err := candidate(spec, given)
			if err != nil {
				return nil, err
			}
			if c.compare(given) == "" {
				fits = append(fits, c)
			}
		}
	}
	if len(fits) == 0 {
		return nil, &InputError{fmt.Errorf("%s fits none of the networks that rapt has (%s); with --arch, what differs is listed", o.Path, strings.Join(models.Names(), ", "))}
	}
	// Some networks are others of a certain width: of those the shortest name is the one that people know.
	slices.SortStableFunc(fits, func(a, b *outline) int { return len(a.spec.Arch) - len(b.spec.Arch) })
	for _, same := range fits[1:] {
		fits[0].also = append(fits[0].also, same.describe())
	}
	return fits[0], nil
}

// asked is the network that --arch names, in the form that fits.
func (o ImportOptions) asked(given map[string]*importer.Tensor) (*outline, error) {
	inputs := models.InputsOf(o.Arch)
	if len(inputs) == 0 {
		return nil, &InputError{models.Check(models.Spec{Arch: o.Arch, Classes: 2})}
	}
	var first error
	for _, input := range inputs {
		found, err := candidate(models.Spec{Arch: o.Arch, Width: o.Width, Input: input}, given)
		if err == nil {
			if diff := found.compare(given); diff != "" {
				err = &InputError{fmt.Errorf("%s is no checkpoint of %s%s", o.Path, found.describe(), diff)}
			}
		}
		if err == nil {
			return found, nil
		}
		if first == nil {
			first = err
		}
	}
	return nil, first
}

// candidate is the network of that name and input whose width, where it is 0, and number of classes are those of the tensors given, as far as
// the first and the last tensor tell. Where they do not, it is the narrowest one.
func candidate(spec models.Spec, given map[string]*importer.Tensor) (*outline, error) {
	width := spec.Width
	spec.Width, spec.Classes = max(width, 1), 10
	o, err := outlineOf(spec)
	if err != nil {
		return nil, err
	}
	first, last := o.entries[0], o.entries[len(o.entries)-1]
	if t := given[last.name]; t != nil && len(t.Shape) == len(last.shape) && len(t.Shape) > 0 && t.Shape[0] > 1 && t.Shape[0] <= 1<<20 {
		spec.Classes = int(t.Shape[0])
	}
	if t := given[first.name]; width == 0 && t != nil && len(t.Shape) == len(first.shape) {
		spec.Width = o.widthFrom(t.Shape[0]/first.shape[0], given)
	}
	if spec.Classes == o.spec.Classes && spec.Width == o.spec.Width || models.Check(spec) != nil {
		return o, nil
	}
	return outlineOf(spec)
}

// widthFrom is w, where there is such a network and the tensors given could be as many as it has: a file that claims a wide network
// in few bytes must not cost the memory of one.
func (o *outline) widthFrom(w int64, given map[string]*importer.Tensor) int {
	var have int64
	for _, t := range given {
		have += t.Numel()
	}
	narrow := o.numel(func(outlined) bool { return true })
	if w < 1 || w > 1024 || w*w*narrow > 2*have+1000 || models.Check(models.Spec{Arch: o.spec.Arch, Width: int(w), Classes: 2, Input: o.input}) != nil {
		return 1
	}
	return int(w)
}

// counter tells batch norm's counters, which PyTorch before 0.4.1 did not have.
func counter(name string) bool { return strings.HasSuffix(name, "num_batches_tracked") }

// compare lists what the tensors given lack, have too much or in another shape; empty where they are the network's.
func (o *outline) compare(given map[string]*importer.Tensor) string {
	var missing, wrong, unexpected []string
	known := map[string]bool{}
	for _, e := range o.entries {
		known[e.name] = true
		t := given[e.name]
		switch {
		case t == nil && !counter(e.name):
			missing = append(missing, e.name)
		case t != nil && !slices.Equal(t.Shape, e.shape):
			wrong = append(wrong, fmt.Sprintf("%s %v instead of %v", e.name, t.Shape, e.shape))
		}
	}
	for name := range given {
		if !known[name] {
			unexpected = append(unexpected, name)
		}
	}
	slices.Sort(unexpected)
	return differences("missing", missing) + differences("unexpected", unexpected) + differences("of another shape", wrong)
}

// differences is "; WHAT: a, b, c", or nothing.
func differences(what string, names []string) string {
	const most = 40
	if len(names) == 0 {
		return ""
	}
	text := fmt.Sprintf("; %s: %s", what, strings.Join(names[:min(len(names), most)], ", "))
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// convert gives the network's state dict in its order and types.
func (o *outline) convert(d *importer.StateDict, report *Imported) ([]checkpoint.Tensor, error) {
	given := map[string]*importer.Tensor{}
	for _, t := range d.Tensors {
		given[t.Name] = t
	}
	filled := 0
	var out []checkpoint.Tensor
	for _, e := range o.entries {
		t := given[e.name]
		if t == nil {
			filled++
			out = append(out, checkpoint.I64(e.name, e.shape, []int64{0}))
			continue
		}
		c, err := t.Convert(e.dtype)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	if filled > 0 {
		report.note("num_batches_tracked of %d batch norms is missing and was set to 0, as PyTorch does", filled)
	}
	return out, nil
}
