# make run     build everything and serve with config.hcl
# make build   bin/nagatha-runtime, bin/nagatha, build/plugins/*
# make test    every test, with the race detector where it is bearable
# make test-llama  the agent against a real llama.cpp server, built once (see below)
# make check   format, vet, lint, tidy
# make chaos   damage under load, for minutes, on both databases (CHAOS=5m)
# make conformance  the MCP plugin against the protocol's own referee (needs npm, 250 MB)
# make bench   ours and the peers side by side (BENCH='-rounds 5 -json FILE'); see bench/
# make microbench  Go benchmarks

GO       ?= go
# go-sqlite3 leaves full-text search out unless asked; the store checks at start.
TAGS     := sqlite_fts5
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
LINT     := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
export CGO_ENABLED := 1
# The same flags for everything, so that all of it shares one cache: compiling twice is a fifth of CI.
export GOFLAGS := -buildvcs=false -trimpath

# Each plugin is built for the carriers it can run on.
PROCESS_PLUGINS := agent demo memory mcp reminders usage
WASM_PLUGINS    := agent demo memory reminders usage

# The race detector makes wazero's compiler too slow in these.
NORACE := ./sdk/wasm/... ./sdk/sdktest/... ./cmd/... ./plugins/agent/carriers/... ./plugins/memory/carriers/... ./plugins/usage/carriers/...

.PHONY: run build binaries plugins test test-llama check fmt chaos conformance bench microbench clean

run: build
	./bin/nagatha-runtime -config config.hcl

build: binaries plugins

binaries:
	$(GO) build -tags $(TAGS) -ldflags '$(LDFLAGS)' -o bin/ ./cmd/nagatha-runtime ./cmd/nagatha

plugins: $(PROCESS_PLUGINS:%=build/plugins/%) $(WASM_PLUGINS:%=build/plugins/%.wasm)

.PHONY: FORCE
build/plugins/%.wasm: FORCE
	CGO_ENABLED=0 GOOS=wasip1 GOARCH=wasm $(GO) build -ldflags '-s -w' -o $@ ./plugins/$*

build/plugins/%: FORCE
	CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o $@ ./plugins/$*

test:
	$(GO) test -tags $(TAGS) -race -shuffle=on -timeout 25m $(TESTFLAGS) $$($(GO) list -tags $(TAGS) ./... | grep -vxF "$$($(GO) list -tags $(TAGS) $(NORACE))")
	$(GO) test -tags $(TAGS) -shuffle=on -timeout 25m $(TESTFLAGS) $(NORACE)
	@# The files that it reads are outside its module, which the test cache does not see.
	cd plugins/agent/oracle && $(GO) test -count=1 -timeout 10m $(TESTFLAGS) .
	@echo "not run: make test-llama (the agent's model client against a real llama.cpp server)"

# The real llama.cpp server with a tiny model that is made here. Building it takes 11
# minutes of a CPU, once; it needs npm, cmake, ninja-build, g++ and python3-numpy.
LLAMA ?= $(HOME)/.cache/nagatha/llama
test-llama:
	plugins/agent/testdata/llama/build.sh $(LLAMA)
	NAGATHA_LLAMA=$(LLAMA) $(GO) test -tags $(TAGS) -count=1 -v -timeout 10m -run Llama ./plugins/agent

CHAOS ?= 5m
chaos:
	$(GO) test -tags $(TAGS) -count=1 -v -timeout 60m -run 'TestChaos' ./cmd/nagatha-runtime -chaos $(CHAOS)

conformance:
	$(GO) test -tags $(TAGS) -count=1 -v -timeout 10m -run 'TestConformance' ./plugins/mcp -conformance

check:
	@out=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$out" ]; then echo "not gofmt'ed: $$out"; exit 1; fi
	$(GO) mod tidy -diff
	$(GO) vet -tags $(TAGS) ./...
	CGO_ENABLED=0 GOOS=wasip1 GOARCH=wasm $(GO) build ./sdk/serve/...
	$(GO) run $(LINT) run --build-tags $(TAGS) ./...

fmt:
	gofmt -w $$(git ls-files '*.go')

# A module of its own: the peers' dependencies are not ours. The peers' servers are
# started by it, on temporary directories; where one is missing it fails and says so:
#   apt-get install redis-server postgresql
# or BENCH=-allow-missing.
BENCH ?=
bench: build
	cd bench && $(GO) vet -tags $(TAGS) . && $(GO) build -tags $(TAGS) -o ../bin/nagatha-bench .
	./bin/nagatha-bench -root . $(BENCH)

microbench:
	$(GO) test -tags $(TAGS) -run '^$$' -bench . -benchmem ./...

clean:
	rm -rf bin build
