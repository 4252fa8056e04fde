package main

import (
	"os"
	"path/filepath"
)

// checkFile refuses, before the work, a file that could not be written after it, and what is no file: as it is written beside and renamed, that
// would be gone. Where path is a symbolic link it becomes what that leads to, so that the link stays.
func checkFile(flag string, path *string) error {
	link, _ := os.Readlink(*path) // empty where it is none
	folder := filepath.Dir(*path)
	info, err := os.Stat(*path)
	switch {
	case *path == "":
		return usagef("--%s is empty, and a file is needed", flag)
	case err == nil && info.IsDir():
		return usagef("--%s %s is a folder, and a file is needed", flag, *path)
	case err == nil && !info.Mode().IsRegular():
		return usagef("--%s %s is a device, a pipe or a socket, and a file is needed", flag, *path)
	case err == nil && link != "":
		target, err := filepath.EvalSymlinks(*path)
		if err != nil {
			return usagef("--%s %s: the link cannot be followed: %v", flag, *path, err)
		}
		*path = target
	case link != "":
		return usagef("--%s %s is a link to %s, where there is no file", flag, *path, link)
	}
	if info, err := os.Stat(folder); err != nil || !info.IsDir() {
		return usagef("--%s %s: there is no folder %s", flag, *path, folder)
	}
	return nil
}

// checkOut is checkFile for the --out of a command that has to have one, to write what it says to.
func checkOut(command, what string, out *string) error {
	if *out == "" {
		return usagef("%s needs --out FILE, the file to write %s to", command, what)
	}
	return checkFile("out", out)
}
