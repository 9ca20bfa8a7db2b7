# Two commands matter: `make run` and `make test`. `make help` lists the rest.
UV_VERSION := 0.13.9
UV := $(CURDIR)/.tools/uv/bin/uv
RUN := $(UV) run --frozen --no-sync
PYTHON ?= python3
ARGS ?=
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
export PATH := $(CURDIR)/.tools/uv/bin:$(PATH)

.PHONY: help sync run check fix test test-cluster image release sbom generate reports soak bench bench-smoke campaign evidence

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 16

$(UV):
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { echo "make: $(PYTHON) has no pip; install the package python3-pip and try again" >&2; exit 2; }
	@echo "bringing uv $(UV_VERSION) from PyPI into .tools/uv"
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target .tools/uv uv==$(UV_VERSION)

sync: $(UV) ## bring every dependency into .venv
	@$(UV) sync --frozen --quiet --python $(PYTHON)

run: sync ## run the whole system here; ARGS="--for 30s --json" passes arguments on
	@$(RUN) qts run $(ARGS)

check: sync ## ruff, import contracts, mypy strict, pyright, generated files, sizes
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) lint-imports
	$(RUN) mypy
	$(RUN) pyright
	$(RUN) qts generate --check
	$(RUN) python -m pytest -q -p no:randomly tests/unit/test_house.py

fix: sync ## let ruff mend what it can
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

test: sync ## everything that needs no cluster and no root
	$(RUN) python -m pytest -n 2 --dist worksteal -m "not processes and not cluster and not gpu" tests
	NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 $(RUN) python -m pytest -m gpu tests/gpu
	$(RUN) python -m pytest -n 2 --dist worksteal -m "processes" tests
	@echo "left out: tests marked cluster (they need root or \$$KUBECONFIG: make test-cluster); those of tests/gpu ran on numba's simulator, not on a device"

test-cluster: sync ## images, charts and resource on $KUBECONFIG or the shared one-machine cluster
	@bash .ci/cluster

image: ## build the operator and agent images with buildah; PYTHON_IMAGE chooses the base
	@for target in operator agent; do scripts/image $$target dev; done

release: ## package both charts at the tree's version into releases/, which helm upgrades are tested from; needs helm
	@scripts/release

sbom: sync ## what uv.lock puts into each image, as SPDX in dist/sbom
	@mkdir -p dist/sbom
	@for target in operator agent agent-gpu; do $(RUN) python scripts/sbom $$target >dist/sbom/qts-$$target.spdx.json || exit 1; done

generate: sync ## rewrite CRD, RBAC, chart schemas, manifests
	$(RUN) qts generate

reports: sync ## evaluate every packaged market and rewrite docs/reports; takes some ten minutes
	@mkdir -p docs/reports
	@for name in eurusd_1h sp500_1d stocks20_close_1d; do $(RUN) qts evaluate $$name -o docs/reports/$$name.html $(ARGS) || exit 1; done

soak: sync ## 2,000 random schedules of faults, then 30 minutes at 2,000 messages/s with a fault every 10 s
	$(RUN) python -m tests.campaign.campaign --first 1000 --count 2000
	$(RUN) python -m tests.campaign.soak $(ARGS)

campaign: sync ## every reachable state of an operator's pass; crashes at every write against the API server of $$KUBECONFIG
	$(RUN) python -m tests.control_plane_campaign.explorer --large
	@if [ -n "$$KUBECONFIG" ]; then $(RUN) python -m tests.control_plane_campaign.campaign --deaths 3 $(ARGS); else echo "left out: crashes at every write; they need \$$KUBECONFIG"; fi

evidence: sync ## every requirement of the operator that can be shown here, into docs/operator-evidence.md; hours with $$KUBECONFIG
	$(RUN) python -m tests.control_plane_evidence.evidence $(ARGS)

bench: sync ## every benchmark, one JSON object a line
	@for name in messaging kernels crossover peers equilibria regimes overrides tail_risk selection detectors redis_line steps decision_round operator_pass operator_watch operator_cache operator_scrape starts whole_run; do $(RUN) python -m bench.$$name --json || exit 1; done

bench-smoke: sync ## every benchmark, short: does it run, do the results agree
	@for name in messaging kernels crossover peers equilibria regimes overrides tail_risk selection detectors redis_line steps decision_round operator_pass operator_watch operator_cache operator_scrape starts whole_run; do $(RUN) python -m bench.$$name --json --smoke || exit 1; done
	NUMBA_ENABLE_CUDASIM=1 NUMBA_DISABLE_JIT=1 $(RUN) python -m bench.crossover --json --smoke
