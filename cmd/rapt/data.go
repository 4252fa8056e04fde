package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"rapt/datasets"
)

func (a *app) dataCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "data",
		Short: "List, fetch and verify the data sets",
		Example: `  rapt data
  rapt data fetch cifar10
  rapt data verify mnist --dir /srv/data --json`,
		Args: noSuchCommand,
		RunE: a.body(func(*cobra.Command, []string) error { return a.listData(dir) }),
	}
	cmd.PersistentFlags().StringVar(&dir, "dir", "", "folder of the data sets (default $RAPT_DATA_DIR, or data)")
	cmd.AddCommand(&cobra.Command{
		Use:   "fetch DATASET",
		Short: "Download what is missing of a data set, and check it",
		Long: `Downloads what is missing of a data set from several mirrors, goes on with what an interrupted download left, and checks
the content's checksums. On a machine without network it says where to put the files.`,
		Example: `  rapt data fetch mnist
  rapt data fetch mnist --dir /srv/data`,
		Args: positional("DATASET"),
		RunE: a.interruptible(func(ctx context.Context, _ *cobra.Command, args []string) error {
			return a.fetchData(ctx, args[0], dir)
		}),
	}, &cobra.Command{
		Use:   "verify DATASET",
		Short: "Compare a data set's content with the published checksums (exit 3 where it differs)",
		Example: `  rapt data verify mnist
  rapt data verify mnist --json`,
		Args: positional("DATASET"),
		RunE: a.body(func(_ *cobra.Command, args []string) error { return a.verifyData(args[0], dir) }),
	})
	return cmd
}

// dataFile is a file of a data set in --json.
type dataFile struct {
	Name   string `json:"name"`
	Path   string `json:"path,omitempty"`
	SHA256 string `json:"sha256,omitempty"` // of the file, MNIST's of the content, unpacked
	MD5    string `json:"md5,omitempty"`    // of the file, where that alone is published
	OK     bool   `json:"ok"`
	Error  string `json:"error,omitempty"`
}

// dataState is a data set in --json. State is embedded (the program draws it), own (the user's images),
// ok, missing, damaged, unchecked (there, but no checksum is published of it) or unreadable.
type dataState struct {
	Dataset string     `json:"dataset"`
	Dir     string     `json:"dir"`
	State   string     `json:"state"`
	OK      bool       `json:"ok"`
	Files   []dataFile `json:"files"`
}

// stateOf looks at a data set. The error is what Verify says of it; where the name is unknown there is no state.
func stateOf(name, dir string) (*dataState, error) {
	files, err := datasets.Verify(dir, name)
	if err != nil && len(files) == 0 {
		return nil, err
	}
	s := &dataState{Dataset: name, Dir: datasets.ResolveDir(dir), State: "ok", OK: err == nil, Files: []dataFile{}}
	if len(files) == 0 {
		s.State = "embedded"
		if name == "image_folder" {
			s.State = "own"
		}
	}
	missing := 0
	for _, f := range files {
		row := dataFile{Name: f.Name, Path: f.Path, OK: f.OK}
		if f.Kind == "MD5" {
			row.MD5 = f.Sum
		} else {
			row.SHA256 = f.Sum
		}
		switch {
		case f.Path == "":
			missing++
			row.Error = "missing"
		case f.Err != nil:
			row.Error = f.Err.Error()
		}
		s.Files = append(s.Files, row)
	}
	switch {
	case errors.As(err, new(*datasets.ChecksumError)):
		s.State = "damaged"
	case missing > 0:
		s.State = "missing"
	case errors.As(err, new(*datasets.UncheckedError)):
		s.State = "unchecked"
	case err != nil:
		s.State = "unreadable"
	}
	return s, err
}

func (s *dataState) String() string {
	switch s.State {
	case "embedded":
		return "drawn by the program, no files needed"
	case "own":
		return "your own images: one folder a class, which data.dir names"
	case "unchecked":
		return "in " + s.Dir + ", in a form of which no checksum is published"
	case "ok":
		return "complete, checksums right, in " + s.Dir
	case "missing":
		return "not (completely) in " + s.Dir + "; get it with: rapt data fetch " + s.Dataset
	case "damaged":
		return "a file in " + s.Dir + " has the wrong content; see: rapt data verify " + s.Dataset
	}
	return "a file in " + s.Dir + " cannot be read; see: rapt data verify " + s.Dataset
}

func (a *app) listData(dir string) error {
	var list []*dataState
	for _, name := range datasets.Names() {
		state, err := stateOf(name, dir)
		if state == nil {
			return err
		}
		list = append(list, state)
	}
	if a.json {
		return a.writeJSON(map[string]any{"datasets": list})
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
	for _, s := range list {
		fmt.Fprintf(w, "%s\t%s\n", s.Dataset, s)
	}
	return w.Flush()
}

func (a *app) verifyData(name, dir string) error {
	state, failed := stateOf(name, dir)
	if state == nil {
		return failed
	}
	if a.json {
		return firstError(a.writeJSON(state), failed)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 3, ' ', 0)
	for _, f := range state.Files {
		result := "ok"
		switch {
		case f.Path == "":
			result = "missing"
		case state.State == "unchecked":
			result = "unchecked"
		case !f.OK:
			result = "WRONG"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Name, result, f.Path)
	}
	if failed == nil {
		fmt.Fprintf(w, "%s: %s\n", name, state)
	}
	return firstError(w.Flush(), failed)
}

func (a *app) fetchData(ctx context.Context, name, dir string) error {
	state, err := stateOf(name, dir)
	if state == nil {
		return err
	}
	var damaged *datasets.ChecksumError
	if errors.As(err, &damaged) {
		return fmt.Errorf("%w; move it away and fetch again", damaged)
	}
	if !state.OK { // else it is there, or needs no files
		bars := &downloads{app: a}
		err := datasets.Fetch(ctx, name, dir, datasets.FetchOptions{Progress: bars.show, Waiting: bars.wait})
		bars.end()
		if err != nil {
			return err
		}
		if state, err = stateOf(name, dir); err != nil && state.State != "unchecked" {
			return err
		}
	}
	if a.json {
		return a.writeJSON(state)
	}
	fmt.Fprintf(a.out, "%s: %s\n", name, state)
	return nil
}

// downloads shows the progress of one file after the other: a bar on a terminal, elsewhere a line when a file begins.
type downloads struct {
	app  *app
	name string
	bar  *progressbar.ProgressBar
}

func (d *downloads) show(name string, done, total int64) {
	if name != d.name {
		d.end()
		d.name = name
		if isTerminal(d.app.err) {
			d.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(d.app.err), progressbar.OptionSetDescription(name),
				progressbar.OptionShowBytes(true), progressbar.OptionThrottle(200*time.Millisecond), progressbar.OptionClearOnFinish())
		} else {
			fmt.Fprintln(d.app.err, "fetching", strings.TrimSpace(name))
		}
	}
	if d.bar != nil {
		d.bar.ChangeMax64(total)
		d.bar.Set64(done)
	}
}

func (d *downloads) wait(path string) {
	d.end()
	fmt.Fprintf(d.app.err, "rapt: another process is fetching %s: waiting for it\n", path)
}

func (d *downloads) end() {
	if d.bar != nil {
		d.bar.Clear()
		d.bar = nil
	}
}
