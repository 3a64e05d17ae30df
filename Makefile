# `make` lists what there is to do. Needs GNU make, a Python from 3.11 to 3.13 and nothing else: what is missing goes
# into a virtual environment, or comes from the distribution's packages where root or sudo permit.
#
#   PYTHON=python3.12   the Python to build the environment with; by default the first that fits
#   VENV=directory      where that environment lives

PYTHON ?=
VENV ?= .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help run test test-pythons check static fmt lint types imports proto generated contract contracted buf manifests terraform checkov dockerfile workflows image-test alerts dashboards drawn lock locked sbom dist zipapp notes docs docs-serve rule reference referenced clean bench bench-full chaos cluster fuzz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s%s\n", $$1, $$2 }' Makefile

# ── Running ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# Other Nameko services to run beside it, as module:Class; how many processes of service and bridge.
WITH ?=
SERVICES ?=
BRIDGES ?=

# `exec`: a signal to make reaches the program itself, and make waits until it has stopped what it started.
run: $(VENV)/run.stamp ## start RabbitMQ, the service and the bridge; Ctrl-C stops them (PORT=8000, AMQP_URI=, DATABASE_URL=, WITH=, SERVICES=1, BRIDGES=1)
	@exec $(BIN)/beers up $(foreach service,$(WITH),--with $(service)) $(if $(SERVICES),--services $(SERVICES)) $(if $(BRIDGES),--bridges $(BRIDGES))

# ── Testing ──────────────────────────────────────────────────────────────────────────────────────────────────────────

TESTS ?=
ARGS ?=
COVERAGE ?=

test: $(VENV)/dev.stamp ## run the whole suite (TESTS="unit cli" some directories, ARGS="-k name" for pytest, COVERAGE=1)
	@exec $(BIN)/python scripts/run_tests.py $(if $(COVERAGE),--coverage) $(TESTS) -- $(ARGS)

test-pythons: ## run the unit, service and subscriber tests on every Python from 3.11 to 3.13 that is installed
	@exec sh scripts/test_pythons.sh unit service subscriber

terraform: $(VENV)/dev.stamp ## check what is for clouds: its format, and whether all that it refers to is there; part of the suite
	@exec $(BIN)/python scripts/run_tests.py terraform --

check: ## do all that CI does: the static checks, the whole suite with its coverage floor, what is released
	@status=0; \
	$(MAKE) --no-print-directory --keep-going static || status=1; \
	$(MAKE) --no-print-directory zipapp || status=1; \
	$(MAKE) --no-print-directory test COVERAGE=1 || status=1; \
	if [ "$$(id -u)" = 0 ]; then $(MAKE) --no-print-directory image-test || status=1; \
	else echo 'The image is not tried: sudo make image-test'; fi; \
	exit $$status

# ── Measuring ────────────────────────────────────────────────────────────────────────────────────────────────────────

# One at a time, and on a machine that does nothing else: the docs say what is measured, and how to read it.
bench: $(VENV)/dev.stamp ## compare with gRPC and Nameko alone, about ten minutes (ARGS="--only grpc_echo beers_add", --quick, --help)
	@exec $(BIN)/python -m benchmarks.compare $(ARGS)

bench-full: $(VENV)/dev.stamp ## the same, longer, and with a million beers: half an hour or more
	@exec $(BIN)/python -m benchmarks.compare --full $(ARGS)

# ── Breaking ─────────────────────────────────────────────────────────────────────────────────────────────────────────

chaos: $(VENV)/dev.stamp ## take everything away from the product for ten minutes, and look what is lost (ARGS="--seed 7", --help)
	@exec $(BIN)/python -m chaos $(ARGS)

cluster: $(VENV)/dev.stamp ## kill the leader of a cluster of three brokers under load, three times (ARGS="--kills 1", --help)
	@exec $(BIN)/python -m chaos.cluster $(ARGS)

fuzz: $(VENV)/dev.stamp ## send it 100,000 requests, garbage and forgeries, and look what it does (ARGS="--seed 7 --short", --help)
	@exec $(BIN)/python -m fuzz $(ARGS)

