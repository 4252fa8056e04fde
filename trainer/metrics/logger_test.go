package metrics

import (
	"bufio"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"
)

func TestCRC32C(t *testing.T) {
	// RFC 3720, appendix B.4, and the check value of the CRC catalogue.
	vectors := map[string]uint32{
		strings.Repeat("\x00", 32): 0x8a9136aa,
		strings.Repeat("\xff", 32): 0x62a8ab43,
		"123456789":                0xe3069283,
	}
	for in, crc := range vectors {
		// Unmask: subtract, turn back.
		m := maskedCRC([]byte(in)) - 0xa282ead8
		assert.Equal(t, crc, m>>17|m<<15)
	}
}

type event1 struct {
	wall    float64
	step    int64
	version string
	start   bool
	values  map[string]float32
	order   []string
}

// readEvents takes an event file apart and checks every checksum.
func readEvents(t *testing.T, path string) []event1 {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var events []event1
	for len(b) > 0 {
		require.GreaterOrEqual(t, len(b), 16)
		n := binary.LittleEndian.Uint64(b)
		assert.Equal(t, maskedCRC(b[:8]), binary.LittleEndian.Uint32(b[8:]))
		require.GreaterOrEqual(t, uint64(len(b)), 16+n)
		data := b[12 : 12+n]
		assert.Equal(t, maskedCRC(data), binary.LittleEndian.Uint32(b[12+n:]))
		events = append(events, parseEvent(t, data))
		b = b[16+n:]
	}
	return events
}

func parseEvent(t *testing.T, b []byte) event1 {
	e := event1{values: map[string]float32{}}
	fields(t, b, func(num protowire.Number, bits uint64, data []byte) {
		switch num {
		case 1:
			e.wall = math.Float64frombits(bits)
		case 2:
			e.step = int64(bits)
		case 3:
			e.version = string(data)
		case 5:
			fields(t, data, func(_ protowire.Number, _ uint64, value []byte) {
				var tag string
				fields(t, value, func(num protowire.Number, bits uint64, data []byte) {
					if num == 1 {
						tag = string(data)
						e.order = append(e.order, tag)
					} else {
						assert.Equal(t, protowire.Number(2), num)
						e.values[tag] = math.Float32frombits(uint32(bits))
					}
				})
			})
		case 7:
			assert.Equal(t, []byte{1 << 3, 1}, data, "SessionLog{status: START}")
			e.start = true
		default:
			t.Errorf("unexpected field %d", num)
		}
	})
	return e
}

func fields(t *testing.T, b []byte, visit func(num protowire.Number, bits uint64, data []byte)) {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		require.NoError(t, protowire.ParseError(n))
		b = b[n:]
		var bits uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			bits, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			bits, n = protowire.ConsumeFixed64(b)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(b)
			bits = uint64(v)
		default:
			data, n = protowire.ConsumeBytes(b)
		}
		require.NoError(t, protowire.ParseError(n))
		visit(num, bits, data)
		b = b[n:]
	}
}

func eventFiles(t *testing.T, dir string) []string {
	names, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	require.NoError(t, err)
	return names
}

func readLines(t *testing.T, path string) []map[string]any {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	var rows []map[string]any
	for s := bufio.NewScanner(f); s.Scan(); {
		var row map[string]any
		require.NoError(t, json.Unmarshal(s.Bytes(), &row), s.Text())
		rows = append(rows, row)
	}
	return rows
}

func readTable(t *testing.T, path string) [][]string {
	f, err := os.Open(path)
	require.NoError(t, err)
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll() // demands equal lengths
	require.NoError(t, err)
	return rows
}

