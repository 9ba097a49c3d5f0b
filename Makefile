# `make help` is the map. Every target sets itself up: the environment in .venv, real parts in a cache outside the tree.
SHELL := bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.PHONY: help demo demo-cluster test test-real test-cluster lint fmt bench bench-fleet bench-holding bench-scaleout bench-chaos bench-budget bench-trouble bench-agent testbed testbed-down lock reference stubs clean

help:  ## this map
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

demo: $(READY)  ## the story of tidegate in a terminal, about a minute, no root: a refused rollout, a bounded scale-out
	@$(RUN)/tidegate demo $(ARGS)

demo-cluster: $(READY) testbed  ## the same on a real cluster (root, Linux)
	@$(RUN)/python -m pytest tests/cluster -q -s -p no:cacheprovider $(ARGS)

test: $(READY)  ## unit, property and double tests, and the registry tests on a real distribution (no root)
	@$(RUN)/python -m pytest tests/unit tests/registry --cov --cov-report=term:skip-covered $(ARGS)

test-real: $(READY)  ## against a real API server with etcd, and a real containerd (root, Linux)
	@tests/testbed/build etcd kubernetes containerd registry
	@$(RUN)/python -m pytest tests/real $(ARGS)

test-cluster: $(READY) testbed  ## stories on a whole real cluster with two nodes and two registries (root, Linux)
	@$(RUN)/python -m pytest tests/cluster $(ARGS)

lint: $(READY)  ## ruff, mypy strict, import contracts
	@$(RUN)/ruff check .
	@$(RUN)/ruff format --check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports

fmt: $(READY)  ## format, and mend what can be mended
	@$(RUN)/ruff format .
	@$(RUN)/ruff check --fix .

bench: $(READY)  ## ratios of the gate against the floor of its framework, in one run
	@$(RUN)/python bench/webhook.py $(ARGS)

bench-holding: $(READY)  ## ten thousand held Pods: what they cost the registry, and how fast they are let go
	@$(RUN)/python bench/holding.py $(ARGS)

bench-budget: $(READY)  ## a fleet against limits that are known, have to be found, or change: simulated, a second
	@$(RUN)/python -m bench.budget $(ARGS)

bench-trouble: $(READY)  ## replicas in trouble: findings, verdicts and requests under 50 reviews a second (three minutes)
	@$(RUN)/python -m bench.trouble $(ARGS)

bench-fleet: $(READY)  ## five hundred and five thousand simulated nodes on a real API server: what they cost (ten minutes; Linux)
	@tests/testbed/build etcd kubernetes
	@$(RUN)/python -m bench.fleet $(ARGS)

bench-scaleout: $(READY) testbed  ## twelve real nodes before a registry that throttles: strategies beside each other (root, Linux)
	@$(RUN)/python bench/scaleout.py $(ARGS)

bench-chaos: $(READY) testbed  ## a scale-out on twelve real nodes while its parts are killed (root, Linux)
	@$(RUN)/python bench/chaos.py $(ARGS)

bench-agent: $(READY)  ## what one agent costs its node, idle and during a pull of 1 GB (three minutes)
	@$(RUN)/python -m bench.agent $(ARGS)

testbed:  ## build the parts of the real cluster, once (root, Linux; about 12 minutes on two cores)
	@tests/testbed/build

testbed-down:  ## end a real cluster that a test left up
	@tests/testbed/down

lock: $(READY)  ## write requirements/*.txt anew, with hashes and without addresses
	@$(RUN)/python -m pip install -q pip-tools
	@for set in runtime.txt:pyproject.toml "clouds.txt:--all-extras -c requirements/runtime.txt pyproject.toml" dev.txt:requirements/dev.in; do \
	  $(RUN)/pip-compile -q --upgrade --generate-hashes --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --no-annotate --no-header --strip-extras --allow-unsafe -o requirements/$${set%%:*} $${set#*:} || exit 1; done

reference: $(READY)  ## write docs/reference/configuration.md and the JSON schema anew from the configuration's model
	@$(RUN)/python -m tidegate.config.reference .

stubs: $(READY)  ## write the stubs of the runtime's socket anew from tidegate/cri/*.proto
	@$(RUN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. --grpc_python_out=. tidegate/cri/api.proto
	@$(RUN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. tidegate/cri/containerd.proto

clean:  ## remove the environment and what tools left; the cache of real parts stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage dist

$(READY): requirements/dev.txt pyproject.toml
	@test -x $(RUN)/python || $(PYTHON) -m venv $(VENV)
	@$(RUN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@$(RUN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@
