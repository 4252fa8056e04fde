package models_test

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
	"rapt/cgo/nn"
	"rapt/cgo/torchtest"
	"rapt/models"
	"rapt/models/modelstest"
)

// reference is one network of testdata; its README tells what the fields are.
type reference struct {
	Parameters  int64
	State       []entry
	EvalLogits  [][]float64 `json:"eval_logits"`
	Loss        float64
	InputGradL1 float64     `json:"input_grad_l1"`
	TrainLogits [][]float64 `json:"train_logits"`
}

type entry struct {
	Name  string
	Shape []int64
}

func (e *entry) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &[]any{&e.Name, &e.Shape}) }

func references(t *testing.T) map[string]reference {
	file, err := os.Open("testdata/models.json.gz")
	require.NoError(t, err)
	defer file.Close()
	text, err := gzip.NewReader(file)
	require.NoError(t, err)
	var out map[string]reference
	require.NoError(t, json.NewDecoder(text).Decode(&out))
	return out
}

// spec reads a key such as mnist/lenet_adv/w16.
func spec(t *testing.T, key string) models.Spec {
	parts := strings.Split(key, "/")
	sp := models.Spec{Arch: parts[1], Classes: 10, Input: map[string][3]int64{"mnist": {1, 28, 28}, "cifar10": {3, 32, 32}}[parts[0]]}
	if len(parts) > 2 {
		w, err := strconv.Atoi(parts[2][1:])
		require.NoError(t, err)
		sp.Width = w
	}
	return sp
}

// run gives f a session and fails on the session's error.
func run(t *testing.T, f func(s *torch.Session)) {
	t.Helper()
	require.NoError(t, torch.Run(torchtest.Device(), torch.Options{Threads: 1}, func(s *torch.Session) error {
		f(s)
		return nil
	}))
}

// requireRows compares to a tolerance relative to the largest magnitude.
func requireRows(t *testing.T, what string, want [][]float64, got torch.Tensor, tolerance float64) {
	t.Helper()
	require.Equal(t, []int64{int64(len(want)), int64(len(want[0]))}, got.Shape(), what)
	v, err := got.Detach().Float32s()
	require.NoError(t, err)
	largest := 0.0
	for _, row := range want {
		for _, x := range row {
			largest = max(largest, math.Abs(x))
		}
	}
	for i, row := range want {
		for j, x := range row {
			require.InDelta(t, x, v[i*len(row)+j], tolerance*largest, "%s: image %d, class %d", what, i, j)
		}
	}
}

// Every network is the original's: its state dict, logits, gradients and batch statistics.
func TestVectors(t *testing.T) {
	all := references(t)
	require.Len(t, all, 52)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		t.Run(key, func(t *testing.T) {
			if testing.Short() && all[key].Parameters > 3e6 {
				t.Skip("large networks are for tests without -short")
			}
			run(t, func(s *torch.Session) { checkReference(t, s, spec(t, key), all[key]) })
		})
	}
}

// An architecture without reference numbers is not known to be the original's.
func TestEveryArchitectureHasAVector(t *testing.T) {
	have := map[string]bool{}
	for key := range references(t) {
		sp := spec(t, key)
		have[fmt.Sprint(sp.Arch, sp.Input)] = true
	}
	for _, arch := range models.Names() {
		for _, input := range models.InputsOf(arch) {
			require.True(t, have[fmt.Sprint(arch, input)], "%s for images of %v: add its vector to testdata", arch, input)
		}
	}
}

func checkReference(t *testing.T, s *torch.Session, sp models.Spec, want reference) {
	m, err := models.New(s, sp, nil)
	require.NoError(t, err)
	var state []entry
	for _, e := range m.State {
		state = append(state, entry{e.Name, e.Tensor.Shape()})
	}
	require.Equal(t, want.State, state)
	require.Equal(t, want.Parameters, m.Parameters())
	require.NoError(t, modelstest.Fill(s, m))
	tolerance := 1e-4
	if layers(m) > 100 {
		tolerance = 1e-3
	}

	x := modelstest.Input(s, m, 2).RequiresGrad_(true)
	logits := m.Forward(x, nn.Eval)
	requireRows(t, "evaluation", want.EvalLogits, logits, tolerance)
	loss := logits.CrossEntropy(s.FromInt64([]int64{3, 7}, 2), torch.ReduceSum, 0)
	v, err := loss.Item()
	require.NoError(t, err)
	require.InEpsilon(t, want.Loss, v, tolerance)
	v, err = s.Grad(loss, x)[0].Abs().Sum().Item()
	require.NoError(t, err)
	if math.Abs(v-want.InputGradL1) > tolerance*want.InputGradL1 {
		t.Logf("input_grad_l1 is %g in float32, not %g: compared in float64", v, want.InputGradL1)
		checkGradientInFloat64(t, s, sp, want.InputGradL1, tolerance)
	}
	s.NoGrad(func() { checkOtherWays(t, s, m, want, tolerance) })
}

// doubles are input_grad_l1 by PyTorch in float64 where the reference's float32 is not within the tolerance of it.
var doubles = map[string]float64{"shufflenetg2": 134.64715468585067, "shufflenetv2_0.5": 59.67094316656734, "shufflenetv2_2": 25.106995483865493}

