"""What is installed: versions, and whether the package `adapters` that Python finds is ours."""

from __future__ import annotations

from importlib import metadata, util
from pathlib import Path

from harness.spec import UsageError

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
    spec = util.find_spec("adapters")
    if spec is None:
        raise UsageError(
            "the package adapters that belongs to snn-harness is not there: install it anew"
        )
    try:
        is_ours = MARK in Path(str(spec.origin)).read_text(encoding="utf-8", errors="replace")
    except OSError:  # a folder
        is_ours = False
    if not is_ours:
        raise UsageError(
            f"`import adapters` finds {spec.origin or 'a folder'}, which is not of snn-harness: "
            "take it from the folders that Python searches (PYTHONPATH, the working folder), or "
            "uninstall what brought it and install snn-harness anew"
        )
