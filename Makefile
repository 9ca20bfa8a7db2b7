# Two commands matter: `make run` and `make test`. `make help` lists the rest.
UV_VERSION := 0.13.9
UV := $(CURDIR)/.tools/uv/bin/uv
RUN := $(UV) run --frozen --no-sync
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
export PATH := $(CURDIR)/.tools/uv/bin:$(PATH)
PYTHON ?= python3

.PHONY: help sync run check fix test test-cluster image generate bench

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | sed 's/:.*##/\t/' | expand -t 16

$(UV):
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { echo "make: $(PYTHON) has no pip; install the package python3-pip and try again" >&2; exit 2; }
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools/uv uv==$(UV_VERSION)

sync: $(UV) ## bring every dependency into .venv
	@$(UV) sync --frozen --quiet

run: sync ## run the whole system on this machine; ARGS="--for 30s --json" passes arguments on
	@$(RUN) qts run $(ARGS)
