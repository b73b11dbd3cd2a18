"""Which code a result depends on, as a hash of what it does: comments and docstrings do not count.

A row says the version of the code that decided it, so that a run after a change of that code does
its work again, and a run after a change of a table or of the command line does not.
"""

from __future__ import annotations

import ast
import hashlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec, resolve_name
from pathlib import Path

OURS = ("harness", "adapters")

# What decides the weights that a training ends with, beside its case, its data (whose hash is in
# the key) and its adapter.
TRAINING = (
    "harness.adapter",
    "harness.datasets.augment",
    "harness.datasets.batch",
    "harness.training.epoch",
    "harness.reference",
    "harness.spec",
    "harness.training.step",
)
# What decides how long an iteration takes, beside the same.
TIMING = (
    "harness.adapter",
    "harness.system.allocator",
    "harness.speed.floor",
    "harness.reference",
    "harness.spec",
    "harness.speed.protocol",
    "harness.training.step",
    "harness.speed.iteration",
)


@cache
def code_version(decisive: tuple[str, ...], adapter: str | None = None) -> str:
    """Twelve hex digits of the modules and packages in `decisive`, and of the module `adapter`
    with all of ours that it imports.

    Raises ModuleNotFoundError where one of them is not there.
    """
    names = {name for given in decisive for name in _with_submodules(given)}
    if adapter is not None:
        # a package may import its own modules by name, once it knows the device
        parts = {adapter} | (imported(adapter) - set(OURS))
        names |= {name for part in parts for name in _with_submodules(part)}
    digest = hashlib.sha256()
    for name in sorted(names):
        digest.update(f"{name}\n{_said(_source(name))}\n".encode())
    return digest.hexdigest()[:12]


@cache
def imported(module: str) -> frozenset[str]:
    """All modules of ours that a module imports, directly or not; packages as their own file."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        new = set(_imports(waiting.pop())) - found
        found |= new
        waiting += new
    return frozenset(found - {module})


def _with_submodules(name: str) -> Iterator[str]:
    yield name
    spec = find_spec(name)
    if spec is not None and spec.submodule_search_locations:
        for each in pkgutil.iter_modules(spec.submodule_search_locations, f"{name}."):
            yield from _with_submodules(each.name)


def _source(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"no module named {name!r}", name=name)
    return Path(spec.origin)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes()) if path.suffix == ".py" else ast.Module([], [])


@cache
def _said(path: Path) -> str:
    """A module's code without comments, layout and docstrings; of a binary, its bytes' hash."""
    if path.suffix != ".py":
        return hashlib.sha256(path.read_bytes()).hexdigest()
    tree = _tree(path)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _imports(module: str) -> Iterator[str]:
    """The modules of ours that a module's statements name, those for type checkers left out."""
    path = _source(module)
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    tree = _tree(path)
    ignored = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in ignored:
            continue
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            # `from package import module` names a module, `from module import name` does not
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] in OURS and _is_module(name))


def _is_module(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # a name in a module that is no package
        return False
