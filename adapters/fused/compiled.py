"""How numba's kernels are compiled, kept in the user's cache folder, and run in threads.

numba's index of what it keeps is a pickle, and what it keeps is machine code: both are run as they
are found. So nobody but the user may write there: the folder is theirs alone. numba looks only at
the file of the function that it is called with, not at those it inlines: so kernels of other
sources are kept in another folder. In numba's index the forms of one function are numbered: two
processes that compile two of them at once would give them one number, and one would be taken for
the other. So each form has a folder of its own.

The threads are torch's own, where torch uses GNU OpenMP. A pool of threads of our own would be in
their way: after each of torch's operations its threads stay awake for a moment, waiting for the
next, and take the cores that ours need.
"""

from __future__ import annotations

import ctypes
import hashlib
import pickle
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import psutil
import torch
from numba import types
from numpy.typing import NDArray
from torch import Tensor

from harness.reference import dropout
from harness.machine.files import make_user_cache

Numbers = NDArray[np.int64]
# No fastmath: operations round as they are written; `intrinsics.Code` alone allows FMA.
_OPTIONS: Any = {"error_model": "numpy", "boundscheck": False}
# Python never calls part of a kernel: to compile that it could takes a twelfth of the time.
_NO_WRAPPERS: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}


def inlined(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with numba so that it is inlined into the kernels that call it."""
    return numba.njit(forceinline=True, **_OPTIONS, **_NO_WRAPPERS)(function)


@contextmanager
def kept_in(folder: str) -> Iterator[None]:
    """Have numba cache what the block compiles in this subfolder of its cache folder."""
    config: Any = numba.config  # type: ignore[attr-defined]
    usual = config.CACHE_DIR
    with suppress(OSError):  # then numba looks for another place
        config.CACHE_DIR = str(Path(usual or make_user_cache("numba")) / folder)
    try:
        yield
    finally:
        config.CACHE_DIR = usual


def callback(function: Callable[[Any], None]) -> Callable[[], int]:
    """Turn a kernel into a function that compiles it on its first call and returns its address.

    The kernel takes the address of its argument. Its code is kept on disk, in the user's cache
    folder (or `NUMBA_CACHE_DIR`), so that a read-only install works.
    """

    @cache
    def address() -> int:
        """Compile the kernel, or load it from the cache, and return its address."""
        with kept_in(f"{sources_sha256()}/{_form_sha256(function)}"):
            signature = types.void(types.voidptr)
            compiled = numba.cfunc(signature, cache=True, **_OPTIONS)(function)
        _kept.append(compiled)  # its code must outlive the call
        assert compiled.address is not None
        return compiled.address

    return address


_kept: list[object] = []


def _form_sha256(function: Callable[..., Any]) -> str:
    """Return a hash, eight hex digits, of the types and sizes that a kernel is made for."""
    made_for = [cell.cell_contents for cell in function.__closure__ or ()]
    return hashlib.sha256(pickle.dumps(made_for)).hexdigest()[:8]


def has_kernels() -> bool:
    """Return whether the cache has kernels of these sources; True if its folder is unknown."""
    config: Any = numba.config  # type: ignore[attr-defined]
    with kept_in(sources_sha256()):
        return not config.CACHE_DIR or any(Path(config.CACHE_DIR).rglob("*.nbc"))


def fields(names: tuple[str, ...]) -> np.dtype:
    """Return the numpy type of a kernel's argument: a record of int64 fields.

    The first field, from 0, is the next part of the work: threads count it up with `take`.
    """
    return np.dtype([(name, np.int64) for name in names])


def as_call(names: tuple[str, ...], numbers: Mapping[str, int | Tensor | None]) -> Numbers:
    """Return a kernel's argument, its fields in the order of `names`: 0 for None or a missing one.

    A tensor is given by its address: the caller must keep it alive.
    """
    values = [numbers.get(name) for name in names]
    return np.array([x.data_ptr() if isinstance(x, Tensor) else x or 0 for x in values], np.int64)


@cache
def sources_sha256() -> str:
    """Return a hash, twelve hex digits, of the kernels' sources: this folder and `dropout`."""
    files = [*sorted(Path(__file__).parent.rglob("*.py")), Path(dropout.__file__)]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


Start = Callable[[int, int, int], None]  # a kernel, its argument, how many threads


def run(kernel: int, argument: int, threads: int) -> None:
    """Call the kernel at an address `threads` times, each in a thread, with one shared argument.

    Where OpenMP gives fewer threads, this one makes the rest of the calls; kernels count them in
    the int64 at `argument`.
    """
    _start()(kernel, argument, threads)
    parts = ctypes.c_int64.from_address(argument)  # how many parts
    while parts.value < threads:  # OpenMP gave fewer: OMP_THREAD_LIMIT, OMP_DYNAMIC
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel)(argument)


@cache
def _start() -> Start:
    """Return what starts a kernel in threads: OpenMP where torch has GNU's, else a pool of ours."""
    library = _openmp()
    if library is None:
        return _in_threads
    start = ctypes.CDLL(library).GOMP_parallel  # runs a function in each thread of the team
    start.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    start.restype = None
    return lambda kernel, argument, threads: start(kernel, argument, threads, 0)


def _openmp() -> str | None:
    """Return the GNU OpenMP library that torch has loaded; None where it has another, or none."""
    if "OpenMP" not in torch.__config__.parallel_info():
        return None
    try:
        loaded = {Path(library.path) for library in psutil.Process().memory_maps()}
    except (AttributeError, psutil.Error):  # macOS does not tell
        return None
    openmp = [path for path in loaded if path.name.startswith("libgomp")]
    # other packages bring one of their own: torch's lies with torch, or is the only one
    of_torch = [
        path for path in openmp if Path(torch.__file__).resolve().parent in path.parents
    ] or openmp
    return str(of_torch[0]) if len(of_torch) == 1 else None


def _in_threads(kernel: int, argument: int, threads: int) -> None:
    """Call a kernel in this thread and in those of a pool, and wait for all of them."""
    call = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(kernel)  # lets go of the interpreter's lock
    waiting = [_helpers(threads).submit(call, argument) for _ in range(threads - 1)]
    call(argument)
    for future in waiting:
        future.result()


@cache
def _helpers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max(1, threads - 1), thread_name_prefix="fused")
