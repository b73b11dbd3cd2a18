"""How the process keeps memory between iterations: a property of the process, not of a contender.

glibc gives large blocks back to the system as soon as they are freed, and takes them anew, page by
page, in the next step. On a virtual machine that was measured to cost up to half of an iteration of
the frameworks that allocate most, and most of the noise. So the suites tell glibc to keep what it
has, as jemalloc and tcmalloc do; every contender gains, and the record says which it was.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys

from harness.spec import Allocator

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>


def choose(allocator: Allocator) -> str:
    """Sets the process up, and says in words what it will do: a record's `allocator`.

    `keep` needs glibc; elsewhere, and where another allocator is preloaded, the system's stays.
    """
    preloaded = os.environ.get("LD_PRELOAD")
    if preloaded:
        return f"system, LD_PRELOAD={preloaded}"
    if allocator == "system":
        return "system"
    if not sys.platform.startswith("linux"):
        return "system"
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None or not (mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1)):
        return "system"
    return "glibc, memory kept"


def release() -> None:
    """Gives the system what is free now, kept or not; of use where there is glibc alone."""
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
