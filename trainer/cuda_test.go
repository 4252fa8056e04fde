package trainer

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	torch "rapt/cgo"
	"rapt/cgo/torchtest"
)

// These need a GPU. What they measure they print as "measured: NAME VALUE UNIT", for bench/gpu.sh to collect.

func measured(t *testing.T, name string, value float64, unit string) {
	t.Helper()
	t.Logf("measured: %s %.4g %s", name, value, unit)
}

// From the same weights, without random numbers, fifty steps on the GPU lose what they do on the CPU.
func TestCUDATrainsAsTheCPU(t *testing.T) {
	torchtest.CUDA(t)
	var weights [][]byte
	still := []string{"adversary.random_start=false", "run.workers=1"}
	inside(t, func(p *pipeline) {
		for _, e := range p.lead().model.State {
			b, err := e.Tensor.Detach().Bytes()
			require.NoError(t, err)
			weights = append(weights, b)
		}
	}, "model.width=4")
	for _, c := range []struct {
		method      string
		worst, mean float64
	}{{"training.method=natural", 1e-2, 1e-3}, {"training.method=pgd", 6e-2, 1.5e-2}} {
		sets := append(slices.Clone(still), c.method)
		want := lossesFrom(t, weights, 50, append(slices.Clone(sets), "run.device=cpu")...)
		for _, graphs := range []string{"run.cuda_graphs=false", "run.cuda_graphs=true"} {
			worst, mean := apart(want, lossesFrom(t, weights, 50, append(slices.Clone(sets), graphs)...))
			measured(t, c.method+" "+graphs+" losses apart from the CPU's", worst, "of the loss at most")
			assert.LessOrEqual(t, worst, c.worst)
			assert.LessOrEqual(t, mean, c.mean)
		}
	}
}

// twoGPUs are two where there are two, and else one twice: then two sessions with weights of their own share it.
func twoGPUs() []torch.Device {
	return []torch.Device{torch.CUDA(0), torch.CUDA(min(1, torch.CUDADeviceCount()-1))}
}

// Two GPUs that share each batch lose over fifty steps what one does, and the same to the bit each time and with graphs.
func TestCUDAShared(t *testing.T) {
	torchtest.CUDA(t)
	still := []string{"adversary.random_start=false", "run.deterministic=true"}
	for _, c := range []struct {
		method      string
		worst, mean float64
	}{{"training.method=natural", 1e-2, 1e-3}, {"training.method=pgd", 6e-2, 1.5e-2}} {
		sets := append(slices.Clone(still), c.method)
		want := losses(t, 50, sets...)
		Apart(t, func() {
			got := losses(t, 50, sets...)
			worst, mean := apart(want, got)
			measured(t, c.method+" losses of two GPUs apart from one's", worst, "of the loss at most")
			assert.LessOrEqual(t, worst, c.worst)
			assert.LessOrEqual(t, mean, c.mean)
			for range 3 {
				assert.Equal(t, got, losses(t, 50, sets...))
			}
			assert.Equal(t, got, losses(t, 50, append(slices.Clone(sets), "run.cuda_graphs=false")...))
		}, twoGPUs()...)
	}
}

// A replayed step is the step itself, to the bit where kernels are deterministic: losses, weights and statistics.
func TestGraphEqualsEager(t *testing.T) {
	torchtest.CUDA(t)
	for _, sets := range [][]string{
		{},
		{"training.method=natural"},
		{"training.mixup_alpha=0.5", "training.label_smoothing=0.1", "adversary.norm=L2", "adversary.epsilon=1"},
		{"model.arch=lenet_bn", "model.width=1"},
		{"model.arch=lenet_bn", "model.width=1", "adversary.batch_norm=train"},
		{"run.precision=bf16"},
		{"run.precision=bf16", "training.method=natural"},
		{"run.precision=bf16", "model.arch=lenet_bn", "model.width=1"},
		{"run.precision=tf32"},
		{"training.method=trades"},
		{"training.method=mart", "training.awp_gamma=0.005", "run.precision=bf16"},
		{"training.method=fgsm_rs"},
		{"training.method=free", "training.replays=2"},
		{"training.awp_gamma=0.01", "model.arch=lenet_bn", "model.width=1"},
	} {
		sets = append(sets, "run.deterministic=true")
		eager := losses(t, 20, append(slices.Clone(sets), "run.cuda_graphs=false")...)
		assert.Equal(t, eager, losses(t, 20, append(slices.Clone(sets), "run.cuda_graphs=true")...), "%v", sets)
	}
}

// The recording is made, used, and refused only to batches of another size.
func TestStepsAreRecorded(t *testing.T) {
	torchtest.CUDA(t)
	inside(t, func(p *pipeline) {
		p.log = zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel), zaptest.WrapOptions(zap.Hooks(func(zapcore.Entry) error {
			t.Error("a warning")
			return nil
		})))
		st := &stage{name: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}
		require.NoError(t, p.begin(st))
		for i := range 6 {
			require.NoError(t, p.step(st, first(24), 0, i))
			require.NoError(t, p.step(st, first(10), 0, i))
		}
		require.NotNil(t, p.lead().recorder)
		require.NotNil(t, p.lead().recorder.graph)
		held := p.lead().s.Live()
		require.NoError(t, p.begin(&stage{name: "pretrain", conf: p.cfg.Pretrain, plan: p.plan}))
		require.Less(t, p.lead().s.Live(), held, "the next stage's begin frees the recording")
	}, onDevice()...)
}

