package trainer

import (
	"fmt"
	"strconv"
	"strings"

	"rapt/admm"
	"rapt/trainer/checkpoint"
	"rapt/trainer/metrics"
)

// storedLevels is what a checkpoint's metadata says of a quantised weight.
type storedLevels struct {
	name   string
	quant  admm.Quant
	scale  float32
	pruned bool
}

type levelList []storedLevels

// write notes the layers in a checkpoint's metadata.
func (all levelList) write(meta map[string]string) {
	var bits, scales, pruned []string
	levels := "equal"
	for _, l := range all {
		bits = append(bits, l.name+"="+strconv.Itoa(l.quant.Bits))
		scales = append(scales, l.name+"="+strconv.FormatFloat(float64(l.scale), 'g', -1, 32))
		if l.pruned {
			pruned = append(pruned, l.name)
		}
		if l.quant.PowerOfTwo {
			levels = "power_of_two"
		}
	}
	meta["quantized"], meta["quantized_scales"] = strings.Join(bits, ","), strings.Join(scales, ",")
	meta["quantized_levels"], meta["quantized_pruned"] = levels, strings.Join(pruned, ",")
}

// readLevels reads what write wrote; a checkpoint that is not quantised has none.
func readLevels(meta map[string]string) (all levelList, err error) {
	if meta["quantized"] == "" {
		return nil, nil
	}
	scales := map[string]string{}
	for _, one := range strings.Split(meta["quantized_scales"], ",") {
		name, scale, _ := strings.Cut(one, "=")
		scales[name] = scale
	}
	pruned := "," + meta["quantized_pruned"] + ","
	for _, one := range strings.Split(meta["quantized"], ",") {
		name, bits, _ := strings.Cut(one, "=")
		l := storedLevels{name: name, pruned: strings.Contains(pruned, ","+name+",")}
		l.quant.PowerOfTwo = meta["quantized_levels"] == "power_of_two"
		l.quant.Bits, err = strconv.Atoi(bits)
		if err != nil || l.quant.Bits < 1 || l.quant.Bits > l.quant.MostBits() {
			return nil, fmt.Errorf(`"quantized" in its metadata gives %s the bits %q: 1 to %d is needed`, name, bits, l.quant.MostBits())
		}
		scale, err := strconv.ParseFloat(scales[name], 32)
		if err != nil {
			return nil, fmt.Errorf(`"quantized_scales" in its metadata gives %s the scale %q: a number is needed`, name, scales[name])
		}
		l.scale = float32(scale)
		all = append(all, l)
	}
	return all, nil
}

// dense tells whether a weight is quantised with nothing pruned, so that its zeros are a level.
func (all levelList) dense(name string) bool {
	for _, l := range all {
		if l.name == name {
			return !l.pruned
		}
	}
	return false
}

// codes are the weight's in its checkpoint.
func (l storedLevels) codes(f *checkpoint.File) ([]int8, error) {
	t, ok := f.Get(l.name)
	if !ok {
		return nil, fmt.Errorf("its metadata says that %s is quantised, which it lacks", l.name)
	}
	data, err := t.Float32s()
	if err != nil {
		return nil, err
	}
	codes, err := l.quant.Codes(data, l.scale, l.pruned)
	if err != nil {
		return nil, fmt.Errorf("%s is not quantised as its metadata says: %w", l.name, err)
	}
	return codes, nil
}

// quantizationIn is what a checkpoint's quantised weights take, nil where it has none. parameters are all of its model's.
func quantizationIn(f *checkpoint.File, parameters int64) (*metrics.Quantization, error) {
	all, err := readLevels(f.Metadata)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	var layers []metrics.QuantizedLayer
	for _, l := range all {
		codes, err := l.codes(f)
		if err != nil {
			return nil, err
		}
		layer := metrics.QuantizedLayer{Name: l.name, Bits: l.quant.Bits, Levels: l.quant.Levels(l.pruned), Scale: l.scale}
		layer.Measure(codes, l.pruned)
		layers = append(layers, layer)
	}
	return metrics.SummariseQuantization(layers, parameters), nil
}
