# `make help` lists the targets: each has its line of help behind `##`.
# Everything is installed into .venv, once, from requirements locked with hashes. Needs Python >= 3.11, venv, make.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# What mypy sees: this tree under its package name, and trio itself in place of the stubs of an old trio
# that libp2p's dependencies bring along.
TYPES  := $(VENV)/types
STAMP  := $(VENV)/.installed
DEV    := $(VENV)/.installed-dev
BARE_PIP := python -m pip install --quiet --disable-pip-version-check --no-deps
PIP    := $(BIN)/$(BARE_PIP)
JOBS   ?= 4
PAIRINGS ?= 100
FUZZ   ?= 100000
CONNECTIONS ?= 1000
AWAY   ?= 60
# What the benchmarks compare with and draw with stays out of the environment that they measure.
BESIDE := .venv-bench

.PHONY: help demo test test-net test-rust test-web fuzz chaos failures turnover interop interruptions prove bench bench-long check lint types format lock clean install webrtc control-protocol man sbom deb test-deb test-readme test-container
.DEFAULT_GOAL := demo

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | while IFS='	' read -r name text; do printf '  make %-16s %s\n' "$$name" "$$text"; done

install: $(STAMP) ## set up .venv, once

webrtc: $(STAMP) ## install what WebRTC needs beside, into .venv (the tests bring it along)
	@$(PIP) --require-hashes -r requirements/webrtc.txt

demo: $(STAMP) ## two nodes on this machine pair before your eyes (the default)
	@$(BIN)/sdnode demo

# What concerns connections runs over TCP, QUIC and WebRTC; TRANSPORT=quic, webrtc, ws or both: all over that alone.
test: $(DEV) ## all tests, in four processes (JOBS=4, TRANSPORT=quic)
	@$(if $(TRANSPORT),TEST_TRANSPORT=$(TRANSPORT)) $(BIN)/python -m pytest -c tests/pytest.ini tests -n $(JOBS) \
		--maxschedchunk 4

# Root, nftables, /dev/net/tun. What is done is kept in .networks and docs/networks, and not done again without AGAIN=1;
# CELLS='cone+*@50ms-0%' for a part.
test-net: $(DEV) ## nodes behind every pair of NATs pair, for hours; writes docs/networks.md (CELLS=, PAIRINGS=10, JOBS=1)
	@$(BIN)/python tests/networks/run.py $(if $(CELLS),--cells '$(CELLS)') $(if $(AGAIN),--again) \
		$(if $(filter command line,$(origin PAIRINGS)),--pairings $(PAIRINGS)) \
		$(if $(filter command line,$(origin JOBS)),--jobs $(JOBS))

# Needs cargo, which fetches what clients/rust/Cargo.toml pins. The example server is driven by the tests of the Python one.
test-rust: $(DEV) ## the Rust client against real nodes, and its example server (needs cargo)
	@cd clients/rust && cargo fmt --check
	@cd clients/rust && cargo clippy --quiet --all-targets --jobs $(JOBS) -- --deny warnings
	@cd clients/rust && RUSTDOCFLAGS='--deny warnings' cargo doc --quiet --no-deps --jobs $(JOBS)
	@cd clients/rust && cargo test --jobs $(JOBS) -- --test-threads $(JOBS)
	@RUST_SERVER=build/rust/debug/examples/server \
		$(BIN)/python -m pytest -c tests/pytest.ini tests/node/test_server_example.py

# A hundred thousand hostile byte strings at each decoder and socket; the tests take a few thousand.
fuzz: $(DEV) ## hostile bytes, 100 000 at each decoder and socket (FUZZ=100000)
	@FUZZ=$(FUZZ) $(BIN)/python -m pytest -c tests/pytest.ini tests/bytes -n $(JOBS) --timeout=3600

# A third over TCP, QUIC and WebRTC each, or all over TRANSPORT=tcp, quic, webrtc or both (TCP and QUIC).
chaos: $(DEV) ## pairings under random kills: make chaos PAIRINGS=400 SEED=7 TRANSPORT=quic RELAYED=1
	@$(BIN)/python tests/chaos/run.py --pairings $(PAIRINGS) $(if $(SEED),--seed $(SEED)) \
		$(if $(TRANSPORT),--transport $(TRANSPORT)) $(if $(RELAYED),--relayed)

failures: $(DEV) ## the other side vanishes at every message, in every manner, over each transport (40 minutes)
	@$(BIN)/python tests/failures/run.py
	@TEST_TRANSPORT=quic FAILURES=all $(BIN)/python -m pytest -c tests/pytest.ini tests/failures -n $(JOBS) \
		--timeout=3600 --ignore=tests/failures/test_vanish.py

turnover: $(DEV) ## 1 000 connections over each transport come and go (CONNECTIONS=1000)
	@CONNECTIONS=$(CONNECTIONS) $(BIN)/python -m pytest -c tests/pytest.ini tests/limits/test_turnover.py

