package importer

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// The names that PyTorch's wrappers give: torch.compile of DataParallel, and an average of a model.
func TestStrip(t *testing.T) {
	for _, c := range []struct{ given, want, notes []string }{
		{[]string{"_orig_mod.module.a.weight", "_orig_mod.module.a.bias"}, []string{"a.weight", "a.bias"}, []string{`"_orig_mod.module." was taken from the front of every name`}},
		{[]string{"n_averaged", "module.a.weight"}, []string{"a.weight"}, []string{`"n_averaged", by which an average of models counts, was left out`, `"module." was taken from the front of every name`}},
		{[]string{"module.a.weight", "b.weight"}, []string{"module.a.weight", "b.weight"}, nil},
		{[]string{"n_averaged"}, []string{"n_averaged"}, nil},
	} {
		var d StateDict
		for _, name := range c.given {
			d.Tensors = append(d.Tensors, &Tensor{Name: name})
		}
		d.strip()
		var got []string
		for _, one := range d.Tensors {
			got = append(got, one.Name)
		}
		assert.Equal(t, c.want, got)
		assert.Equal(t, c.notes, d.Notes)
	}
}
