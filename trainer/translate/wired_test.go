package translate_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/models"
	"rapt/models/modelstest"
	"rapt/trainer/translate"
)

func convNode(name string, from, out, in int) string {
	return fmt.Sprintf(`{"op":"conv","layer":%q,"from":[%d],"weight":[%d,%d,3,3],"bias":true,"ints":[1,1,1,1]},`, name, from, out, in)
}

func depthwiseNode(name string, from int) string {
	return fmt.Sprintf(`{"op":"conv","layer":%q,"from":[%d],"weight":[4,1,3,3],"ints":[1,1,1,4]},`, name, from)
}

func node(op string, ints string, from ...int) string {
	at := fmt.Sprint(from[0])
	for _, f := range from[1:] {
		at += fmt.Sprintf(",%d", f)
	}
	return fmt.Sprintf(`{"op":%q,"from":[%s],"ints":[%s]},`, op, at, ints)
}

// excitation are nodes from n on that weigh the four channels of node x; the product is node n+6.
func excitation(n, x int, gate string) string {
	return node("globalpool", "", x) + convNode("fc1", n, 2, 4) + node("relu", "", n+1) + convNode("fc2", n+2, 4, 2) + node("dropout", "", n+3) + node(gate, "", n+4) + node("mul", "", x, n+5)
}

