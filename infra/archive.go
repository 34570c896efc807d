package infra

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/klauspost/compress/flate"
)

// archived is one file of an archive.
type archived struct {
	name       string // name is the path inside the archive, with slashes.
	content    []byte
	executable bool
}

// archiveTime stands for every file's time: the earliest that a zip can hold.
var archiveTime = time.Date(1980, time.January, 1, 0, 0, 0, 0, time.UTC)

// zipFiles packs files so that the same files give the same bytes wherever and whenever they are packed: sorted, with fixed times
// and modes, and compressed by a module whose version go.mod pins instead of by the toolchain's own.
func zipFiles(files []archived) ([]byte, error) {
	slices.SortFunc(files, func(a, b archived) int { return strings.Compare(a.name, b.name) })
	var out bytes.Buffer
	w := zip.NewWriter(&out)
	w.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestCompression) })
	for _, f := range files {
		header := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: archiveTime}
		header.SetMode(0o644)
		if f.executable {
			header.SetMode(0o755)
		}
		entry, err := w.CreateHeader(header)
		if err != nil {
			return nil, err
		}
		if _, err := entry.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// pythonPackage reads the Python files of the package in root/name, without its tests.
func pythonPackage(root, name string) ([]archived, error) {
	var files []archived
	err := fs.WalkDir(os.DirFS(root), name, func(p string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "tests" || strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case entry.IsDir() || path.Ext(p) != ".py":
			return nil
		}
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(p)))
		files = append(files, archived{name: p, content: content})
		return err
	})
	return files, err
}

// replaceFile writes content to file as a whole, so that another deployment from the same folder never reads half of it. A file
// that already has this content is left alone.
func replaceFile(file string, content []byte) error {
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // nothing is left to remove once it is renamed
	if _, err := temporary.Write(content); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if err := temporary.Close(); err != nil {
		return err
	}
	return os.Rename(temporary.Name(), file)
}
