"""The house: rooms in one order, modules and functions that fit, names with one meaning."""

from __future__ import annotations

import ast
import io
import re
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [
    path.relative_to(ROOT)
    for folder in ("harness", "adapters", "tests")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
OURS = [path for path in SOURCES if path.parts[0] != "tests"]

MODULE_LINES = 300
TEST_MODULE_LINES = 400
FUNCTION_LINES = 40  # of the body, its docstring apart
KERNELS = {f"harness/fused/{name}.py" for name in ("adjoint", "cpu", "cuda")}  # one loop nest each
NO_NAMES = {"again", "desk", "journal", "lineup", "running"}  # what they hold, nobody would guess
ONE_MEANING = {"Plan", "Contender", "Data", "Step", "Cell", "Path", "Say"}

TORCH = "torch's annotations lack it"
NUMBA = "numba's annotations lack it"
CLICK = "Typer does not say that its commands are click's"
ASV = "asv reads an attribute of the function"
BROKEN = "a test that breaks it on purpose"
# Where the checker of types is silenced, how often, and why. No more: find the type instead.
SILENCED = {
    ("harness/adapter.py", 1): TORCH,
    ("harness/benchmarks/events.py", 1): ASV,
    ("harness/benchmarks/steps.py", 3): ASV,
    ("harness/cli/app.py", 1): CLICK,
    ("harness/fused/cache.py", 1): NUMBA,
    ("harness/fused/calls.py", 1): NUMBA,
    ("harness/fused/cuda.py", 1): "Triton's annotations lack it",
    ("harness/fused/intrinsics.py", 1): NUMBA,
    ("harness/fused/network.py", 1): "torch hands over as many gradients as there are outputs: one",
    ("tests/test_certificate.py", 1): BROKEN,
    ("tests/test_cli.py", 1): CLICK,
    ("tests/test_docs.py", 1): CLICK,
}


def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Each function with the lines of its body, its docstring apart."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            last = node.end_lineno or 0
            yield node.name, last - body[0].lineno + 1 if body else 0


def silenced(path: Path) -> int:
    text = io.StringIO((ROOT / path).read_text(encoding="utf-8"))
    return sum(
        re.search(r"#\s*(type|pyright): ?ignore|#\s*pyright: ?basic", token.string) is not None
        for token in tokenize.generate_tokens(text.readline)
        if token.type == tokenize.COMMENT
    )


def test_only_the_contract_lives_outside_the_rooms() -> None:
    assert {path.name for path in (ROOT / "harness").glob("*.py")} == {
        *("__init__.py", "__main__.py", "adapter.py")
    }


def test_every_room_is_one_layer() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    (order,) = (each["layers"] for each in contracts if each["type"] == "layers")
    layers = Counter(name.strip() for layer in order for name in layer.split("|"))
    rooms = {f"harness.{path.parent.name}" for path in (ROOT / "harness").glob("*/__init__.py")}
    assert layers == Counter(rooms | {"harness.adapter", "adapters"})
    # of two rooms on one floor neither may import the other: the two doors of the house alone
    assert [layer for layer in order if "|" in layer] == ["harness.cli | harness.benchmarks"]


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for path in OURS}
    assert [str(each) for each in folders if not (ROOT / each / "__init__.py").is_file()] == []


@pytest.mark.parametrize("path", SOURCES, ids=str)
def test_a_module_fits(path: Path) -> None:
    most = TEST_MODULE_LINES if path.parts[0] == "tests" else MODULE_LINES
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) <= most


def test_a_function_fits_a_screen() -> None:
    long = [
        f"{path}: {name} has {lines} lines"
        for path in SOURCES
        if path.as_posix() not in KERNELS
        for name, lines in functions(path)
        if lines > FUNCTION_LINES
    ]
    assert long == []


def test_types_are_silenced_at_known_places_alone() -> None:
    found = {(path.as_posix(), number) for path in SOURCES if (number := silenced(path))}
    assert found == set(SILENCED)


def test_a_module_is_named_after_what_it_holds() -> None:
    named = {path: set(path.with_suffix("").parts) & NO_NAMES for path in OURS}
    assert {str(path) for path, words in named.items() if words} == set()


def test_a_word_has_one_meaning() -> None:
    defined = Counter(
        node.name
        for path in OURS
        if path.parts[0] == "harness"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
    )
    assert {name: n for name, n in defined.items() if name in ONE_MEANING and n > 1} == {}
