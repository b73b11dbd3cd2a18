"""What is installed: versions, and whether the package `adapters` that Python finds is ours."""

from __future__ import annotations

from importlib import metadata, util
from importlib.abc import InspectLoader
from importlib.machinery import ModuleSpec

from harness.spec import UsageError

NAME = "adapters"
MARK = "harness.adapters"  # a constant of our `adapters/__init__.py`


def version(package: str) -> str | None:
    """The installed version of a package; None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def check_adapters() -> None:
    """Raises UsageError where another package `adapters` stands in the way of ours.

    Nothing is imported: what stands there may do anything.
    """
    spec = util.find_spec(NAME)
    if spec is None:
        raise UsageError(
            f"the package {NAME} that belongs to snn-harness is not there: install snn-harness anew"
        )
    if not _is_ours(spec):
        raise UsageError(
            f"`import {NAME}` finds {_place(spec)}, which is not of snn-harness: take it from the "
            "folders that Python searches (PYTHONPATH, the working folder), or uninstall what "
            "brought it and install snn-harness anew"
        )


def _is_ours(spec: ModuleSpec) -> bool:
    if not isinstance(spec.loader, InspectLoader):
        return False
    try:
        code = spec.loader.get_code(NAME)  # compiled, not run
    except (ImportError, OSError, SyntaxError, ValueError):  # no Python that can be read
        return False
    return code is not None and MARK in code.co_consts


def _place(spec: ModuleSpec) -> str:
    return spec.origin or next(iter(spec.submodule_search_locations or ()), "a package")
