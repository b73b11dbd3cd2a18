"""What the documents say is so: their links, commands and names exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main
import yaml

from harness import __version__
from harness.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "adapters" / "README.md", ROOT / "results" / "README.md"]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_and_their_flags_exist(path: Path) -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    lines = re.findall(r"^(?:uv run )?harness (.+)$", path.read_text(), re.MULTILINE)
    for line in lines:
        words = line.split("#")[0].split()
        flags = {flag for each in commands[words[0]].params for flag in each.opts}
        assert {word for word in words if word.startswith("--")} <= flags, line


def test_the_readme_names_exactly_two_commands_first() -> None:
    block = re.search(r"```\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    assert [line.split("#")[0].strip() for line in block[1].splitlines()] == [
        "make run",
        "make test",
    ]


def test_make_has_both() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert {"run", "test"} <= set(targets)


def test_the_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text()


def test_example_adapter_of_the_guide_is_valid_python() -> None:
    text = (ROOT / "adapters" / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        compile(block, "adapters/README.md", "exec")