// Graphs stay the same function with some channels gone, and become as small as they can; nothing is taken out of channels that go on in a way that is not followed.
func TestWired(t *testing.T) {
	const end = `{"op":"globalpool","from":[%d]},{"op":"flatten","from":[%d]},{"op":"linear","layer":"end","from":[%d],"weight":[5,%d],"bias":true}`
	ended := func(n, channels int) string { return fmt.Sprintf(end, n, n+1, n+2, channels) }
	a, b := convNode("a", -1, 4, 1), convNode("b", -1, 4, 1)
	stops := map[string]string{"depthwise in a sum": "add behind a", "the sigmoid alone": "sigmoid behind a", "the sigmoid in a sum": "sigmoid behind a", "joined with images": "cat behind a",
		"a part of the joined": "slice behind a", "weighed before depthwise": "conv d", "logits that are read": "add behind end", "one weight for all": "mul behind a"}
	norm := func(name string, from int) string {
		return fmt.Sprintf(`{"op":"norm","layer":%q,"from":[%d],"number":1e-5},`, name, from)
	}
	for name, c := range map[string]struct {
		nodes string
		whole string // the layers that nothing can be taken out of, beside the classes'
	}{
		"a chain":              {a + convNode("b", 0, 4, 4) + ended(1, 4), ""},
		"a residual sum":       {a + convNode("b", 0, 4, 4) + node("add", "", 0, 1) + ended(2, 4), ""},
		"a sum with itself":    {a + node("relu", "", 0) + node("add", "", 0, 1) + convNode("b", 2, 4, 4) + ended(3, 4), ""},
		"a reader before":      {a + b + convNode("c", 1, 4, 4) + node("add", "", 0, 1) + node("add", "", 3, 2) + ended(4, 4), ""},
		"depthwise in a sum":   {a + b + depthwiseNode("d", 1) + node("add", "", 0, 2) + ended(3, 4), "a b d"},
		"logits that are read": {a + ended(0, 4) + `,{"op":"relu","from":[3]},{"op":"linear","layer":"more","from":[4],"weight":[5,5]},{"op":"add","from":[3,5]}`, "end more"},
		"a norm at the end":    {a + ended(0, 4) + `,{"op":"relu","from":[3]},{"op":"norm","layer":"n","from":[4]}`, "end"},
		"a sum of flat maps":   {convNode("a", -1, 1, 1) + `{"op":"flatten","from":[0]},{"op":"linear","layer":"b","from":[1],"weight":[16,16]},{"op":"add","from":[2,1]},{"op":"linear","layer":"end","from":[3],"weight":[5,16]}`, "a b"},
		"a norm of flat maps":  {a + `{"op":"flatten","from":[0]},{"op":"flatten","from":[1]},{"op":"norm","layer":"n","from":[2]},{"op":"linear","layer":"end","from":[3],"weight":[5,64]}`, "a"},

		"the later one's reader":    {a + b + node("add", "", 0, 1) + convNode("c", 2, 4, 4) + convNode("d", 1, 4, 4) + node("add", "", 3, 4) + ended(5, 4), ""},
		"the earlier one's reader":  {a + b + node("add", "", 0, 1) + convNode("c", 2, 4, 4) + convNode("d", 0, 4, 4) + node("add", "", 3, 4) + ended(5, 4), ""},
		"the later one in two sums": {a + b + node("add", "", 0, 1) + node("add", "", 2, 1) + convNode("c", 3, 4, 4) + ended(4, 4), ""},
		"depthwise and its input":   {a + node("relu", "", 0) + depthwiseNode("d", 1) + node("add", "", 0, 2) + ended(3, 4), "a d"},
		"its input by depthwise":    {a + node("relu", "", 0) + depthwiseNode("d", 1) + node("sigmoid", "", 2) + node("mul", "", 0, 3) + convNode("b", 4, 4, 4) + ended(5, 4), "a d"},
		"beside depthwise":          {a + node("relu", "", 0) + depthwiseNode("d", 1) + convNode("b", 0, 4, 4) + node("cat", "1", 2, 3) + convNode("c", 4, 4, 8) + ended(5, 4), "a b d"},
		"joined before depthwise":   {a + b + node("cat", "1", 0, 1) + node("relu", "", 0) + depthwiseNode("d", 3) + convNode("c", 2, 4, 8) + node("cat", "1", 4, 5) + convNode("e", 6, 4, 8) + ended(7, 4), "a b c d"},
		"a sum's part by depthwise": {a + b + node("add", "", 0, 1) + depthwiseNode("d", 2) + convNode("c", 1, 4, 4) + node("cat", "1", 3, 4) + convNode("e", 5, 4, 8) + ended(6, 4), "a b c d"},
		"a gate that is read":       {a + node("globalpool", "", 0) + convNode("g", 1, 4, 4) + node("sigmoid", "", 2) + node("mul", "", 0, 3) + node("relu", "", 2) + convNode("h", 5, 4, 4) + node("globalpool", "", 4) + node("cat", "1", 6, 7) + convNode("c", 8, 4, 8) + ended(9, 4), "a g h"},
		"weighed before its relu":   {a + node("relu", "", 0) + node("globalpool", "", 1) + convNode("g", 2, 4, 4) + node("sigmoid", "", 3) + node("mul", "", 0, 4) + convNode("c", 5, 4, 4) + ended(6, 4), "a g"},
		"weighed behind its relu":   {a + node("relu", "", 0) + node("globalpool", "", 1) + convNode("g", 2, 4, 4) + node("sigmoid", "", 3) + node("mul", "", 1, 4) + convNode("c", 5, 4, 4) + ended(6, 4), ""},
		"weighed behind one more":   {a + node("globalpool", "", 0) + convNode("g", 1, 4, 4) + node("sigmoid", "", 2) + node("sigmoid", "", 0) + node("mul", "", 0, 4) + node("add", "", 5, 5) + node("mul", "", 6, 3) + convNode("c", 7, 4, 4) + ended(8, 4), ""},
		"weighed twice":             {a + excitation(1, 0, "sigmoid") + node("globalpool", "", 7) + convNode("g", 8, 4, 4) + node("sigmoid", "", 9) + node("mul", "", 7, 10) + convNode("c", 11, 4, 4) + ended(12, 4), ""},

		"a norm without readers": {a + norm("n", 0) + node("globalpool", "", 1) + convNode("c", 0, 4, 4) + convNode("d", 3, 4, 4) + ended(4, 4), "a"},
		"a layer without":        {a + convNode("c", 0, 4, 4) + node("relu", "", 1) + node("relu", "", 0) + ended(3, 4), ""},

		"joined":               {a + b + node("cat", "1", 0, 1) + convNode("c", 2, 4, 8) + ended(3, 4), ""},
		"joined with itself":   {a + node("relu", "", 0) + node("cat", "1", 1, 0) + convNode("c", 2, 4, 8) + ended(3, 4), ""},
		"joined twice":         {a + b + node("cat", "1", 0, 1) + convNode("c", 2, 4, 8) + node("cat", "1", 3, 2) + norm("n", 4) + node("relu", "", 5) + convNode("d", 6, 4, 12) + ended(7, 4), ""},
		"joined and flat":      {a + b + node("cat", "1", 1, 0) + `{"op":"flatten","from":[2]},{"op":"linear","layer":"end","from":[3],"weight":[5,128]}`, ""},
		"flat maps are joined": {a + b + node("flatten", "", 0) + node("flatten", "", 1) + node("cat", "1", 2, 3) + `{"op":"linear","layer":"end","from":[4],"weight":[5,128]}`, "a b"},
		"joined rows":          {a + b + node("cat", "2", 0, 1) + convNode("c", 2, 4, 4) + ended(3, 4), "a b"},
		"joined with images":   {a + node("cat", "1", 0, -1) + convNode("c", 1, 4, 5) + ended(2, 4), "a"},
		"a part of the joined": {a + b + node("cat", "1", 0, 1) + node("slice", "1,2,4", 2) + convNode("c", 3, 4, 4) + ended(4, 4), "a b"},
		"a sum of the joined":  {a + b + node("cat", "1", 0, 1) + convNode("c", 2, 8, 8) + node("add", "", 2, 3) + ended(4, 8), "a b c"},
		"depthwise behind":     {a + b + node("cat", "1", 0, 1) + `{"op":"conv","layer":"d","from":[2],"weight":[8,1,3,3],"ints":[1,1,1,8]},` + ended(3, 8), "a b d"},

		"bent":                       {a + node("hardswish", "", 0) + convNode("b", 1, 4, 4) + node("tanh", "", 2) + convNode("c", 3, 4, 4) + ended(4, 4), ""},
		"by its sigmoid":             {a + node("sigmoid", "", 0) + node("mul", "", 0, 1) + convNode("b", 2, 4, 4) + ended(3, 4), ""},
		"the sigmoid alone":          {a + node("sigmoid", "", 0) + convNode("b", 1, 4, 4) + ended(2, 4), "a"},
		"the sigmoid in a sum":       {a + node("sigmoid", "", 0) + node("add", "", 0, 1) + ended(2, 4), "a"},
		"a sigmoid before depthwise": {a + node("sigmoid", "", 0) + node("mul", "", 0, 1) + depthwiseNode("d", 2) + convNode("c", 3, 4, 4) + ended(4, 4), ""},
		"weighed":                    {a + excitation(1, 0, "sigmoid") + convNode("b", 7, 4, 4) + ended(8, 4), ""},
		"weighed and added":          {a + convNode("b", 0, 4, 4) + excitation(2, 1, "hardsigmoid") + node("add", "", 8, 0) + convNode("c", 9, 4, 4) + ended(10, 4), ""},
		"weighed behind depthwise":   {a + depthwiseNode("d", 0) + node("hardswish", "", 1) + excitation(3, 2, "hardsigmoid") + convNode("b", 9, 4, 4) + ended(10, 4), ""},
		"weighed by linear layers": {a + node("globalpool", "", 0) + node("flatten", "", 1) + `{"op":"linear","layer":"fc1","from":[2],"weight":[2,4]},{"op":"relu","from":[3]},{"op":"linear","layer":"fc2","from":[4],"weight":[4,2],"bias":true},` +
			node("sigmoid", "", 5) + node("reshape", "4,1", 6) + node("reshape", "4,1,1", 7) + node("mul", "", 0, 8) + convNode("b", 9, 4, 4) + ended(10, 4), ""},
		"maps as a list":           {a + node("reshape", "64", 0) + `{"op":"linear","layer":"end","from":[1],"weight":[5,64]}`, "a"},
		"weighed before depthwise": {a + excitation(1, 0, "sigmoid") + depthwiseNode("d", 7) + convNode("b", 8, 4, 4) + ended(9, 4), "a d fc2"},
		"weighed without a reader": {a + b + node("globalpool", "", 1) + node("sigmoid", "", 2) + node("mul", "", 0, 3) + convNode("c", 4, 4, 4) + ended(5, 4), "a b"},
		"multiplied":               {a + b + node("mul", "", 0, 1) + convNode("c", 2, 4, 4) + ended(3, 4), "a b"},
		"one weight for all":       {a + node("globalpool", "", 0) + convNode("fc", 1, 1, 4) + node("sigmoid", "", 2) + node("mul", "", 0, 3) + convNode("c", 4, 4, 4) + ended(5, 4), "a fc"},
	} {
		text := `{"input":[1,4,4],"nodes":[` + c.nodes + `]}`
		run(t, func(s *torch.Session) {
			m, err := models.New(s, models.Spec{Arch: models.Custom, Classes: 5, Graph: text}, s.NewGenerator(1))
			require.NoError(t, err, name)
			var whole []string
			for _, w := range models.Wiring(m) {
				if w.Whole {
					whole = append(whole, w.From...)
					whole = append(whole, w.Gates...)
				}
			}
			slices.Sort(whole)
			assert.Equal(t, c.whole, strings.Join(whole, " "), name)
			if models.Wired(m) {
				compacts(t, s, m, name)
			}
			if stop, ok := stops[name]; ok {
				assert.Equal(t, "shuffled, split or grouped, or go ways that rapt does not follow (at "+stop+")", models.Unfollowed(m), name)
			}
		})
	}
}

