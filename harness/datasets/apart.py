"""Readers that may take their process with them: aedat aborts on some damaged recordings."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TypeVar

from harness.datasets.samples import damaged
from harness.spec import UsageError
from harness.system import processes

Content = TypeVar("Content")
_pool: list[ProcessPoolExecutor] = []  # one, kept from file to file


def read_apart(read: Callable[[Path], Content], path: Path) -> Content:
    """What `read` makes of a file, in a process beside ours.

    Raises what `read` raises, and UsageError where its process dies.
    """
    if not _pool:
        _pool.append(ProcessPoolExecutor(1, processes.context("cpu"), initializer=_silence))
    try:
        told = _pool[0].submit(_guarded, read, path).result()
    except BrokenProcessPool:
        _pool.pop().shutdown()
        raise damaged(path, "its reader died of it") from None
    if isinstance(told, str):
        raise damaged(path, told)
    return told


def _silence() -> None:
    """What a reader prints when it dies is of no use to a user."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _guarded(read: Callable[[Path], Content], path: Path) -> Content | str:
    """What `read` makes of a file, or what else it raises than UsageError, which is its own."""
    try:
        return read(path)
    except UsageError:
        raise
    except BaseException as error:  # noqa: BLE001 Rust's panics are no Exception
        return f"{type(error).__name__}: {error}"
