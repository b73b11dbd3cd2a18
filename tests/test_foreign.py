"""Contenders that run in a runtime of their own: proved, audited and timed as any other; and those
of Octave and JAX in all forms: whole iterations, unusual shapes, their versions, and their
failures.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from surroundings import needs_octave
from test_schedule import TINY, case, measure, pick, plant, rows_in
from torch import Tensor, nn
from torch_modules import close, compare, pair

import adapters
from adapters import facts, foreign
from adapters.facts import Missing
from harness import records
from harness.adapter import (
    TrainerSettings,
    Unsupported,
    exam_builder,
    record_spikes,
    trainer_of,
    tuned,
)
from harness.analysis import timings
from harness.analysis.frame import frames
from harness.conformance import random_batch, small
from harness.machine import clock
from harness.proof.answer import Incomparable
from harness.reference.initialise import copy_parameters, initialised
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import LIF, SGD, Adam, Network, NeuNorm, paper
from harness.speed import iteration
from harness.speed.iteration import OfTrainer, Part, part_of
from harness.speed.worker import Worker
from harness.training import step

WIDE = paper.network("64C3(Encoding)-AP2-64C3-AP2-64FC-Voting", "cifar10")[1]


@dataclass(eq=False)
class Sound:
    """The reference as if it were in a runtime of its own."""

    network: Network
    settings: TrainerSettings
    closed: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.module = ReferenceNetwork(self.network).to(DTYPES[self.settings.precision])
        self.optimise = step.optimiser(self.module.parameters(), self.settings.optimiser)
        self.last: Tensor | None = None

    def load(self, parameters: Sequence[Tensor]) -> None:
        copy_parameters(nn.ParameterList(parameters), self.module)

    def put(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return x, labels

    def step(self, batch: tuple[Tensor, Tensor]) -> float:
        settings: Any = {"classes": self.network.classes, "precision": self.settings.precision}
        done = step.iteration(self.module, self.optimise, *batch, **settings)
        self.last = done.spikes
        return done.loss.item()

    def infer(self, batch: tuple[Tensor, Tensor]) -> None:
        with torch.no_grad():
            self.last = self.module(batch[0])

    def out(self) -> Tensor:
        assert self.last is not None
        return self.last.clone()

    def gradients(self) -> list[Tensor]:
        return [p.grad.clone() for p in self.module.parameters() if p.grad is not None]

    def parameters(self) -> list[Tensor]:
        return [p.detach().clone() for p in self.module.parameters()]

    def spikes(self, batch: tuple[Tensor, Tensor]) -> list[Tensor]:
        with record_spikes(self.module) as taps:
            self.infer(batch)
            return [tap.collected() for tap in taps]

    def differentiate(self, batch: tuple[Tensor, Tensor], back: Tensor) -> list[Tensor]:
        self.module.zero_grad()
        with torch.enable_grad():  # torch asks for it in a backward pass of its own
            (self.module(batch[0]) * back).sum().backward()
        return self.gradients()

    def close(self) -> None:
        self.closed.append(True)


class LearnsSlowly(Sound):
    """Its optimiser is another."""

    def __post_init__(self) -> None:
        self.settings = replace(self.settings, optimiser=Adam(lr=1e-5))
        super().__post_init__()


class HidesItsWeights(Sound):
    """Has no weights to compare, nor to be read before the clock stops."""

    def parameters(self) -> list[Tensor]:
        return []


class ForgetsTime(Sound):
    """Weighs all steps alike, as a loss does: the gradient of the steps' mean."""

    def differentiate(self, batch: tuple[Tensor, Tensor], back: Tensor) -> list[Tensor]:
        return super().differentiate(batch, back.mean(0, keepdim=True).expand_as(back))


class SkipsTheEnd(Sound):
    """Computes three of four steps where it is timed, and repeats the last."""

    def step(self, batch: tuple[Tensor, Tensor]) -> float:
        loss = super().step((batch[0][:3], batch[1]))
        assert self.last is not None
        self.last = torch.cat([self.last, self.last[-1:]])
        return loss


class AnswersFromMemory(Sound):
    """Does the first step alone, and says the same ever after."""

    loss: float | None = None

    def step(self, batch: tuple[Tensor, Tensor]) -> float:
        if self.loss is None:
            self.loss = super().step(batch)
        return self.loss


