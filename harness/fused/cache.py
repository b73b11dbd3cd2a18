"""How kernels are compiled, and where they are kept: in the user's cache folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
import platformdirs
from numba import types

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
        if not before:
            config.CACHE_DIR = str(Path(platformdirs.user_cache_dir("snn-harness")) / "numba")
        try:
            signature = types.void(types.voidptr)
            compiled = numba.cfunc(signature, cache=True, **_OPTIONS)(function)
        finally:
            config.CACHE_DIR = before
        _kept.append(compiled)  # its code must outlive the call
        assert compiled.address is not None
        return compiled.address

    return address


_kept: list[object] = []
