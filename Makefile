# `make run` measures, `make test` checks, `make docs` builds the site. Each installs what it needs
# into .venv.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check

.PHONY: run test slow docs lock clean

run: .venv/for-run
	$(BIN)/harness run --suite acceleration

test: .venv/for-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

# proofs that take minutes; CI runs them too
slow: .venv/for-test
	$(BIN)/pytest -n 2 --dist worksteal -m slow --durations=25

# the site, with the report in it: build/site
docs: .venv/for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The versions that were installed when the tests last passed, for the workflows of .github alone:
# `make test` takes any that pyproject.toml admits. Not named: torch and its kin, of which each
# machine has its own builds; nir, of which two packages here want different versions.
lock: .venv/for-test
	$(PIP) freeze --exclude-editable | grep -E '^[A-Za-z0-9._-]+==' \
		| grep -viE '^(torch|torchvision|torchaudio|triton|nvidia-|nir(torch)?=|snn-harness)' \
		> .github/constraints.txt

# what measuring needs: torch and the frameworks
.venv/for-run: pyproject.toml | .venv/pip
	@echo "Installing torch and the frameworks into .venv: one to five minutes."
	$(PIP) install --editable ".[all]"
	@touch $@

# what the tests need beside it
.venv/for-test: pyproject.toml | .venv/pip
	@echo "Installing torch, the frameworks and the tools of the tests into .venv: two to ten minutes."
	$(PIP) install --editable ".[all]" --group dev
	@# sinabs asks for an older nir and uses none here; importers that tests hold files against need this
	$(PIP) install --quiet --no-deps "nir>=1.0.8,<2" "nirtorch>=2.6,<2.7"
	@touch $@ .venv/for-run

# what the site needs: neither torch nor a framework
.venv/for-docs: pyproject.toml | .venv/pip
	$(PIP) install --quiet --group docs
	@touch $@

.venv/pip:
	@echo "Making .venv."
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet --upgrade "pip>=25.1"
	@touch $@

clean:
	rm -rf .venv
