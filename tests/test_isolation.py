"""A contender may crash, hang, eat memory or print garbage: it costs its own row, no more."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import declare

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
EVIL = "planted:crash,planted:hang,planted:eat,planted:babble"
COMMAND = """
from functools import partial
from harness.cli import main
from harness.jobs import local

local.Local = partial(local.Local, silence=30.0)  # so that one that hangs does so not for long
main()
"""
pytestmark = pytest.mark.slow
Harness = Callable[..., tuple[subprocess.CompletedProcess[str], list[Row]]]


@pytest.fixture
def harness(tmp_path: Path) -> Harness:
    """Runs a command where an adapter of these tests is installed; it fails, and rows are there."""
    declare(tmp_path / "site", "planted", PLANTED)
    site, cache, out = (str(tmp_path / name) for name in ("site", "cache", "out"))
    env = {**os.environ, "PYTHONPATH": site, "XDG_CACHE_HOME": cache}

    def run(*words: str) -> tuple[subprocess.CompletedProcess[str], list[Row]]:
        call = [sys.executable, "-c", COMMAND, "run", "--datasets", "cifar10", *words, "--out", out]
        done = subprocess.run(
            call, env=env, capture_output=True, text=True, timeout=500, preexec_fn=_little_memory
        )
        assert done.returncode == 1, done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        rows, damaged = Store(Path(out)).read()
        assert not damaged
        return done, rows

    return run


def _little_memory() -> None:
    """So that eating it all does not take long."""
    limit = 6 * 2**30
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def reasons(rows: list[Row]) -> dict[str, str]:
    ended = [row for row in rows if isinstance(row, EndedRow)]
    assert all(row.status == "failed" for row in ended)
    assert len({row.contender for row in ended}) == len(ended)
    return {row.variant or row.framework: row.reason for row in ended}


def test_one_that_takes_its_process_along_costs_its_own_row_in_a_timed_cell(
    harness: Harness,
) -> None:
    call = ["--suite", "acceleration", "--networks", TINY, "--steps", "4", "--batch-size", "4"]
    done, rows = harness(*call, "--budget", "4s", "--frameworks", f"reference,{EVIL}")
    why = reasons(rows)
    assert set(why) == {"crash", "hang", "eat"}
    assert "SIGSEGV" in why["crash"]
    assert "said nothing for 30 s" in why["hang"]
    assert "can't allocate memory" in why["eat"]
    timed = {row.variant or row.framework for row in rows if isinstance(row, TimedRow)}
    assert timed == {"reference", "babble", "floor"}
    for name in why:
        assert f"planted:{name}" in done.stdout


def test_one_that_takes_its_process_along_costs_its_own_training(harness: Harness) -> None:
    call = ["--suite", "scale", "--quick", "--networks", TINY, "--epochs", "1", "--samples", "60"]
    _, rows = harness(*call, "--width", "1", "--frameworks", f"{EVIL},planted")
    assert set(reasons(rows)) == {"crash", "hang", "eat"}
    trained = [row.variant or row.framework for row in rows if isinstance(row, TrainedRow)]
    assert trained == ["babble", "planted"]
