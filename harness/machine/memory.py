"""Memory: how processes keep it between iterations, what a case will take, and the free memory.

glibc gives large blocks back as soon as they are freed, and takes them anew, page by page, in the
next step: on a virtual machine up to half of an iteration of the frameworks that allocate most, and
most of the noise. So glibc is set to keep what it has, as jemalloc and tcmalloc do; every contender
gains, and the record names the allocator. Children have huge pages too, where there are any: a
floor in single pages took 0.30 to 0.38 s, next to other contenders, that takes 0.22 s alone.
"""

from __future__ import annotations

import ctypes
import gc
import os
import platform
from pathlib import Path

import psutil
import torch

from harness.spec import Case, Count, Timing

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of <malloc.h>
KEPT = "glibc, memory kept"
# glibc asks for huge pages (madvise) since 2.35, if set when the program starts
_TUNABLES, _HUGE, _HUGE_SINCE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", [2, 35]
_SYSTEMS_HUGE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# What a framework keeps of one neuron and step until the backward pass, as measured: 24 to 32.
BYTES_PER_NEURON_STEP = 32
WEIGHT_COPIES = 4  # weights, gradients, and two of Adam's
SPARE = 0.1  # of the machine's memory, which stays free: estimates are rough


def keep_freed() -> str:
    """Have this process keep the memory that it frees; return in words how it allocates now."""
    allocator = _kept()
    if allocator == KEPT:
        mallopt = ctypes.CDLL(None).mallopt
        if not (mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, -1)):
            return "system"
    return allocator


def _kept() -> str:
    """Return in words which allocator runs: one that can be told to keep memory, or another."""
    if preloaded := os.environ.get("LD_PRELOAD"):
        return f"system, LD_PRELOAD={preloaded}"
    return KEPT if platform.libc_ver()[0] == "glibc" else "system"


def allocator_of_children() -> str:
    """Return in words how child processes allocate memory: `allocator` in rows of timings."""
    allocator, tunables = _kept(), os.environ.get(_TUNABLES, "")
    if allocator == KEPT and "glibc.malloc." in tunables:  # the user's own
        return f"{allocator}, {_TUNABLES}={tunables}"
    return f"{allocator}, huge pages" if huge_page_variable() else allocator


def huge_page_variable() -> dict[str, str]:
    """Return the environment variable with which a new program gets huge pages; {} if it cannot."""
    tunables = os.environ.get(_TUNABLES, "")
    if _kept() != KEPT or "glibc.malloc." in tunables or not _SYSTEMS_HUGE.exists():
        return {}
    since = [int(part) for part in platform.libc_ver()[1].split(".")[:2]]
    is_there = since >= _HUGE_SINCE and "[never]" not in _SYSTEMS_HUGE.read_text("utf-8")
    return {_TUNABLES: ":".join(filter(None, [tunables, _HUGE]))} if is_there else {}


def release() -> None:
    """Collect garbage, and with glibc give the freed memory back to the system."""
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def case_mib(case: Case) -> float:
    """Estimate the memory in MiB of an iteration of a case, with its network's weights."""
    neurons = sum(stage.neurons for stage in case.workload.network.stages)
    infers = isinstance(case, Count) or (isinstance(case, Timing) and case.mode == "inference")
    weights = (1 if infers else WEIGHT_COPIES) * case.workload.network.weights * 4
    return (
        BYTES_PER_NEURON_STEP * neurons * case.workload.T * case.workload.batch_size + weights
    ) / 2**20


def available_mib(device: str) -> float:
    """Return the free memory of a device in MiB: the GPU's, or the machine's."""
    if device != "cpu":
        return torch.cuda.mem_get_info(torch.device(device))[0] / 2**20
    return psutil.virtual_memory().available / 2**20


def spare_mib() -> float:
    """Return how much of the machine's memory is to stay free, in MiB."""
    return SPARE * psutil.virtual_memory().total / 2**20


def too_large(case: Case) -> str | None:
    """Return why a case does not fit into memory, with the estimate; None if it does."""
    needed, free = case_mib(case), available_mib(case.device)
    if needed <= free:
        return None
    return (
        f"it would take about {needed:,.0f} MiB and {free:,.0f} MiB are free on {case.device}: "
        "use a smaller --batch-size, --steps or --width"
    )


def is_exhausted(error: BaseException) -> bool:
    """Return whether an error says that the memory of a process or its GPU ran out."""
    kinds = MemoryError, torch.OutOfMemoryError
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def process_tree(pid: int | None = None) -> list[psutil.Process]:
    """Return a process, by default this one, and all its descendants."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def resident_mib(pid: int | None = None) -> float:
    """Return the resident memory in MiB of a process, by default this one, and its descendants."""
    return sum(process.memory_info().rss for process in process_tree(pid)) / 2**20
