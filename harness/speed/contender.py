"""A contender, which owns a process, and its worker there, which is examined, audited and timed.

The system stops the process whenever it is not its turn: nothing that it does or leaves running
can take from the others' time.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

import psutil
import torch
from torch import Tensor, nn
from torch._dynamo.exc import TorchDynamoException

import adapters
from adapters import Missing, facts
from adapters.facts import Facts
from harness.adapter import Unsupported, Variant, exam_builder
from harness.machine import clock, host, kept, memory
from harness.machine.child import SILENCE, START_SECONDS, Child, Died
from harness.proof.answer import Answer, Question
from harness.proof.exam import ExamAnswers, take_exam
from harness.records.run import Failed, RowMaker
from harness.spec import FLOOR, Precision, Timing
from harness.speed import floor, iteration
from harness.speed.iteration import Meter, OfTrainer, Part, Ready, VotesAndLoss, of_round
from harness.training.descent import Bf16Trainee, Digits

Args = TypeVarTuple("Args")
R = TypeVar("R")


@dataclass(eq=False)
class ContenderProcess:
    """A contender, or the floor, and its process, which is stopped except during its turns."""

    name: str  # in the rounds
    maker: RowMaker  # of all its rows
    part: Part | None = None  # of an iteration, where a whole one takes too long
    twin: bool = False  # the second instance of the floor
    child: Child | None = None
    lean: bool = False  # its process gives its memory back after each turn
    seconds: list[float] = field(default_factory=list)  # of each round
    deferred: list[float] = field(default_factory=list)  # of each round, as a share of it
    votes: Tensor | None = None  # of the last round, (B, classes)
    failed: bool = False
    settings_changed: set[str] = field(default_factory=set)  # what it changed in its process

    @property
    def case(self) -> Timing:  # as it is run, in part it may be
        case = self.maker.case
        assert isinstance(case, Timing), "only timings have processes of their own"
        return case if self.part is None else self.part.of(case)

    @property
    def precision(self) -> Precision:
        return self.maker.case.contender.precision

    @property
    def is_floor(self) -> bool:
        return self.maker.case.contender.framework == FLOOR

    @property
    def claims_to_be_equal(self) -> bool:  # a variant does not
        return not self.is_floor and not self.maker.installation.deviations

    def start(
        self, compiled: Path | None = None, *, alone: bool = True, trains: bool = False
    ) -> None:
        """Start its process. Raises Failed.

        `compiled`: its own cache folder of torch.compile; from a shared one its first iteration
        would be timed without compiling. `alone`: see `make_worker`. `trains`: it is not timed, and
        its waiting threads sleep sooner.
        """
        case = self.case
        try:
            self.child = Child(case.device, short_spin=trains)
        except Died as reason:
            raise Failed(str(reason)) from None
        self._call(START_SECONDS, make_worker, case, facts.known(), compiled, alone, trains)

    def call(self, method: Callable[[Worker, *Args], R], *given: *Args) -> R:
        """Resume its process, call a method of its worker, stop it again. Raises Failed."""
        return self._call(SILENCE, work, method, *given)

    def _call(self, silence: float, function: Callable[..., R], *given: object) -> R:
        child = self.child
        assert child is not None, "it was not started"
        child.send(signal.SIGCONT)
        try:
            return child.call(function, *given, silence=silence)
        except (Failed, Unsupported, Missing) as reason:
            raise Failed(str(reason), reason.status) from None
        except Died as reason:
            raise Failed(str(reason)) from None
        except Exception as reason:  # noqa: BLE001 a framework may raise anything: it becomes a row
            raise Failed(f"{type(reason).__name__}: {reason}") from None
        finally:  # whatever came of it: its turn is over
            child.send(signal.SIGSTOP)

    @property
    def held_mib(self) -> float:
        try:
            return memory.resident_mib(self.child.pid) if self.child else 0.0
        except psutil.Error:
            return 0.0

    def end(self) -> None:
        if self.child is not None:
            self.child.end()
        self.child, self.lean = None, False


@contextmanager
def failed_without_memory() -> Iterator[None]:
    """Raise Failed if the block runs out of memory, the CPU's or the GPU's."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not memory.is_exhausted(error):
            raise
        raise Failed(str(error)) from None


