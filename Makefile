# Two commands do everything: `make campaign` and `make test`. `make` alone says what else there is.
.DEFAULT_GOAL := help
.PHONY: help setup campaign rehearse report notebook bench check quick test newest-ray clean
PYTHON ?=
HOME_FOLDER := $(or $(CAMPAIGN_HOME),.campaign)
BIN := .venv/bin
# Ends a recipe that may run through sudo: what it made in the checkout is the person's.
GIVE := ; code=$$?; $(BIN)/python -m actors.account; exit $$code

help:  ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\n  CONFIG=FILE  the campaign to run; without it, the one that suits this machine\n'
	@printf '  NEW=1        start another campaign where one is finished\n'
	@printf '  RESULTS=DIR  the results folder to report on; without it, the one changed last\n'
	@printf '  ARGS=...     anything else `campaign run` takes (see .venv/bin/campaign run --help)\n'
	@printf '  PYTHON=PATH  the CPython 3.11 to 3.13 to use; without it, the first found\n'

setup:  ## make .venv exactly as uv.lock says
	@PYTHON='$(PYTHON)' sh .ci/setup

campaign: setup  ## run a whole native-versus-Docker campaign, or resume it (CONFIG=, NEW=1, ARGS=)
	@$(BIN)/campaign run $(if $(CONFIG),'$(CONFIG)') $(if $(NEW),--new) $(ARGS)

rehearse: setup  ## the whole study, 2A to 2D, on a simulated DGX Spark in virtual time, with its report (CONFIG=, ARGS=)
	@$(BIN)/campaign rehearse $(or $(CONFIG),configs/campaigns/spark-study.yaml) $(ARGS)

report: setup  ## write the report of the newest campaign again (RESULTS=, ARGS=)
	@$(BIN)/campaign report $(if $(RESULTS),'$(RESULTS)') $(ARGS)

notebook:  ## open the notebook over the results in JupyterLab, which is installed first (RESULTS=, ARGS=)
	@NOTEBOOK=1 PYTHON='$(PYTHON)' sh .ci/setup
	@CAMPAIGN_RESULTS="$$(realpath -m -- '$(or $(RESULTS),results/local)')" $(BIN)/jupyter lab $(if $(filter 0,$(shell id -u)),--allow-root) $(ARGS) notebooks/campaign.ipynb

bench: setup  ## measure the harness itself: perturbation, start latency, journal, planner
	@$(BIN)/python -m benchmarks $(ARGS) $(GIVE)

check: setup  ## ruff, format, mypy, import-linter
	@{ $(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/mypy -p tests && $(BIN)/lint-imports; } $(GIVE)

quick: setup  ## a minute of tests that take neither Docker nor root, start no campaign and draw no page (ARGS= goes to pytest)
	@$(BIN)/pytest -q -n 2 -m "not docker and not root and not slow and not long" $(ARGS) $(GIVE)

test: setup  ## everything: checks, then the tests with a real Docker engine (ARGS= goes to pytest)
	@echo 'A minute of checks (ruff, mypy, rules of imports), then $(if $(ARGS),pytest $(ARGS),some 4500 tests: about a quarter of an hour on two cores).'
	@$(MAKE) --no-print-directory check
	@sh .ci/test $(ARGS) $(GIVE)

newest-ray:  ## the tests of the cluster against the newest Ray instead of the locked one (RAY=ray==X.Y.Z, ARGS= goes to pytest)
	@RAY='$(RAY)' ARGS='$(ARGS)' sh .ci/newest-ray $(GIVE)

clean:  ## remove .venv, .campaign, what sudo keeps for it and the private Docker engine; results/ stays
	@kept=''; for place in '$(HOME_FOLDER)/engine' '$(HOME_FOLDER)/rootfs' /var/lib/campaign/*/checkout.json; do \
	    [ ! -e "$$place" ] || kept="$$place"; done; \
	if [ -f .venv/.campaign-setup ] || { [ -n "$$kept" ] && sh .ci/setup; }; then \
	    $(BIN)/python -m actors.environments.docker.daemon clean; \
	elif [ -n "$$kept" ]; then \
	    echo "clean: what lies in $$kept cannot be undone without the environment (above is why)" >&2; exit 1; \
	fi
	@rm -rf .venv .campaign/uv .campaign/setup.log .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
	@rmdir .campaign 2>/dev/null || true
	@find . -name __pycache__ -type d -not -path './results/*' -prune -exec rm -rf {} +
