"""The network in Octave's language: all forms, what it says of itself, and how it may fail."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from conftest import needs_octave

import adapters
from adapters import facts
from adapters.facts import Missing
from harness.adapter import TrainerSettings, Unsupported
from harness.conformance import random_batch, small
from harness.records import AuditRow, EndedRow, IterationRow, Store
from harness.reference.initialise import initialised
from harness.spec import SGD

FORMS = ("octave", "octave:convn", "octave:conv2")


@pytest.fixture
def octave() -> ModuleType:
    adapters.load("octave")
    import adapters.octave as module

    return module


@pytest.fixture
def interpreter(octave: ModuleType) -> ModuleType:
    return importlib.import_module("adapters.foreign.interpreter")


@needs_octave
def test_networks_share_an_interpreter_and_keep_apart(octave: ModuleType) -> None:
    first, second = (small("cifar10", scale) for scale in ("Small", "Middle"))
    settings = TrainerSettings("fp64", "inference", SGD(), 1)
    made = []
    for network in (first, second):
        x = random_batch(network, 3, 2, static=True).double()
        reference = initialised(network, x, seed=0)
        trainer = octave.trainer(network, settings)
        trainer.load(list(reference.parameters()))
        made.append((trainer, trainer.put(x, torch.zeros(2, dtype=torch.int64)), reference(x)))
    assert made[0][0].engine is made[1][0].engine
    for trainer, batch, expected in made:
        trainer.infer(batch)
        assert torch.equal(trainer.out(), expected.detach())
        trainer.close()


@needs_octave
def test_it_says_what_computes(interpreter: ModuleType) -> None:
    found = facts.of("octave")
    assert found.version and found.version.startswith("GNU Octave ")
    assert dict(found.packages)["octave"] == found.version
    assert "BLAS" in (adapters.implementation("octave", "cpu") or "")
    slow = interpreter.About("GNU Octave", "9", "Reference BLAS")
    assert str(slow).endswith("slow, apt-get install octave libopenblas0")
    assert "slow" not in str(interpreter.About("GNU Octave", "9", "OpenBLAS (config: Haswell)"))


@needs_octave
def test_an_error_in_the_m_code_is_said_and_the_interpreter_goes_on(
    interpreter: ModuleType,
) -> None:
    engine = interpreter.Engine(1)
    with pytest.raises(RuntimeError, match="step: .*net"):
        engine.ask("step")
    with pytest.raises(RuntimeError, match="unknown command dance"):
        engine.ask("dance")
    assert engine.about().program == "GNU Octave"


@needs_octave
def test_one_that_dies_says_how(
    interpreter: ModuleType,
) -> None:
    engine = interpreter.Engine(1)
    engine.about()
    os.kill(engine.process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="octave-cli ended with exit code -9"):
        engine.about()


@needs_octave
def test_it_ends_with_who_started_it(
    interpreter: ModuleType,
) -> None:
    engine = interpreter.Engine(1)
    folder, process = Path(engine.folder.name), engine.process
    assert folder.is_dir()
    del engine
    assert process.poll() is not None and not folder.exists()


@needs_octave
def test_what_it_has_not_is_said(octave: ModuleType) -> None:
    settings = TrainerSettings("bf16", "training", SGD(), 1)
    with pytest.raises(Unsupported, match="fp32 and fp64"):
        octave.trainer(small("cifar10"), settings)


@needs_octave
def test_where_it_is_missing_the_command_that_installs_it_is_named(
    interpreter: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="apt-get install octave libopenblas0"):
        interpreter.program()
    monkeypatch.setenv("HARNESS_OCTAVE", "matlab")
    with pytest.raises(Missing, match="HARNESS_OCTAVE names matlab"):
        interpreter.program()


@needs_octave
@pytest.mark.slow
def test_a_small_cell_of_it_live(tmp_path: Path) -> None:
    network = "8C3(Encoding)-AP2-8C3-AP2-16FC-Voting"
    options = ["--suite", "acceleration", "--networks", network, "--datasets", "cifar10"]
    forms = ["--frameworks", ",".join(("reference", *FORMS)), "--quick", "--out", str(tmp_path)]
    main = "from harness.cli import main; main()"
    command = [sys.executable, "-P", "-c", main, "run", *options, *forms]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    rows, damaged = Store(tmp_path).read()
    assert not damaged and not [row.reason for row in rows if isinstance(row, EndedRow)]
    for form in FORMS:
        _, _, variant = form.partition(":")
        own = [r for r in rows if r.framework == "octave" and r.variant == (variant or None)]
        assert sum(isinstance(row, IterationRow) for row in own) >= 2
        audits = [(row.when, row.passed) for row in own if isinstance(row, AuditRow)]
        assert audits == [("before", True), ("after", True)]
        assert {row.framework_version for row in own} == {facts.of("octave").version}
