"""How children keep memory between iterations: a property of the process, not of a contender.

glibc gives large blocks back to the system as soon as they are freed, and takes them anew, page by
page, in the next step. On a virtual machine that was measured to cost up to half of an iteration of
the frameworks that allocate most, and most of the noise. So glibc is told to keep what it has, as
jemalloc and tcmalloc do; every contender gains, and the record says which it was.

They have huge pages too, where the system has them. On a machine that has run for a day free memory
is in single pages all over the place: a floor that took 0.22 s alone took 0.30 to 0.38 s beside the
contenders of another cell, and two of the same run differed by 40 %.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from pathlib import Path

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>
KEPT = "glibc, memory kept"
# glibc asks for huge pages (madvise) since 2.35, where it is told when the program starts
_TUNABLES, _HUGE, _HUGE_SINCE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", (2, 35)
_SYSTEMS_HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def keep() -> str:
    """Has this process keep its memory, and says in words what it does from now on."""
    said = _kept()
    if said == KEPT:
        mallopt = ctypes.CDLL(None).mallopt
        if not (mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1)):
            return "system"
    return said


def _kept() -> str:
    """What a process that keeps its memory does. It takes glibc, and no other that is preloaded."""
    if preloaded := os.environ.get("LD_PRELOAD"):
        return f"system, LD_PRELOAD={preloaded}"
    # musl has no mallopt
    is_there = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "mallopt")
    return KEPT if is_there else "system"


def of_children() -> str:
    """What children do, in words: the `allocator` of the rows of timings."""
    said, given = _kept(), os.environ.get(_TUNABLES, "")
    if said == KEPT and "glibc.malloc." in given:  # the user's own
        return f"{said}, {_TUNABLES}={given}"
    return f"{said}, huge pages" if for_programs() else said


def for_programs() -> dict[str, str]:
    """The variable with which a program that starts has huge pages too, where there are any."""
    given = os.environ.get(_TUNABLES, "")
    if _kept() != KEPT or "glibc.malloc." in given:
        return {}
    library, version = platform.libc_ver()
    try:
        since = tuple(int(part) for part in version.split(".")[:2])
        offered = "[never]" not in _SYSTEMS_HUGE.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return {}
    if library != "glibc" or since < _HUGE_SINCE or not offered:
        return {}
    return {_TUNABLES: ":".join(filter(None, [given, _HUGE]))}


def release() -> None:
    """Gives the system what is free now, kept or not; of use where there is glibc alone."""
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
