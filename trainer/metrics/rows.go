package metrics

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/google/renameio/v2"
)

// fixedColumns begin each row of metrics.csv.
var fixedColumns = []string{"ts", "stage", "epoch", "step"}

// csvFile is metrics.csv: a header, then rows of the header's columns.
type csvFile struct {
	file    *os.File
	columns []string
}

// openCSV opens or creates the file. The columns of one that exists are kept,
// even if another version of rapt would choose others.
func openCSV(path string, flags int) (*csvFile, error) {
	columns := append(slices.Clone(fixedColumns), Columns...)
	old, err := readHeader(path)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, flags, 0o644)
	if err != nil {
		return nil, err
	}
	if old != nil {
		return &csvFile{f, old}, nil
	}
	return &csvFile{f, columns}, writeCSV(f, columns)
}

// readHeader returns nil where there is no file or no whole header.
func readHeader(path string) ([]string, error) {
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	line, _, whole := bytes.Cut(b, []byte("\n"))
	if !whole {
		return nil, nil
	}
	return csv.NewReader(bytes.NewReader(line)).Read()
}

// row appends fixed, then the values by column; what has no value stays empty.
func (c *csvFile) row(fixed []string, values map[string]float64) error {
	cells := append([]string{}, fixed...)
	for _, name := range c.columns[len(fixed):] {
		cell := ""
		if v, ok := values[name]; ok {
			cell = number(v)
		}
		cells = append(cells, cell)
	}
	return writeCSV(c.file, cells)
}

// writeCSV writes one row with one call to Write.
func writeCSV(w io.Writer, cells []string) error {
	var b bytes.Buffer
	c := csv.NewWriter(&b)
	if err := c.Write(cells); err != nil {
		return err
	}
	c.Flush()
	_, err := w.Write(b.Bytes())
	return err
}

// cutJSONL removes the rows with a step of at least from, and broken ones.
func cutJSONL(path string, from int64) error {
	return filterLines(path, func(_ int, line []byte) bool {
		var row struct {
			Step *int64 `json:"step"`
		}
		return json.Unmarshal(line, &row) == nil && row.Step != nil && *row.Step < from
	})
}

// cutCSV does the same; the header stays. Below a header that is not ours nothing does.
func cutCSV(path string, from int64) error {
	columns := 0
	return filterLines(path, func(i int, line []byte) bool {
		cells, err := csv.NewReader(bytes.NewReader(line)).Read()
		if i == 0 {
			if err != nil || len(cells) < len(fixedColumns) || !slices.Equal(cells[:len(fixedColumns)], fixedColumns) {
				return false
			}
			columns = len(cells)
			return true
		}
		if err != nil || columns == 0 || len(cells) != columns {
			return false
		}
		step, err := strconv.ParseInt(cells[3], 10, 64)
		return err == nil && step < from
	})
}

// filterLines rewrites a file with the lines that keep wants, atomically; a last
// line without its end is dropped. A file that is not there is left so.
func filterLines(path string, keep func(i int, line []byte) bool) error {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer out.Cleanup() // a no-op once renamed
	r, w := bufio.NewReader(in), bufio.NewWriter(out)
	for i := 0; ; i++ {
		line, err := r.ReadBytes('\n')
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if keep(i, line) {
			w.Write(line) // Flush reports it
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return out.CloseAtomicallyReplace()
}
