# Two commands: `make run` measures, `make test` checks. Both install what they need into .venv.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test slow clean

run: .venv/installed
	$(BIN)/harness run --suite acceleration

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports
	$(BIN)/pytest -n 2 -m "not slow"

# proofs that take minutes; CI runs them too
slow: .venv/installed
	$(BIN)/pytest -n 2 --dist worksteal -m slow --durations=25

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[all]" --group dev
	touch $@

clean:
	rm -rf .venv
