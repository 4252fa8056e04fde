package metrics

import (
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(b)
}

// scrape gives the samples by their names and labels.
func scrape(t *testing.T, url string) map[string]string {
	t.Helper()
	code, text := get(t, url)
	require.Equal(t, 200, code, text)
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if at := strings.LastIndexByte(line, ' '); line[0] != '#' {
			out[line[:at]] = strings.TrimSpace(line[at:])
		}
	}
	return out
}

func serve(t *testing.T, o ExportOptions) *Exporter {
	t.Helper()
	e, err := Serve(":0", o)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	return e
}

func TestListenAddress(t *testing.T) {
	for text, want := range map[string]string{
		"9464": "127.0.0.1:9464", ":9464": "127.0.0.1:9464", "0": "127.0.0.1:0", "0.0.0.0:9464": "0.0.0.0:9464",
		"[::1]:9464": "[::1]:9464", "localhost:1": "localhost:1",
	} {
		got, err := ListenAddress(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got)
	}
	for text, says := range map[string]string{
		"": "is no port", "x": `"x" is no port: a number from 1 to 65535`, "65536": "is no port", "-1": "is no port", "localhost:": "is no port",
		"::1": "is no address", "1:2:3": "is no address", "http://x:80": "is no address",
	} {
		_, err := ListenAddress(text)
		assert.ErrorContains(t, err, says, text)
	}
}

func TestOnlyThisMachineIsServedUnlessAHostIsGiven(t *testing.T) {
	for _, text := range []string{"0", ":0"} {
		e, err := Serve(text, ExportOptions{})
		require.NoError(t, err)
		defer e.Close()
		at := e.listener.Addr().(*net.TCPAddr)
		assert.True(t, at.IP.IsLoopback(), "%v", at)
		for _, ip := range ownAddresses(t) {
			_, err := net.DialTimeout("tcp", net.JoinHostPort(ip, fmt.Sprint(at.Port)), time.Second)
			assert.Error(t, err, "%s reaches it", ip)
		}
	}
	e, err := Serve("0.0.0.0:0", ExportOptions{})
	require.NoError(t, err)
	defer e.Close()
	for _, ip := range append(ownAddresses(t), "127.0.0.1") {
		code, _ := get(t, fmt.Sprintf("http://%s/healthz", net.JoinHostPort(ip, fmt.Sprint(e.listener.Addr().(*net.TCPAddr).Port))))
		assert.Equal(t, 200, code)
	}
}

// ownAddresses are this machine's that others may reach; none where it is alone.
func ownAddresses(t *testing.T) (out []string) {
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			out = append(out, n.IP.String())
		}
	}
	return out
}

