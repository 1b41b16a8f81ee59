# make demo    the whole main job on real servers, from nothing; RUNTIME=docker: in containers
# make test    installs and starts what it needs, runs everything
# make check   quick, no servers
# make test-docker   the stack in containers, on an engine that it makes
# make soak    the long counts: kills, random trees, fuzz

MLOPS_TEST_HOME ?= $(HOME)/.mlops-test
STATICCHECK     := honnef.co/go/tools/cmd/staticcheck@v0.8.2
PACKAGES        := ./...
VERSION         := $(shell git describe --tags --always --dirty 2>/dev/null)

# The race detector lets a program sleep for a second before it ends, also each
# program that a test starts.
export GORACE ?= atexit_sleep_ms=0

.PHONY: build demo check lint test live test-docker docker-smoke soak clean

build:
	go build -trimpath -ldflags "-s -w" -o bin/mlopsctl ./cmd/mlopsctl

demo: build
	./bin/mlopsctl demo $(if $(RUNTIME),--runtime $(RUNTIME))

lint:
	@test -z "$$(gofmt -l .)" || { echo "gofmt these:"; gofmt -l .; exit 1; }
	go vet $(PACKAGES)
	GOOS=darwin GOARCH=arm64 go vet $(PACKAGES)
	go run $(STATICCHECK) $(PACKAGES)

check: lint
	go test -race -shuffle=on $(PACKAGES)

test: check build
	MLOPS_HOME="$(MLOPS_TEST_HOME)" ./scripts/live.sh

# the live suites alone; MLOPS_RUNTIME=docker: against a stack in containers
live: build
	MLOPS_HOME="$(MLOPS_TEST_HOME)" ./scripts/live.sh

# the stack in containers; compose/ci/engine.sh says where the engine comes from
test-docker: build
	MLOPS_HOME="$(MLOPS_TEST_HOME)" ./scripts/docker.sh

# of that, PostgreSQL, S3 and MLflow, and what compose/stacktest gives to tests
docker-smoke: build
	MLOPS_HOME="$(MLOPS_TEST_HOME)" ./scripts/docker.sh TestDockerSmoke

soak: build
	MLOPS_HOME="$(MLOPS_TEST_HOME)" ./scripts/soak.sh

clean:
	rm -rf bin coverage.out coverage.stacktest.out
