package datasets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-retryablehttp"
)

const (
	maxDownload  = 512 << 20        // bytes of one file; the largest published one, SVHN's, has 182 MB
	stallTimeout = 60 * time.Second // without a byte, a download is given up
)

// FetchOptions adjusts Fetch; the zero value is right for users.
type FetchOptions struct {
	Mirrors []string // addresses that the files' names are appended to; nil: the public mirrors
	Retries int      // further attempts at each mirror after a failed one; 0: 2, negative: none
	// RetryWait is the pause before the first further attempt, growing from there; 0: one second.
	RetryWait time.Duration
	// Progress, where set, hears of every piece that arrives: a file's name and its bytes so far and in all (total is
	// -1 where the server does not say).
	Progress func(name string, done, total int64)
	// Waiting, where set, hears once that another process is fetching this file, which is waited for.
	Waiting func(path string)
}

// Fetch downloads a data set's files that are not there yet into dir/DATASET (or into the folder below
// dir where some of them already lie). dir is resolved as by ResolveDir. Mirrors are tried in turn; an
// interrupted download (NAME.part) is continued; a file appears under its name only once its content has
// the published checksum. A file that is there with other content is left alone: a *ChecksumError. Of processes that fetch
// a file at once one does, and the others wait.
// For a set that the program draws itself there is nothing to fetch, an *InputError.
func Fetch(ctx context.Context, dataset, dir string, o FetchOptions) error {
	src, err := findSource(dataset)
	if err != nil {
		return err
	}
	if src.published == nil {
		return inputErrorf("%s needs no download: %s", dataset, src.origin)
	}
	p := src.published
	dir = ResolveDir(dir)
	at := p.locate(dir)
	if !at.form.checkable() {
		at = p.search(dir, p.forms[p.download])
	}
	if at.count == 0 {
		at.folder = filepath.Join(dir, dataset)
	}
	if err := os.MkdirAll(at.folder, 0o755); err != nil {
		return &InputError{Err: fmt.Errorf("the folder for %s cannot be made: %w", dataset, err)}
	}
	if o.Mirrors == nil {
		o.Mirrors = p.mirrors
	}
	d := newDownloader(o)
	for i, f := range at.form.files {
		if at.paths[i] != "" {
			if err := f.stays(at.paths[i]); err != nil {
				return err
			}
			continue
		}
		if err := d.get(ctx, f, filepath.Join(at.folder, f.fetch)); err != nil {
			var more []string
			for k, other := range at.form.files[i+1:] {
				if at.paths[i+1+k] == "" {
					more = append(more, other.name())
				}
			}
			if len(more) > 0 && ctx.Err() == nil {
				err = fmt.Errorf("%w; still to come from and to the same places: %s", err, strings.Join(more, ", "))
			}
			return err
		}
	}
	return nil
}

// stays refuses a file that is there with other content.
func (f publishedFile) stays(path string) error {
	if _, err := f.check(path); err != nil {
		return fmt.Errorf("%w; move it away and fetch again", err)
	}
	return nil
}

type downloader struct {
	client   *retryablehttp.Client
	mirrors  []string
	attempts int
	progress func(name string, done, total int64)
	waiting  func(path string)
}

