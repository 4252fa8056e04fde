package metrics

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// NewLog builds the run's logger: JSON lines appended to the file at path, which
// is rotated, and on console a line "15:04:05 message key=value" for a person, or
// the JSON line too if json is set. An empty path or a nil console is left out. A
// file that cannot be written later, as on a full disk, costs lines and no more.
// The function returned syncs and closes the file.
func NewLog(path string, console io.Writer, json bool) (*zap.Logger, func(), error) {
	lines := zapcore.NewJSONEncoder(zapcore.EncoderConfig{
		TimeKey: "ts", LevelKey: "level", MessageKey: "msg",
		EncodeTime:     zapcore.RFC3339NanoTimeEncoder,
		EncodeLevel:    zapcore.LowercaseLevelEncoder,
		EncodeDuration: zapcore.SecondsDurationEncoder,
	})
	var cores []zapcore.Core
	var person zapcore.Core
	if console != nil {
		w := zapcore.Lock(zapcore.AddSync(console))
		if json {
			person = zapcore.NewCore(lines.Clone(), w, zapcore.InfoLevel)
		} else {
			person = &personCore{LevelEnabler: zapcore.InfoLevel, w: w}
		}
		cores = append(cores, person)
	}
	done := func() {}
	if path != "" {
		f, err := openLog(path, person)
		if err != nil {
			return nil, nil, err
		}
		done = f.close
		cores = append(cores, zapcore.NewCore(lines, zapcore.Lock(f), zapcore.InfoLevel))
	}
	return zap.New(zapcore.NewTee(cores...)), done, nil
}

// personCore prints entries for a person; zap's console encoder would print
// the fields as JSON.
type personCore struct {
	zapcore.LevelEnabler
	w      zapcore.WriteSyncer
	fields string // of With, printed already
}

func (c *personCore) With(fields []zapcore.Field) zapcore.Core {
	return &personCore{c.LevelEnabler, c.w, c.fields + pairs(fields)}
}

func (c *personCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *personCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := ""
	switch {
	case e.Level >= zapcore.ErrorLevel:
		level = "error: "
	case e.Level == zapcore.WarnLevel:
		level = "warning: "
	}
	_, err := fmt.Fprintf(c.w, "%s %s%s%s%s\n", e.Time.Format("15:04:05"), level, e.Message, c.fields, pairs(fields))
	return err
}

func (c *personCore) Sync() error { return c.w.Sync() }

// pairs prints fields as " key=value key=value", in their order.
func pairs(fields []zapcore.Field) string {
	var b strings.Builder
	for _, f := range fields {
		m := zapcore.NewMapObjectEncoder()
		f.AddTo(m)
		for _, k := range slices.Sorted(maps.Keys(m.Fields)) {
			if !strings.HasSuffix(k, "Verbose") { // zap.Error's second key, with a stack
				fmt.Fprintf(&b, " %s=%s", k, word(m.Fields[k]))
			}
		}
	}
	return b.String()
}

// word prints a value; a string that would not read as one word is quoted.
func word(v any) string {
	switch v := v.(type) {
	case float64:
		return strconv.FormatFloat(v, 'g', 6, 64)
	case float32:
		return strconv.FormatFloat(float64(v), 'g', 6, 32)
	}
	s := fmt.Sprint(v)
	if s == "" || strings.ContainsAny(s, " \t\r\n\"=") {
		return strconv.Quote(s)
	}
	return s
}
