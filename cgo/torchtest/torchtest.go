// Package torchtest is for tests that run on whichever device they are told to.
package torchtest

import (
	"os"
	"testing"

	torch "rapt/cgo"
)

// Device is $RAPT_TEST_DEVICE, or the CPU where that is unset. TF32 is off, so that a GPU's numbers compare with a CPU's.
func Device() torch.Device {
	name := os.Getenv("RAPT_TEST_DEVICE")
	if name == "" {
		return torch.CPU
	}
	d, err := torch.NewDevice(name)
	if err == nil {
		err = torch.SetTF32(false)
	}
	if err != nil {
		panic("RAPT_TEST_DEVICE: " + err.Error())
	}
	return d
}

// CUDA is $RAPT_TEST_DEVICE where that is a GPU; else the test is skipped.
func CUDA(t testing.TB) torch.Device {
	t.Helper()
	d := Device()
	if !d.IsCUDA() {
		t.Skip("needs a GPU: RAPT_TEST_DEVICE=cuda")
	}
	return d
}
