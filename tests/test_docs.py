"""What the documents say is so: their links, commands and names exist."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import typer.main
import yaml

import adapters
from adapters import facts
from harness import __version__
from harness.cli.app import app
from harness.conformance import random_batch, small
from harness.proof.exam import Exam
from harness.spec import Precision

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "adapters/README.md", "results/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]


def found(pattern: str) -> list[tuple[Path, str]]:
    """What matches in each document; the README has some of everything that is asked for."""
    each = [
        (path, hit) for path in DOCUMENTS for hit in re.findall(pattern, path.read_text(), re.M)
    ]
    assert ROOT / "README.md" in [path for path, _ in each]
    return each


def test_links_lead_somewhere() -> None:
    for path, target in found(r"\]\(([^)]+)\)"):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), f"{path}: {target}"


def test_commands_and_their_flags_exist() -> None:
    group = typer.main.get_command(app)
    commands = group.commands  # type: ignore[attr-defined]
    for path, line in found(r"^(?:uv run )?harness (.+)$"):
        words = line.split("#")[0].split()
        flags = {flag for each in commands[words[0]].params for flag in each.opts}
        assert {word for word in words if word.startswith("--")} <= flags, f"{path}: {line}"


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


# the framework that the guide's example adapts, as its own authors might have written it
EXAMPLE = """
import torch


class Neuron(torch.nn.Module):
    def __init__(self, decay, threshold, surrogate_width):
        super().__init__()
        self.decay, self.threshold, self.width = decay, threshold, surrogate_width

    def forward(self, current, state):
        v = current if state is None else self.decay * state + current
        near = ((v - self.threshold).detach().abs() < self.width / 2).to(v.dtype)
        slope = near * v / self.width
        spikes = (v >= self.threshold).to(v.dtype) + (slope - slope.detach())
        return spikes, v * (1 - spikes)
"""


def python_of(path: Path) -> str:
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL)
    assert blocks, path
    return "\n".join(blocks)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The guide's blocks as a file of adapters/, and the framework they adapt."""
    site, folder = tmp_path / "site", tmp_path / "adapters"
    for each in (site, folder):
        each.mkdir()
    (site / "example.py").write_text(EXAMPLE)
    (folder / "example.py").write_text(python_of(ROOT / "adapters" / "README.md"))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(adapters, "__path__", [*adapters.__path__, str(folder)])
    monkeypatch.setattr(facts, "_known", dict(facts._known))
    yield
    for name in ("example", "adapters.example"):
        sys.modules.pop(name, None)
    adapters.__dict__.pop("example", None)


@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_the_guides_example_is_an_adapter_that_is_equal(
    example: None, precision: Precision
) -> None:
    network = small("cifar10", neunorm="mean")
    batch = random_batch(network, 4, 4, static=True)
    adapter = adapters.load("example")
    assert adapters.missing("example") is None
    certificate = Exam(network, batch, precision).certify("example", adapter)
    assert adapter.DEVIATIONS == () and certificate.failures == ()
    assert certificate.passed


def test_the_readmes_python_runs_and_gives_what_it_says() -> None:
    text = python_of(ROOT / "README.md")
    names: dict[str, object] = {"image": torch.rand(2, 3, 32, 32)}
    exec(compile(text, "README.md", "exec"), names)
    spikes = names["spikes"]
    assert isinstance(spikes, torch.Tensor)
    assert spikes.shape == (10, 2, 100)
    assert set(spikes.unique().tolist()) <= {0.0, 1.0}
