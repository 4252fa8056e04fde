package deploy

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stages are the Dockerfile's, by name: a line an instruction, continued lines joined.
func stages(t *testing.T) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile("../Dockerfile")
	require.NoError(t, err)
	text := regexp.MustCompile(`(?m)^\s*#.*\n`).ReplaceAllString(string(raw), "")
	out, name := map[string][]string{}, ""
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", "")) {
		words := strings.Fields(line)
		if len(words) == 4 && words[0] == "FROM" {
			name = words[3]
		}
		if len(words) > 0 {
			out[name] = append(out[name], strings.Join(words, " "))
		}
	}
	return out
}

// with are the instructions that begin so.
func with(stage []string, word string) (out []string) {
	for _, line := range stage {
		if strings.HasPrefix(line, word+" ") {
			out = append(out, line)
		}
	}
	return out
}

// The two images differ in what is below them and in how they call themselves, and are used in the same way.
func TestImages(t *testing.T) {
	all := stages(t)
	cpu, cuda := all["cpu"], all["cuda"]
	require.NotEmpty(t, cpu)
	for _, word := range []string{"ENV", "USER", "WORKDIR", "ENTRYPOINT"} {
		require.Len(t, with(cpu, word), 1, word)
		require.Equal(t, with(cpu, word), with(cuda, word))
	}
	require.Equal(t, with(all["cpu"], "COPY"), strings.Split(strings.ReplaceAll(strings.Join(with(cuda, "COPY"), "\n"), "cuda-build", "cpu-build"), "\n"))
	for _, image := range [][]string{cpu, cuda} {
		require.Regexp(t, `^USER [1-9][0-9]*:0$`, with(image, "USER")[0], "by number, for runAsNonRoot; of group 0, as OpenShift runs any user id")
		require.Equal(t, `ENTRYPOINT ["rapt"]`, with(image, "ENTRYPOINT")[0], "without a shell, which would keep signals to itself")
		require.Contains(t, strings.Join(with(image, "RUN"), "\n"), "-g 0 -m 0775 /workspace", "its group may write there")
	}
	for _, line := range with(all[""], "ARG") {
		require.Regexp(t, `^ARG [A-Z]+=\S*[0-9]\S*$`, line, "base images are pinned by tag")
	}
	for name, stage := range all {
		for _, line := range with(stage, "FROM") {
			require.Regexp(t, `^FROM \S+:\$\{[A-Z]+\}`, line, "stage %s", name)
		}
	}
}

// Go's versions are written down where each is read.
func TestGoIsTheSameEverywhere(t *testing.T) {
	one := func(file, pattern string) string {
		raw, err := os.ReadFile("../" + file)
		require.NoError(t, err)
		match := regexp.MustCompile(`(?m)^` + pattern).FindSubmatch(raw)
		require.NotNil(t, match, "%s has no %s", file, pattern)
		return string(match[1])
	}
	release := one("build.sh", `go_release=go(\S+)`)
	require.Equal(t, release, one("Dockerfile", `ARG GOLANG=([0-9.]+)-`))
	require.Equal(t, release, one("Dockerfile", `ENV GOTOOLCHAIN=go(\S+)`))
	require.Equal(t, one("build.sh", `go_needed=(\S+)`)+".0", one("go.mod", `go (\S+)`))
}
