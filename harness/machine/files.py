"""Write files whole or not at all, and find the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import platformdirs
from filelock import AcquireReturnProxy, FileLock, Timeout

from harness.spec import UsageError

T = TypeVar("T")
LOOK = 1.0  # seconds between two looks whether another process has let a lock go


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all: `write` fills a temporary one, renamed once on the disk.

    Makes the folder. Raises OSError, and leaves nothing behind, where that cannot be done.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".part-{secrets.token_hex(8)}"
    try:
        with temporary.open("xb") as file:  # the umask decides who may read it
            write(temporary)
            os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_result(path: Path, content: bytes | memoryview) -> None:
    """Write a file of results, whole or not at all. Raises Unwritable."""
    try:
        write_whole(path, lambda part: part.write_bytes(content))
    except OSError as error:
        raise unwritable(path, error) from error


def locked(path: Path, wait: Callable[[], object]) -> AcquireReturnProxy:
    """Take the lock at `path`; `wait` is called each second that another process has it.

    Raises OSError where it cannot be made or is another user's.
    """
    lock = FileLock(path)
    while True:
        try:
            return lock.acquire(timeout=LOOK)
        except Timeout:
            wait()


class Unwritable(UsageError):
    """Results cannot be written, so no further case can be run."""


def unwritable(path: Path, error: OSError) -> Unwritable:
    """Build the error for a file or folder of results that cannot be written."""
    return Unwritable(
        f"cannot write {path} ({error.strerror or error}): "
        "give a folder that can be written with --out"
    )


def user_cache() -> Path:
    """Return the user's cache folder, which need not exist. Raises UsageError if none is known."""
    try:
        return Path(platformdirs.user_cache_dir("snn-harness"))
    except RuntimeError as error:  # a container's user may have no home
        raise UsageError(f"no folder for caches is known: {error}") from error


def make_user_cache(name: str) -> Path:
    """Return the folder `name` in the user's cache folder, made where there is none.

    Nobody else may enter: compiled code is run from there. Raises OSError where it cannot be made.
    """
    folder = user_cache() / name
    folder.mkdir(parents=True, exist_ok=True)
    if user_cache().stat().st_mode & 0o777 != 0o700:
        user_cache().chmod(0o700)  # not permitted where it is another user's
    return folder


def cached(
    folder: str,
    suffix: str,
    key: str,
    make: Callable[[], T],
    read: Callable[[Path], T],
    write: Callable[[Path, T], object],
    wait: Callable[[], object] = lambda: None,
) -> tuple[T, str]:
    """Return the value of `key` in a folder of the user's cache, else make and keep it; and a note.

    Of processes that want the same one makes it; `wait` is called each second that another does.
    What `read` cannot read is made again; what cannot be kept is made each time: the note says so.
    """
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    try:
        path = make_user_cache(folder) / f"{name}{suffix}"
        lock = locked(path.with_suffix(".lock"), wait)
    except OSError as error:
        return make(), _not_cached(error)
    with lock:
        note = ""
        if path.exists():
            try:
                return read(path), ""
            except Exception as error:  # noqa: BLE001 libraries raise any type
                reason = f"{type(error).__name__}: {error}"
                note = f"the cached {path} was damaged ({reason}) and was made again"
        value = make()
        try:
            write_whole(path, lambda part: write(part, value))
        except OSError as error:
            note = _not_cached(error)
        return value, note


def _not_cached(error: OSError) -> str:
    return f"not cached: {user_cache()} cannot be written ({error.strerror or error})"


def printable(text: object) -> str:
    """Return a text without what cannot be printed: that is escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
