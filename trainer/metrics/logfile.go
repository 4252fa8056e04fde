package metrics

import (
	"fmt"
	"os"
	"time"

	"github.com/DeRuina/timberjack"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// A log.txt of logMegabytes becomes log-TIME-size.txt, of which the newest logsKept stay.
const (
	logMegabytes = 8
	logsKept     = 3
)

// logFile is the log's file. Work is worth more than its log: what cannot be written is lost, and said once.
type logFile struct {
	file *timberjack.Logger
	tell zapcore.Core // the console; nil where there is none
	told bool
}

// openLog opens the log at path to append to it, or says why that cannot be.
func openLog(path string, tell zapcore.Core) (*logFile, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644) // timberjack does not open before it writes, and makes folders
	if err != nil {
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("cannot open the log: %w", err)
	}
	return &logFile{file: &timberjack.Logger{Filename: path, MaxSize: logMegabytes, MaxBackups: logsKept, Compression: "none"}, tell: tell}, nil
}

// Write never fails.
func (l *logFile) Write(b []byte) (int, error) {
	_, err := l.file.Write(b)
	l.say(err)
	return len(b), nil
}

// Sync never fails.
func (l *logFile) Sync() error {
	l.say(l.file.Sync())
	return nil
}

func (l *logFile) close() {
	l.say(l.file.Sync())
	l.say(l.file.Close())
}

func (l *logFile) say(err error) {
	if err == nil || l.told || l.tell == nil {
		return
	}
	l.told = true
	// A console that fails too has nobody to tell.
	_ = l.tell.Write(zapcore.Entry{Level: zapcore.WarnLevel, Time: time.Now(), Message: "the log cannot be written: lines are lost, the work goes on"},
		[]zapcore.Field{zap.Error(err)})
}
