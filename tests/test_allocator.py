"""Whether the process keeps its memory is said as it is."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from rows import CASE

from harness.jobs.local import Measure
from harness.records.build import Run
from harness.records.ledger import Owner
from harness.spec import Access, Budget
from harness.speed import schedule
from harness.system import allocator, machine


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


@pytest.fixture
def tunables(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """What programs are told that start from now on; a process that keeps memory changes nothing
    here.
    """
    monkeypatch.setenv("GLIBC_TUNABLES", "")
    monkeypatch.setattr(allocator, "choose", lambda chosen: allocator.KEPT)
    return monkeypatch


@pytest.mark.skipif(
    not allocator._has_huge_pages(), reason="no huge pages, or no glibc that asks for them"
)
def test_programs_that_start_later_have_huge_pages(tunables: pytest.MonkeyPatch) -> None:
    code = """
import re, torch
from harness.system import allocator
assert allocator.choose("keep") == allocator.KEPT
held = torch.zeros(256 * 2**20, dtype=torch.uint8).fill_(1)
text = open("/proc/self/smaps_rollup").read()
print(int(re.search(r"AnonHugePages: +([0-9]+) kB", text).group(1)))
"""

    def huge_mib() -> float:
        found = subprocess.run(
            [sys.executable, "-c", code], check=True, timeout=120, capture_output=True, text=True
        )
        return int(found.stdout) / 1024

    if "[madvise]" in allocator._SYSTEMS_HUGE.read_text(encoding="utf-8"):
        assert huge_mib() < 100  # none that did not ask
    assert allocator.hand_on("keep") == "glibc, memory kept, huge pages"
    assert allocator.hand_on("keep") == "glibc, memory kept, huge pages"  # once more
    assert huge_mib() > 200


def test_huge_pages_are_not_said_where_there_are_none(
    tunables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = tmp_path / "enabled"
    tunables.setattr(allocator, "_SYSTEMS_HUGE", place)
    for offered in (None, "always madvise [never]\n"):
        if offered:
            place.write_text(offered)
        assert allocator.hand_on("keep") == "glibc, memory kept"
        assert os.environ["GLIBC_TUNABLES"] == ""
    place.write_text("always [madvise] never\n")
    for version in (("glibc", "2.34"), ("", "")):
        tunables.setattr(platform, "libc_ver", lambda found=version: found)
        assert allocator.hand_on("keep") == "glibc, memory kept"
    tunables.setattr(platform, "libc_ver", lambda: ("glibc", "2.41"))
    assert allocator.hand_on("keep") == "glibc, memory kept, huge pages"


def test_what_the_user_tells_glibc_stays_and_is_named(tunables: pytest.MonkeyPatch) -> None:
    tunables.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=0")
    said = "glibc, memory kept, GLIBC_TUNABLES=glibc.malloc.hugetlb=0"
    assert allocator.hand_on("keep") == said
    assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=0"


def test_the_systems_allocator_has_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    assert allocator.hand_on("system") == "system"
    assert "GLIBC_TUNABLES" not in os.environ


def test_a_timings_machine_is_as_the_user_set_it_up(
    tunables: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tunables.delenv("GLIBC_TUNABLES")
    tunables.setattr(allocator, "_has_huge_pages", lambda: True)
    before, seen = machine.describe(torch.device("cpu")), list[Run]()

    def run(cases: object, ledger: object, access: object, budget: object, *rest: Any) -> list[Any]:
        seen.append(rest[0])
        return []

    tunables.setattr(schedule, "run", run)
    measure = Measure((CASE,), tmp_path, Access(tmp_path), Budget(), ("a run",), 1.0)
    list(measure(cast(Owner, None), iter(())))
    (at,) = seen
    assert at.machine == before and at.allocator == "glibc, memory kept, huge pages"
    assert machine.describe(torch.device("cpu")) != before  # what it starts is told apart
