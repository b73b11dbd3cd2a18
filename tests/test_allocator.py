"""Whether the process keeps its memory is said as it is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.system import allocator


def test_a_preloaded_allocator_is_left_alone_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "libjemalloc.so")
    assert allocator.choose("keep") == "system, LD_PRELOAD=libjemalloc.so"


def test_system_changes_nothing() -> None:
    assert allocator.choose("system") == "system"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_kept_memory_is_not_taken_from_the_system_twice() -> None:
    # in a process of its own: it cannot be undone
    code = """
import resource, torch
from harness.system import allocator
assert allocator.choose("keep") == "glibc, memory kept"
torch.zeros(256 * 2**20, dtype=torch.uint8).fill_(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.zeros(200 * 2**20, dtype=torch.uint8).fill_(1)
pages = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
assert pages < 0.1 * 200 * 2**20 / resource.getpagesize(), pages
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
