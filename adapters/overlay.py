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
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from harness.machine.files import make_user_cache
from harness.machine.installed import commit_of
from harness.spec import Contender, UsageError

RELEASE = re.compile(r"[0-9]+(\.[0-9A-Za-z]+)*([-+.][0-9A-Za-z.]+)?")
LONGEST = 300  # characters of what pip wrote
PATIENCE = 900  # seconds of an installation, which may build
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input")


class NotInstalled(Exception):
    """Error: a version cannot be installed, or none is known; the message has the reason."""


@dataclass(frozen=True)
class Version:
    """A version of a framework's package: a release, or a checkout or wheel at a path."""

    framework: str  # the adapter's name, and the package's
    wanted: str  # "1.0.0" or a path

    @property
    def path(self) -> Path | None:
        """Path of the checkout or wheel; None for a release."""
        return None if RELEASE.fullmatch(self.wanted) else Path(self.wanted).expanduser().resolve()


def version_of(framework: str) -> Version | None:
    """Return the version in a framework's name, as in "norse@1.0.0"; None if it has none.

    Raises UsageError for a path without a package, and an empty version.
    """
    contender = Contender.parse(framework)
    name, wanted = contender.framework, contender.version
    if wanted is None:
        return None
    found = Version(name, wanted)
    try:
        is_usable = bool(wanted) and (found.path is None or _is_package(found.path))
    except (OSError, RuntimeError):  # a name that is too long, ~ of an unknown user
        is_usable = False
    if not is_usable:
        raise UsageError(
            f"{framework}: {wanted or 'nothing'!s} is no release, wheel or folder with a package: "
            f"use {name}@1.0.0 or {name}@../{name} (a comma or colon ends a path)"
        )
    return found


def _is_package(path: Path) -> bool:
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
    """Return a version's number, and for a path also its commit and a hash of its files."""
    installed_there = metadata.distributions(name=version.framework, path=[str(folder)])
    found = next(iter(installed_there), None)
    if found is None:
        raise NotInstalled(f"{version.wanted} has no package {version.framework}")
    if version.path is None:
        return found.version
    of_git = commit_at(version)
    state = f"commit {of_git}, " if of_git else ""
    return f"{found.version} ({state}files {folder.name.rpartition('-')[2]})"


def commit_at(version: Version) -> str | None:
    """Return the commit of a version's checkout now; None for a release, a wheel or no clone."""
    return None if version.path is None else commit_of(version.path)


def releases(framework: str) -> list[str]:
    """Ask pip for the releases of a framework's package, newest first. Raises NotInstalled."""
    found = re.search(
        "Available versions: (.+)", _pip(f"list {framework}", "index", "versions", framework)
    )
    return found[1].split(", ") if found else []


def ensure_installed(version: Version) -> Path:
    """Return the folder of a version; pip installs it there if missing. Raises NotInstalled."""
    state = version.wanted if version.path is None else _hash(version.path)
    # an extension is built for the torch and the Python that are here
    here = f"{sys.implementation.cache_tag}-torch-{metadata.version('torch')}"
    folder = make_user_cache(f"versions/{here}") / f"{version.framework}-{state}"
    if folder.is_dir():
        _refuse_edited(folder)
        return folder
    release = f"{version.framework}=={version.wanted}"
    spec = release if version.path is None else str(version.path)
    print(f"installing {spec} into {folder}, once; it may build", file=sys.stderr, flush=True)
    # a folder that is there is whole: an installation that breaks leaves none
    own = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    options = ("--no-deps", "--no-build-isolation", "--quiet", "--target", str(own))
    try:
        _pip(f"install {spec}", "install", *options, spec)
        if version.path is not None and _hash(version.path) != state:
            raise NotInstalled(f"{version.wanted} changed while it was installed: run again")
        with suppress(OSError):  # another process was faster
            own.rename(folder)
    finally:
        shutil.rmtree(own, ignore_errors=True)
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
        lines = [each for each in done.stderr.splitlines() if each.strip()] or [done.stdout]
        reason = lines[-1].removeprefix("ERROR:").strip()[:LONGEST]
        raise NotInstalled(f"pip cannot {what}: {reason}")
    return done.stdout


def _refuse_edited(folder: Path) -> None:
    """Raise NotInstalled where a file of an installation is not what pip wrote there."""
    for package in metadata.distributions(path=[str(folder)]):
        for file in package.files or ():
            path = Path(str(file.locate()))
            if file.hash is None or ".." in file.parts:  # compiled at import; a script elsewhere
                continue
            digest = path.is_file() and hashlib.new(file.hash.mode, path.read_bytes()).digest()
            if not digest or urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
                raise NotInstalled(f"{file} of {folder} was edited or removed: remove that folder")


def _hash(path: Path) -> str:
    """Return twelve hex digits of a wheel, or of all files and linked folders of a checkout."""
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(str(file.relative_to(path.parent)).encode())
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
        kept = [n for n in sorted(folders) if n not in skipped and not n.endswith(".egg-info")]
        folders.clear()
        for name in kept:
            below = Path(folder, name)
            if below.is_symlink():
                yield below
            if (real := below.resolve()) not in entered:
                entered.add(real)
                folders.append(name)
        yield from filter(Path.is_file, (Path(folder, name) for name in sorted(names)))
