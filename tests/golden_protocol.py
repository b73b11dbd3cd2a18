"""How a time is taken, as it happens: what `protocol.json` keeps. `PROTOCOL` stands for it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import beside
import pytest
import torch
from golden_calls import Calls, spied
from torch import Tensor

import adapters
from harness import datasets
from harness.adapter import Adapter, Variant
from harness.datasets import Batch, Request
from harness.formats import weights as kept
from harness.proof.answer import Answer
from harness.proof.audit import Audit, Finding
from harness.proof.certificate import Certificate
from harness.proof.exam import Exam
from harness.records import Store
from harness.records.build import Run
from harness.records.ledger import Ledger
from harness.reference.network import ReferenceNetwork
from harness.spec import FLOOR, Access, Budget, Case, Network, Source, paper
from harness.speed import cell, contenders, floor, memory, schedule
from harness.speed.schedule import Contest
from harness.system import clock
from harness.system.facts import Machine

MACHINE = Machine(
    cpu="made up",
    cores=2,
    threads=2,
    memory_mib=4096,
    os="Linux",
    python="3.12",
    torch="2.6",
    harness="1",
)
CASE = Case(
    suite="acceleration",
    dataset="cifar10",
    scale="custom",
    network=Network.parse(
        "4C3(Encoding)-AP2-6C3-AP2-8FC-Voting",
        input_shape=(3, 8, 8),
        lif=paper.settings("cifar10").lif,
    ),
    width=Fraction(1),
    framework="reference",
    T=3,
    batch_size=4,
    precision="fp32",
    device="cpu",
    seed=0,
    optimiser=paper.settings("cifar10").optimiser,
)
ROUND = "== a round"
ROUNDS = Budget().rounds  # that a cell gets whatever the budget
# Seconds of one iteration after the other.
STEADY = (0.4,)
UNSTEADY = (1.0, 1.02, 0.96, 1.01, 1.05, 0.97, 1.02)
NEVER_KNOWN = (1.0, 1.9, 0.6, 1.2, 3.1, 0.8, 1.5)


def made() -> Iterator[tuple[str, object]]:
    """The calls of a cell up to its first round, those of a round of other cells, and who was timed
    in each round: to the end, within a budget, and until the ratios are known.
    """
    forms = (
        CASE,
        _with(framework="reference:channels-last"),
        _with(framework="reference:compiled"),
    )
    precisions = (CASE, replace(CASE, precision="bf16"))
    some, all_ = Budget(seconds=1e6, rounds=ROUNDS), Budget()
    calls = _calls(forms, some, STEADY)
    yield "a cell", calls[: calls.index(ROUND)] + _first_round(calls)
    yield "rounds within a budget", _rounds(calls)
    yield "a round in two precisions", _first_round(_calls(precisions, some, STEADY))
    yield "a round of inference", _first_round(_calls((_with(mode="inference"),), some, STEADY))
    yield "a round of events", _first_round(_calls((_with(dataset="nmnist"),), some, STEADY))
    yield "rounds until ratios are known", _rounds(_calls((CASE,), some, UNSTEADY))
    yield "rounds of two cells", _rounds(_calls((CASE, _with(T=2)), all_, STEADY))
    yield "rounds to the end", _rounds(_calls(forms, all_, NEVER_KNOWN))


def _with(**changes: Any) -> Case:
    return replace(CASE, **changes)


def _calls(cases: tuple[Case, ...], budget: Budget, seconds: tuple[float, ...]) -> list[str]:
    calls = Calls()
    with tempfile.TemporaryDirectory() as folder, _spied(calls, seconds), calls.recorded():
        access = Access(root=Path(folder))
        ledger = Ledger(Store(Path(folder)), _Owner(calls))
        run = Run("20260101T000000-abcdef", MACHINE, "system")
        contest = Contest(find=adapters.load)
        for measured in schedule.run(cases, ledger, access, budget, run, contest):
            calls.say(f"measured: {measured.rounds} rounds")
        ledger.release()
    return calls.lines


class _Owner:
    """Says whose turn it is."""

    def __init__(self, calls: Calls) -> None:
        self.calls = calls

    def attempt(self, case: Case, patience: float = 0.0) -> None:
        name = case.framework or "the cell"
        shape = "" if case.framework not in (FLOOR, "reference") else f" T={case.T}"
        self.calls.say(f"-- {name} {case.precision}{shape}")

    def say(self, fraction: float, doing: str) -> None:
        return


@contextmanager
def _spied(calls: Calls, seconds: tuple[float, ...]) -> Iterator[None]:
    """A clock that goes as `seconds` say; data, proofs and first weights as one line each."""
    initialised, load = kept.initialised, adapters.load

    def found(name: str) -> Adapter:
        # as one that is compiled, which takes a minute
        is_compiled = name == "reference:compiled"
        return Variant((), ReferenceNetwork, compiled=True) if is_compiled else load(name)

    def batch(request: Request) -> Batch:
        calls.say(f"{request.batch_size} samples of {request.dataset}, seed {request.seed}")
        return _batch(request)

    def proof(exam: Exam, name: str, deviations: object, sit: object) -> Certificate:
        calls.say(f"exam of {name} in {exam.precision} on {tuple(exam.batch.shape)}")
        return Certificate(name, exam.precision, (), (), None, (), 1)

    def audit(of: Audit, given: Answer) -> Finding:
        shapes = f"output {tuple(given.out.shape)} and {len(given.gradients)} gradients"
        calls.say(f"audit in {of.question.precision}: {shapes}")
        return Finding("direct", True, None, given.out.numel(), 0, 0, None, None)

    def weights(network: Network, x: Tensor, **named: Any) -> ReferenceNetwork:
        calls.say(f"first weights on {tuple(x.shape)}, {named}")
        with calls.silence():
            return initialised(network, x, **named)

    def layouts(network: Network, *given: object) -> tuple[floor.Layout, ...]:
        calls.say("layouts of the floor")
        return ("contiguous",) * len(network.stages)

    with pytest.MonkeyPatch.context() as patch:
        _without_waiting(patch, calls, seconds)
        patch.setattr(adapters, "load", found)
        patch.setattr(datasets, "load_batch", batch)
        patch.setattr(Exam, "judge", proof)
        patch.setattr(Audit, "direct", audit)
        patch.setattr(floor, "fastest", layouts)
        patch.setattr(kept, "initialised", weights)
        patch.setattr(contenders, "dead_layers", lambda *given: ())
        spied(patch, cell.Cell, "round", calls.say, ROUND)
        yield


def _without_waiting(patch: pytest.MonkeyPatch, calls: Calls, seconds: tuple[float, ...]) -> None:
    """In this process; nobody trains, and each iteration takes what `seconds` says."""
    beside.plant(patch)
    patch.setattr(memory.Meter, "over", lambda adapter, work: memory.Meter(work.device, 0))
    patch.setattr(memory.Meter, "start", lambda meter: calls.say("memory is measured"))
    patch.setattr(memory.Meter, "peak_mib", lambda meter: 1.0)
    takes, now = cycle(seconds), [0.0]

    def timed(work: Callable[[], object], device: torch.device) -> float:
        calls.say("start")
        work()
        calls.say("stop")
        took = next(takes)
        now[0] += took
        return took

    patch.setattr(schedule, "descend", lambda *given: None)
    patch.setattr(clock, "seconds", timed)
    patch.setattr(
        clock, "time", SimpleNamespace(monotonic=lambda: 0.0, perf_counter=lambda: now[0])
    )


def _batch(request: Request) -> Batch:
    generator = torch.Generator().manual_seed(request.seed)
    shape = CASE.network.input_shape
    images = torch.rand(request.batch_size, *shape, generator=generator)
    x = images.expand(request.T, *images.shape)
    if not paper.settings(request.dataset).static:
        x = x.contiguous()
    labels = torch.arange(request.batch_size)
    return Batch(x, labels, Source(request.dataset, "made up", request.batch_size, "0" * 64))


def _first_round(lines: list[str]) -> list[str]:
    """The turns of the first round, which come after the audits."""
    rounds = [n for n, line in enumerate(lines) if line == ROUND]
    return lines[rounds[0] : rounds[1]]


def _rounds(lines: list[str]) -> list[str]:
    """Of each round who was timed, in order."""
    rounds: list[list[str]] = []
    for line in lines:
        if line == ROUND:
            rounds.append([])
        elif rounds and line.startswith("-- "):
            rounds[-1].append(line.removeprefix("-- "))
    return [", ".join(each) for each in rounds]
