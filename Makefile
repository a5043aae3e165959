# Two commands do everything: `make demo` and `make test`. Both set up .venv first.
.PHONY: help demo test check format lock clean
.DEFAULT_GOAL := help

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
BIN := .venv/bin
READY := .venv/.ready
# Tests that start whole labs wait half of the time; three at a time is what two cores can carry, also on a slow day.
JOBS ?= 3
# A machine that was too busy for a moment, or Temporal's time-skipping server, which was seen to stand still: a test that
# ran out of time, and only such a one, runs once more, and is listed.
ONCE_MORE := --reruns 1 --only-rerun '^TimeoutError' --only-rerun 'RPCError: Timeout expired' --only-rerun 'Timeout \(>' --only-rerun 'not (so|ended) within' \
	--only-rerun 'it never came|never showed' --only-rerun 'Potential deadlock'

help: ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements/all.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/all.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: $(READY) ## A whole maintenance in the simulated lab (APPROVE=auto, CRASH=1, VACATE=vm-host-2, FAILBACK=no, REAL=1)
	@$(BIN)/python -m lab.demo

check: $(READY) ## Lint, format, types, import arrows
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Real hosts are there once on a machine, and want it for themselves.
test: check ## Everything that CI runs; real hosts where they can run
	$(BIN)/pytest -n $(JOBS) --dist worksteal $(ONCE_MORE) --ignore tests/real
	$(BIN)/pytest $(ONCE_MORE) tests/real

format: $(READY) ## Format and mend what can be mended by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: ## Renew the locked versions (needs uv)
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements/worker.lock
	uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --extra lab --extra test pyproject.toml -o requirements/all.lock

clean: ## Remove what was set up
	rm -rf .venv .run .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
