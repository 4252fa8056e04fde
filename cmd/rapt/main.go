// Command rapt trains networks naturally or adversarially, prunes them with ADMM, retrains them under the mask and reports
// clean accuracy, robust accuracy and sparsity. The work is done by package trainer and its neighbours; here are the
// commands, their flags, signals and exit codes.
package main

import (
	"io"
	"os"
	"runtime/debug"
)

// version is set by the linker: -ldflags "-X main.version=...".
var version = "dev"

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs one command line and returns its exit code.
func execute(args []string, out, errOut io.Writer) (code int) {
	a := &app{args: args, out: out, err: errOut}
	defer func() {
		if r := recover(); r != nil {
			code = a.fault(r, debug.Stack())
		}
	}()
	return a.report(a.root().Execute())
}