// What does not lead to the logits is left out of a network that is read: it could not be trained. A network that has failed makes nothing.
func TestDeadEnds(t *testing.T) {
	text := `{"input":[1,4,4],"nodes":[` + convNode("a", -1, 4, 1) + convNode("dead", 0, 4, 4) + `{"op":"norm","layer":"deader","from":[1],"number":1e-5},` + node("reshape", "2,2,4,4", 0) +
		node("reshape", "4,4,4", 3) + node("cat", "1", 4, 0) + node("globalpool", "", 5) + `{"op":"flatten","from":[6]},{"op":"linear","layer":"end","from":[7],"weight":[5,8],"bias":true}]}`
	run(t, func(s *torch.Session) {
		m, err := models.New(s, models.Spec{Arch: models.Custom, Classes: 5, Graph: text}, s.NewGenerator(1))
		require.NoError(t, err)
		net, err := translate.ONNX(exported(t, m))
		require.NoError(t, err)
		assert.Len(t, net.Graph.Nodes, 7)
		assert.Contains(t, net.Notes, "2 of its operations do not lead to its output, and are left out")
		for _, one := range net.Tensors {
			assert.NotContains(t, one.Name, "dead")
		}
		c := built(t, s, exported(t, m))
		x := s.Rand(s.NewGenerator(3), 3, 1, 4, 4)
		s.NoGrad(func() { near(t, m.Forward(x, nn.Eval), c.Forward(x, nn.Eval), 1e-6) })
	})
	_ = torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		m, err := models.New(s, models.Spec{Arch: models.Custom, Classes: 5, Graph: text}, s.NewGenerator(1))
		require.NoError(t, err)
		x := s.Rand(s.NewGenerator(3), 3, 1, 4, 4)
		s.Fail(errors.New("no memory"))
		assert.NotPanics(t, func() { assert.False(t, m.Forward(x, nn.Eval).Defined()) })
		return nil
	})
}