func TestScrape(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "seed[1]*") // a name with the letters of a pattern
	require.NoError(t, os.Mkdir(dir, 0o755))
	e := serve(t, ExportOptions{Run: "mnist", Version: "v1", Folder: dir})
	before := scrape(t, e.URL())
	assert.Equal(t, "1", before[`rapt_run_info{run="mnist",version="v1"}`])
	assert.NotContains(t, before, "rapt_last_progress_timestamp_seconds")
	assert.NotContains(t, before, "rapt_last_checkpoint_timestamp_seconds")
	assert.Contains(t, before, "process_resident_memory_bytes")

	log, err := Open(dir, 0, false)
	require.NoError(t, err)
	defer log.Close()
	log.Observer = e
	require.NoError(t, log.Log("admm", 2, 30, map[string]float64{"train/loss": 0.5, "train/lr": 0.01, "unheard/of": 1, "unheard": 1}))
	require.NoError(t, log.LogEpoch("admm", 3, 40, map[string]float64{"train/loss": math.NaN(), "gpu/mem_mb": 12, "admm/primal/conv1.weight": 3,
		"admm/primal_rel/conv1.weight": 0.25, "sparsity/total": 0.9, "sparsity/conv1.weight": 0.8}))
	saved := filepath.Join(dir, "checkpoints", "admm", "last.json")
	require.NoError(t, os.MkdirAll(filepath.Dir(saved), 0o755))
	require.NoError(t, os.WriteFile(saved, nil, 0o644))
	require.NoError(t, os.Chtimes(saved, time.Time{}, time.Unix(1_700_000_000, 0)))

	got := scrape(t, e.URL())
	for name, want := range map[string]string{
		`rapt_step{stage="admm"}`:                                            "40",
		`rapt_epoch{stage="admm"}`:                                           "3",
		`rapt_stage_info{stage="admm"}`:                                      "1",
		`rapt_train_loss{stage="admm"}`:                                      "NaN",
		`rapt_learning_rate{stage="admm"}`:                                   "0.01",
		`rapt_gpu_memory_peak_bytes{stage="admm"}`:                           "1.2e+07",
		`rapt_admm_primal_residual{layer="conv1.weight",stage="admm"}`:       "3",
		`rapt_admm_primal_residual_ratio{layer="conv1.weight",stage="admm"}`: "0.25",
		`rapt_sparsity_ratio{stage="admm"}`:                                  "0.9",
		`rapt_layer_sparsity_ratio{layer="conv1.weight",stage="admm"}`:       "0.8",
		"rapt_last_checkpoint_timestamp_seconds":                             "1.7e+09",
	} {
		assert.Equal(t, want, got[name], name)
	}
	assert.Contains(t, got, "rapt_last_progress_timestamp_seconds")
	for name := range got {
		assert.NotContains(t, name, "unheard")
	}

	require.NoError(t, log.Log("retrain", 1, 50, map[string]float64{"train/loss": 0.25}))
	got = scrape(t, e.URL())
	assert.Equal(t, "0.25", got[`rapt_train_loss{stage="retrain"}`])
	for name := range got {
		assert.NotContains(t, name, `"admm"`, "one stage is at work")
	}
}

func TestEveryColumnIsExported(t *testing.T) {
	for _, name := range Columns {
		assert.Contains(t, exported, name)
	}
	names := map[string]bool{}
	for _, s := range exported {
		assert.False(t, names[s.name], "%s stands twice", s.name)
		names[s.name] = true
	}
	doc, err := os.ReadFile(filepath.Join("..", "..", "docs", "monitoring.md"))
	require.NoError(t, err)
	for name := range names {
		assert.Contains(t, string(doc), "`"+name+"`")
	}
}

func TestNothingElseIsServed(t *testing.T) {
	e := serve(t, ExportOptions{})
	base := strings.TrimSuffix(e.URL(), "/metrics")
	code, text := get(t, base+"/healthz")
	assert.Equal(t, 200, code)
	assert.Equal(t, "ok\n", text)
	for _, path := range []string{"/", "/debug/pprof/", "/metrics/x"} {
		code, _ = get(t, base+path)
		assert.Equal(t, 404, code, path)
	}
	resp, err := http.Post(e.URL(), "text/plain", strings.NewReader("x"))
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, 405, resp.StatusCode)
}

func TestAPortInUseAndOneThatIsFreed(t *testing.T) {
	e := serve(t, ExportOptions{})
	address := e.listener.Addr().String()
	_, err := Serve(address, ExportOptions{})
	assert.EqualError(t, err, "cannot serve metrics at "+address+": bind: address already in use")
	e.Close()
	_, err = net.Dial("tcp", address)
	assert.Error(t, err)
	again, err := Serve(address, ExportOptions{})
	require.NoError(t, err)
	again.Close()
}

// A client that says nothing costs a connection, and only for a while; the others are served.
func TestASilentClientHoldsUpNobody(t *testing.T) {
	e := serve(t, ExportOptions{})
	silent, err := net.Dial("tcp", e.listener.Addr().String())
	require.NoError(t, err)
	defer silent.Close()
	code, _ := get(t, e.URL())
	assert.Equal(t, 200, code)
	assert.Positive(t, e.server.ReadHeaderTimeout)
	began := time.Now()
	e.Close()
	assert.Less(t, time.Since(began), 10*time.Second)
}