class SaysNoNumber(Sound):
    """Its loss is none."""

    def step(self, batch: tuple[Tensor, Tensor]) -> float:
        super().step(batch)
        return float("nan")


class PutsOff(Sound):
    """Has a loss, and works at its gradients when they are read."""

    def gradients(self) -> list[Tensor]:
        time.sleep(0.03)
        return super().gradients()


class Waits(Sound):
    """Notes what it is asked, and works at it when its output is first read."""

    noted = False

    def step(self, batch: tuple[Tensor, Tensor]) -> float:
        self.noted = True
        return super().step(batch)

    def out(self) -> Tensor:
        time.sleep(0.1 * self.noted)
        self.noted = False
        return super().out()


PLANTED: dict[str, tuple[type[Sound], str]] = {  # and how it is refused
    "forgets-time": (ForgetsTime, "gradients differ"),
    "learns-slowly": (LearnsSlowly, "its optimiser does not do what SGD"),
    "hides-its-weights": (HidesItsWeights, r"its new weights have the shapes \[\]"),
    "skips-the-end": (SkipsTheEnd, "not the voting layer's|not what its inputs|gradient of"),
    "answers-from-memory": (AnswersFromMemory, "that of its votes"),
    "says-no-number": (SaysNoNumber, "a timed iteration gave numbers that are not finite"),
    "puts-off": (PutsOff, "of an iteration's time was left when the clock stopped"),
}


class HeldUpOnce(Sound):
    """A neighbour has the machine while its gradients are read, in one round of each start."""

    reads = 0

    def gradients(self) -> list[Tensor]:
        self.reads += 1  # the first audit, the untimed turn, the first round
        time.sleep(0.03 * (self.reads == 3))
        return super().gradients()


HONEST = {"": Sound, "waits": Waits, "held-up-once": HeldUpOnce}
adapter = foreign.variant


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    forms = HONEST | {form: cheat for form, (cheat, _) in PLANTED.items()}
    plant(monkeypatch, lambda form: adapter(forms[form]), dict.fromkeys(forms, ()))


class HoldsOne(Sound):
    """Has one batch at a time, as a program of its own does."""

    def put(self, x: Tensor, labels: Tensor) -> Any:
        self.held = x, labels
        return 0

    def infer(self, batch: Any) -> None:
        super().infer(self.held)

    def differentiate(self, batch: Any, back: Tensor) -> list[Tensor]:
        return super().differentiate(self.held, back)


def test_a_gradient_is_of_the_batch_and_the_weights_of_its_own_call() -> None:
    module = adapter(HoldsOne).build(TINY)
    x, other = (random_batch(TINY, 2, 2, static=True, seed=seed) for seed in (0, 1))
    halves = {name: p.detach() / 2 for name, p in module.named_parameters()}
    expected = torch.autograd.grad(module(x).sum(), list(module.parameters()))
    for batch, weights in ((other, {}), (x, halves)):
        out = module(x)
        torch.func.functional_call(module, weights, (batch,))
        gradients = torch.autograd.grad(out.sum(), list(module.parameters()))
        assert all(map(torch.equal, gradients, expected)) and any(g.any() for g in gradients)


def test_a_trainer_refuses_unsupported_forms_and_ends_with_its_module() -> None:
    with pytest.raises(Unsupported, match="no dropout"):
        adapter(Sound).build(replace(TINY, dropout=0.5))
    with pytest.raises(Unsupported, match="a form of torch modules"):
        exam_builder(tuned(adapter(Sound), "compiled"))(TINY)  # nor is it examined
    module = adapter(Sound).build(TINY)
    x = random_batch(TINY, 2, 2, static=True)
    with pytest.raises(Unsupported, match="not of cuda: use --device cpu"):
        foreign.check(TINY, "fp32", "cuda")
    with (
        pytest.raises(Unsupported, match="not under torch's autocast"),
        torch.autocast("cpu", torch.bfloat16),
    ):
        module(x)
    closed: list[bool] = []
    module = adapter(partial(Sound, closed=closed)).build(TINY)
    module(x)
    assert not closed
    del module
    assert closed


