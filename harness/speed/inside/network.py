"""One adapter's network in its process: examined, or built, audited and timed."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from harness.adapter import Adapter, Variant, examined
from harness.proof.answer import Incomparable, Question
from harness.proof.exam import Questions, sit
from harness.reference import coding
from harness.spec import Case, Precision, paper
from harness.speed import memory
from harness.speed.exchange import Exchange
from harness.speed.inside.turns import Turns
from harness.speed.iteration import Ready, Workload
from harness.speed.part import NotProportional, part_of
from harness.speed.ready import built
from harness.system import allocator, state
from harness.training.descent import Digits, Pupil

Find = Callable[[str], Adapter]  # adapters.load
COMPILED = "a compiler works in the process that it compiles for: its memory would be in the figure"


@dataclass(eq=False)
class There:
    """What is there once a contender is built."""

    built: Ready
    asked: Question
    turns: Turns
    meter: memory.Meter | str  # why its memory is not measured
    before: state.State  # of the process


@dataclass(eq=False)
class AdapterInside:
    """One adapter's network, in its process."""

    case: Case
    find: Find
    exchange: Exchange
    _built: There | None = None
    _examined: nn.Module | None = None
    _pupil: Pupil | None = None

    @property
    def _there(self) -> There:
        assert self._built is not None, "it was not built"
        return self._built

    def answer(self, order: str, given: list[Any]) -> object:
        """Does what is ordered."""
        orders: dict[str, Callable[..., object]] = {
            "sit": self._sit,
            "build": self._build,
            "load": self._load,
            "ready": self._ready,
            "first": self._first,
            "computed": self._computed,
            "iterate": lambda: self._there.turns.iterate(),
            "report": self._report,
            "answer": self._put_answer,
            "tapped": self._put_tapped,
            "descend": self._descend,
            "release": allocator.release,
            "part": self._part,
        }
        return orders[order](*given)

    def _part(self) -> list[int] | None:
        """The steps and samples to run where a whole iteration takes too long; None: all."""
        try:
            part = part_of(self.find(self.case.framework), self.case)
        except NotProportional as reason:
            raise Incomparable(str(reason)) from None
        return None if part is None else [part.steps, part.samples]

    def _sit(
        self,
        parameters: int,
        steps: int,
        static: bool,
        precision: Precision,
        *seeds: int,
    ) -> list[tuple[int, int]]:
        """Sits an exam, and lays its answers there: of each how many gradients and spikes."""
        if self._examined is None:
            module = examined(self.find(self.case.framework))(self.case.network)
            self._examined = module.to(self.case.device)
        tensors = self.exchange.take(2 * (parameters + 1))
        first, asked = (
            Question(
                tuple(part[:-1]),
                part[-1],
                steps,
                static,
                precision,
                self.case.network.classes,
                self.case.network.population,
                seed,
            )
            for part, seed in zip(
                (tensors[: parameters + 1], tensors[parameters + 1 :]), seeds, strict=True
            )
        )
        sat = sit(self._examined, Questions(first, asked))
        answers = [sat.tapped, sat.untapped, sat.evaluated_tapped, sat.evaluated]
        self.exchange.put(
            each for answer in answers for each in (answer.out, *answer.gradients, *answer.spikes)
        )
        return [(len(each.gradients), len(each.spikes)) for each in answers]

    def _build(self, parameters: int) -> str | None:
        """Builds what is timed for the question that lies in the exchange: its weights' layout."""
        before = state.taken()
        adapter = self.find(self.case.framework)
        asked = self._taken(parameters)
        work = Workload(self.case, asked.x, _labels(asked), asked.static)
        meter = _meter(adapter, work)
        made = built(adapter, work)
        made.load(asked.parameters, asked.x, _labels(asked))
        self._built = There(made, asked, Turns(work.device, made.run), meter, before)
        return made.layout

    def _taken(self, parameters: int) -> Question:
        """The question that the owner has laid into the exchange."""
        *weights, x, labels = self.exchange.take(parameters + 2)
        return asked_of(self.case, tuple(weights), x, labels)

    def _load(self, parameters: int) -> None:
        """Another question: its weights and batch are written into the same memory."""
        there = self._there
        there.asked = self._taken(parameters)
        there.built.load(there.asked.parameters, there.asked.x, _labels(there.asked))

    def _ready(self, roll: int) -> None:
        """The question's weights anew, and its batch, rolled so far that no turn is as the last."""
        there = self._there
        asked, labels = there.asked, _labels(there.asked)
        there.built.load(asked.parameters, asked.x.roll(roll, 1), labels.roll(roll, 0))
        torch.manual_seed(asked.seed)
        there.turns.ready()

    def _first(self) -> list[object]:
        """The first iteration: its seconds, the peak of memory or why there is none, and what was
        compiled before it.
        """
        there, before = self._there, self._there.built.compile_seconds
        if isinstance(there.meter, str):
            return [there.turns.iterate(), None, there.meter, before]
        there.meter.start()
        seconds = there.turns.iterate()
        return [seconds, there.meter.peak_mib(), "", before]

    def _computed(self) -> str | None:
        """How the layers of the last iteration were computed, where its adapter says so."""
        say = getattr(self.find(self.case.framework), "computed", None)
        return None if say is None else str(say(self._there.built.subject))

    def _report(self) -> list[object]:
        """What the last iteration came to: loss, votes, threads, and what changed meanwhile."""
        gc.enable()
        there = self._there
        spikes, loss = there.built.came
        votes = coding.vote(spikes.float(), self.case.network.classes)
        changed = there.before.changes(state.taken())
        value = None if loss is None else loss.item()
        return [value, votes.tolist(), torch.get_num_threads(), list(changed)]

    def _put_answer(self) -> int:
        """Lays what the last iteration computed into the exchange: voting spikes, gradients.

        Behind them the new weights of who has an optimiser of its own.
        """
        built = self._there.built
        gradients = built.gradients() if self.case.mode == "training" else []
        out = built.came.spikes.to(self._there.asked.x.dtype)
        return self.exchange.put([out, *gradients, *built.updated()])

    def _put_tapped(self) -> list[int]:
        """Lays a pass with taps into the exchange: voting spikes, gradients, layers' spikes."""
        there = self._there
        answer = there.built.tapped(there.asked)
        self.exchange.put([answer.out, *answer.gradients, *answer.spikes])
        return [len(answer.gradients), len(answer.spikes)]

    def _descend(self, parameters: int, seed: int, precision: Precision) -> list[float]:
        """Trains from the weights and on the digits that lie in the exchange: each step's loss."""
        *weights, images, labels = self.exchange.take(parameters + 2)
        case = replace(self.case, seed=seed, precision=precision)
        if self._pupil is None:
            self._pupil = Pupil.of(self.find(case.framework), case)
        return self._pupil.losses(case, weights, Digits(images, labels))


def asked_of(case: Case, weights: tuple[Tensor, ...], x: Tensor, labels: Tensor) -> Question:
    """The iteration of a case, as a contender is asked for it."""
    return Question(
        weights,
        x,
        steps=case.T,
        static=paper.settings(case.dataset).static,
        precision=case.precision,
        classes=case.network.classes,
        population=case.network.population,
        seed=case.seed,
        labels=labels,
        mode=case.mode,
    )


def _meter(adapter: Adapter, work: Workload) -> memory.Meter | str:
    if isinstance(adapter, Variant) and adapter.compiled:
        return COMPILED
    try:
        return memory.Meter.over(adapter, work)
    except Exception as error:  # noqa: BLE001 what it threw is said; its time stands
        return f"{type(error).__name__}: {error}"


def _labels(asked: Question) -> Tensor:
    assert asked.labels is not None
    return asked.labels
