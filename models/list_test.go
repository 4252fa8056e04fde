package models_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"rapt/models"
)

// The parameters are the reference's. The multiply-accumulates are counted by hand: a convolution's are its map's pixels times its weights.
func TestList(t *testing.T) {
	all, err := models.List()
	require.NoError(t, err)
	found := map[string]models.Info{}
	for _, m := range all {
		key := map[int64]string{1: "mnist", 3: "cifar10"}[m.Input[0]] + "/" + m.Name
		if m.Widths {
			key += fmt.Sprint("/w", m.Width)
		}
		found[key] = m
	}
	for key, want := range references(t) {
		if m, ok := found[key]; ok { // the others' width is not one of List's
			assert.Equal(t, want.Parameters, m.Parameters, key)
			assert.Equal(t, layersOf(want), m.Layers, key)
		}
	}
	for _, name := range models.Names() {
		assert.True(t, containsName(all, name), name)
	}

	block := func(side, in, out int64) int64 { return side * side * 9 * (in*out + out*out) }
	short := func(side, in, out int64) int64 { return side * side * in * out }
	resnet18 := 32*32*27*64 + 2*block(32, 64, 64) + 512*10
	for side, c := int64(16), int64(64); side >= 4; side, c = side/2, 2*c {
		resnet18 += block(side, c, 2*c) + short(side, c, 2*c) + block(side, 2*c, 2*c)
	}
	assert.Equal(t, resnet18, found["cifar10/resnet18"].MACs)
	depthwise := func(side, c int64) int64 { return side * side * c * 9 }
	mobilenet := int64(32*32*27*32) + 1024*10
	in, side := int64(32), int64(32)
	for _, l := range [][2]int64{{64, 1}, {128, 2}, {128, 1}, {256, 2}, {256, 1}, {512, 2}, {512, 1}, {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1}} {
		side /= l[1]
		mobilenet += depthwise(side, in) + short(side, in, l[0])
		in = l[0]
	}
	assert.Equal(t, mobilenet, found["cifar10/mobilenet"].MACs)
	assert.Equal(t, int64(28*28*25*2+14*14*25*8+196*64+640), found["mnist/lenet_adv/w1"].MACs)
}

func layersOf(r reference) (n int) {
	for _, e := range r.State {
		if len(e.Shape) > 1 {
			n++
		}
	}
	return n
}

func containsName(all []models.Info, name string) bool {
	for _, m := range all {
		if m.Name == name {
			return true
		}
	}
	return false
}
