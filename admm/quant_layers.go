package admm

import (
	"fmt"
	"strings"
)

// LayerBits is how many bits one layer's weights get; 0 keeps them float32. Layer is a name as in LayerRatio.
type LayerBits struct {
	Layer string
	Bits  int
}

// ResolveBits gives each of layers its bits, 0 where it is not quantised: bits for every convolution and linear layer, or
// what single ones are given instead. Batch norms are never quantised.
//
// Errors: a layer that does not exist, that is named twice, or that is a batch norm.
func ResolveBits(bits int, single []LayerBits, layers []Info) ([]int, error) {
	out := make([]int, len(layers))
	for i, l := range layers {
		if l.Kind != Norm {
			out[i] = bits
		}
	}
	given := make([]string, len(layers))
	for _, one := range single {
		i, err := find(one.Layer, Irregular, layers)
		switch {
		case err != nil:
			return nil, err
		case given[i] != "":
			return nil, fmt.Errorf("layer %s is given twice, as %s and as %s: leave one out", layers[i].Layer, given[i], one.Layer)
		case layers[i].Kind == Norm:
			return nil, fmt.Errorf("%s is a batch norm, which stays float32: want one of %s", one.Layer, strings.Join(names(Irregular, layers), ", "))
		}
		out[i], given[i] = one.Bits, one.Layer
	}
	return out, nil
}
