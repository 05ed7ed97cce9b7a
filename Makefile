# What people type here. Everything is `go` or one script under hack/.

GO       ?= go
FUZZTIME ?= 50000x
TOOL     := $(GO) tool -modfile=tools/go.mod

# The tests link the API server too, and the linters read it: built with the same
# flags everywhere, its 1,500 packages are compiled once.
export CGO_ENABLED := 0
export GOFLAGS := $(GOFLAGS) -trimpath

.PHONY: help run build build-server build-agent test crash ha load lint generate verify bench bench-delivery bench-scale fuzz fuzz-long cover

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build, then watch it judge a real group, and three nodes of a cluster enforce theirs
	@hack/run.sh

build: ## build bin/ringfence
	@echo "building bin/ringfence (the first build downloads its modules)"
	$(GO) build -o bin/ ./cmd/ringfence

build-server: ## build bin/ringfence-server, with Kubernetes' API server and etcd inside
	@echo "building bin/ringfence-server (1,500 packages: 4 to 6 minutes the first time on two cores, then seconds)"
	@hack/progress.sh $(GO) build -v -ldflags='-s -w' -o bin/ ./cmd/ringfence-server

build-agent: ## build bin/ringfence-agent: one static file, for hosts
	$(GO) build $(BUILD) -ldflags='-s -w' -o bin/ ./cmd/ringfence-agent

test: ## run every test, the seeds of the fuzz targets included
	@echo "the first time, Kubernetes' API server is compiled for the tests: 4 to 6 minutes on two cores"
	$(GO) test ./...

crash: ## kill the server 50 times under load: what it has acknowledged is there afterwards
	$(GO) test ./cmd/ringfence-server -run '^TestCrash$$' -crash.kills 50 -timeout 20m -count 1 -v

ha: ## kill one of three etcd members and one of two servers: writes go on, no controller works twice
	$(GO) test ./internal/controlplane -run '^TestHA$$' -ha -timeout 10m -count 1 -v

load: ## swap 100 times, change 1,000 members and kill 200 times, under 30,000 new flows and 600 connections a second (needs root)
	$(GO) test ./internal/nft/apply -run '^Test(SwapUnderLoad|KilledUnderLoad|Killed)$$' -load.swaps 100 -kill.times 200 -timeout 20m -count 1 -v

lint: ## run the linters (the first run builds them: a minute or two)
	@echo "building golangci-lint, if it is not built yet"
	$(GO) build -modfile=tools/go.mod -v -o /dev/null tool
	$(TOOL) golangci-lint run ./...

generate: ## write the generated files again
	$(GO) generate ./...

verify: generate lint ## prove that the tree is generated, tidy, formatted, linted and committed
	$(GO) mod tidy -diff
	$(TOOL) golangci-lint fmt --diff
	git diff --exit-code

bench: build-agent ## run the benchmarks; as root also what a host costs, each figure held against its bound
	$(GO) test -run '^$$' -bench . -benchmem ./rules ./rules/flowset ./internal/cli
	$(GO) test ./test/bench -run '^TestBounds$$' -v -count 1 -timeout 30m -bench.agent "$(CURDIR)/bin/ringfence-agent"

bench-delivery: ## measure how long 1,000 hosts wait for a change of rules
	$(GO) test ./test/fleet -run '^TestDelivery$$' -v -count 1 -timeout 10m -fleet.feeds 1000

bench-scale: build-server ## measure bin/ringfence-server with 10,000 hosts in 200 groups (some five minutes)
	$(GO) test ./test/scale -run '^TestScale$$' -v -timeout 30m -scale.server "$(CURDIR)/bin/ringfence-server"

fuzz: ## run each fuzz target for FUZZTIME (50000x runs, or a duration such as 1m)
	@GO="$(GO)" hack/fuzz.sh "$(FUZZTIME)"

fuzz-long: ## compare ten million packets at the borders with the oracle
	$(GO) test ./rules -run '^TestOracle$$' -oracle.packets 10000000 -oracle.seed 1000000 -timeout 0 -v

cover: ## fail if the tests of the engine cover less than 95 % of it
	@GO="$(GO)" hack/cover.sh 95 ./rules ./rules/flowset