@pytest.mark.parametrize(("mode", "dataset"), [("training", "cifar10"), ("inference", "nmnist")])
def test_a_trainer_is_proved_audited_and_timed(tmp_path: Path, mode: Any, dataset: str) -> None:
    network = paper.network("8C3(Encoding)-AP2-8C3-AP2-16FC-Voting", dataset)[1]
    optimiser = paper.settings(dataset).optimiser
    rows = measure(
        tmp_path, "planted", mode=mode, dataset=dataset, network=network, optimiser=optimiser
    )
    assert not pick(rows, records.EndedResult)
    audits = {(row.result.when, row.result.passed) for row in pick(rows, records.AuditResult)}
    assert audits == {("before", True), ("late", True), ("round", True)}
    timed = pick(rows, records.IterationResult, framework="planted")
    assert len(timed) == 4 and all(row.result.part is None for row in timed)
    assert [row.result.peak_memory_mib for row in pick(rows, records.MemoryResult)] == [12.3]
    assert [
        row.result.reason
        for row in pick(rows, records.CertificateResult)
        if not row.result.certified
    ] == []


@pytest.mark.parametrize("form", PLANTED)
def test_a_cheating_trainer_is_refused(tmp_path: Path, form: str) -> None:
    (ended,) = pick(measure(tmp_path, f"planted:{form}", "planted"), records.EndedResult)
    assert (ended.contender.suffix, ended.result.status) == (form, "not comparable")
    assert re.search(PLANTED[form][1], ended.result.reason), ended.result.reason


def test_deferred_work_is_timed(tmp_path: Path) -> None:
    rows = measure(tmp_path, "planted:waits", "planted")
    assert not pick(rows, records.EndedResult)
    for form, least in (("waits", 0.1), (None, 0.0)):
        timed = pick(rows, records.IterationResult, framework="planted", variant=form)
        assert timed and all(least < row.result.seconds for row in timed)


def test_work_left_in_one_round_alone_is_a_busy_machine(tmp_path: Path) -> None:
    assert not pick(measure(tmp_path, "planted:held-up-once", "planted"), records.EndedResult)


Seconds = Callable[[int, int], float]
Parts = tuple[float, ...]


def clocked(
    patch: pytest.MonkeyPatch, seconds: Seconds, parts: Parts = (60.0,), most: float = 60.0
) -> None:
    """Iterations of so many steps and samples take what `seconds` says."""

    def taken(run: Callable[[], object], device: torch.device) -> float:
        run()
        ready = getattr(run, "__self__", None)
        ready = ready._built if isinstance(ready, Worker) else ready
        return seconds(*ready._batch[0].shape[:2]) if isinstance(ready, OfTrainer) else 1.0

    patch.setattr(iteration, "PARTS", parts)
    patch.setattr(iteration, "LONGEST", most)
    patch.setattr(clock, "seconds", taken)


def test_a_long_iteration_is_run_in_part_and_scaled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocked(monkeypatch, lambda t, n: 5.0 * t * n)
    rows = measure(tmp_path, "planted", "reference", network=WIDE)
    assert not pick(rows, records.EndedResult)
    # 5 s a step and sample: three samples at all four steps fit into a minute
    timed = pick(rows, records.IterationResult, framework="planted")
    assert [(row.result.part, round(row.result.seconds)) for row in timed] == [(3 / 4, 80)] * 4
    assert (
        pick(rows, records.UnmeasuredResult)[0].result.reason
        == "3 samples at 4 steps were run, not all"
    )
    lines = timings.lines(frames(rows))
    (line,) = (line for line in lines if line.framework == "planted")
    assert line.part == 3 / 4 and "scaled" in line.reason
    assert "75.00%" in str(line.lacks) and "narrower" in str(line.lacks)
    exams = {
        (row.contender.framework, row.result.examined_network)
        for row in pick(rows, records.CertificateResult)
    }
    assert exams == {("planted", str(WIDE.scaled(Fraction(1, 8)))), ("reference", None)}
    assert {
        row.result.part for row in pick(rows, records.IterationResult, framework="reference")
    } == {None}