# ── The image ────────────────────────────────────────────────────────────────────────────────────────────────────────

image-test: $(VENV)/dev.stamp ## build the container image and try what is promised of it; as root, with Docker or on Debian
	@exec $(BIN)/python -m scripts.image_test

# ── Documenting ──────────────────────────────────────────────────────────────────────────────────────────────────────

# Without Material's notice of its successor, of which decision 30 has more. Never --quiet: with it --strict counts nothing.
MKDOCS := env NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs

docs: $(VENV)/dev.stamp ## build the documentation site, build/site; a link that leads nowhere is an error (SOURCE_URL=)
	@$(MKDOCS) build --strict

docs-serve: $(VENV)/dev.stamp ## show the documentation site at http://127.0.0.1:8001 while it is written
	@exec $(MKDOCS) serve --dev-addr 127.0.0.1:8001

# ── Static checks ────────────────────────────────────────────────────────────────────────────────────────────────────

static: locked sbom lint types imports generated contracted referenced buf manifests dockerfile workflows alerts drawn docs ## run every check that executes none of the code

lint: $(VENV)/dev.stamp ## look for mistakes and for code that `make fmt` would change
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

fmt: $(VENV)/dev.stamp ## format the code and mend what can be mended mechanically
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .

STUBS := amqp eventlet grpc_health.v1.health kombu.connection kombu.transport.pyamqp nameko

types: $(VENV)/dev.stamp ## check the types, and our stubs against the libraries that they describe
	$(BIN)/mypy
	MYPYPATH=typings $(BIN)/stubtest --mypy-config-file pyproject.toml --ignore-missing-stub \
	    --allowlist typings/allowlist.txt $(STUBS)

imports: $(VENV)/dev.stamp ## check who may import whom
	$(BIN)/lint-imports

generated: $(VENV)/dev.stamp ## compare the committed gRPC code with what the .proto files yield
	@rm -rf build/proto
	sh grpc_bridge/proto/generate.sh $(abspath $(BIN))/python build/proto
	@diff --recursive --exclude='*.proto' --exclude='buf.yaml' --exclude='*.sh' --exclude='__*__*' \
	    grpc_bridge/proto build/proto || { echo 'The generated code is not that of the .proto files: run `make proto`.' >&2; exit 1; }

contracted: $(VENV)/dev.stamp ## compare the committed contract of the events with what the code yields
	$(BIN)/python -m beers_service.contract --check

referenced: $(VENV)/dev.stamp ## compare the committed reference, docs/reference/, with what the code yields
	$(BIN)/python -m scripts.reference --check

buf: $(VENV)/dev.stamp ## lint the .proto files and look for changes that break clients
	$(BIN)/buf lint grpc_bridge/proto
	sh scripts/buf_breaking.sh $(BIN)/buf grpc_bridge/proto

manifests: $(VENV)/dev.stamp ## check what is for Kubernetes against its schemas (with kubectl or kustomize)
	sh scripts/manifests.sh $(BIN)/kubernetes-validate k8s

alerts: $(VENV)/dev.stamp ## try the alerts with made-up metrics (with promtool, of the package prometheus)
	@$(BIN)/python scripts/alerts.py telemetry

drawn: $(VENV)/dev.stamp ## compare the committed dashboards with what the code yields
	$(BIN)/python -m telemetry.grafana --check

dockerfile: $(VENV)/dev.stamp ## lint the Dockerfile
	$(BIN)/hadolint Dockerfile

workflows: $(VENV)/dev.stamp ## look through .github for what is wrong or unsafe in the workflows
	$(BIN)/jactionlint --profile pedantic --strict-exit --no-online --shellcheck= --pyflakes=

CHECKOV := build/checkov

# Not one of the static checks: to install it takes a minute and half a gigabyte, and to run it half a minute.
checkov: $(CHECKOV)/stamp ## look through manifests and Terraform for what is known to be dangerous
	sh scripts/checkov.sh $(CHECKOV)/bin/checkov build/manifests

