package datasets

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
)

// What the names of an archive may take: ImageNet-21k has 14 million images, and 430 MB of names.
const (
	maxMembers   = 20_000_000
	maxNameBytes = 1 << 30
)

// imageArchive is a .tar, .tar.gz or .tar.xz.
type imageArchive struct {
	path string
	info fs.FileInfo
}

func (a *imageArchive) full(name string) string { return a.path + ": " + name }

func (a *imageArchive) key() string {
	return fmt.Sprintf("%d %d", a.info.Size(), a.info.ModTime().UnixNano())
}

func (a *imageArchive) each(ctx context.Context, to sink) error {
	r, err := openArchive(a.path)
	if err != nil {
		return err
	}
	defer r.Close()
	members, names, seen := 0, 0, map[string]struct{}{}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if members, names = members+1, names+len(m.name); members > maxMembers || names > maxNameBytes {
			return inputErrorf("%s: it holds more than %d files and folders, or their names more than %d bytes", a.path, maxMembers, maxNameBytes)
		}
		isImage, _ := imageKind(m.name)
		hidden := slices.ContainsFunc(strings.Split(m.name, "/"), func(part string) bool { return strings.HasPrefix(part, ".") })
		switch {
		case hidden:
		case m.dir:
			to.folder(m.name)
		case isImage:
			if _, twice := seen[m.name]; twice {
				return inputErrorf("%s: %s is in it twice; pack it anew, without what tar -u and -r leave of older files", a.path, m.name)
			}
			seen[m.name] = struct{}{}
			if err := r.image(m, to); err != nil {
				return err
			}
		}
	}
}

// image reads a member and passes it on.
func (a *archive) image(m member, to sink) error {
	if large := tooLarge(m.size); large != nil {
		return to.file(encoded{name: m.name, large: large})
	}
	if err := to.reserve(m.size); err != nil {
		return err
	}
	raw := make([]byte, m.size)
	if _, err := io.ReadFull(a, raw); err != nil {
		return a.fault(err)
	}
	return to.file(encoded{name: m.name, size: m.size, read: func() ([]byte, error) { return raw, nil }})
}
