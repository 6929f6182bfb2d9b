# Everything a newcomer and CI need. `make` alone lists the targets.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup browser demo film test test-slow test-live test-remotion schemas bench bench-checks bench-faults check lint types docs docs-serve wheel-test fmt clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(BIN)/ltxflow: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "ltxflow needs Python >= 3.11; set PYTHON=…" >&2; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "no venv module: apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[tts]' || { \
		echo "no voice for this machine (extra tts): narration is spoken by espeak-ng if that is installed, else its length is estimated"; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .; }
	@touch $@

$(VENV)/.dev: $(BIN)/ltxflow
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml','rb'))['dependency-groups']['dev'])")
	@touch $@

setup: $(VENV)/.dev  ## make the virtual environment (.venv) with all that development needs

# mkdocs and its theme, for `make docs` alone
$(VENV)/.docs: $(BIN)/ltxflow
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check $$($(BIN)/python -c "import tomllib; print(*tomllib.load(open('pyproject.toml','rb'))['dependency-groups']['docs'])")
	@touch $@

demo: $(BIN)/ltxflow  ## projects/wallet-explainer as slates with a voice, and film.mp4 to watch (no GPU, no server)
	$(BIN)/ltxflow build --animatic -p projects/wallet-explainer
	$(BIN)/ltxflow conform --proxy -p projects/wallet-explainer

film: $(BIN)/ltxflow  ## the same film at its full size
	$(BIN)/ltxflow build --animatic -p projects/wallet-explainer
	$(BIN)/ltxflow conform -p projects/wallet-explainer

test: $(VENV)/.dev  ## run the tests
	$(BIN)/python -m pytest -n auto -m "not slow and not live and not remotion"

test-slow: $(VENV)/.dev  ## long campaigns: kill -9 at random moments, large projects
	$(BIN)/python -m pytest -m slow

test-live: $(VENV)/.dev  ## conformance against a real ComfyUI: make test-live SERVER=http://127.0.0.1:8188
	LTXFLOW_TEST_SERVER=$(SERVER) $(BIN)/python -m pytest -m live

test-remotion: $(VENV)/.dev  ## really render the Remotion starter; needs node, npm and a browser (CHROME_PATH, or Debian's)
	$(BIN)/python -m pytest -m remotion

schemas: $(BIN)/ltxflow  ## what is generated from schemas/timeline.schema.json: TypeScript types, zod
	$(BIN)/ltxflow schema timeline --as typescript > schemas/timeline.ts
	$(BIN)/python schemas/make_zod.py

SIZES ?= 100,1000,10000
PEERS ?= all

bench: $(VENV)/.dev  ## planning beside other build tools, a build's own cost a clip, two unequal servers; quick: SIZES=100 PEERS=none
	$(BIN)/python benchmarks/planning.py --sizes $(SIZES) --peers $(PEERS)
	$(BIN)/python benchmarks/per_clip.py
	$(BIN)/python benchmarks/two_servers.py

bench-checks: $(VENV)/.dev  ## how often the checks of clips are right, beside FFmpeg's freezedetect
	$(BIN)/python benchmarks/checks.py

bench-faults: $(VENV)/.dev  ## killed, run twice at once, edited meanwhile: ltxflow beside other build tools
	$(BIN)/python benchmarks/faults.py

lint: $(VENV)/.dev
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

check: lint types  ## lint and types

BROWSERS := chromium chromium-headless-shell chromium-browser google-chrome

browser: $(VENV)/.dev  ## get a browser for the tests of the board, where there is none: Debian's, or playwright's own
	@for name in $(BROWSERS); do command -v $$name >/dev/null && exit 0; done; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq \
		&& apt-get install -y -qq --no-install-recommends chromium >/dev/null; then exit 0; fi; \
	$(BIN)/python -m playwright install --with-deps chromium || $(BIN)/python -m playwright install chromium

docs: $(VENV)/.docs  ## build the documentation into site/; fail on a warning or a dead link
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.docs  ## serve the documentation on http://127.0.0.1:8765 while you edit it
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve --dev-addr 127.0.0.1:8765

wheel-test: $(VENV)/.dev  ## install the built wheel in a clean environment and build the demo with it
	PYTHON=$(PYTHON) bash tests/wheel.sh

fmt: $(VENV)/.dev  ## format the code
	$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

clean:  ## remove what make made
	rm -rf $(VENV) dist build site