# Seconds of so many steps and samples, the limit of a part, the samples, and the part that is run.
PARTS: list[tuple[Seconds, Parts, int, Part | str | None]] = [
    (lambda t, n: 3.6 * t * n, (60.0,), 4, None),
    (lambda t, n: 5.0 * t * n, (60.0,), 4, Part(4, 3)),
    (lambda t, n: 14.0 * t * n, (60.0,), 4, Part(4, 1)),
    # 2 + 12 seconds of 12 against 2 + 4 of 4 are not proportional, 2 + 24 of 24 against 2 + 12
    # of 12 are: a larger part is run
    (lambda t, n: 2.0 + t * n, (18.0, 40.0), 40, Part(4, 6)),
    # a product with the weights, which every sample shares, and little for each of them
    (lambda t, n: t * (20.0 + 2 * n), (60.0,), 4, "cannot be scaled: .* 44.0 s, 2 at 2 "),
    # 24 s of a sample at all steps say 96 s of four, 36 s of all say what it is
    (lambda t, n: 20.0 + t * n, (96.0,), 4, None),
    (lambda t, n: 100.0, (60.0,), 4, "an iteration would take about 1,600 s"),
]


def test_the_largest_proportional_part_that_fits_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for seconds, parts, samples, expected in PARTS:
        clocked(monkeypatch, seconds, parts, 10.0 if samples == 40 else 60.0)
        timing = case("planted", batch_size=samples)
        assert part_of(adapters.load("reference"), timing) is None  # a torch module is run whole
        if isinstance(expected, str):
            with pytest.raises(Incomparable, match=expected):
                part_of(adapter(Sound), timing)
        else:
            assert part_of(adapter(Sound), timing) == expected


# Octave and JAX.

MEAN = NeuNorm(0.9, "mean")
OCTAVE = ("octave", "octave:convn", "octave:conv2")
OPTIMISERS: list[Any] = [("jax", SGD()), ("jax", Adam(1e-3))]
OPTIMISERS += [  # the forms' own optimisers are the same two
    pytest.param(form, Adam(1e-3) if form == "octave:convn" else SGD(), marks=needs_octave)
    for form in OCTAVE
]
NETWORKS = {  # odd maps with pools that drop a row; kernels of 1 and 5; a single map
    "3C5(Encoding)-AP2-4C1-AP2-5FC-Voting": ((2, 7, 9), LIF(0.3, 0.25, 0.5)),
    "2C3(Encoding)-AP3-3C3-1C3-Voting": ((1, 8, 7), LIF(0.25, 0.5, 1.0)),
}