// compacts takes channels out of a network that are 0, and others that some weights of zero leave constant.
func compacts(t *testing.T, s *torch.Session, m *models.Model, name string) {
	x := s.Rand(s.NewGenerator(3), 3, m.Input[0], m.Input[1], m.Input[2])
	alike := func(merge bool) *models.Model {
		small, err := models.Compact(m, merge)
		require.NoError(t, err, name)
		s.NoGrad(func() { near(t, m.Forward(x, nn.Eval), small.Forward(x, nn.Eval), 1e-5, name) })
		return small
	}
	for _, e := range m.State { // numbers that show
		if !e.Buffer {
			e.Tensor.Detach().Shift_(0.05)
		}
	}
	whole := map[string]int64{}
	for _, w := range models.Wiring(m) {
		for _, layer := range slices.Concat(w.From, w.Gates) {
			for _, e := range m.State {
				if e.Name == layer+".weight" && len(w.To) > 0 {
					whole[layer] = e.Tensor.Size(0)
				}
			}
		}
	}
	var restore []func()
	for _, e := range m.State {
		if _, ok := whole[e.Layer]; ok && e.Name == e.Layer+".weight" && whole[e.Layer] > 2 {
			kept := e.Tensor.Detach().Clone()
			restore = append(restore, func() { e.Tensor.Detach().Copy_(kept) })
			e.Tensor.Detach().Narrow(0, 2, 2).Fill_(0) // two constants, which may become one
		}
	}
	alike(true)
	alike(false)
	for _, f := range restore {
		f()
	}
	require.NoError(t, modelstest.Drop(s, m, func(ch int64) bool { return ch%2 == 1 }))
	for _, merge := range []bool{true, false} {
		small := alike(merge)
		for layer, n := range whole {
			assert.Equal(t, (n+1)/2, small.Spec.Channels[layer], "%s: %s", name, layer)
		}
	}
}

