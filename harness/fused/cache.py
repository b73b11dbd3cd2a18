"""How kernels are compiled, and where they are kept: in the user's cache folder.

numba's index of what it keeps is a pickle, and what it keeps is machine code: both are run as they
are found. So nobody but the user may write there: the folder is theirs alone. numba looks only at
the file of the function that it is called with, not at those it inlines: so kernels of other
sources are kept in another folder.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import types

from harness.reference import dropout
from harness.system.files import make_user_cache

# No fastmath: operations round as they are written.
_OPTIONS = {"error_model": "numpy", "boundscheck": False}


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Part of a kernel, compiled with it."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


@contextmanager
def kept_in(folder: str) -> Iterator[None]:
    """What is compiled in the block is kept in that folder of the user's cache."""
    config: Any = numba.config  # type: ignore[attr-defined]
    before = config.CACHE_DIR
    with suppress(OSError):  # then numba looks for another place
        config.CACHE_DIR = str(Path(before or make_user_cache("numba")) / folder)
    try:
        yield
    finally:
        config.CACHE_DIR = before


def callback(function: Callable[[Any], None]) -> Callable[[], int]:
    """A kernel that takes the address of its arguments; what comes back is that of the kernel.

    It is compiled on first use and kept on disk, in the user's cache folder (or `NUMBA_CACHE_DIR`),
    so that a read-only install works.
    """

    @cache
    def address() -> int:
        with kept_in(sources_sha256()):
            signature = types.void(types.voidptr)
            compiled = numba.cfunc(signature, cache=True, **_OPTIONS)(function)
        _kept.append(compiled)  # its code must outlive the call
        assert compiled.address is not None
        return compiled.address

    return address


_kept: list[object] = []


@cache
def sources_sha256() -> str:
    """Twelve hex digits of all that is compiled: this folder, and dropout's constants."""
    files = [*sorted(Path(__file__).parent.rglob("*.py")), Path(dropout.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