ODD, SINGLE = NETWORKS
UNLIKE = [  # JAX compiles each for seconds
    *(("jax", MEAN, ODD), ("jax", MEAN, SINGLE)),
    *(
        pytest.param(form, neunorm, notation, marks=needs_octave)
        for form in OCTAVE
        for neunorm in (None, MEAN, NeuNorm(0.9, "literal"))
        for notation in NETWORKS
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("form", "neunorm", "notation"), UNLIKE)
def test_odd_shapes_equal_the_reference(form: str, neunorm: NeuNorm | None, notation: str) -> None:
    shape, lif = NETWORKS[notation]
    network = Network.parse(notation, input_shape=shape, lif=lif, neunorm=neunorm)
    for static in (False, True):
        compare(*pair(form, network, 4, 3, static=static))


@pytest.mark.parametrize(("form", "optimiser"), OPTIMISERS)
def test_four_iterations_equal_torchs(form: str, optimiser: SGD | Adam) -> None:
    network = small("cifar10", "Small", "mean")
    x, labels = random_batch(network, 3, 4, static=True).double(), torch.tensor([0, 3, 9, 3])
    make = trainer_of(adapters.load(form))
    assert make is not None
    settings = TrainerSettings("fp64", "training", optimiser, 1)
    trainer, right = make(network, settings), Sound(network, settings)
    for side in (trainer, right):
        side.load([weights.detach() for weights in initialised(network, x, seed=0).parameters()])
    batch = trainer.put(x, labels)
    for _ in range(4):
        assert trainer.step(batch) == pytest.approx(right.step((x, labels)), rel=1e-12)
    close(trainer.parameters(), right.parameters(), within=1e-12)
    trainer.close()


@pytest.mark.slow
def test_jax_compiles_for_sizes_once_and_before_the_clock_starts() -> None:
    import jax

    compiled: list[str] = []

    def note(event: str, duration_secs: float, **more: object) -> None:
        compiled.extend([event] * event.endswith("backend_compile_duration"))

    jax.monitoring.register_event_duration_secs_listener(note)
    make = trainer_of(adapters.load("jax"))
    assert make is not None
    network = small("nmnist")
    trainer: Any = make(network, TrainerSettings("fp64", "training", Adam(), 1))
    x = random_batch(network, 2, 3, static=False).double()
    trainer.load(list(initialised(network, x, seed=0).parameters()))
    batch = trainer.put(x, torch.zeros(3, dtype=torch.int64))
    of_first = len(compiled)
    trainer.step(batch)
    trainer.put(x + 1, torch.ones(3, dtype=torch.int64))
    assert len(compiled) == of_first > 0
    trainer.put(x[:, :2], torch.ones(2, dtype=torch.int64))
    assert len(compiled) > of_first


@pytest.fixture
def octave() -> Any:
    return adapters.load("octave")


@needs_octave
def test_networks_of_one_interpreter_do_not_mix(octave: Any) -> None:
    settings = TrainerSettings("fp64", "inference", SGD(), 1)
    trainers = []
    for network in (small("cifar10", scale) for scale in ("Small", "Middle")):
        x = random_batch(network, 3, 2, static=True).double()
        reference = initialised(network, x, seed=0)
        trainer = octave.trainer(network, settings)
        trainer.load(list(reference.parameters()))
        trainers.append((trainer, trainer.put(x, torch.zeros(2, dtype=torch.int64)), reference(x)))
    assert trainers[0][0].interpreter is trainers[1][0].interpreter
    for trainer, batch, expected in trainers:
        trainer.infer(batch)
        assert torch.equal(trainer.out(), expected.detach())
        trainer.close()


@pytest.mark.parametrize(
    ("name", "runtime", "packages"),
    [
        pytest.param("jax", "XLA of jaxlib ", {"jax", "jaxlib", "optax"}, id="jax"),
        pytest.param("octave", "BLAS", {"octave"}, id="octave", marks=needs_octave),
    ],
)
def test_a_runtime_of_its_own_is_named(name: str, runtime: str, packages: set[str]) -> None:
    runtime_facts = facts.look_up(name)
    assert runtime_facts.version and runtime in runtime_facts.implementations["cpu"]
    assert packages <= {*runtime_facts.packages}


@needs_octave
def test_an_interpreter_survives_errors_and_ends_when_it_is_deleted(octave: Any) -> None:
    interpreter = octave.Interpreter(1)
    with pytest.raises(RuntimeError, match="step: .*net"):
        interpreter.ask("step")
    with pytest.raises(RuntimeError, match="unknown command dance"):
        interpreter.ask("dance")
    assert interpreter.about().startswith("GNU Octave ")
    os.kill(interpreter.process.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="octave-cli ended with exit code -9"):
        interpreter.about()
    interpreter = octave.Interpreter(1)
    folder, process = Path(interpreter.folder.name), interpreter.process
    assert folder.is_dir() and process.poll() is None
    del interpreter
    assert process.poll() is not None and not folder.exists()


@needs_octave
def test_a_missing_interpreter_is_named_with_its_install_command(
    octave: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
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
def test_a_small_cell_runs_in_octave(tmp_path: Path) -> None:
    options = ["--suite", "acceleration", "--networks", str(TINY), "--datasets", "cifar10"]
    forms = ["--frameworks", ",".join(("reference", *OCTAVE)), "--quick", "--out", str(tmp_path)]
    main = "from harness.cli import main; main()"
    command = [sys.executable, "-P", "-c", main, "run", *options, *forms]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    rows = rows_in(tmp_path)
    assert not pick(rows, records.EndedResult)
    for variant in (None, "convn", "conv2"):
        by = {"framework": "octave", "variant": variant}
        assert len(pick(rows, records.IterationResult, **by)) >= 2
        audits = [
            (row.result.when, row.result.passed) for row in pick(rows, records.AuditResult, **by)
        ]
        assert {*audits} >= {("before", True), ("round", True)}
        assert {*audits} <= {("before", True), ("round", True), ("late", True)}  # a second start
        assert (
            pick(rows, records.AuditResult, **by)[0].installation.framework_version
            == facts.look_up("octave").version
        )