# What follows runs in the process.

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
    lean: bool = False  # gives its memory back after each turn
    _run: Callable[[], VotesAndLoss | None] | None = None  # one iteration, once it is built
    _result: VotesAndLoss | None = None  # of the last iteration; None of the floor
    _built: Ready | None = None  # None of the floor
    _asked: Question | None = None
    _before: dict[str, object] = field(default_factory=host.settings)  # of the process
    _frozen: bool = False
    _exam_module: nn.Module | None = None
    _trainee: Bf16Trainee | None = None

    def part(self) -> Part | None:
        return iteration.part_of(adapters.load(self.case.contender.name), self.case)

    def compiles(self) -> bool:
        compiles = getattr(adapters.load(self.case.contender.name), "compiles", None)
        return compiles is not None and bool(compiles(self.case.device))

    def take_exam(self, asked: Question) -> ExamAnswers:
        """Return the network's answers in an exam; the module is built once for all exams."""
        if self._exam_module is None:
            build = exam_builder(adapters.load(self.case.contender.name))
            self._exam_module = build(asked.network).to(self.case.device)
        answers = take_exam(self._exam_module, asked)
        return tuple((_carried(tapped), _carried(untapped)) for tapped, untapped in answers)

    def bf16_losses(self, case: Timing, weights: tuple[Tensor, ...], digits: Digits) -> list[float]:
        if self._trainee is None:
            self._trainee = Bf16Trainee.of_case(adapters.load(case.contender.name), case)
        return self._trainee.train(case, weights, digits)

    def layouts(self) -> tuple[floor.Layout, ...]:
        return floor.fastest_layouts(self.case)

    def build_floor(self, layouts: tuple[floor.Layout, ...]) -> First:
        self._run = floor.iteration(self.case, layouts)
        return First(self.turn(0).seconds, floor.in_words(layouts))

    def build(self, asked: Question, metered: bool = True) -> First:
        """Build the timed object, load a question and run the first iteration.

        `metered`: measure its peak memory too, unless torch.compile builds it.
        """
        adapter, meter, why = adapters.load(self.case.contender.name), None, COMPILED
        if metered and not (isinstance(adapter, Variant) and adapter.compiled):
            try:
                meter, why = Meter.after_trial_run(adapter, self.case, asked), ""
            except Exception as error:  # noqa: BLE001 the row has the reason; the time stands
                why = f"{type(error).__name__}: {error}"
        self._asked, self._built = asked, (ready := iteration.make_ready(adapter, self.case, asked))
        self._run = partial(iteration.run_to_end, ready)
        seconds = self._seconds(asked, meter)
        peak = None
        try:
            peak = meter and meter.peak_mib()
        except Exception as error:  # noqa: BLE001 as above
            why = f"{type(error).__name__}: {error}"
        threads, say = torch.get_num_threads(), getattr(adapter, "computed", None)
        computed = None if say is None else str(say(ready.subject))
        return First(seconds, ready.layout, threads, peak, why, ready.compile_seconds, computed)

    def ask(self, asked: Question) -> None:
        """Set the question that later turns vary; see `of_round`."""
        self._asked = asked

    def turn(self, number: int) -> Turn:
        """Run one timed iteration, on the question of round `number`."""
        asked = None if self._asked is None else of_round(self._asked, number)
        if self.lean:  # its memory was given back: a timed turn is to take no new page
            self._seconds(asked)
        seconds, changed = self._seconds(asked), host.changes(self._before)
        turn = Turn(seconds, changed=changed)
        if self._built is not None and self._result is not None:
            turn = Turn(seconds, *self._result, iteration.deferred_seconds(self._built), changed)
        if self.lean:
            self.release()
        return turn

    def _seconds(self, asked: Question | None, meter: Meter | None = None) -> float:
        if asked is not None and self._built is not None:
            self._built.load(asked)
            torch.manual_seed(asked.seed)
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
        self.lean = True
        memory.release()

    def answer(self) -> tuple[Answer, tuple[Tensor, ...] | None]:
        """Return the last iteration's output and, in training, gradients and updated weights.

        Weights of trainers alone, else None: the others' optimiser is torch's.
        """
        ready, asked, trains = self._built, self._asked, self.case.mode == "training"
        assert ready is not None and asked is not None, "it was not built"
        own = _on_cpu(ready.weights()) if trains and isinstance(ready, OfTrainer) else None
        gradients = tuple(ready.gradients() if trains else ())
        return _carried(Answer(ready.result[0].to(asked.x.dtype), gradients)), own

    def tapped(self, asked: Question) -> Answer:
        assert self._built is not None, "it was not built"
        answer = _carried(self._built.tapped(asked))
        if self.lean:
            self.release()
        return answer


def _carried(answer: Answer) -> Answer:
    (out,) = _on_cpu([answer.out])
    return Answer(out, _on_cpu(answer.gradients), _on_cpu(answer.spikes))


def _on_cpu(tensors: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """Return the tensors to send, without anything else that lies in the same memory."""
    return tuple(each.contiguous() for each in floor.plain(tensors))


_workers: list[Worker] = []  # in a contender's process: the one that it is for


def make_worker(
    case: Timing, known: tuple[Facts, ...], compiled: Path | None, alone: bool, trains: bool
) -> None:
    """Make this new process a contender's. `known`: the parent's facts of adapters.

    Not `alone`, it has one thread, and takes defaults where it would measure what is faster.
    """
    facts.remember(*known)
    if compiled is not None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(compiled)
    if not alone:
        kept.share_with("nobody")
        torch.set_num_threads(1)
    elif not trains:  # its threads wait in another way than timed ones do
        kept.share_with("timed")
    _workers[:] = [Worker(case)]


def work(method: Callable[..., R], *given: Any) -> R:
    """Call a method of this process's worker."""
    try:
        return method(_workers[0], *given)
    except TorchDynamoException as error:
        raise Unsupported(f"torch.compile: {type(error).__name__}: {error}") from None