// checkGradientInFloat64 is for networks that have, on the rule's images, an input of ReLU so near to 0 that float32's rounding, which is each
// CPU's own, decides on its side, and with it input_grad_l1. Float64 decides alike everywhere.
func checkGradientInFloat64(t *testing.T, s *torch.Session, sp models.Spec, want, tolerance float64) {
	if v, ok := doubles[sp.Arch]; ok {
		want = v
	}
	m, err := models.New(s, sp, nil)
	require.NoError(t, err)
	require.NoError(t, modelstest.Fill(s, m))
	for _, e := range m.State {
		if e.Tensor.DType() == torch.Float32 {
			*e.Tensor = e.Tensor.Detach().To(torch.Float64)
		}
	}
	x := modelstest.Input(s, m, 2).To(torch.Float64).RequiresGrad_(true)
	loss := m.Forward(x, nn.Eval).CrossEntropy(s.FromInt64([]int64{3, 7}, 2), torch.ReduceSum, 0)
	v, err := s.Grad(loss, x)[0].Abs().Sum().Item()
	require.NoError(t, err)
	require.InEpsilon(t, want, v, tolerance)
}

// checkOtherWays meets the same numbers by a replica with folded batch norm, laid out with the channels innermost, and in training.
func checkOtherWays(t *testing.T, s *torch.Session, m *models.Model, want reference, tolerance float64) {
	r, err := m.Replica(s)
	require.NoError(t, err)
	x := modelstest.Input(s, m, 2)
	s.Do(func() {
		requireRows(t, "replica, folded", want.EvalLogits, r.Forward(x, nn.Mode{Folded: nn.Fold(r.Module)}), tolerance)
	})
	g := s.NewGenerator(1)
	requireRows(t, "training", want.TrainLogits, r.Forward(modelstest.Input(s, m, 4), nn.Mode{Train: true, Generator: g}), tolerance)
	m.ToChannelsLast() // whose running statistics are still those of the rule
	requireRows(t, "channels last", want.EvalLogits, m.Forward(x.ChannelsLast(), nn.Eval), tolerance)
}

// layers counts the convolutions and linear layers.
func layers(m *models.Model) (n int) {
	for _, e := range m.State {
		if e.Kind != nn.Norm && strings.HasSuffix(e.Name, "weight") {
			n++
		}
	}
	return n
}

func TestCheck(t *testing.T) {
	require.NoError(t, models.Check(models.Spec{Arch: "lenet_adv", Width: 16, Classes: 10}))
	require.NoError(t, models.Check(models.Spec{Arch: "lenet", Width: 1, Classes: 10}))
	for _, c := range []struct {
		sp   models.Spec
		want string
	}{
		{models.Spec{Arch: "lenet_avd", Classes: 10}, `unknown architecture "lenet_avd" (did you mean "lenet_adv"?): want one of`},
		{models.Spec{Arch: "perceptron", Classes: 10}, `unknown architecture "perceptron": want one of`},
		{models.Spec{Arch: "lenet_adv", Width: -1, Classes: 10}, "width -1 of lenet_adv is out of range"},
		{models.Spec{Arch: "lenet_bn", Width: 2, Classes: 10}, "lenet_bn has no width multiplier"},
		{models.Spec{Arch: "lenet", Classes: 1}, "1 classes are too few"},
	} {
		require.ErrorContains(t, models.Check(c.sp), c.want)
	}
}

// A replica sees its original's updates at once, has gradients of its own, and keeps its own batch statistics.
func TestReplica(t *testing.T) {
	run(t, func(s *torch.Session) {
		m, err := models.New(s, models.Spec{Arch: "lenet_bn", Classes: 10}, s.NewGenerator(1))
		require.NoError(t, err)
		built, changed, done := make(chan error, 1), make(chan bool, 1), make(chan error, 1)
		go func() { // one of the two sessions works at a time
			done <- torch.Run(torchtest.Device(), torch.Options{Threads: 1}, func(s2 *torch.Session) error {
				r, err := m.Replica(s2)
				if built <- err; err != nil {
					return err
				}
				<-changed
				checkReplica(t, s2, r, m)
				return nil
			})
		}()
		require.NoError(t, <-built)
		s.NoGrad(func() { m.State[len(m.State)-1].Tensor.Fill_(2) })
		changed <- true
		require.NoError(t, <-done)
	})
}

func checkReplica(t *testing.T, s *torch.Session, r, m *models.Model) {
	y := r.Forward(modelstest.Input(s, r, 4), nn.Mode{Train: true})
	for i, g := range s.Grad(y.Square().Sum(), nn.Parameters(r.State)...) {
		assert.Equal(t, nn.Parameters(r.State)[i].Shape(), g.Shape())
	}
	for i, e := range r.State {
		assert.Equal(t, m.State[i].Name, e.Name)
		same, err := e.Tensor.Detach().Eq(s.Borrow(*m.State[i].Tensor)).All().Item()
		assert.NoError(t, err)
		assert.Equal(t, !e.Buffer, same == 1, e.Name)
	}
}
