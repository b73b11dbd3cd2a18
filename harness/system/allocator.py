"""How the process keeps memory between iterations: a property of the process, not of a contender.

glibc gives large blocks back to the system as soon as they are freed, and takes them anew, page by
page, in the next step. On a virtual machine that was measured to cost up to half of an iteration of
the frameworks that allocate most, and most of the noise. So the suites tell glibc to keep what it
has, as jemalloc and tcmalloc do; every contender gains, and the record says which it was.

Contenders have huge pages too, where the system has them. On a machine that has run for a day free
memory is in single pages all over the place: a floor that took 0.22 s alone took 0.30 to 0.38 s
beside the contenders of another cell, and two of the same run differed by 40 %.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
import sys
from pathlib import Path

from harness.spec import Allocator

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>
KEPT = "glibc, memory kept"
# glibc asks for huge pages (madvise) since 2.35, where it is told when the program starts
_TUNABLES, _HUGE, _HUGE_SINCE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", (2, 35)
_SYSTEMS_HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


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
    return KEPT


def hand_on(allocator: Allocator) -> str:
    """Sets up this process, and with huge pages the programs that it starts from now on, where they
    choose alike; says in words what those will do.
    """
    name = choose(allocator)
    given = os.environ.get(_TUNABLES, "")
    if "glibc.malloc." in given and _HUGE not in given.split(":"):  # the user's own
        return f"{name}, {_TUNABLES}={given}"
    if name != KEPT or not _has_huge_pages():
        return name
    os.environ[_TUNABLES] = ":".join(dict.fromkeys([*filter(None, [given]), _HUGE]))
    return f"{name}, huge pages"


def keep() -> str:
    """Has this process keep its memory, and says in words what it does."""
    return choose("keep")


def for_programs() -> dict[str, str]:
    """The variables with which programs that start from here have huge pages too."""
    given = os.environ.get(_TUNABLES, "")
    if "glibc.malloc." in given or os.environ.get("LD_PRELOAD") or not _has_huge_pages():
        return {}
    return {_TUNABLES: ":".join(filter(None, [given, _HUGE]))}


def _has_huge_pages() -> bool:
    """Whether the system gives a program huge pages that asks for them, and glibc can ask."""
    library, version = platform.libc_ver()
    try:
        since = tuple(int(part) for part in version.split(".")[:2])
        offered = "[never]" not in _SYSTEMS_HUGE.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    return library == "glibc" and since >= _HUGE_SINCE and offered


def release() -> None:
    """Gives the system what is free now, kept or not; of use where there is glibc alone."""
    gc.collect()
    if sys.platform.startswith("linux"):
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
