package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"rapt/trainer/checkpoint"
	"rapt/trainer/config"
)

const (
	lowDisk   = 1 << 30          // bytes free, where a warning is due: logs and what else is on the disk grow too
	slowDisk  = 20.0             // MB/s, below which checkpoints of a large network hold up training
	probeSize = 64 << 20         // bytes that are written to measure the speed
	probePart = 8 << 20          // of them between two syncs
	probeTime = 10 * time.Second // no part is begun later
)

// disk looks at where the run's folder is or will be.
func (m *machine) disk(cfg *config.Config, needs *runNeeds) {
	folder := "."
	if cfg != nil {
		folder = cfg.Run.OutDir
	}
	m.Disk = existing(folder)
	free, err := checkpoint.FreeBytes(m.Disk)
	if err != nil {
		m.add(stateWarning, "disk", "", "the free space in %s cannot be seen: %v", m.Disk, err)
		return
	}
	m.DiskFree = uint64(free)
	err = unix.Access(m.Disk, unix.W_OK)
	if info, e := os.Stat(m.Disk); e == nil && !info.IsDir() {
		err = unix.ENOTDIR
	}
	if err != nil && cfg != nil {
		m.add(stateProblem, "disk", "set run.out_dir to a folder that you may write to", "%s cannot be written: %v", m.Disk, err)
		return
	}
	if err != nil {
		m.add(stateWarning, "disk", "work in another folder, or set run.out_dir", "%s cannot be written: %v", m.Disk, err)
		return
	}
	m.space(cfg, needs)
	m.speed(cfg)
}

// space compares what is free with what the run's checkpoints take, those that are there left out.
func (m *machine) space(cfg *config.Config, needs *runNeeds) {
	detail := fmt.Sprintf("%s free in %s", gigabytes(int64(m.DiskFree)), m.Disk)
	more := int64(0)
	if needs != nil {
		more = max(0, needs.Disk-sizeOf(filepath.Join(cfg.Run.OutDir, cfg.Run.Name, "checkpoints")))
		detail += fmt.Sprintf(", the run's checkpoints take up to %s", gigabytes(needs.Disk))
	}
	const remedy = "free some space, or set run.out_dir to another disk"
	switch {
	case more > int64(m.DiskFree):
		m.add(stateProblem, "disk", remedy, "%s", detail)
	case int64(m.DiskFree)-more < lowDisk:
		m.add(stateWarning, "disk", remedy, "%s", detail)
	default:
		m.add(stateOK, "disk", "", "%s", detail)
	}
}

func (m *machine) speed(cfg *config.Config) {
	speed, err := writeSpeed(m.Disk)
	m.DiskSpeed = speed
	state := stateWarning
	if cfg != nil {
		state = stateProblem
	}
	switch {
	case err != nil:
		m.add(state, "disk speed", "set run.out_dir to a disk that can be written", "writing to %s failed: %v", m.Disk, err)
	case speed < slowDisk:
		m.add(stateWarning, "disk speed", "set run.out_dir to a faster disk: checkpoints hold up training on this one", "%.0f MB/s written and synced in %s", speed, m.Disk)
	default:
		m.add(stateOK, "disk speed", "", "%.0f MB/s written and synced in %s", speed, m.Disk)
	}
}

// writeSpeed writes a file to the folder and removes it. The speed is in MB/s, of what is safe on the disk.
func writeSpeed(folder string) (speed float64, err error) {
	f, err := os.CreateTemp(folder, ".rapt-doctor-*")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil { // now, so that it is gone whatever happens
		return 0, err
	}
	data := make([]byte, probePart) // random: some disks do not write zeros
	rand.NewChaCha8([32]byte{}).Read(data)
	began := time.Now()
	written := 0
	for written < probeSize && time.Since(began) < probeTime {
		n, err := f.Write(data)
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return 0, err
		}
		written += n
	}
	return float64(written) / 1e6 / time.Since(began).Seconds(), nil
}

// sizeOf adds up the files below a folder, which need not be there.
func sizeOf(folder string) (size int64) {
	_ = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error { // what cannot be read is not counted
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	return size
}

// existing is the folder itself, or the nearest one above it that is there.
func existing(folder string) string {
	folder, err := filepath.Abs(folder)
	if err != nil {
		return "."
	}
	for {
		if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) || folder == filepath.Dir(folder) {
			return folder
		}
		folder = filepath.Dir(folder)
	}
}