// What can go beyond what is 0 itself: channels that only a hidden one reads, constants of which the layer that makes the sum's first can make one, or
// which a depthwise layer passes on, and what depthwise layers one after the other make of nothing.
func TestTakesOut(t *testing.T) {
	const end = `{"op":"globalpool","from":[%[1]d]},{"op":"flatten","from":[%[2]d]},{"op":"linear","layer":"end","from":[%[3]d],"weight":[5,4],"bias":true}`
	ended := func(n int) string { return fmt.Sprintf(end, n, n+1, n+2) }
	bare := func(name string, from, in int) string {
		return fmt.Sprintf(`{"op":"conv","layer":%q,"from":[%d],"weight":[4,%d,3,3],"ints":[1,1,1,1]},`, name, from, in)
	}
	for name, c := range map[string]struct {
		nodes string
		zero  map[string][2]int64 // rows, from and number
		only  string              // the column of this layer's weight that row 0 alone reads is its first
		want  map[string]int64
	}{
		"hidden":        {convNode("a", -1, 4, 1) + bare("b", 0, 4) + `{"op":"norm","layer":"n","from":[1],"number":1e-5},` + convNode("c", 2, 4, 4) + ended(3), map[string][2]int64{"n.weight": {0, 1}}, "b", map[string]int64{"a": 3, "b": 4}},
		"a sum":         {convNode("a", -1, 4, 1) + bare("b", -1, 1) + node("add", "", 0, 1) + convNode("c", 2, 4, 4) + ended(3), map[string][2]int64{"a.weight": {1, 3}, "b.weight": {1, 3}}, "", map[string]int64{"a": 2, "b": 2}},
		"depthwise":     {bare("a", -1, 1) + depthwiseNode("d", 0) + depthwiseNode("e", 1) + convNode("c", 2, 4, 4) + ended(3), map[string][2]int64{"a.weight": {0, 1}}, "", map[string]int64{"a": 3, "d": 3, "e": 3}},
		"not passed on": {convNode("a", -1, 4, 1) + bare("b", 0, 4) + `{"op":"conv","layer":"d","from":[1],"weight":[4,1,3,3],"bias":true,"ints":[1,1,1,4]},` + convNode("c", 2, 4, 4) + ended(3), map[string][2]int64{"d.weight": {0, 1}}, "b", map[string]int64{"a": 3, "b": 4, "d": 4}},
		"held behind":   {bare("a", -1, 1) + `{"op":"conv","layer":"d","from":[0],"weight":[4,1,3,3],"bias":true,"ints":[1,1,1,4]},` + convNode("c", 1, 4, 4) + ended(2), map[string][2]int64{"d.weight": {1, 3}}, "", map[string]int64{"a": 2, "d": 2}},
		"passed on":     {convNode("a", -1, 4, 1) + `{"op":"conv","layer":"d","from":[0],"weight":[4,1,3,3],"bias":true,"ints":[1,1,1,4]},` + convNode("c", 1, 4, 4) + ended(2), map[string][2]int64{"d.weight": {1, 3}}, "", map[string]int64{"a": 2, "d": 2}},
	} {
		run(t, func(s *torch.Session) {
			m, err := models.New(s, models.Spec{Arch: models.Custom, Classes: 5, Graph: `{"input":[1,4,4],"nodes":[` + c.nodes + `]}`}, s.NewGenerator(1))
			require.NoError(t, err, name)
			for _, e := range m.State {
				if rows, ok := c.zero[e.Name]; ok {
					e.Tensor.Detach().Narrow(0, rows[0], rows[1]).Fill_(0)
				}
				if e.Name == "n.bias" {
					e.Tensor.Detach().Shift_(0.5)
				}
				if c.only != "" && e.Name == c.only+".weight" {
					e.Tensor.Detach().Narrow(0, 1, 3).Narrow(1, 0, 1).Fill_(0)
				}
			}
			small, err := models.Compact(m, true)
			require.NoError(t, err, name)
			x := s.Rand(s.NewGenerator(3), 3, 1, 4, 4)
			s.NoGrad(func() { near(t, m.Forward(x, nn.Eval), small.Forward(x, nn.Eval), 1e-5, name) })
			for layer, n := range c.want {
				assert.Equal(t, n, small.Spec.Channels[layer], "%s: %s", name, layer)
			}
		})
	}
}

