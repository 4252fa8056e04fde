package onnx

import (
	"encoding/binary"
	"math"

	torch "rapt/cgo"
)

// Codes are a quantised weight: scale * sign(code) * level of |code|. The code 0 is the weight 0.
type Codes struct {
	Values []int8
	Scale  float32
	Levels []float32 // of the codes 0, 1, 2 ...
}

// integers are the codes' levels as multiples of a unit, where all of them fit into an int8 and give the same weights to the bit.
func (c Codes) integers() (multiples []int8, scale float32, ok bool) {
	unit := float32(math.Inf(1))
	for _, level := range c.Levels[1:] {
		unit = min(unit, level)
	}
	scale = c.Scale * unit
	for _, level := range c.Levels {
		n := level / unit
		if n != float32(math.Round(float64(n))) || n > math.MaxInt8 || n*scale != c.Scale*level {
			return nil, 0, false
		}
		multiples = append(multiples, int8(n))
	}
	return multiples, scale, true
}

// codes has the file hold t as a byte a weight, under names that begin with name, and makes name of them: by DequantizeLinear where the levels
// are whole numbers of an int8, else by looking each up.
func (w *writer) codes(name string, t torch.Tensor, c Codes) {
	shape := t.Shape()
	bytes := make([]byte, len(c.Values))
	if integer, scale, ok := c.integers(); ok {
		for i, v := range c.Values {
			if n := integer[max(v, -v)]; v < 0 {
				bytes[i] = byte(-n)
			} else {
				bytes[i] = byte(n)
			}
		}
		w.graph.bytes(5, tensor(name+"_quantized", typeInt8, shape, bytes))
		w.graph.bytes(5, tensor(name+"_scale", typeFloat, nil, float32s(scale)))
		w.graph.bytes(5, tensor(name+"_zero_point", typeInt8, nil, []byte{0}))
		w.graph.bytes(1, node("DequantizeLinear", []string{name + "_quantized", name + "_scale", name + "_zero_point"}, name))
		return
	}
	middle := len(c.Levels) - 1 // the place of the code 0
	weights := make([]float32, 2*middle+1)
	for i, level := range c.Levels {
		weights[middle+i], weights[middle-i] = c.Scale*level, -c.Scale*level
	}
	weights[middle] = 0 // no -0
	for i, v := range c.Values {
		bytes[i] = byte(middle + int(v))
	}
	w.graph.bytes(5, tensor(name+"_levels", typeFloat, []int64{int64(len(weights))}, float32s(weights...)))
	w.graph.bytes(5, tensor(name+"_codes", typeUint8, shape, bytes))
	w.graph.bytes(1, node("Cast", []string{name + "_codes"}, name+"_places", attribute("to", int64(typeInt32))))
	w.graph.bytes(1, node("Gather", []string{name + "_levels", name + "_places"}, name, attribute("axis", int64(0))))
}

func float32s(v ...float32) (out []byte) {
	for _, x := range v {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(x))
	}
	return out
}