$(CHECKOV)/stamp: requirements/checkov.txt | $(BIN)/python
	@echo 'Making an environment for checkov (a minute) …'
	@$(BIN)/python -m venv --clear $(CHECKOV)
	@$(CHECKOV)/bin/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes \
	    --requirement requirements/checkov.txt
	@touch $@

locked: $(VENV)/dev.stamp ## check that the lock files are those of pyproject.toml
	sh scripts/lock.sh --check $(BIN)/uv

sbom: $(VENV)/dev.stamp ## write the bill of materials of what runs, build/sbom.json, and look that each package has a licence
	$(BIN)/python scripts/sbom.py requirements/run.txt build/sbom.json

# ── Releasing ────────────────────────────────────────────────────────────────────────────────────────────────────────

dist: $(VENV)/dev.stamp ## build the wheel and the sdist of the tracked files into dist/, the same bytes for the same commit
	$(BIN)/python scripts/dist.py $(BIN)/uv dist

ZIPAPP ?= build/beers.pyz

zipapp: dist ## build one file that runs by itself, for this Python and this kind of machine (ZIPAPP=build/beers.pyz)
	sh scripts/zipapp.sh $(BIN)/python $(ZIPAPP)
	@SHIV_ROOT=build/zipapp $(BIN)/python $(ZIPAPP) --version

VERSION ?=
# By way of the environment: what a tag is called is nothing for a shell to read.
export TAG ?=

notes: | $(BIN)/python ## print the changelog of a version (VERSION=0.1.0); with TAG=v0.1.0 only if that can be released
	@$(BIN)/python scripts/release_notes.py $(VERSION)

# ── Writing what is generated ────────────────────────────────────────────────────────────────────────────────────────

proto: $(VENV)/dev.stamp ## regenerate the gRPC code from the .proto files
	sh grpc_bridge/proto/generate.sh $(abspath $(BIN))/python

contract: $(VENV)/dev.stamp ## write the contract of the events, docs/asyncapi.yaml and docs/schemas/, from the code
	$(BIN)/python -m beers_service.contract

dashboards: $(VENV)/dev.stamp ## write the dashboards of Grafana, telemetry/dashboards/, from the code
	$(BIN)/python -m telemetry.grafana

# Kustomize puts no file into a field: the rules stand there a second time, word for word.
rule: ## write the alerts once more as a resource of Kubernetes, k8s/components/monitoring/alerts.yaml
	@{ printf '%s\n' '# telemetry/alerts.yaml, put into a resource by `make rule`.' 'apiVersion: monitoring.coreos.com/v1' \
	    'kind: PrometheusRule' 'metadata:' '  name: beers' 'spec:'; sed 's/^./  &/' telemetry/alerts.yaml; } \
	    > k8s/components/monitoring/alerts.yaml

reference: $(VENV)/dev.stamp ## write the reference, docs/reference/, from the code
	$(BIN)/python -m scripts.reference

UPGRADE ?=

lock: $(VENV)/dev.stamp ## write requirements/ from pyproject.toml (UPGRADE=1 takes the newest versions)
	sh scripts/lock.sh $(if $(UPGRADE),--upgrade) $(BIN)/uv

clean: ## delete everything that can be made again; var/, the data, stays
	rm -rf .venv build dist *.egg-info htmlcov .coverage* .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./var -prune -o -name __pycache__ -prune -exec rm -rf {} +

# ── The virtual environment ──────────────────────────────────────────────────────────────────────────────────────────

# Only errors are shown; what gets installed is fixed by hashes, wherever this machine's pip looks for it.
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input

$(BIN)/python:
	@PYTHON='$(PYTHON)' sh scripts/venv.sh '$(VENV)'

$(VENV)/run.stamp: requirements/run.txt pyproject.toml | $(BIN)/python
	@echo 'Installing the locked dependencies into $(VENV) …'
	@$(PIP) --require-hashes --only-binary :all: --requirement requirements/run.txt
	@$(PIP) --no-deps --no-build-isolation --config-settings editable_mode=compat --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt $(VENV)/run.stamp
	@echo 'Installing what tests and checks need …'
	@$(PIP) --require-hashes --use-pep517 --no-build-isolation --requirement requirements/dev.txt
	@touch $@