func TestLog(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, 0, false)
	require.NoError(t, err)
	require.NoError(t, l.Log("pretrain", 0, 10, map[string]float64{"train/loss": 2.25}))
	require.NoError(t, l.LogEpoch("pretrain", 0, 20, map[string]float64{
		"val/clean_acc": 0.5, "train/loss": math.NaN(), "admm/primal/conv1.weight": 3, "train/lr": math.Inf(1)}))
	require.NoError(t, l.Close())

	rows := readLines(t, filepath.Join(dir, "metrics.jsonl"))
	require.Len(t, rows, 2)
	assert.Equal(t, 2.25, rows[0]["train/loss"])
	assert.Equal(t, []any{"pretrain", 0.0, 20.0}, []any{rows[1]["stage"], rows[1]["epoch"], rows[1]["step"]})
	assert.Regexp(t, `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`, rows[1]["ts"])
	assert.Equal(t, "NaN", rows[1]["train/loss"])
	assert.Equal(t, "Infinity", rows[1]["train/lr"])
	assert.Equal(t, 3.0, rows[1]["admm/primal/conv1.weight"])

	table := readTable(t, filepath.Join(dir, "metrics.csv"))
	require.Len(t, table, 2, "a header and the one row of an epoch")
	assert.Equal(t, append([]string{"ts", "stage", "epoch", "step"}, Columns...), table[0])
	byName := map[string]string{}
	for i, name := range table[0] {
		byName[name] = table[1][i]
	}
	assert.Equal(t, "20", byName["step"])
	assert.Equal(t, "NaN", byName["train/loss"])
	assert.Equal(t, "0.5", byName["val/clean_acc"])
	assert.Empty(t, byName["train/adv_acc"])

	files := eventFiles(t, dir)
	require.Len(t, files, 1)
	assert.Regexp(t, `^events\.out\.tfevents\.\d{10}\..+\.\d+\.0$`, filepath.Base(files[0]))
	events := readEvents(t, files[0])
	require.Len(t, events, 3)
	assert.Equal(t, "brain.Event:2", events[0].version)
	assert.Equal(t, map[string]float32{"train/loss": 2.25}, events[1].values)
	assert.Equal(t, int64(10), events[1].step)
	assert.Greater(t, events[1].wall, 1.7e9)
	assert.Equal(t, int64(20), events[2].step)
	assert.Equal(t, []string{"admm/primal/conv1.weight", "train/loss", "train/lr", "val/clean_acc"}, events[2].order)
	assert.True(t, math.IsNaN(float64(events[2].values["train/loss"])))

	_, err = Open(dir, 0, false)
	assert.ErrorIs(t, err, os.ErrExist, "a new run must not append to an old one's metrics")
}

func TestResumeCutsWhatIsLoggedAgain(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, 0, false)
	require.NoError(t, err)
	for step := range int64(6) {
		require.NoError(t, l.LogEpoch("admm", int(step), step, map[string]float64{"train/loss": float64(step)}))
	}
	require.NoError(t, l.Close())
	for _, name := range []string{"metrics.jsonl", "metrics.csv"} { // killed in the middle of a line
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteString(`{"ts":"20`)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}

	l, err = Open(dir, 4, true)
	require.NoError(t, err)
	require.NoError(t, l.LogEpoch("admm", 4, 4, map[string]float64{"train/loss": 40}))
	require.NoError(t, l.Close())

	var losses []any
	for _, row := range readLines(t, filepath.Join(dir, "metrics.jsonl")) {
		losses = append(losses, row["train/loss"])
	}
	assert.Equal(t, []any{0.0, 1.0, 2.0, 3.0, 40.0}, losses)
	var cells []string
	for _, row := range readTable(t, filepath.Join(dir, "metrics.csv"))[1:] {
		cells = append(cells, row[3]+":"+row[4])
	}
	assert.Equal(t, []string{"0:0", "1:1", "2:2", "3:3", "4:40"}, cells)

	files := eventFiles(t, dir)
	require.Len(t, files, 2)
	events := readEvents(t, files[1])
	require.Len(t, events, 3)
	assert.True(t, events[1].start)
	assert.Equal(t, int64(4), events[1].step)
}

// A table of another version keeps its columns, and rows cut in the middle of a
// number do not pass for whole ones.
func TestResumeKeepsTheTablesColumns(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "metrics.csv")
	require.NoError(t, os.WriteFile(path, []byte("ts,stage,epoch,step,val/pgd_acc,old\nT,admm,0,1,0.5,7\nT,admm,0,2,0.2"), 0o644))
	l, err := Open(dir, 5, true)
	require.NoError(t, err)
	require.NoError(t, l.csv.row([]string{"U", "admm", "1", "5"}, map[string]float64{"val/pgd_acc": 0.25, "train/loss": 1}))
	require.NoError(t, l.Close())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "ts,stage,epoch,step,val/pgd_acc,old\nT,admm,0,1,0.5,7\nU,admm,1,5,0.25,\n", string(b))
}

func TestOpenWhereNothingCanBeWritten(t *testing.T) {
	_, err := Open(filepath.Join(t.TempDir(), "absent"), 0, false)
	assert.ErrorContains(t, err, "cannot open the metrics")
}
