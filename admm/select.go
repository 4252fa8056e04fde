// Package admm prunes a network's weights by the alternating direction method of multipliers (arXiv 1810.07378), as
// used on robust networks by "Adversarial Robustness vs. Model Compression, or Both?" (arXiv 1903.12561, section 3).
package admm

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agnivade/levenshtein"
)

// Type says what is removed together.
type Type string

// The named sparsity types. Structured ones see a weight as a matrix [outputs, everything else].
const (
	Irregular Type = "irregular" // single weights
	Filter    Type = "filter"    // rows: a convolution's filters, a linear layer's units
	Column    Type = "column"    // columns: one weight position in all filters
	BNFilter  Type = "bn_filter" // single batch-norm scales, each of which switches a channel off
)

// Types are those of the original. Beside them there are CoupledFilter, N:M, blocks (see NM and Block) and Pattern.
var Types = []Type{Irregular, Filter, Column, BNFilter}

// ParseType reads a sparsity type. block is block4x4.
func ParseType(name string) (Type, error) {
	if t := Type(name); slices.Contains(Types, t) {
		return t, nil
	}
	if t, ok := parseStructure(name); ok {
		return t, nil
	}
	return "", fmt.Errorf("unknown sparsity type %q: want irregular, filter, coupled_filter, column, bn_filter, pattern, block or one like it of another size such as block8x1, or N:M up to M = %d such as 2:4",
		name, maxM)
}

// Kind is what a layer does.
type Kind int

// The kinds of layers that have something to prune.
const (
	Conv Kind = iota
	Linear
	Norm // batch norm
)

func (k Kind) String() string {
	return [...]string{"convolution", "linear layer", "batch norm"}[k]
}

// Info describes a layer, in the network's order.
type Info struct {
	Name  string // the weight's state-dict name: conv1.weight
	Layer string // the layer's: conv1
	Kind  Kind
	Shape []int64 // the weight's
	Group int     // for CoupledFilter: layers of one number have their rows in common; 0 is for a layer whose rows must stay
}

// Selection says how much of which layers is removed.
type Selection struct {
	Ratio  float64      // of every layer that the type is for; 0 is none
	Ratios []LayerRatio // of single layers, instead of Ratio; 0 leaves a layer out
}

// LayerRatio is the fraction of one layer that is removed, in [0, 1). Layer is a state-dict name (conv1.weight or
// conv1), or the original's ordinal: conv2, fc1, bn3 are the second convolution, the first linear layer, the third
// batch norm. A state-dict name wins over an ordinal.
type LayerRatio struct {
	Layer string
	Ratio float64
}

// Resolve gives each of layers its ratio, 0 where it is not pruned.
//
// One ratio for all reaches every convolution and linear layer, or for bn_filter every batch norm. Of these, filter
// leaves out the last linear layer, since its rows are the classes: without a row the network could no longer tell its
// class. Such a layer is pruned where it is named. N:M leaves out layers whose inputs are no multiple of M, and patterns all but
// convolutions with 3x3 kernels.
//
// With CoupledFilter a layer's ratio is that of its whole group.
//
// Errors: a layer that does not exist, that is named twice, or that the type cannot prune; a ratio outside [0, 1), or for
// a type that implies one another one, but 0; two ratios for one group; nothing that the one ratio could prune.
func Resolve(t Type, sel Selection, layers []Info) ([]float64, error) {
	if err := t.checkRatio("the ratio for all layers", sel.Ratio); err != nil {
		return nil, err
	}
	out := make([]float64, len(layers))
	if sel.Ratio > 0 {
		some := false
		for i := range layers {
			if t.fits(layers[i]) && !(t == Filter && i == lastLinear(layers)) {
				out[i], some = sel.Ratio, true
			}
		}
		if !some {
			return nil, fmt.Errorf("the network has no layer that %s pruning is for", t)
		}
	}
	given := make([]string, len(layers))
	for _, one := range sel.Ratios {
		if err := t.checkRatio("the ratio of "+one.Layer, one.Ratio); err != nil {
			return nil, err
		}
		i, err := find(one.Layer, t, layers)
		switch {
		case err != nil:
			return nil, err
		case given[i] != "":
			return nil, fmt.Errorf("layer %s is given twice, as %s and as %s: leave one out", layers[i].Layer, given[i], one.Layer)
		case !t.Prunes(layers[i].Kind):
			return nil, fmt.Errorf("%s is a %s, which %s pruning is not for%s", one.Layer, layers[i].Kind, t, wanted(names(t, layers)))
		case one.Ratio > 0 && t.misfit(layers[i]) != "":
			return nil, fmt.Errorf("%s %s%s", one.Layer, t.misfit(layers[i]), wanted(names(t, layers)))
		}
		out[i], given[i] = one.Ratio, one.Layer
	}
	if t == CoupledFilter {
		return out, couple(out, given, layers)
	}
	return out, nil
}

func (t Type) checkRatio(what string, r float64) error {
	if !(r >= 0 && r < 1) {
		return fmt.Errorf("%s is %g: the fraction removed is needed, from 0 to below 1", what, r)
	}
	if own, ok := t.Implied(); ok && r > 0 && math.Abs(r-own) > 1e-9 {
		return fmt.Errorf("%s is %g: %s pruning removes %.6g of a layer, no more and no less", what, r, t, own)
	}
	return nil
}

// prunes reports whether t is for layers of kind k.
func (t Type) Prunes(k Kind) bool {
	if t == Pattern {
		return k == Conv
	}
	return (k == Norm) == (t == BNFilter)
}

// fits reports whether t can prune the layer.
func (t Type) fits(l Info) bool { return t.Prunes(l.Kind) && t.misfit(l) == "" }

// wanted ends a message with the layers that would have been right.
func wanted(names []string) string {
	if len(names) == 0 {
		return "; no layer of the network fits"
	}
	return ": want one of " + strings.Join(names, ", ")
}

func lastLinear(layers []Info) int {
	for i := len(layers) - 1; i >= 0; i-- {
		if layers[i].Kind == Linear {
			return i
		}
	}
	return -1
}

var ordinal = regexp.MustCompile(`^(conv|fc|bn)([1-9][0-9]{0,5})$`)

// find is the index of the layer that name addresses.
func find(name string, t Type, layers []Info) (int, error) {
	for i, l := range layers {
		if name == l.Name || name == l.Layer {
			return i, nil
		}
	}
	if m := ordinal.FindStringSubmatch(strings.TrimSuffix(name, ".weight")); m != nil {
		kind := map[string]Kind{"conv": Conv, "fc": Linear, "bn": Norm}[m[1]]
		n, _ := strconv.Atoi(m[2])
		for i, l := range layers {
			if l.Kind == kind {
				if n--; n == 0 {
					return i, nil
				}
			}
		}
	}
	all := names(t, layers)
	if len(all) == 0 {
		return 0, fmt.Errorf("there is no layer %s, and none that %s pruning is for", name, t)
	}
	return 0, fmt.Errorf("there is no layer %s%s: want one of %s", name, nearest(name, layers), strings.Join(all, ", "))
}

// names are the layers that t is for.
func names(t Type, layers []Info) []string {
	var out []string
	for _, l := range layers {
		if t.fits(l) {
			out = append(out, l.Layer)
		}
	}
	return out
}

// nearest suggests the layer that name may be a slip for.
func nearest(name string, layers []Info) string {
	best, least := "", 3 // differences; more are no slip
	for _, l := range layers {
		for _, right := range []string{l.Layer, l.Name} {
			if d := levenshtein.ComputeDistance(name, right); d < least {
				best, least = right, d
			}
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", best)
}
