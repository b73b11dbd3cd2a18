"""What runs in a contender's process: its network is examined, audited and timed; or the floor."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

import adapters
from adapters import facts
from adapters.facts import Facts
from harness.adapter import Unsupported, Variant, exam_builder
from harness.machine import clock, host, kept, memory
from harness.proof.answer import Answer, ExamAnswers, Question, take_exam
from harness.spec import Timing
from harness.speed import floor, iteration
from harness.speed.iteration import Meter, OfTrainer, Part, Ready, VotesAndLoss, of_round
from harness.training.descent import Bf16Trainee, Digits

R = TypeVar("R")
COMPILED = "a compiler works in the process that it compiles for: its memory would be in the figure"


class Turn(NamedTuple):
    """The outcome of a timed iteration."""

    seconds: float
    votes: list[list[float]] | None = None  # (B, classes); None of the floor
    loss: float | None = None  # of training
    deferred: float = 0.0  # seconds of work that was left when the clock stopped
    changed: tuple[str, ...] = ()  # of the process's settings, since before it was built


class First(NamedTuple):
    """The outcome of the first iteration of a process, which is in no round."""

    seconds: float
    layout: str | None  # of its convolutions' weights
    threads: int | None = None  # None of the floor
    peak_mib: float | None = None
    unmeasured: str = ""  # why there is no peak
    compile_seconds: float | None = None  # before it, where a trainer compiles for the batch's size
    computed: str | None = None  # how its layers were computed, where its adapter can tell


@dataclass(eq=False)
class Worker:
    """What computes in a contender's process: an adapter's network, or the floor."""

    case: Timing
    is_lean: bool = False  # gives its memory back after each turn
    _run: Callable[[], VotesAndLoss | None] | None = None  # one iteration, once it is built
    _result: VotesAndLoss | None = None  # of the last iteration; None of the floor
    _built: Ready | None = None  # None of the floor
    _question: Question | None = None
    _settings: dict[str, object] = field(default_factory=host.settings)  # of the process, at first
    _frozen: bool = False
    _exam_module: nn.Module | None = None
    _trainee: Bf16Trainee | None = None

    def part(self) -> Part | None:
        return iteration.part_of(adapters.load(self.case.contender.name), self.case)

    def compiles(self) -> bool:
        compiles = getattr(adapters.load(self.case.contender.name), "compiles", None)
        return compiles is not None and bool(compiles(self.case.device))

    def take_exam(self, question: Question) -> ExamAnswers:
        """Return the network's answers in an exam; the module is built once for all exams."""
        if self._exam_module is None:
            build = exam_builder(adapters.load(self.case.contender.name))
            self._exam_module = build(question.network).to(self.case.device)
        answers = take_exam(self._exam_module, question)
        return tuple((_carried(tapped), _carried(untapped)) for tapped, untapped in answers)

    def bf16_losses(self, case: Timing, weights: tuple[Tensor, ...], digits: Digits) -> list[float]:
        """Return the losses of a short training in bf16, from the given weights, on digits."""
        if self._trainee is None:
            self._trainee = Bf16Trainee.of_case(adapters.load(case.contender.name), case)
        return self._trainee.train(case, weights, digits)

    def layouts(self) -> tuple[floor.Layout, ...]:
        return floor.fastest_layouts(self.case)

    def build_floor(self, layouts: tuple[floor.Layout, ...]) -> First:
        self._run = floor.iteration(self.case, layouts)
        return First(self.turn(0).seconds, floor.in_words(layouts))

    def build(self, question: Question, metered: bool = True) -> First:
        """Build the timed object, load a question and run the first iteration.

        `metered`: measure its peak memory too, unless torch.compile builds it.
        """
        adapter, meter, why = adapters.load(self.case.contender.name), None, COMPILED
        if metered and not (isinstance(adapter, Variant) and adapter.compiled):
            try:
                meter, why = Meter.after_trial_run(adapter, self.case, question), ""
            except Exception as error:  # noqa: BLE001 the row has the reason; the time stands
                why = f"{type(error).__name__}: {error}"
        ready = iteration.make_ready(adapter, self.case, question)
        self._question, self._built = question, ready
        self._run = partial(iteration.run_to_end, ready)
        seconds = self._seconds(question, meter)
        peak = None
        try:
            peak = meter and meter.peak_mib()
        except Exception as error:  # noqa: BLE001 as above
            why = f"{type(error).__name__}: {error}"
        threads, tell = torch.get_num_threads(), getattr(adapter, "computed", None)
        computed = None if tell is None else str(tell(ready.subject))
        return First(seconds, ready.layout, threads, peak, why, ready.compile_seconds, computed)

    def ask(self, question: Question) -> None:
        """Set the question that later turns vary; see `of_round`."""
        self._question = question

    def turn(self, number: int) -> Turn:
        """Run one timed iteration, on the question of round `number`."""
        question = None if self._question is None else of_round(self._question, number)
        if self.is_lean:  # its memory was given back: a timed turn is to take no new page
            self._seconds(question)
        seconds, changed = self._seconds(question), host.changes(self._settings)
        turn = Turn(seconds, changed=changed)
        if self._built is not None and self._result is not None:
            turn = Turn(seconds, *self._result, iteration.deferred_seconds(self._built), changed)
        if self.is_lean:
            self.release()
        return turn

    def _seconds(self, question: Question | None, meter: Meter | None = None) -> float:
        """Time one iteration on a question, in seconds, with Python's garbage collector off."""
        if question is not None and self._built is not None:
            self._built.load(question)
            torch.manual_seed(question.seed)
        gc.collect()  # what must not fall into the time
        if not self._frozen:
            gc.freeze()  # to look through these objects at every turn takes long
            self._frozen = True
        gc.disable()
        if meter is not None:
            meter.start()
        seconds = clock.seconds(self._once, torch.device(self.case.device))
        gc.enable()
        return seconds

    def _once(self) -> None:
        assert self._run is not None, "it was not built"
        self._result = self._run()

    def release(self) -> None:
        """Give free memory back to the system, now and after each later turn and audit."""
        self.is_lean = True
        memory.release()

    def answer(self) -> tuple[Answer, tuple[Tensor, ...] | None]:
        """Return the last iteration's output and, in training, gradients and updated weights.

        Weights of trainers alone, else None: the others' optimiser is torch's.
        """
        ready, trains = self._built, self.case.mode == "training"
        assert ready is not None and self._question is not None, "it was not built"
        updated = _on_cpu(ready.weights()) if trains and isinstance(ready, OfTrainer) else None
        gradients = tuple(ready.gradients() if trains else ())
        return _carried(Answer(ready.result[0].to(self._question.x.dtype), gradients)), updated

    def tapped(self, question: Question) -> Answer:
        """Return the answer to a question with all layers' spikes."""
        assert self._built is not None, "it was not built"
        answer = _carried(self._built.tapped(question))
        if self.is_lean:
            self.release()
        return answer