// What weighs channels may be 0 on the images that rapt compact looks at, and not on others: a channel that is not 0 before stays.
func TestWeighedByChance(t *testing.T) {
	text := `{"input":[1,4,4],"nodes":[` + convNode("a", -1, 4, 1) + excitation(1, 0, "hardsigmoid") + convNode("b", 7, 4, 4) +
		`{"op":"globalpool","from":[8]},{"op":"flatten","from":[9]},{"op":"linear","layer":"end","from":[10],"weight":[5,4],"bias":true}]}`
	run(t, func(s *torch.Session) {
		m, err := models.New(s, models.Spec{Arch: models.Custom, Classes: 5, Graph: text}, s.NewGenerator(1))
		require.NoError(t, err)
		state := map[string]torch.Tensor{}
		for _, e := range m.State {
			state[e.Name] = e.Tensor.Detach()
		}
		entry := func(name string, row, column int64) torch.Tensor {
			return state[name].Narrow(0, row, 1).Narrow(1, column, 1)
		}
		center := func(name string, row, column int64) torch.Tensor {
			return entry(name, row, column).Narrow(2, 1, 1).Narrow(3, 1, 1)
		}
		state["a.weight"].Narrow(0, 0, 2).Fill_(0)
		state["a.bias"].Narrow(0, 0, 1).Fill_(1) // channel 0 is 1
		state["a.bias"].Narrow(0, 1, 1).Fill_(0)
		center("a.weight", 1, 0).Fill_(1) // channel 1 is the image
		for _, name := range []string{"fc1.weight", "fc1.bias"} {
			state[name].Fill_(0)
		}
		center("fc1.weight", 0, 1).Fill_(1)
		center("fc2.weight", 0, 0).Fill_(1000) // channel 0 counts where the image's mean is above 0.8
		state["fc2.bias"].Narrow(0, 0, 1).Fill_(-800)
		small, err := models.Compact(m, true)
		require.NoError(t, err)
		for _, x := range []torch.Tensor{s.Rand(s.NewGenerator(3), 1, 1, 4, 4), s.Rand(s.NewGenerator(3), 1, 1, 4, 4).Fill_(1)} {
			s.NoGrad(func() { near(t, m.Forward(x, nn.Eval), small.Forward(x, nn.Eval), 1e-5) })
		}
	})
}