// Asking for a recorded step must not wait for it: else the GPU idles between steps.
func TestNothingWaitsForTheGPU(t *testing.T) {
	torchtest.CUDA(t)
	for _, name := range []string{"pretrain", "quantize_retrain"} {
		probe(t, ProbeOptions{Stage: name}, func(b *Probe) {
			p := b.p
			order := first(p.train.n)
			require.NoError(t, p.team.useOrder(order))
			batch := order[:p.cfg.Data.BatchSize]
			steps := func(n int) {
				for i := range n {
					require.NoError(t, p.step(b.st, batch, 0, i))
				}
			}
			steps(6)
			require.NoError(t, p.lead().s.Synchronize())
			began := time.Now()
			steps(20)
			asked := time.Since(began)
			require.NoError(t, p.lead().s.Synchronize())
			done := time.Since(began)
			measured(t, name+": recorded step, asked for in", asked.Seconds()/20*1e3, "ms")
			measured(t, name+": recorded step, done in", done.Seconds()/20*1e3, "ms")
			assert.Less(t, asked, done/2, name)
		}, onDevice("data.dataset=mnist", "data.dir=/nowhere", "data.batch_size=2048", "model.width=16", "adversary.steps=20",
			"quantize.bits=4", "quantize.levels=power_of_two", "quantize_admm.epochs=1", "quantize_retrain.epochs=1")...)
	}
}

// To record anew, as at each stage and each larger mask, does not add up.
func TestCUDARecordingsGiveMemoryBack(t *testing.T) {
	torchtest.CUDA(t)
	probe(t, ProbeOptions{}, func(b *Probe) {
		read := func(times int) torch.Memory {
			for range times {
				b.p.record()
				for range WarmSteps + 1 {
					require.NoError(t, b.Step())
				}
				require.NotNil(t, b.p.lead().recorder.graph)
			}
			m, err := b.p.lead().s.CUDAMemory()
			require.NoError(t, err)
			return m
		}
		early := read(2)
		late := read(8)
		measured(t, "memory reserved after 2 recordings", float64(early.Reserved)/1e6, "MB")
		measured(t, "memory reserved after 10 recordings", float64(late.Reserved)/1e6, "MB")
		assert.Equal(t, early.Reserved, late.Reserved)
	}, onDevice("data.dataset=mnist", "data.dir=/nowhere", "data.batch_size=512", "model.width=8")...)
}

// 5,000 steps leave the allocator where it was after 500.
func TestCUDAMemoryStaysFlat(t *testing.T) {
	torchtest.CUDA(t)
	for _, graphs := range []string{"run.cuda_graphs=false", "run.cuda_graphs=true"} {
		probe(t, ProbeOptions{}, func(b *Probe) {
			read := func(steps int) torch.Memory {
				for range steps {
					require.NoError(t, b.Step())
				}
				m, err := b.p.lead().s.CUDAMemory()
				require.NoError(t, err)
				return m
			}
			early := read(500)
			late := read(4500)
			measured(t, graphs+" memory held after 500 steps", float64(early.Allocated)/1e6, "MB")
			measured(t, graphs+" memory held after 5000 steps", float64(late.Allocated)/1e6, "MB")
			assert.Equal(t, early.Allocated, late.Allocated)
			assert.Equal(t, early.AllocatedPeak, late.AllocatedPeak)
			assert.Equal(t, early.Reserved, late.Reserved)
		}, onDevice(graphs)...)
	}
}

// What recording, bfloat16 and the layout that comes with it are worth.
func TestCUDASpeed(t *testing.T) {
	torchtest.CUDA(t)
	for _, net := range [][]string{
		{"data.dataset=mnist", "data.dir=/nowhere", "model.width=4", "data.batch_size=128", "adversary.steps=40"},
		{"data.dataset=cifar10", "data.dir=/nowhere", "model.arch=resnet18_adv", "model.width=16", "data.batch_size=128", "adversary.steps=10"},
	} {
		for _, how := range [][]string{
			{"run.cuda_graphs=false"}, {"run.cuda_graphs=true"}, {"run.precision=tf32"}, {"run.precision=bf16"},
		} {
			probe(t, ProbeOptions{}, func(b *Probe) {
				for range 8 {
					require.NoError(t, b.Step())
				}
				began := time.Now()
				for range 20 {
					require.NoError(t, b.Step())
				}
				measured(t, net[0]+" "+how[0]+" step", time.Since(began).Seconds()/20*1e3, "ms")
				require.NoError(t, forJudging()) // in float32, in the layout that training has
				for i := range 2 {
					began = time.Now()
					require.NoError(t, b.Evaluate(2000))
					if i > 0 {
						measured(t, net[0]+" "+how[0]+" evaluation of 2,000 images", time.Since(began).Seconds(), "s")
					}
				}
				require.NoError(t, b.p.searching(b.Device()))
			}, onDevice(append(slices.Clone(net), how...)...)...)
		}
	}
}
