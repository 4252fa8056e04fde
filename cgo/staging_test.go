package torch_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	torch "rapt/cgo"
)

func TestStaging(t *testing.T) {
	session(t, func(s *torch.Session) {
		block, data := s.Staging(24)
		require.Len(t, data, 24)
		for i := range data {
			data[i] = byte(i)
		}
		got, err := block.Upload(torch.Uint8, 2, 3, 4).Uint8s()
		require.NoError(t, err)
		require.Equal(t, data, got)
		words := block.Upload(torch.Int64, 3)
		s.Free(block)
		v, err := words.Int64s()
		require.NoError(t, err)
		require.Equal(t, []int64{0x0706050403020100, 0x0f0e0d0c0b0a0908, 0x1716151413121110}, v)

		empty, data := s.Staging(0)
		require.Empty(t, data)
		require.Equal(t, []int64{0, 5}, empty.Upload(torch.Uint8, 0, 5).Shape())
	})
}

func TestStagingOfAWrongShape(t *testing.T) {
	err := torch.Run(torch.CPU, torch.Options{Threads: 1}, func(s *torch.Session) error {
		block, _ := s.Staging(24)
		block.Upload(torch.Uint8, 5, 5)
		return s.Err()
	})
	require.ErrorContains(t, err, "Upload: ")
}
