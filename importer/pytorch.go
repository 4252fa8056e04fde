// Package importer reads what other programs left behind: PyTorch's checkpoints, and the configs of the original project,
// yeshaokai/Robustness-Aware-Pruning-ADMM. It runs nothing that a file holds. What reads files is
// Go alone; libtorch is linked for the attacks' names, which package config has from adversarial.
package importer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"rapt/trainer/checkpoint"
)

// Kind is what a file holds, told by its content.
type Kind int

// The kinds of files.
const (
	YAML    Kind = iota // text: a config
	PyTorch             // a checkpoint written by torch.save
	ONNX                // told by the file's name: its content has no mark
)

// pickledMagic begins torch.save's files of before PyTorch 1.6: a pickle of the number 0x1950a86a20f9469cfc6c, by protocol 0, 1, or 2 and above.
var pickledMagic = [][]byte{[]byte("L119547037146038801333356L\n"), []byte("\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19")}

// KindOf looks at a file's first bytes. It refuses what rapt import cannot read.
func KindOf(path string) (Kind, error) {
	f, _, err := openFile(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, badInput(path, "cannot be read: %v", err)
	}
	head = head[:n]
	switch {
	case strings.EqualFold(filepath.Ext(path), ".onnx"):
		return ONNX, nil
	case n == 0:
		return 0, badInput(path, "is empty; a YAML config or a PyTorch checkpoint is needed")
	case bytes.HasPrefix(head, []byte("PK\x03\x04")), isLegacy(head):
		return PyTorch, nil
	case n > 262 && string(head[257:262]) == "ustar":
		return 0, badInput(path, "is a tar file, the form of PyTorch before 0.1.12, which is not read: load it with PyTorch and save it again")
	case head[0] == 0x80:
		return 0, badInput(path, "is a pickle, but not one of torch.save: torch.save(model.state_dict(), FILE) writes what can be read")
	case n > 9 && head[8] == '{' && bytes.IndexByte(head[:8], 0) >= 0:
		return 0, badInput(path, "looks like a safetensors file already: rapt eval and model.load take it as it is, if it is one of rapt's")
	case bytes.IndexByte(head, 0) >= 0 || !utf8.Valid(trimRune(head)):
		return 0, badInput(path, "is neither a YAML config nor a checkpoint of torch.save")
	}
	return YAML, nil
}

// trimRune leaves out a character that the end of the buffer cut through.
func trimRune(b []byte) []byte {
	for i := 1; i < utf8.UTFMax && i <= len(b); i++ {
		if utf8.RuneStart(b[len(b)-i]) {
			if !utf8.FullRune(b[len(b)-i:]) {
				return b[:len(b)-i]
			}
			break
		}
	}
	return b
}

func isLegacy(head []byte) bool {
	if len(head) > 2 && head[0] == 0x80 { // PROTO and its number
		head = head[2:]
		if len(head) > 9 && head[0] == 0x95 { // FRAME and its size
			head = head[9:]
		}
	}
	for _, magic := range pickledMagic {
		if bytes.HasPrefix(head, magic) {
			return true
		}
	}
	return false
}

// openFile refuses what is not a regular file before opening it, since opening a named pipe would wait for ever.
func openFile(path string) (*os.File, int64, error) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() {
		return nil, 0, badInput(path, "is not a file; a YAML config or a PyTorch checkpoint is needed")
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, 0, badInput(path, "cannot be read: %v", err)
	}
	return f, info.Size(), nil
}

func badInput(path, format string, args ...any) error {
	return &checkpoint.InputError{Path: path, Problem: fmt.Sprintf(format, args...)}
}
