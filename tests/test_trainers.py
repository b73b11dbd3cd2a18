"""Trainers of Octave and JAX in all forms: whole iterations, shapes that Table 1 has not, what they
say of themselves, and how they may fail.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from conftest import compare, needs_octave

import adapters
from adapters import facts
from adapters.facts import Missing
from harness.adapter import TrainerSettings, Unsupported, trainer_of
from harness.conformance import random_batch, small
from harness.records import AuditRow, EndedRow, IterationRow, Store
from harness.reference import coding
from harness.reference.initialise import copy_parameters, initialised
from harness.spec import LIF, SGD, Adam, Network, NeuNorm
from harness.training import step

MEAN = NeuNorm(0.9, "mean")
OCTAVE = ("octave", "octave:convn", "octave:conv2")
FORMS = ["jax", "jax:nchw", *(pytest.param(form, marks=needs_octave) for form in OCTAVE)]
READINGS = [  # of NeuNorm; to compile another takes JAX seconds
    *(("jax", MEAN), ("jax:nchw", MEAN)),
    *(
        pytest.param(form, neunorm, marks=needs_octave)
        for form in OCTAVE
        for neunorm in (None, MEAN, NeuNorm(0.9, "literal"))
    ),
]
NETWORKS = (
    # odd maps, whose pools drop a row; kernels of 1 and 5
    Network.parse(
        "3C5(Encoding)-AP2-4C1-AP2-5FC-Voting", input_shape=(2, 7, 9), lif=LIF(0.3, 0.25, 0.5)
    ),
    # maps of which there is one alone
    Network.parse(
        "2C3(Encoding)-AP3-3C3-1C3-Voting", input_shape=(1, 8, 7), lif=LIF(0.25, 0.5, 1.0)
    ),
)


@pytest.mark.parametrize("network", NETWORKS, ids=str)
@pytest.mark.parametrize(("form", "neunorm"), READINGS)
def test_shapes_that_table_1_has_not(form: str, neunorm: NeuNorm | None, network: Network) -> None:
    network = replace(network, neunorm=neunorm)
    module = adapters.load(form).build(network).double()
    for static in (False, True):
        x = random_batch(network, 4, 3, static=static).double()
        x = x[:1].expand_as(x) if static else x
        reference = initialised(network, x, seed=0)
        copy_parameters(reference, module)
        module.zero_grad()
        compare(module, reference, x)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("optimiser", [SGD(), Adam(1e-3)], ids=["SGD", "Adam"])
def test_four_iterations_are_torch_s(optimiser: Any, form: str) -> None:
    network = small("cifar10", "Small", "mean")
    x, labels = random_batch(network, 3, 4, static=True).double(), torch.tensor([0, 3, 9, 3])
    module = initialised(network, x, seed=0)
    make = trainer_of(adapters.load(form))
    assert make is not None
    trainer = make(network, TrainerSettings("fp64", "training", optimiser, 1))
    trainer.load([each.detach() for each in module.parameters()])
    batch = trainer.put(x, labels)
    optimise = step.optimiser(module.parameters(), optimiser)
    for _ in range(4):
        optimise.zero_grad()
        loss = coding.loss(coding.vote(module(x), network.classes), labels)
        loss.backward()
        optimise.step()
        assert trainer.step(batch) == pytest.approx(loss.item(), rel=1e-12)
    for ours, theirs in zip(trainer.parameters(), module.parameters(), strict=True):
        assert (ours - theirs).abs().max().item() <= 1e-12 * theirs.abs().max().item()
    trainer.close()


def test_jax_compiles_for_sizes_once_and_before_the_clock_starts() -> None:
    make = trainer_of(adapters.load("jax"))
    assert make is not None
    network = small("nmnist")
    trainer: Any = make(network, TrainerSettings("fp64", "training", Adam(), 1))
    x = random_batch(network, 2, 3, static=False).double()
    trainer.load(list(initialised(network, x, seed=0).parameters()))
    batch = trainer.put(x, torch.zeros(3, dtype=torch.int64))
    assert len(trainer._programs) == 1
    trainer.step(batch)
    trainer.put(x + 1, torch.ones(3, dtype=torch.int64))
    assert len(trainer._programs) == 1
    for number, part in ((2, x[:1]), (3, x[:, :2])):
        trainer.put(part, torch.ones(part.shape[1], dtype=torch.int64))
        assert len(trainer._programs) == number


@pytest.fixture
def octave() -> ModuleType:
    module: Any = adapters.load("octave")
    return module


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


def test_they_say_what_computes() -> None:
    jax = facts.of("jax")
    assert jax.implementations["cpu"].startswith("XLA of jaxlib ")
    assert {"jax", "jaxlib", "optax"} <= {*jax.packages}


@needs_octave
def test_octave_says_what_computes(octave: ModuleType) -> None:
    found = facts.of("octave")
    assert found.version and found.version.startswith("GNU Octave ")
    assert found.packages["octave"] == found.version and "BLAS" in found.implementations["cpu"]
    slow = octave.About("GNU Octave", "9", "Reference BLAS")
    assert str(slow).endswith("slow, apt-get install octave libopenblas0")
    assert "slow" not in str(octave.About("GNU Octave", "9", "OpenBLAS (config: Haswell)"))


@needs_octave
def test_an_interpreter_survives_an_error_says_how_it_dies_and_ends_with_who_started_it(
    octave: ModuleType,
) -> None:
    engine = octave.Engine(1)
    with pytest.raises(RuntimeError, match="step: .*net"):
        engine.ask("step")
    with pytest.raises(RuntimeError, match="unknown command dance"):
        engine.ask("dance")
    assert engine.about().program == "GNU Octave"
    os.kill(engine.process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="octave-cli ended with exit code -9"):
        engine.about()
    engine = octave.Engine(1)
    folder, process = Path(engine.folder.name), engine.process
    assert folder.is_dir() and process.poll() is None
    del engine
    assert process.poll() is not None and not folder.exists()


@needs_octave
def test_what_it_has_not_is_said_and_the_command_that_installs_it(
    octave: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(Unsupported, match="fp32 and fp64"):
        octave.trainer(small("cifar10"), TrainerSettings("bf16", "training", SGD(), 1))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Missing, match="neither octave-cli nor matlab is on the PATH: apt-get"):
        octave.program()
    monkeypatch.setenv("HARNESS_OCTAVE", "matlab")
    with pytest.raises(Missing, match="matlab, which HARNESS_OCTAVE names, is not on the PATH"):
        octave.program()


@needs_octave
@pytest.mark.slow
def test_a_small_cell_of_it_live(tmp_path: Path) -> None:
    network = "8C3(Encoding)-AP2-8C3-AP2-16FC-Voting"
    options = ["--suite", "acceleration", "--networks", network, "--datasets", "cifar10"]
    forms = ["--frameworks", ",".join(("reference", *OCTAVE)), "--quick", "--out", str(tmp_path)]
    main = "from harness.cli import main; main()"
    command = [sys.executable, "-P", "-c", main, "run", *options, *forms]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    rows, damaged = Store(tmp_path).read()
    assert not damaged and not [row.reason for row in rows if isinstance(row, EndedRow)]
    for form in OCTAVE:
        _, _, variant = form.partition(":")
        own = [r for r in rows if r.framework == "octave" and r.variant == (variant or None)]
        assert sum(isinstance(row, IterationRow) for row in own) >= 2
        audits = [(row.when, row.passed) for row in own if isinstance(row, AuditRow)]
        assert audits == [("before", True), ("after", True)]
        assert {row.framework_version for row in own} == {facts.of("octave").version}
