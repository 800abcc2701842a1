package api

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/nagatha/nagatha-runtime/sdk"
)

// metrics is what /metrics shows. It has a registry of its own, so that two
// servers in one process do not meet.
type metrics struct {
	registry      *prometheus.Registry
	subscriptions prometheus.Gauge
	requests      *prometheus.CounterVec // WebSocket, by method
	http          *prometheus.HistogramVec
	errors        *prometheus.CounterVec
	closes        *prometheus.CounterVec
	sent          prometheus.Counter
	sentBytes     prometheus.Counter
}

func newMetrics(s *Server) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "nagatha_subscriptions", Help: "Subscriptions of WebSocket connections."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagatha_ws_requests_total", Help: "Requests over WebSocket."}, []string{"method"}),
		http: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "nagatha_http_request_seconds", Help: "HTTP requests, without WebSockets and event streams.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 10}}, []string{"route", "status"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagatha_request_errors_total", Help: "Requests that were answered with an error, by its code."}, []string{"code"}),
		closes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "nagatha_ws_closes_total", Help: "WebSocket connections that ended, by close code; 0 is a peer that went away, other a code of its own."}, []string{"code"}),
		sent: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagatha_ws_sent_total", Help: "WebSocket messages sent."}),
		sentBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "nagatha_ws_sent_bytes_total", Help: "Bytes of WebSocket messages sent."}),
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.subscriptions, m.requests, m.http, m.errors, m.closes, m.sent, m.sentBytes, &engineMetrics{s,
			prometheus.NewDesc("nagatha_tasks", "Tasks by state.", []string{"state"}, nil),
			prometheus.NewDesc("nagatha_plugins", "Plugins by state.", []string{"state"}, nil),
			prometheus.NewDesc("nagatha_connections", "WebSocket connections and event streams.", nil, nil)})
	return m
}

func (m *metrics) failed(code sdk.Code) { m.errors.WithLabelValues(code).Inc() }

// closed counts the end of a connection. A peer may choose among two thousand codes, and
// a series once counted stays: those that mean nothing here are one.
func (m *metrics) closed(code int) {
	label := strconv.Itoa(code)
	switch code {
	case closeShutdown, closeExpired, closeSlow, closeNoPong, closeBadToken, closeProtocol, closeNoHello, closeTooMany, closeBadClient:
	default:
		if code >= 3000 {
			label = "other"
		}
	}
	m.closes.WithLabelValues(label).Inc()
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
}

// engineMetrics asks the engine when somebody looks.
type engineMetrics struct {
	s                           *Server
	tasks, plugins, connections *prometheus.Desc
}

func (e *engineMetrics) Describe(ch chan<- *prometheus.Desc) {
	ch <- e.tasks
	ch <- e.plugins
	ch <- e.connections
}

func (e *engineMetrics) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(e.connections, prometheus.GaugeValue, float64(e.s.connections()))
	states := map[string]int{}
	for _, p := range e.s.allPlugins() {
		states[p.State]++
	}
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(e.plugins, prometheus.GaugeValue, float64(n), state)
	}
	status, err := e.s.rt.Status(e.s.ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(e.tasks, err)
		return
	}
	for state, n := range status.Tasks {
		ch <- prometheus.MustNewConstMetric(e.tasks, prometheus.GaugeValue, float64(n), string(state))
	}
}
