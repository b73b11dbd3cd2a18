"""Children keep their memory, have huge pages where there are any, and rows say it as it is."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
from pathlib import Path

import pytest
import torch

from harness.system import allocator, machine
from harness.system.child import Child

KEPT = "glibc, memory kept"


def taken_twice() -> tuple[float, float]:
    """The share of a block's pages that are new the second time, and MiB in huge pages."""
    torch.zeros(256 * 2**20, dtype=torch.uint8).fill_(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    held = torch.zeros(200 * 2**20, dtype=torch.uint8).fill_(1)
    new = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    text = Path("/proc/self/smaps_rollup").read_text()
    (huge,) = re.findall(r"AnonHugePages: +([0-9]+) kB", text)
    return new * resource.getpagesize() / held.numel(), int(huge) / 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_a_child_keeps_its_memory_as_the_row_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    here = machine.describe(torch.device("cpu"))
    with Child() as child:
        new, huge = child.call(taken_twice)
        assert new < 0.1
        if allocator.of_children() == f"{KEPT}, huge pages":
            assert huge > 150
        assert "GLIBC_TUNABLES" not in os.environ
        # its machine is as the user set it up
        assert child.call(machine.describe, torch.device("cpu")) == here


def test_what_is_said_of_children_is_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "enabled"
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(allocator, "_SYSTEMS_HUGE", place)
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.41"))
    assert allocator.of_children() == KEPT
    place.write_text("always madvise [never]\n")
    assert allocator.of_children() == KEPT
    place.write_text("always [madvise] never\n")
    assert allocator.of_children() == f"{KEPT}, huge pages"
    monkeypatch.setattr(platform, "libc_ver", lambda: ("glibc", "2.34"))
    assert allocator.of_children() == KEPT
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")  # the user's own
    assert allocator.of_children() == f"{KEPT}, GLIBC_TUNABLES=glibc.malloc.hugetlb=0"
    assert allocator.for_programs() == {}
    monkeypatch.setenv("LD_PRELOAD", "libjemalloc.so")
    assert allocator.of_children() == allocator.keep() == "system, LD_PRELOAD=libjemalloc.so"
