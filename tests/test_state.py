"""Who changes what a process computes with is seen, and named."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from harness.system import state


def test_nothing_changes_by_looking() -> None:
    assert state.taken().changes(state.taken()) == ()


# each deed, what undoes it, and what is said of it
DEEDS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "sets the default dtype to torch.float64": (
        lambda: torch.set_default_dtype(torch.float64),
        lambda: torch.set_default_dtype(torch.float32),
    ),
    "sets the default device to meta": (
        lambda: torch.set_default_device("meta"),
        lambda: torch.set_default_device(None),
    ),
    "sets deterministic algorithms to on": (
        lambda: torch.use_deterministic_algorithms(True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "sets deterministic algorithms to a warning": (
        lambda: torch.use_deterministic_algorithms(True, warn_only=True),
        lambda: torch.use_deterministic_algorithms(False),
    ),
    "sets gradients to off": (
        lambda: torch.set_grad_enabled(False),
        lambda: torch.set_grad_enabled(True),
    ),
    "sets anomaly detection to on": (
        lambda: torch.autograd.set_detect_anomaly(True),
        lambda: torch.autograd.set_detect_anomaly(False),
    ),
    "sets autocast on the CPU to torch.bfloat16": (
        lambda: torch.set_autocast_enabled("cpu", True),
        lambda: torch.set_autocast_enabled("cpu", False),
    ),
    "sets mkldnn to off": (
        lambda: torch.backends.mkldnn.set_flags(False),
        lambda: torch.backends.mkldnn.set_flags(True),
    ),
    "sets cuDNN's switches to enabled, benchmark, allow_tf32": (
        lambda: setattr(torch.backends.cudnn, "benchmark", True),
        lambda: setattr(torch.backends.cudnn, "benchmark", False),
    ),
    "sets denormal numbers to flushed to 0": (
        lambda: torch.set_flush_denormal(True),
        lambda: torch.set_flush_denormal(False),
    ),
    "sets the garbage collector to off": (gc.disable, gc.enable),
    "sets the handler of SIGUSR1 to SIG_IGN": (
        lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN),
        lambda: signal.signal(signal.SIGUSR1, signal.SIG_DFL),
    ),
}


@pytest.mark.parametrize("said", DEEDS)
def test_a_change_is_named(said: str) -> None:
    do, undo = DEEDS[said]
    before = state.taken()
    do()
    try:
        after = state.taken()
    finally:
        undo()
    assert before.changes(after) == (said,)
    assert before.changes(state.taken()) == ()


def test_threads_precision_and_folder_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = state.taken()
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    monkeypatch.chdir(tmp_path)
    torch.set_num_threads(threads + 1)
    torch.set_float32_matmul_precision("medium")
    try:
        said = before.changes(state.taken())
    finally:
        torch.set_num_threads(threads)
        torch.set_float32_matmul_precision(precision)
    assert said[0] == f"sets torch's threads to {threads + 1}"
    assert f"sets the working folder to {tmp_path}" in said
    assert "sets the precision of float32 products to medium" in said


@pytest.mark.parametrize(
    ("place", "name"),
    [(time, "perf_counter"), (functional, "conv2d"), (torch, "conv2d")],
    ids=["clock", "functional", "torch"],
)
def test_a_function_that_another_stands_for_is_named(
    place: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = state.taken()
    monkeypatch.setattr(place, name, test_nothing_changes_by_looking)
    (said,) = before.changes(state.taken())
    assert f".{name} to " in said and said.endswith("test_nothing_changes_by_looking")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_the_cores_that_a_process_may_use_and_its_priority_are_named() -> None:
    code = (
        "import os; from harness.system import state; before = state.taken(); os.nice(1);"
        "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "print(before.changes(state.taken()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert "sets the priority to" in done.stdout
    several = len(os.sched_getaffinity(0)) > 1
    assert ("sets the cores to run on to" in done.stdout) == several


def test_a_folder_that_is_gone_is_no_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert ("the working folder", "one that is no longer there") in state.taken().values