def _carried(answer: Answer) -> Answer:
    (out,) = _on_cpu([answer.out])
    return Answer(out, _on_cpu(answer.gradients), _on_cpu(answer.spikes))


def _on_cpu(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Return the tensors to send, without anything else that lies in the same memory."""
    return tuple(copy.contiguous() for copy in floor.plain(tensors))


_workers: list[Worker] = []  # in a contender's process: the one that it is for


def make_worker(
    case: Timing,
    adapter_facts: tuple[Facts, ...],
    compiled: Path | None,
    is_alone: bool,
    trains: bool,
) -> None:
    """Make this new process a contender's. `adapter_facts`: as the parent has them.

    Not `is_alone`, it has one thread, and takes defaults where it would measure what is faster.
    """
    facts.remember(*adapter_facts)
    if compiled is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(compiled)
    if not is_alone:
        kept.share_with("nobody")
        torch.set_num_threads(1)
    elif not trains:  # its threads wait in another way than timed ones do
        kept.share_with("timed")
    _workers[:] = [Worker(case)]


def work(method: Callable[..., R], *args: Any) -> R:
    """Call a method of this process's worker."""
    try:
        return method(_workers[0], *args)
    except TorchDynamoException as error:
        raise Unsupported(f"torch.compile: {type(error).__name__}: {error}") from None
