"""What is installed and runs here: versions, the commit of a checkout, and the machine, as data."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path

from harness.spec import UsageError

VERSION = "1.0.0.dev0"  # of this package: pyproject.toml reads it here; no key has it
ROOT = Path(__file__).parents[2]  # of a checkout
MARK = "harness.adapters"  # a constant of our `adapters/__init__.py`


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The machine and software of a row; a field that the system does not report is None."""

    cpu: str | None = None
    capability: str | None = None  # which of its instructions torch uses, as torch names them
    cores: int | None = None
    threads: int | None = None  # that torch used
    memory_mib: int | None = None
    gpu: str | None = None
    os: str | None = None
    python: str | None = None
    torch: str | None = None
    harness: str | None = None
    commit: str | None = None  # of the harness, with "+dirty" where the tree had changes
    environment: str | None = None  # variables set that change speed: "OMP_NUM_THREADS=2"


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The machine's state at one measurement; a field that the system does not report is None."""

    load: float | None = None  # of the last minute
    clock_mhz: float | None = None
    temperature_c: float | None = None


def version(package: str) -> str | None:
    """Return a package's installed version; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def import_names(package: str) -> set[str]:
    """Return the names by which an installed package is imported; none if it is not installed."""
    try:
        distribution = metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return set()
    # an editable installation has none of its modules among its files
    tops = {package.replace("-", "_"), *(distribution.read_text("top_level.txt") or "").split()}
    sources = (path for path in distribution.files or () if path.suffix == ".py")
    tops |= {path.parts[0].removesuffix(".py") for path in sources}
    return {name for name in tops if name.isidentifier()}


def check_adapters() -> None:
    """Raise UsageError if `import adapters` would find another package than ours, or none.

    Nothing is imported: that package may do anything.
    """
    spec = util.find_spec("adapters")
    place = "nothing" if spec is None else spec.origin or "a folder"
    with suppress(OSError):
        if MARK in Path(place).read_text(encoding="utf-8", errors="replace"):
            return
    raise UsageError(
        f"`import adapters` finds {place}, which is not of snn-harness: take it from the folders "
        "that Python searches (PYTHONPATH, the working folder), or uninstall what brought it, and "
        "install snn-harness anew"
    )


@cache  # once a process, which runs the code that it began with
def commit() -> str | None:
    """Return the commit of the harness's own checkout, as `commit_of` does."""
    return commit_of(ROOT)


def commit_of(root: Path) -> str | None:
    """Return a checkout's commit, or a text that says why git gave none; None if no checkout.

    "+dirty" follows if tracked files differ.
    """
    if not (root / ".git").exists():
        return None
    try:
        differs = _git(root, "status", "--porcelain", "--untracked-files=no")
        return _git(root, "rev-parse", "--short=12", "HEAD") + ("+dirty" if differs else "")
    except (OSError, subprocess.SubprocessError) as error:
        text = (getattr(error, "stderr", None) or b"").decode(errors="replace").strip()
        return f"not known: {text or error}"


def _git(root: Path, *arguments: str) -> str:
    """Return what git prints in a checkout, whoever owns it; raise as `subprocess.run` does."""
    # A clone may be somebody else's, as in a container: running its code means trusting it.
    command = ["git", "-C", str(root), "-c", "safe.directory=*", *arguments]
    env = {**os.environ, "LC_ALL": "C"}
    process = subprocess.run(command, capture_output=True, timeout=10, check=True, env=env)
    return process.stdout.decode(errors="replace").strip()
