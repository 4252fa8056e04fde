// Package onnx writes networks as ONNX models, from the operations that they are made of, and reads such models (https://onnx.ai; the format is onnx.proto's, of
// which only what is needed is here).
package onnx

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// message is a protocol buffer that is being written.
type message []byte

func (m *message) number(field protowire.Number, v int64) {
	*m = protowire.AppendVarint(protowire.AppendTag(*m, field, protowire.VarintType), uint64(v))
}

func (m *message) text(field protowire.Number, v string) {
	*m = protowire.AppendString(protowire.AppendTag(*m, field, protowire.BytesType), v)
}

func (m *message) bytes(field protowire.Number, v []byte) {
	*m = protowire.AppendBytes(protowire.AppendTag(*m, field, protowire.BytesType), v)
}

func (m *message) float(field protowire.Number, v float32) {
	*m = protowire.AppendFixed32(protowire.AppendTag(*m, field, protowire.Fixed32Type), math.Float32bits(v))
}

// The numbers of onnx.proto.
const (
	typeFloat, typeUint8, typeInt8 = 1, 2, 3      // TensorProto.DataType
	typeInt32, typeInt64           = 6, 7         // of the same
	attrFloat, attrInt             = 1, 2         // AttributeProto.AttributeType
	attrInts                       = 7            // of the same
	irVersion, opset               = int64(7), 13 // of ONNX 1.8, which every runtime in use reads
)

// attribute is an AttributeProto: v is an int64, []int64 or float32.
func attribute(name string, v any) (m message) {
	m.text(1, name)
	switch v := v.(type) {
	case int64:
		m.number(3, v)
		m.number(20, attrInt)
	case []int64:
		for _, n := range v {
			m.number(8, n)
		}
		m.number(20, attrInts)
	case float32:
		m.float(2, v)
		m.number(20, attrFloat)
	}
	return m
}

// node is a NodeProto.
func node(op string, in []string, out string, attributes ...message) (m message) {
	for _, name := range in {
		m.text(1, name)
	}
	m.text(2, out)
	m.text(3, out) // its name: each makes one value
	m.text(4, op)
	for _, a := range attributes {
		m.bytes(5, a)
	}
	return m
}

// tensor is a TensorProto of numbers in little-endian order.
func tensor(name string, kind int64, shape []int64, data []byte) (m message) {
	for _, n := range shape {
		m.number(1, n)
	}
	m.number(2, kind)
	m.text(8, name)
	m.bytes(9, data)
	return m
}

func int64s(v []int64) (out []byte) {
	for _, n := range v {
		out = binary.LittleEndian.AppendUint64(out, uint64(n))
	}
	return out
}

// value is a ValueInfoProto of float32; the first of its dimensions is as large as the batch.
func value(name string, shape []int64) (m message) {
	var dims, kind, outer message
	for i, n := range shape {
		var dim message
		if i == 0 {
			dim.text(2, "N")
		} else {
			dim.number(1, n)
		}
		dims.bytes(1, dim)
	}
	kind.number(1, typeFloat)
	kind.bytes(2, dims)
	outer.bytes(1, kind)
	m.text(1, name)
	m.bytes(2, outer)
	return m
}
