package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	torch "rapt/cgo"
)

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Show the versions of rapt, Go and libtorch",
		Args:  positional(),
		RunE: a.body(func(*cobra.Command, []string) error {
			if a.json {
				return a.writeJSON(map[string]any{
					"version": version, "go": runtime.Version(), "libtorch": torch.Version(), "cuda": torch.BuiltWithCUDA(),
				})
			}
			cuda := "without CUDA"
			if torch.BuiltWithCUDA() {
				cuda = "with CUDA"
			}
			fmt.Fprintf(a.out, "rapt %s (%s, %s/%s), libtorch %s %s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH, torch.Version(), cuda)
			return nil
		}),
	}
}
