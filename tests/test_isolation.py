"""A contender may crash, hang, eat memory or print garbage: it costs its own row, no more."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from harness.records import EndedRow, Row, Store, TimedRow, TrainedRow

PLANTED = """
import os, signal, time
import torch
from harness.adapter import Variant
from harness.reference.network import ReferenceNetwork

DEVIATIONS = ()

class Evil(ReferenceNetwork):
    deed = staticmethod(lambda: None)

    def forward(self, x):
        timed = x.dtype == torch.float32 and x.shape[1] in (4, 20)  # not when it is examined
        if timed and torch.is_grad_enabled():
            type(self).deed()
        return super().forward(x)

def crash():
    os.kill(os.getpid(), signal.SIGSEGV)

def hang():
    time.sleep(3600)

HOARD = []

def eat():
    while True:
        HOARD.append(torch.empty(2**28, dtype=torch.uint8))  # refused before it is touched

def babble():
    os.write(1, b"\\x00\\xff[1, 2\\n" * 1000)
    os.write(2, b'{"kind": "iteration"}\\n' * 1000)

def named(deed):
    made = type(deed.__name__, (Evil,), {"deed": staticmethod(deed)})
    return Variant((), made)

def build(network):
    return ReferenceNetwork(network)

VARIANTS = {deed.__name__: named(deed) for deed in (crash, hang, eat, babble)}
"""
TINY = "8C3(Encoding)-AP2-8C3-AP2-16FC-Voting"


@pytest.fixture
def planted(tmp_path: Path) -> dict[str, str]:
    """The environment of a process where an adapter of these tests is installed."""
    site = tmp_path / "site"
    info = site / "planted-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "planted.py").write_text(PLANTED)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[harness.adapters]\nplanted = planted\n")
    return {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "cache")}


COMMAND = """
from functools import partial
from harness.cli import main
from harness.jobs import local

local.Local = partial(local.Local, silence=30.0)  # so that one that hangs does so not for long
main()
"""


def harness(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-c", COMMAND, *arguments]
    return subprocess.run(
        call, env=env, capture_output=True, text=True, timeout=500, preexec_fn=_little_memory
    )


def _little_memory() -> None:
    """So that eating it all does not take long."""
    limit = 6 * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def rows_of(out: Path) -> list[Row]:
    rows, damaged = Store(out).read()
    assert not damaged
    return rows


def reasons(rows: list[Row]) -> dict[str, str]:
    return {
        row.variant or row.framework: row.reason
        for row in rows
        if isinstance(row, EndedRow) and row.status == "failed"
    }


@pytest.mark.slow
def test_one_that_takes_its_process_along_costs_its_own_row_in_a_timed_cell(
    planted: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    evil = "planted:crash,planted:hang,planted:eat,planted:babble"
    call = ["run", "--suite", "acceleration", "--datasets", "cifar10", "--networks", TINY]
    call += ["--steps", "4", "--batch-size", "4", "--budget", "4s"]
    done = harness(*call, "--frameworks", f"reference,{evil}", "--out", str(out), env=planted)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    rows = rows_of(out)
    why = reasons(rows)
    assert "SIGSEGV" in why["crash"]
    assert "said nothing for 30 s" in why["hang"]
    assert "can't allocate memory" in why["eat"]
    assert set(why) == {"crash", "hang", "eat"}
    assert sum(isinstance(row, EndedRow) for row in rows) == 3
    timed = {row.variant or row.framework for row in rows if isinstance(row, TimedRow)}
    assert timed == {"reference", "babble", "floor"}
    for name in ("crash", "hang", "eat"):
        assert f"planted:{name}" in done.stdout


@pytest.mark.slow
def test_one_that_takes_its_process_along_costs_its_own_training(
    planted: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    evil = "planted:crash,planted:hang,planted:eat,planted:babble"
    call = ["run", "--suite", "scale", "--quick", "--datasets", "cifar10", "--networks", TINY]
    call += ["--epochs", "1", "--samples", "60", "--width", "1"]
    done = harness(*call, "--frameworks", f"{evil},planted", "--out", str(out), env=planted)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    rows = rows_of(out)
    assert set(reasons(rows)) == {"crash", "hang", "eat"}
    trained = [row.variant or row.framework for row in rows if isinstance(row, TrainedRow)]
    assert trained == ["babble", "planted"]


def test_a_case_that_cannot_fit_is_refused_with_the_estimate(
    planted: dict[str, str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call = ["run", "--suite", "acceleration", "--datasets", "cifar10", "--networks", "Large"]
    call += ["--frameworks", "reference", "--batch-size", "1000", "--steps", "9000"]
    done = harness(*call, "--no-download", "--out", str(out), env=planted)
    assert done.returncode == 1
    (ended,) = rows_of(out)
    assert isinstance(ended, EndedRow) and "it would take about" in ended.reason
