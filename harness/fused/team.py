"""The threads that run a kernel: torch's own, where torch uses GNU OpenMP.

A pool of threads of our own would be in their way: after each of torch's operations its threads
stay awake for a moment, waiting for the next, and take the cores that ours need.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import psutil
import torch

Start = Callable[[int, int, int], None]  # a kernel, its argument, how many threads


def run(kernel: int, argument: int, threads: int) -> None:
    """Calls the kernel at an address with its argument in each of so many threads."""
    _start()(kernel, argument, threads)


@cache
def _start() -> Start:
    library = _openmp()
    if library is None:
        return _in_threads
    start = ctypes.CDLL(library).GOMP_parallel  # runs a function in each thread of the team
    start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    start.restype = None
    return lambda kernel, argument, threads: start(kernel, argument, threads, 0)


def _openmp() -> str | None:
    """The GNU OpenMP library that torch has loaded; None where it has another, or none."""
    if "OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        loaded = {Path(each.path) for each in psutil.Process().memory_maps()}
    except (AttributeError, psutil.Error):  # macOS does not tell
        return None
    found = [path for path in loaded if path.name.startswith("libgomp")]
    # other packages bring one of their own: torch's lies with torch, or is the only one
    beside = [
        path for path in found if Path(torch.__file__).resolve().parent in path.parents
    ] or found
    return str(beside[0]) if len(beside) == 1 else None


def _in_threads(kernel: int, argument: int, threads: int) -> None:
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel)  # lets go of the interpreter's lock
    waiting = [_helpers(threads).submit(call, argument) for _ in range(threads - 1)]
    call(argument)
    for each in waiting:
        each.result()


@cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="fused")
