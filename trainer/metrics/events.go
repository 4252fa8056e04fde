package metrics

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of TensorBoard's event.proto and summary.proto.
const (
	eventWallTime    = 1 // double, seconds
	eventStep        = 2
	eventFileVersion = 3
	eventSummary     = 5
	eventSessionLog  = 7

	summaryValue = 1
	valueTag     = 1
	valueSimple  = 2 // float

	sessionStatus = 1
	sessionStart  = 1
)

// eventFile is a TensorBoard file: TFRecords that hold Event messages.
type eventFile struct{ file *os.File }

// openEvents starts a new event file, as each start of a run does. On resume it
// tells TensorBoard to drop the points of step and beyond from earlier files.
func openEvents(dir string, step int64, resume bool) (*eventFile, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	now := time.Now()
	e := new(eventFile)
	for n := 0; e.file == nil; n++ {
		name := fmt.Sprintf("events.out.tfevents.%010d.%s.%d.%d", now.Unix(), host, os.Getpid(), n)
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err == nil {
			e.file = f
		} else if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
	}
	version := protowire.AppendTag(event(now, 0), eventFileVersion, protowire.BytesType)
	version = protowire.AppendString(version, "brain.Event:2")
	err = writeRecord(e.file, version)
	if err == nil && resume {
		session := protowire.AppendTag(nil, sessionStatus, protowire.VarintType)
		session = protowire.AppendVarint(session, sessionStart)
		err = writeRecord(e.file, appendMessage(event(now, step), eventSessionLog, session))
	}
	if err != nil {
		e.file.Close()
		return nil, err
	}
	return e, nil
}

// scalars writes one event with all values, in sorted order.
func (e *eventFile) scalars(ts time.Time, step int64, values map[string]float64) error {
	var summary []byte
	for _, tag := range slices.Sorted(maps.Keys(values)) {
		v := protowire.AppendTag(nil, valueTag, protowire.BytesType)
		v = protowire.AppendString(v, tag)
		v = protowire.AppendTag(v, valueSimple, protowire.Fixed32Type)
		v = protowire.AppendFixed32(v, math.Float32bits(float32(values[tag])))
		summary = appendMessage(summary, summaryValue, v)
	}
	return writeRecord(e.file, appendMessage(event(ts, step), eventSummary, summary))
}

// event begins an Event message.
func event(ts time.Time, step int64) []byte {
	b := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, math.Float64bits(float64(ts.UnixMicro())/1e6))
	b = protowire.AppendTag(b, eventStep, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(step))
}

func appendMessage(b []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), message)
}

// writeRecord frames data as a TFRecord: length, its checksum, data, its
// checksum; one call to Write.
func writeRecord(w io.Writer, data []byte) error {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b))
	b = append(b, data...)
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(data))
	_, err := w.Write(b)
	return err
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is the CRC-32C as TFRecords store it: turned and shifted, so that a
// checksum of checksums stays sound.
func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
