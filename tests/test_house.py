"""The house: rooms in one order (import-linter), and no circle of imports, also inside a room."""

from __future__ import annotations

import ast
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
    imported = {each: graph.find_modules_directly_imported_by(each) for each in graph.modules}
    TopologicalSorter(imported).prepare()  # its CycleError names the circle


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for room in ("harness", "adapters"):
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    places.setdefault(node.name, []).append(path.name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
