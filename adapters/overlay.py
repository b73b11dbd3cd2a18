"""Versions of a framework's package, each in a folder of its own.

`norse@1.0.0` is a release, `norse@PATH` a checkout or a wheel. The package alone is installed,
without what it depends on, into the user's cache folder; the process that loads it has that folder
first on its search path, and no other process has it.
"""

from __future__ import annotations

import hashlib
import importlib
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from harness.machine import installed
from harness.machine.files import make_user_cache
from harness.spec import Contender, UsageError

RELEASE = re.compile(r"[0-9]+(\.[0-9A-Za-z]+)*([-+.][0-9A-Za-z.]+)?")
LONGEST = 300  # characters of what pip wrote
PATIENCE = 900  # seconds of an installation, which may build
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")
SEAL = "files.sha256"  # of an installation: the hash of its files, as pip wrote them


class NotInstalled(Exception):
    """Error: a version cannot be installed, or none is known; the message has the reason."""


@dataclass(frozen=True)
class Version:
    """A version of a framework's package: a release, or a checkout or wheel at a path."""

    framework: str  # the adapter's name, and the package's
    source: str  # "1.0.0" or a path

    @property
    def path(self) -> Path | None:
        """Path of the checkout or wheel; None for a release."""
        return None if RELEASE.fullmatch(self.source) else Path(self.source).expanduser().resolve()


def version_of(framework: str) -> Version | None:
    """Return the version in a framework's name, as in "norse@1.0.0"; None if it has none.

    Raises UsageError for a path without a package, and an empty version.
    """
    contender = Contender.parse(framework)
    name, source = contender.framework, contender.version
    if source is None:
        return None
    version = Version(name, source)
    try:
        is_usable = bool(source) and (version.path is None or _is_package(version.path))
    except (OSError, RuntimeError):  # a name that is too long, ~ of an unknown user
        is_usable = False
    if not is_usable:
        raise UsageError(
            f"{framework}: {source or 'nothing'!s} is no release, wheel or folder with a package: "
            f"use {name}@1.0.0 or {name}@../{name} (a comma or colon ends a path)"
        )
    return version


def _is_package(path: Path) -> bool:
    """Return whether pip could install what lies at a path."""
    if path.is_file():
        return path.suffix == ".whl"
    return any((path / name).is_file() for name in ("pyproject.toml", "setup.py", "setup.cfg"))


def add(version: Version) -> str:
    """Install a version if need be and put it first on `sys.path`; return `in_words` of it.

    Raises NotInstalled, also where another version was imported already.
    """
    folder, package = ensure_installed(version), version.framework
    if package in sys.modules and str(folder) not in sys.path:
        raise NotInstalled(f"another version of {package} is imported in this process")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    return in_words(version, folder)


def in_words(version: Version, folder: Path) -> str:
    """Return a version's number; also a path's commit and hash, and requirements that are not met.

    "9.9 (commit 0123456789ab, files 0123456789ab; requires torch<1.5 (2.13.0 is installed))"
    """
    packages = metadata.distributions(name=version.framework, path=[str(folder)])
    package = next(iter(packages), None)
    if package is None:
        raise NotInstalled(f"{version.source} has no package {version.framework}")
    commit = commit_at(version)
    state = [f"commit {commit}"] if commit else []
    state += [f"files {folder.name.rpartition('-')[2]}"] if version.path else []
    notes = "; ".join(filter(None, (", ".join(state), _unmet(package))))
    return f"{package.version} ({notes})" if notes else package.version


def _unmet(package: metadata.Distribution) -> str:
    """Return what a package requires and this environment lacks, which pip was told to ignore."""
    lacking = list[str]()
    for requirement in map(Requirement, package.requires or ()):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        present = installed.version(requirement.name)
        if present is None or not requirement.specifier.contains(present, prereleases=True):
            state = f"{present} is installed" if present else "is not installed"
            lacking.append(f"{requirement.name}{requirement.specifier} ({state})")
    return f"requires {', '.join(lacking)}" if lacking else ""


