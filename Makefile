# Two commands on a fresh machine: `make demo` and `make test`. Nothing here has
# to run as root; when root calls it, what isolates runs as the user sbx-test.

PREFIX ?= /usr/local
DESTDIR ?=
FUZZTIME ?= 5s
BENCHFLAGS ?=
AS_USER = '$(CURDIR)/scripts/as-user'
GO_TEST = go test -exec "$(AS_USER)"
SIBLINGS = $(patsubst cmd/%,bin/%,$(wildcard cmd/sbx-*))

# In CI these conditions of the tests must hold: a test that would skip for lack
# of one fails.
comma := ,
empty :=
ifdef CI
export SBX_REQUIRE ?= $(subst $(empty) $(empty),$(comma),$(strip userns overlay seccomp landlock subuid strace git setuid sysvipc timens cgroupns pty procmount memfd-exec tool:bash tool:gcc tool:python3 tool:unshare tool:bwrap tool:go built chromium))
endif

.NOTPARALLEL:

.PHONY: build demo test lint fmt race fuzz bench cover install dist dist-check clean setup vet nocgo bin/sbx $(SIBLINGS)

build: bin/sbx $(SIBLINGS)

# One static file: cgo would cost 0.8 ms of every start.
bin/sbx:
	CGO_ENABLED=0 go build -trimpath -ldflags "-s -w" -o $@ ./cmd/sbx

$(SIBLINGS):
	scripts/build-sibling $(notdir $@)

demo:
	scripts/setup demo
	$(MAKE) --no-print-directory bin/sbx
	$(AS_USER) scripts/demo

test: setup build vet nocgo
	$(GO_TEST) ./...

race: setup build
	$(GO_TEST) -race ./sandbox/...

cover: setup build
	$(GO_TEST) -coverprofile=cover.out -coverpkg=./... ./...
	go tool cover -func=cover.out | tail -n 1

# Fuzzing runs as the caller: its corpus lies in the caller's build cache.
fuzz: setup
	scripts/fuzz $(FUZZTIME)

bench:
	scripts/setup bench
	$(MAKE) --no-print-directory bin/sbx bin/sbx-image
	go build -o bin/bench ./scripts/bench
	$(AS_USER) bin/bench $(BENCHFLAGS)

setup:
	@scripts/setup

vet:
	go vet ./...

# The library and the command need no C: neither a compiler nor libseccomp.
nocgo:
	GOARCH=amd64 CGO_ENABLED=0 go build -o /dev/null ./cmd/sbx
	GOARCH=arm64 CGO_ENABLED=0 go build -o /dev/null ./cmd/sbx

lint:
	scripts/lint

fmt:
	go tool -modfile=tools/go.mod gofumpt -w .

install: build
	scripts/install '$(DESTDIR)$(PREFIX)'

# What is published of the last commit, below dist/.
dist:
	scripts/dist

# Installs the .deb in a Debian of its own; needs root and mmdebstrap.
dist-check:
	scripts/dist-check

clean:
	rm -rf bin dist cover.out
