package importer

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"rapt/pickle"
)

// StateDict is what a PyTorch checkpoint holds of a network. Close it when its tensors have been read.
type StateDict struct {
	Tensors []*Tensor // in the file's order, their names without the prefixes of wrappers
	Notes   []string  // what was left out or renamed, a sentence each
	file    *os.File
}

// Close closes the file.
func (d *StateDict) Close() error { return d.file.Close() }

// ReadPyTorch reads a checkpoint that torch.save wrote, in the zip form or the one of before PyTorch 1.6. Nothing in it is executed.
// Whatever is wrong with the file is a *checkpoint.InputError.
func ReadPyTorch(path string) (*StateDict, error) {
	f, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	d, err := read(f, size)
	if err != nil {
		f.Close()
		return nil, badInput(path, "%v", explain(err))
	}
	d.file = f
	return d, nil
}

func read(f *os.File, size int64) (*StateDict, error) {
	head := make([]byte, 4)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, errors.New("is truncated")
	}
	var root any
	var err error
	if string(head) == "PK\x03\x04" {
		root, err = loadZip(f, size)
	} else {
		root, err = loadLegacy(f, size)
	}
	if err != nil {
		return nil, err
	}
	d := &StateDict{}
	dict, err := d.unwrap(root)
	if err != nil {
		return nil, err
	}
	if err := d.collect(dict); err != nil {
		return nil, err
	}
	d.strip()
	return d, nil
}

// wrappers are the names under which training scripts keep the state dict.
var wrappers = []string{"state_dict", "net", "model", "model_state_dict"}

// unwrap finds the state dict: one of the object's entries or itself.
func (d *StateDict) unwrap(root any) (*pickle.Dict, error) {
	dict, ok := root.(*pickle.Dict)
	if !ok {
		return nil, errors.New("holds no state dict. " + saveStateDict)
	}
	for _, name := range wrappers {
		v, _ := dict.Get(name)
		inner, ok := v.(*pickle.Dict)
		if !ok || !hasTensor(inner) {
			continue
		}
		if rest := slices.DeleteFunc(keys(dict), func(k string) bool { return k == name }); len(rest) > 0 {
			d.note("the state dict is %q; beside it %s left out", name, were(rest))
		}
		return inner, nil
	}
	if hasTensor(dict) {
		return dict, nil
	}
	return nil, fmt.Errorf("holds no state dict: it has %s, and tensors by their names, or these under one of %s, are needed",
		listed(keys(dict)), strings.Join(wrappers, ", "))
}

func hasTensor(d *pickle.Dict) bool {
	return slices.ContainsFunc(d.Pairs, func(p pickle.Pair) bool { _, ok := p.Value.(*Tensor); return ok })
}

// collect takes the tensors.
func (d *StateDict) collect(dict *pickle.Dict) error {
	var rest []string
	for _, p := range dict.Pairs {
		name, isText := pickle.Text(p.Key)
		t, isTensor := p.Value.(*Tensor)
		if !isText || !isTensor {
			rest = append(rest, fmt.Sprintf("%.60v", p.Key))
			continue
		}
		if slices.ContainsFunc([]rune(name), func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0xfffd }) {
			return fmt.Errorf("holds a tensor of the name %.60q", name)
		}
		named := *t // one tensor may have several names
		named.Name = name
		d.Tensors = append(d.Tensors, &named)
	}
	if len(d.Tensors) == 0 {
		return errors.New("holds tensors, but none with a name")
	}
	if len(rest) > 0 {
		d.note("%s no tensor with a name and left out", were(rest))
	}
	return nil
}

// prefixes are what wrapping modules put before every name: DataParallel and AveragedModel, the original's AttackPGD, torch.compile, and others.
var prefixes = []string{"module.", "basic_model.", "model.", "_orig_mod."}

// averagedName is torch.optim.swa_utils.AveragedModel's count, beside the model.
const averagedName = "n_averaged"

// strip takes away the prefixes that all names have, as often as they have them.
func (d *StateDict) strip() {
	if at := slices.IndexFunc(d.Tensors, func(t *Tensor) bool { return t.Name == averagedName }); at >= 0 && len(d.Tensors) > 1 {
		d.Tensors = slices.Delete(d.Tensors, at, at+1)
		d.note("%q, by which an average of models counts, was left out", averagedName)
	}
	gone := ""
	for again := true; again; {
		again = false
		for _, p := range prefixes {
			if slices.ContainsFunc(d.Tensors, func(t *Tensor) bool { return !strings.HasPrefix(t.Name, p) }) {
				continue
			}
			for _, t := range d.Tensors {
				t.Name = strings.TrimPrefix(t.Name, p)
			}
			gone += p
			again = true
		}
	}
	if gone != "" {
		d.note("%q was taken from the front of every name", gone)
	}
}

func (d *StateDict) note(format string, args ...any) {
	d.Notes = append(d.Notes, fmt.Sprintf(format, args...))
}

// keys are a dict's keys, fit for a message.
func keys(d *pickle.Dict) []string {
	var out []string
	for _, p := range d.Pairs {
		name, ok := pickle.Text(p.Key)
		if !ok {
			name = fmt.Sprintf("%.40v", p.Key)
		}
		out = append(out, name)
	}
	return out
}

// were is "a, b and c were".
func were(names []string) string {
	if len(names) == 1 {
		return listed(names) + " was"
	}
	return listed(names) + " were"
}

// listed is "a, b and c", quoted and cut where it is long.
func listed(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	const most = 8
	var out []string
	for _, n := range names[:min(len(names), most)] {
		out = append(out, fmt.Sprintf("%.60q", n))
	}
	if more := len(names) - most; more > 0 {
		out = append(out, fmt.Sprintf("%d more", more))
	}
	if len(out) == 1 {
		return out[0]
	}
	return strings.Join(out[:len(out)-1], ", ") + " and " + out[len(out)-1]
}
