package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/net/netutil"
)

// The server is for a scraper or two, and must not let anybody hold up or swell the run.
const (
	mostConnections = 16
	mostScrapes     = 4 // at a time
	headerTime      = 5 * time.Second
	answerTime      = 10 * time.Second
	idleTime        = 2 * time.Minute // longer than the usual time between two scrapes
	headerBytes     = 16 << 10
)

// Exporter serves a run's metrics to Prometheus, at /metrics, and /healthz. It is the Observer to give to the run.
type Exporter struct {
	runCollector
	listener net.Listener
	server   *http.Server
	done     chan struct{}
}

// ListenAddress reads what --metrics-addr takes, "9464", ":9464" or "HOST:9464": without a host the address is of this machine alone.
func ListenAddress(text string) (string, error) {
	host, port := "", text
	if strings.Contains(text, ":") {
		var err error
		if host, port, err = net.SplitHostPort(text); err != nil {
			return "", fmt.Errorf("%q is no address: a port is needed, such as 9464, or a host and a port, such as 0.0.0.0:9464", text)
		}
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return "", fmt.Errorf("%q is no port: a number from 1 to 65535 is needed, or 0 for one that is free", port)
	} else {
		port = strconv.FormatUint(n, 10)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// Serve begins to serve at an address as ListenAddress reads it. The port is bound when it returns.
func Serve(address string, o ExportOptions) (*Exporter, error) {
	address, err := ListenAddress(address)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot serve metrics at %s: %w", address, cause(err))
	}
	e := &Exporter{runCollector: runCollector{options: o}, listener: listener, done: make(chan struct{})}
	registry := prometheus.NewRegistry() // the default one holds whatever libraries put there
	registry.MustRegister(&e.runCollector, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: mostScrapes, Timeout: answerTime}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") })
	e.server = &http.Server{Handler: mux, ReadHeaderTimeout: headerTime, ReadTimeout: headerTime, WriteTimeout: 2 * answerTime,
		IdleTimeout: idleTime, MaxHeaderBytes: headerBytes}
	go func() {
		defer close(e.done)
		_ = e.server.Serve(netutil.LimitListener(listener, mostConnections)) // ends by Close alone
	}()
	return e, nil
}

// cause is a listening's error without the address, which the sentence has already.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// URL is where the metrics are.
func (e *Exporter) URL() string { return "http://" + e.listener.Addr().String() + "/metrics" }

// Close lets a scrape that is under way end, and frees the port.
func (e *Exporter) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if e.server.Shutdown(ctx) != nil {
		_ = e.server.Close()
	}
	<-e.done
}