def commit_at(version: Version) -> str | None:
    """Return the commit of a version's checkout now; None for a release, a wheel or no clone."""
    return None if version.path is None else installed.commit_of(version.path)


def releases(framework: str) -> list[str]:
    """Ask pip for the releases of a framework's package, newest first. Raises NotInstalled."""
    answer = _pip(f"list {framework}", "index", "versions", framework)
    listed = re.search("Available versions: (.+)", answer)
    return listed[1].split(", ") if listed else []


def ensure_installed(version: Version) -> Path:
    """Return the folder of a version; pip installs it there if missing. Raises NotInstalled."""
    state = version.source if version.path is None else _hash(version.path)
    # an extension is built for one torch and one Python
    build = f"{sys.implementation.cache_tag}-torch-{metadata.version('torch')}"
    folder = make_user_cache(f"versions/{build}") / f"{version.framework}-{state}"
    if folder.is_dir():
        seal = folder / SEAL
        if not seal.is_file() or seal.read_text() != _hash_installed(folder):
            raise NotInstalled(f"a file was added, edited or removed in {folder}: remove it")
        return folder
    release = f"{version.framework}=={version.source}"
    spec = release if version.path is None else str(version.path)
    print(f"installing {spec} into {folder}, once; it may build", file=sys.stderr, flush=True)
    # under its name a folder is whole: an installation that breaks leaves none
    partial = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--target", str(partial))
    try:
        _pip(f"install {spec}", "install", *options, spec)
        if version.path is not None and _hash(version.path) != state:
            raise NotInstalled(f"{version.source} changed while it was installed: run again")
        (partial / SEAL).write_text(_hash_installed(partial))
        with suppress(OSError):  # another process was faster
            partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _pip(what: str, *arguments: str) -> str:
    """Return what pip prints. Raises NotInstalled with its last line where it fails."""
    try:
        done = subprocess.run(
            [*PIP, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"pip took longer than {PATIENCE} s to {what}") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()] or [done.stdout]
        reason = lines[-1].removeprefix("ERROR:").strip()[:LONGEST]
        raise NotInstalled(f"pip cannot {what}: {reason}")
    return done.stdout


def _hash_installed(folder: Path) -> str:
    """Return the hash of all files of an installation, without what Python compiles at import."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.name != SEAL)
    return _digest(sorted(file for file in files if file.parent.name != "__pycache__"), folder)


def _hash(path: Path) -> str:
    """Return the hash of a wheel, or of all files and linked folders of a checkout."""
    return _digest(_files(path), path.parent)


def _digest(files: Iterable[Path], root: Path) -> str:
    """Return twelve hex digits of files' contents and paths below `root`."""
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(root)).encode())
        digest.update(os.fsencode(file.readlink()) if file.is_dir() else file.read_bytes())
    return digest.hexdigest()[:12]


SKIPPED = {".git", "__pycache__", ".venv", ".tox", ".mypy_cache", ".pytest_cache"}
BUILT = {"build", "dist"}  # by an installation, at the top alone: a package may have these names


def _files(path: Path) -> Iterator[Path]:
    """Yield a wheel, or a checkout's files and links to folders; each folder is entered once."""
    if path.is_file():
        yield path
    entered = {path, *path.parents}  # a link to a folder above leads out, to what is not ours
    for folder, folders, names in os.walk(path, followlinks=True):
        skipped = SKIPPED | BUILT if Path(folder) == path else SKIPPED
        sources = [n for n in sorted(folders) if n not in skipped and not n.endswith(".egg-info")]
        folders.clear()
        for name in sources:
            below = Path(folder, name)
            if below.is_symlink():
                yield below
            if (real := below.resolve()) not in entered:
                entered.add(real)
                folders.append(name)
        yield from filter(Path.is_file, (Path(folder, name) for name in sorted(names)))
