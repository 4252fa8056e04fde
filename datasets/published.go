package datasets

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"hash"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// checksum is what was published of a file, in hexadecimal.
type checksum struct {
	kind  string // "SHA-256" or "MD5"
	value string
}

func (c checksum) hash() hash.Hash {
	if c.kind == "MD5" { // all that was published of some files: it finds damage, and is no proof against malice
		return md5.New()
	}
	return sha256.New()
}

// publishedFile is one file of a published data set.
type publishedFile struct {
	names []string // under which it may lie, the preferred one first
	fetch string   // what mirrors call it; empty: it comes out of an archive
	sum   checksum // none where the value is empty
	// size, where it is not 0, is that of the unpacked content in bytes, and sum is that of the content: several gzip versions
	// of the file circulate. Else sum is that of the file named fetch, or where that is empty of names[0], as it is.
	size int64
}

// name is how messages call the file.
func (f publishedFile) name() string {
	if f.fetch != "" {
		return f.fetch
	}
	return f.names[0]
}

// form is a way in which a data set may lie in a folder: one file or several.
type form struct {
	folder string // below the data set's own folders; may be empty
	files  []publishedFile
	load   func(ctx context.Context, paths []string, o Options) (*Parts, error)
}

// checkable tells whether there is a checksum of each file.
func (f form) checkable() bool {
	return !slices.ContainsFunc(f.files, func(file publishedFile) bool { return file.sum.value == "" })
}

// published is a data set that lies in files.
type published struct {
	name     string
	folders  []string // where its files may lie below data.dir, in the order they are looked for
	mirrors  []string // of the first form's files
	download int      // the form that Fetch gets
	forms    []form   // the first one that is complete is read
}

// found says where a form's files are. A path is empty where the file is missing.
type found struct {
	form   form
	folder string
	paths  []string
	count  int
}

func (f found) complete() bool { return f.count == len(f.form.files) }

// locate finds a data set's files: the first form that is complete in one folder, so that two versions never mix. Where none
// is, it is the form that Fetch gets, in the folder that has most of it.
// dir may also be the one file that has all of a form.
func (p *published) locate(dir string) found {
	if isFile(dir) {
		for _, f := range p.forms {
			if len(f.files) == 1 && slices.Contains(f.files[0].names, filepath.Base(dir)) {
				return found{form: f, folder: filepath.Dir(dir), paths: []string{dir}, count: 1}
			}
		}
	}
	for _, f := range p.forms {
		if at := p.search(dir, f); at.complete() {
			return at
		}
	}
	return p.search(dir, p.forms[p.download])
}

func (p *published) search(dir string, f form) (best found) {
	for i, folder := range p.candidates(dir, f) {
		at := found{form: f, folder: folder, paths: make([]string, len(f.files))}
		for i, file := range f.files {
			if at.paths[i] = firstFile(folder, file.names); at.paths[i] != "" {
				at.count++
			}
		}
		if i == 0 || at.count > best.count {
			best = at
		}
	}
	return best
}

// candidates are the folders in which a form may lie below dir. dir may also be the form's own folder.
func (p *published) candidates(dir string, f form) []string {
	var out []string
	for _, folder := range p.folders {
		out = append(out, filepath.Join(dir, folder, f.folder))
	}
	if f.folder != "" {
		out = append(out, dir)
	}
	return out
}

func firstFile(folder string, names []string) string {
	for _, name := range names {
		if path := filepath.Join(folder, name); isFile(path) {
			return path
		}
	}
	return ""
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// missing says which files were not found, where they were looked for and what gets them; nil where all are there.
func (p *published) missing(dir string, at found) error {
	if at.complete() {
		return nil
	}
	var names []string
	for i, path := range at.paths {
		if path == "" {
			name := at.form.files[i].name()
			if at.form.files[i].size > 0 {
				name = strings.TrimSuffix(name, ".gz") + "[.gz]"
			}
			names = append(names, name)
		}
	}
	return inputErrorf("%s: %s: %w (looked in %s); get it with `rapt data fetch %s`, or set data.dir or $RAPT_DATA_DIR",
		p.name, strings.Join(names, ", "), fs.ErrNotExist, strings.Join(p.candidates(dir, at.form), ", "), p.name)
}

// load reads the data set.
func (p *published) load(ctx context.Context, o Options) (*Parts, error) {
	dir := ResolveDir(o.Dir)
	at := p.locate(dir)
	if !at.complete() && isFile(dir) {
		return nil, p.foreign(dir)
	}
	if err := p.missing(dir, at); err != nil {
		return nil, err
	}
	return at.form.load(ctx, at.paths, o)
}

// foreign says what file data.dir could have named.
func (p *published) foreign(path string) error {
	var names []string
	for _, f := range p.forms {
		if len(f.files) == 1 {
			names = append(names, f.files[0].name())
		}
	}
	if names == nil {
		return inputErrorf("%s is a file: data.dir must be the folder of %s's files", path, p.name)
	}
	return inputErrorf("%s is none of %s's archives; those are %s", path, p.name, strings.Join(names, ", "))
}