# Root, nftables. Of these the tests take test_*.py alone, and twelve seconds in place of a minute. RUNS=3 for more.
interruptions: $(DEV) ## what is gone for a minute, and how soon nodes are back; writes docs/interruptions.md (AWAY=60, RUNS=3, JOBS=3)
	@AWAY=$(AWAY) $(if $(RUNS),RUNS=$(RUNS)) INTERRUPTIONS_REPORT=docs/interruptions.md \
		$(BIN)/python -m pytest -c tests/pytest.ini tests/interruptions/*.py --timeout=900 \
		$(if $(filter command line,$(origin JOBS)),-n $(JOBS) --maxschedchunk 1)

# What cannot be built here is skipped, and the table says so.
interop: $(DEV) ## with go-, rust- and js-libp2p, which it builds (some minutes); writes docs/interoperability.md
	@tests/interop/build.sh
	@INTEROP_TABLE=docs/interoperability.md $(BIN)/python -m pytest -c tests/pytest.ini tests/interop -n $(JOBS)

# Needs npm and Debian's chromium. The pictures of docs/pictures are written anew with PICTURES=docs/pictures.
test-web: $(DEV) .web/.installed ## the page in a real browser, with axe-core (some minutes; PICTURES=DIR)
	@WEB_BROWSER=1 PICTURES=$(PICTURES) $(BIN)/python -m pytest -c tests/pytest.ini tests/web_browser --timeout=600

.web/.installed: tests/web_browser/package.json
	@mkdir -p .web && cp $< .web/
	@cd .web && npm install --no-package-lock --ignore-scripts --no-audit --no-fund --silent
	@touch $@

# Needs spin, a Debian package; says so and checks nothing without it.
prove: $(STAMP) ## the formal models of the ending and of the steps, with spin (LONG=1: the long ones too)
	@$(BIN)/python tests/formal/run.py $(if $(LONG),--long)

# Without .venv-bench all runs but the comparison with magic-wormhole and the plots, and says so.
bench: $(STAMP) ## how good it is on this machine, in ratios; one alone: make bench ONLY=pairing
	@$(MAKE) --no-print-directory $(BESIDE)/.installed || true
	@$(BIN)/python -m spacedrive_node.benchmarks $(if $(ONLY),--only $(ONLY)) $(if $(LONG),--long) $(if $(PUBLISH),--publish)

bench-long: ## the benchmarks with 2 000 pairings in a row and longer rests
	@$(MAKE) --no-print-directory bench LONG=1

check: lint types ## lint, formatting and types

lint: $(DEV) ## ruff: rules and formatting
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

types: $(DEV) ## mypy, strict
	@mkdir -p $(TYPES) && ln -sfn ../.. $(TYPES)/spacedrive_node
	@ln -sfn "$$($(BIN)/python -c 'import os, trio; print(os.path.dirname(trio.__file__))')" $(TYPES)/trio
	@cd $(TYPES) && ../bin/mypy --config-file ../../pyproject.toml -p spacedrive_node

format: $(DEV) ## rewrite what ruff can rewrite
	@$(BIN)/ruff check --fix --quiet .
	@$(BIN)/ruff format --quiet .

$(STAMP): pyproject.toml requirements/build.txt requirements/runtime.txt
	@echo "setting up $(VENV) (once, about half a minute) …"
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed; choose one with: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements/build.txt
	@$(PIP) --require-hashes --no-build-isolation -r requirements/runtime.txt
	@$(PIP) --no-build-isolation -e .
	@touch $@

$(DEV): $(STAMP) requirements/dev.txt
	@$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

$(BESIDE)/.installed: requirements/build.txt requirements/bench.txt
	@echo "setting up $(BESIDE) (once, about half a minute) …"
	@$(PYTHON) -m venv $(BESIDE)
	@$(BESIDE)/bin/$(BARE_PIP) --require-hashes -r requirements/build.txt
	@$(BESIDE)/bin/$(BARE_PIP) --require-hashes --no-build-isolation -r requirements/bench.txt
	@touch $@

# Maintainers only: needs uv on the PATH.
LOCK := uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --quiet
lock: ## write the locked requirements anew (maintainers; needs uv)
	$(LOCK) requirements/build.in -o requirements/build.txt
	$(LOCK) requirements/runtime.in --override requirements/overrides.txt -o requirements/runtime.txt
	$(LOCK) requirements/webrtc.in -c requirements/runtime.txt -o requirements/webrtc.txt
	$(LOCK) requirements/dev.in -c requirements/runtime.txt -o requirements/dev.txt
	$(LOCK) requirements/bench.in -o requirements/bench.txt

control-protocol: $(STAMP) ## write the message types into docs/control-protocol.md and its JSON Schema
	@$(BIN)/python -m spacedrive_node.messages.control_schema docs

man: $(STAMP) ## write the manual pages of all commands into dist/man
	@$(BIN)/python -m spacedrive_node.cli.man_pages dist/man

sbom: ## write what a node consists of, from the lock, into dist/sbom.cdx.json (CycloneDX)
	@$(PYTHON) requirements/sbom.py dist/sbom.cdx.json

deb: $(STAMP) ## build the Debian package for this machine's Python into dist/ (dpkg-deb, two minutes)
	@$(BIN)/python deploy/debian/build.py dist

# Root, debootstrap and Debian's archive; what is fetched is kept in build/debian-root. Nothing is installed here.
test-deb: $(DEV) ## install, use, upgrade, remove and purge the Debian package in a Debian of its own; run its unit
	@$(if $(DEB),DEB=$(DEB)) $(BIN)/python -m pytest -c tests/pytest.ini tests/debian/package.py tests/debian/unit.py --timeout=1800

# As test-deb. What is committed is cloned; pip is given the PIP_* of the environment, and SSL_CERT_FILE.
test-readme: $(DEV) ## do what README.md says, in a Debian of its own, up to the first pairing
	@$(BIN)/python -m pytest -c tests/pytest.ini tests/debian/readme.py --timeout=1800

# Root, buildah, debootstrap and Debian's archive. BUILD_FLAGS, for buildah, has what this host needs to reach packages,
# such as a certificate (--volume FILE:FILE:ro).
test-container: $(DEV) ## build the container image without an engine, and run a node in its root
	@BUILD_FLAGS='$(BUILD_FLAGS)' $(BIN)/python -m pytest -c tests/pytest.ini tests/debian/image.py --timeout=3600

clean: ## remove environments and results
	rm -rf $(VENV) $(BESIDE) benchmarks/results .networks .web build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache
