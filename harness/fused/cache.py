"""How kernels are compiled, and where they are kept: in the user's cache folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import types

from harness.reference import dropout
from harness.system.files import make_user_cache, user_cache

# No fastmath: operations round as they are written.
_OPTIONS = {"error_model": "numpy", "boundscheck": False}


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Part of a kernel, compiled with it."""
    return numba.njit(**_OPTIONS)(function)


def callback(function: Callable[[Any], None]) -> Callable[[], int]:
    """A kernel that takes the address of its arguments; what comes back tells the kernel's own.

    It is compiled on first use and kept on disk, in the user's cache folder (or `NUMBA_CACHE_DIR`),
    so that a read-only install works.
    """

    @cache
    def address() -> int:
        config: Any = numba.config  # type: ignore[attr-defined]
        before = config.CACHE_DIR
        config.CACHE_DIR = str((Path(before) if before else _of_the_user()) / _sources())
        try:
            signature = types.void(types.voidptr)
            compiled = numba.cfunc(signature, cache=True, **_OPTIONS)(function)
        finally:
            config.CACHE_DIR = before
        _kept.append(compiled)  # its code must outlive the call
        assert compiled.address is not None
        return compiled.address

    return address


def _of_the_user() -> Path:
    """Nobody else's: numba's index of what it kept is a pickle, which could run anything."""
    with suppress(OSError):  # where it cannot be written numba looks for another place
        return make_user_cache("numba")
    return user_cache() / "numba"


@cache
def _sources() -> str:
    """A name for what the kernels are made of. numba looks whether the file of the outermost
    function is as it was, and would run a kernel whose inner parts have changed as it was."""
    digest = hashlib.sha256()
    for path in (*sorted(Path(__file__).parent.glob("*.py")), Path(dropout.__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


_kept: list[object] = []
