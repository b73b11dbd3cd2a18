"""The house: rooms in one order (import-linter), no circle of imports, and names that are nouns."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter

import grimp
import pytest

from harness.machine.installed import ROOT


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("harness", "adapters", exclude_type_checking_imports=True)


def test_no_module_imports_the_public_package(graph: grimp.ImportGraph) -> None:
    assert graph.find_modules_that_directly_import("harness") == set()


def test_no_import_cycle(graph: grimp.ImportGraph) -> None:
    imported = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    TopologicalSorter(imported).prepare()  # its CycleError names the circle


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for room in ("harness", "adapters"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(path.name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


# Prepositions, participles and pronouns: they say of nothing what it is.
NO_NOUNS = """
each found of given asked own its known kept lean late wanted made said told shown left rest here
before after
"""


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """The line and name of each variable, field, argument and function."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.FunctionDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case _:
                pass


def test_no_name_is_a_preposition_a_participle_or_a_pronoun() -> None:
    words = {*NO_NOUNS.split()}
    places = {
        f"{path.relative_to(ROOT)}:{line} {name}"
        for room in ("harness", "adapters", "tests")
        for path in (ROOT / room).rglob("*.py")
        for line, name in names(ast.parse(path.read_text()))
        if name in words
    }
    assert places == set()