func newDownloader(o FetchOptions) *downloader {
	if o.Retries == 0 {
		o.Retries = 2
	}
	if o.RetryWait == 0 {
		o.RetryWait = time.Second
	}
	if o.Progress == nil {
		o.Progress = func(string, int64, int64) {}
	}
	if o.Waiting == nil {
		o.Waiting = func(string) {}
	}
	c := retryablehttp.NewClient()
	c.Logger = nil
	c.RetryMax = max(o.Retries, 0)
	c.RetryWaitMin, c.RetryWaitMax = o.RetryWait, 10*o.RetryWait
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	if t, ok := c.HTTPClient.Transport.(*http.Transport); ok {
		t.ResponseHeaderTimeout = 30 * time.Second
		t.DialContext = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	return &downloader{client: c, mirrors: o.Mirrors, attempts: c.RetryMax + 1, progress: o.Progress, waiting: o.Waiting}
}

// get brings one file to target, unless another process did while this one waited for it.
func (d *downloader) get(ctx context.Context, f publishedFile, target string) error {
	lock, err := hold(ctx, target+".lock", func() {
		d.waiting(target)
		d.waiting = func(string) {}
	})
	if err != nil && errors.Is(err, ctx.Err()) {
		return interrupted(ctx, f)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", target, err)
	}
	defer lock.Unlock()
	if isFile(target) {
		return f.stays(target)
	}
	return d.download(ctx, f, target)
}

func interrupted(ctx context.Context, f publishedFile) error {
	return fmt.Errorf("fetching %s was interrupted: %w", f.name(), ctx.Err())
}

// download brings one file to target, from the first mirror that has it.
func (d *downloader) download(ctx context.Context, f publishedFile, target string) error {
	var tried []error
	for _, mirror := range d.mirrors {
		address := strings.TrimSuffix(mirror, "/") + "/" + f.name()
		err := d.from(ctx, address, f, target+".part")
		if err == nil {
			return publish(target)
		}
		if ctx.Err() != nil {
			return interrupted(ctx, f)
		}
		var local *fs.PathError
		if errors.As(err, &local) {
			return err // a full or unwritable disk is not the mirror's fault
		}
		tried = append(tried, fmt.Errorf("%s (%w)", address, err))
	}
	where := target
	if absolute, err := filepath.Abs(target); err == nil {
		where = absolute
	}
	return fmt.Errorf("%s could not be downloaded; tried %w; on a machine without network, get it elsewhere and put it at %s",
		f.name(), listError(tried), where)
}

// publish gives a checked file its name, which promises the content: the disk has that first.
func publish(target string) error {
	part := target + ".part"
	err := flush(part)
	if err != nil {
		_ = os.Remove(part) // what the disk did not take may still be read back from memory
	} else if err = os.Rename(part, target); err == nil {
		err = flush(filepath.Dir(target))
	}
	if err != nil {
		return fmt.Errorf("%s cannot be put in place: %w", target, err)
	}
	return nil
}

// flush brings what was written to a file, or a folder's names, to the disk. Tests look on.
var flush = func(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// listError shows errors one after the other in one line.
type listError []error

func (l listError) Unwrap() []error { return l }
func (l listError) Error() string {
	texts := make([]string, len(l))
	for i, err := range l {
		texts[i] = err.Error()
	}
	return strings.Join(texts, ", ")
}

// from downloads address to part, going on with what is there. Where the result of such a continuation has
// the wrong content, the beginning may be another gzip version's, so it starts over once.
func (d *downloader) from(ctx context.Context, address string, f publishedFile, part string) error {
	for {
		resumed, err := d.transfer(ctx, address, f.name(), part)
		if err != nil {
			return err
		}
		_, err = f.check(part)
		if err == nil {
			return nil
		}
		if err := os.Remove(part); err != nil {
			return err
		}
		if !resumed {
			return err
		}
	}
}

// transfer repeats requests, each going on where the last one broke off, until the file is complete.
// resumed says whether the beginning was there before.
func (d *downloader) transfer(ctx context.Context, address, name, part string) (resumed bool, err error) {
	if info, err := os.Stat(part); err == nil && info.Size() > 0 {
		resumed = true
	}
	for range d.attempts {
		var continued bool
		continued, err = d.request(ctx, address, name, part)
		resumed = resumed && continued
		var final *mirrorError
		var local *fs.PathError
		if err == nil || ctx.Err() != nil || errors.As(err, &final) || errors.As(err, &local) {
			break
		}
	}
	return resumed, err
}

// mirrorError says that asking this mirror again is of no use.
type mirrorError struct{ err error }

func (e *mirrorError) Error() string { return e.err.Error() }
func (e *mirrorError) Unwrap() error { return e.err }

// request asks once for the rest of the file and appends it to part. continued is false where the server
// sent the file from its start.
func (d *downloader) request(ctx context.Context, address, name, part string) (continued bool, err error) {
	out, err := os.OpenFile(part, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return true, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	have, err := out.Seek(0, io.SeekEnd)
	if err != nil {
		return true, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	req, err := retryablehttp.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return true, &mirrorError{err}
	}
	// Without this header Go would unpack a file that the server marks as gzip-encoded.
	req.Header.Set("Accept-Encoding", "identity")
	if have > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return true, unreachable(err) // the client has tried again already
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusRequestedRangeNotSatisfiable && have > 0:
		return true, nil // all of it is there, or too much: the checksum tells
	case resp.StatusCode == http.StatusPartialContent && have > 0 && rangeStart(resp) == have:
	case resp.StatusCode == http.StatusOK:
		have = 0
		if _, err := out.Seek(0, io.SeekStart); err != nil {
			return false, err
		}
		if err := out.Truncate(0); err != nil {
			return false, err
		}
	default:
		return true, &mirrorError{errors.New("the server answered " + resp.Status)}
	}
	return have > 0, d.copyBody(ctx, cancel, out, resp, name, have)
}

// copyBody appends the body to out, within the size limit, and gives up when nothing arrives for long.
func (d *downloader) copyBody(ctx context.Context, cancel context.CancelCauseFunc, out io.Writer, resp *http.Response, name string, have int64) error {
	total := int64(-1)
	if resp.ContentLength >= 0 {
		total = have + resp.ContentLength
	}
	if total > maxDownload {
		return &mirrorError{fmt.Errorf("the server announces %d bytes, and the file should have less than %d", total, maxDownload)}
	}
	stalled := fmt.Errorf("nothing arrived for %v", stallTimeout)
	timer := time.AfterFunc(stallTimeout, func() { cancel(stalled) })
	defer timer.Stop()
	buf := make([]byte, 1<<16)
	for {
		n, err := resp.Body.Read(buf)
		timer.Reset(stallTimeout)
		if n > 0 {
			if _, err := out.Write(buf[:n]); err != nil {
				return err
			}
			if have += int64(n); have > maxDownload {
				return &mirrorError{fmt.Errorf("the server sends more than %d bytes", maxDownload)}
			}
			d.progress(name, have, total)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			if context.Cause(ctx) == stalled {
				return stalled
			}
			return fmt.Errorf("the transfer broke off after %d bytes: %w", have, err)
		}
	}
}

// rangeStart returns the first byte that a 206 answer holds, or -1.
func rangeStart(resp *http.Response) int64 {
	first, _, _ := strings.Cut(strings.TrimPrefix(resp.Header.Get("Content-Range"), "bytes "), "-")
	if start, err := strconv.ParseInt(first, 10, 64); err == nil {
		return start
	}
	return -1
}

// unreachable keeps the cause of a client's error: the message names the address already.
func unreachable(err error) error {
	var withURL *url.Error
	if errors.As(err, &withURL) {
		err = withURL.Err
	}
	return &mirrorError{err}
}
