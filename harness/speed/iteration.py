"""The timed iteration of a contender, parts of it where it takes too long, and its peak memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from adapters import foreign
from harness import adapter as contract
from harness.adapter import Adapter
from harness.machine import clock, memory
from harness.proof.answer import Answer, Incomparable, Question, as_spikes, question_of, tapped_pass
from harness.reference import coding
from harness.reference.network import ReferenceNetwork
from harness.reference.precision import DTYPES
from harness.spec import Timing
from harness.speed import floor
from harness.training import step

# Steps and samples of an iteration before the base of memory is read.
FIRST_USE = 2
LONGEST = 25.0  # seconds of an iteration that is run whole
# Seconds that a part may take. Some time is there whatever the part: where the first is not
# proportional, the next is tried.
PARTS = (10.0, 20.0)
# Relative: so far may twice the half be from the part. One conv2 for each pair of maps takes 11 to
# 15 % more for a sample alone, and is scaled all the same: its verdict is on tens of times. What is
# scaled wrongly is off by far more (im2col: 3.8 times).
PROPORTIONAL = 0.2
NARROW = Fraction(1, 8)  # of the width, of the network that one run in part is examined on
Output = tuple[Tensor, Tensor | None]  # of an iteration: spikes (T, B, N), and the loss () it has


def _labels(question: Question) -> Tensor:  # (B,)
    assert question.labels is not None
    return question.labels


class OfModule:
    """A torch module's iteration, ready to be timed: `load` writes its inputs, `run` runs it."""

    compile_seconds = None  # what torch compiles, it compiles in the first iteration
    result: Output  # of the last iteration

    def __init__(self, adapter: Adapter, case: Timing, question: Question) -> None:
        device, dtype = torch.device(case.device), DTYPES[case.contender.precision]
        self.case = case
        self.subject = adapter.build(case.workload.network).to(device=device, dtype=dtype)
        self._held = question.x.to(device=device, dtype=dtype, copy=True)
        self._labels = _labels(question).to(device, copy=True)
        module, labels = self.subject, self._labels
        x = self._held.expand(case.workload.T, *question.x.shape[1:])
        optimise = step.optimiser(module.parameters(), case.optimiser)
        classes, precision = case.workload.network.classes, case.contender.precision

        def train() -> Output:
            end = step.iteration(module, optimise, x, labels, classes=classes, precision=precision)
            return end.spikes, end.loss

        def infer() -> Output:
            return step.inference(module, x, precision), None

        module.train(case.mode == "training")
        self._iterate = train if case.mode == "training" else infer
        self.load(question)

    @property
    def layout(self) -> str | None:
        """Memory layout of the convolutions' weights; None if it has no convolution."""
        kernels = [p for p in self.subject.parameters() if p.dim() == 4 and p.shape[1] > 1]
        last = all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
        return ("channels_last" if last else "contiguous") if kernels else None

    def load(self, question: Question) -> None:
        """Copy a question's weights and batch into the memory that `run` reads.

        Raises ValueError where its parameters do not fit the module.
        """
        question.load(self.subject)
        self._held.copy_(question.x)
        self._labels.copy_(_labels(question))

    def run(self) -> None:
        self.result = self._iterate()

    def gradients(self) -> list[Tensor]:
        """Return the last iteration's gradients in layer order; zeros where there is none."""
        parameters = self.subject.parameters()
        return [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]

    def weights(self) -> list[Tensor]:
        return list(self.subject.parameters())

    def tapped(self, question: Question) -> Answer:
        return tapped_pass(self.subject, question)

    def close(self) -> None: ...


class OfTrainer:
    """A `Trainer`'s iteration, ready to be timed: `load` lays out its batch, `run` runs it."""

    layout = None  # it is the runtime's own

    def __init__(self, make: contract.MakeTrainer, case: Timing, question: Question) -> None:
        foreign.check(case.workload.network, case.contender.precision, case.device)
        settings = contract.TrainerSettings(
            case.contender.precision, case.mode, case.optimiser, torch.get_num_threads()
        )
        self.case = case
        self.compile_seconds: float | None = None  # of the first batch, for whose size it may
        self.subject = trainer = make(case.workload.network, settings)
        self.gradients, self.weights = trainer.gradients, trainer.parameters
        self.close = trainer.close
        self._batch: Any = None
        self._loss: Tensor | None = None
        self.load(question)

    def load(self, question: Question) -> None:
        """Give the trainer a question's weights and batch, which is not timed."""
        self.subject.load(question.parameters)
        x = question.x.to(DTYPES[self.case.contender.precision])
        watch = clock.Stopwatch(torch.device(self.case.device))
        steps = x.expand(self.case.workload.T, *x.shape[1:])
        self._batch = self.subject.put(steps, _labels(question))
        self.compile_seconds = self.compile_seconds or watch.seconds

    def run(self) -> None:
        """Run one iteration: a training step, of which the loss is kept, or an inference."""
        if self.case.mode == "training":
            self._loss = torch.tensor(self.subject.step(self._batch))
        else:
            self.subject.infer(self._batch)

    @property
    def result(self) -> Output:
        return self.subject.out(), self._loss

    def tapped(self, question: Question) -> Answer:
        """Answer a question with every layer's spikes; in training its step changes the weights."""
        self.load(question)
        layers = enumerate(self.subject.spikes(self._batch), 1)
        spikes = tuple(as_spikes(values, f"layer {n}") for n, values in layers)
        self.run()
        gradients = self.gradients() if question.mode == "training" else []
        return Answer(self.subject.out(), tuple(gradients), spikes)


Ready = OfModule | OfTrainer


class VotesAndLoss(NamedTuple):
    """An iteration's votes and loss, as Python numbers."""

    votes: list[list[float]]  # (B, classes)
    loss: float | None  # of training


def run_to_end(ready: Ready) -> VotesAndLoss:
    """Run one iteration until its results are plain numbers in memory: the timed part.

    Results are votes and, in training, loss and updated weights.
    """
    ready.run()
    spikes, loss = ready.result
    votes = coding.vote(spikes.float(), ready.case.workload.network.classes).tolist()
    if ready.case.mode == "training":
        floor.plain(ready.weights())
    return VotesAndLoss(votes, None if loss is None else loss.item())


def deferred_seconds(ready: Ready) -> float:
    """Return the seconds of work that the last iteration left undone when its clock stopped.

    Measured as the time to read its spikes and gradients, less that of copying them once more.
    """
    watch = clock.Stopwatch(device := torch.device(ready.case.device))
    results = [ready.result[0], *(ready.gradients() if ready.case.mode == "training" else ())]
    read = floor.plain(results)
    seconds = watch.seconds
    copies = [copy.to(result.device) for copy, result in zip(read, results, strict=True)]
    return seconds - clock.seconds(lambda: floor.plain(copies), device)


NEAR = 1e-3  # of each weight's size, from one round to the next
DRAWS = 65_537  # a prime: they are used over and over, and fall on other weights each time


def of_round(question: Question, number: int) -> Question:
    """Return the question of round `number`: the cell's, a little varied, the same for all.

    Weights move by a thousandth of their size, and the batch is rolled by `number` samples. Spike
    rates stay, and no round can be answered from another.
    """
    generator = torch.Generator().manual_seed(question.seed * 2**32 + number)
    draws = NEAR * torch.randn(DRAWS, generator=generator)

    def near(weights: Tensor) -> Tensor:
        change = draws.to(weights).repeat(weights.numel() // DRAWS + 1)[: weights.numel()]
        return torch.addcmul(weights, weights, change.view_as(weights))

    weights = tuple(map(near, question.parameters))
    x, labels = question.x.roll(number, 1), _labels(question).roll(number, 0)
    return replace(question, parameters=weights, x=x, labels=labels)


def make_ready(adapter: Adapter, case: Timing, question: Question) -> Ready:
    """Build the object that is timed and load a question into it. Raises Unsupported."""
    make = contract.trainer_of(adapter)
    return OfModule(adapter, case, question) if make is None else OfTrainer(make, case, question)


def build_for_trial(adapter: Adapter, case: Timing, x: Tensor, labels: Tensor) -> Ready:
    """Build the timed object to try its time or memory, with uncalibrated weights."""
    reference = ReferenceNetwork(case.workload.network).to(DTYPES[case.contender.precision])
    weights = tuple(parameter.detach() for parameter in reference.parameters())
    return make_ready(adapter, case, question_of(case, weights, x, labels))


# The time of a part of an iteration is scaled in proportion, and marked as scaled. First it is
# measured whether time is proportional: the part against its half or its double, in samples and in
# steps. (One sample at all steps took im2col and a product 2.5 s, and twenty 16 s.)


@dataclass(frozen=True)
class Part:
    """How much of a batch a slow trainer runs: its first steps and samples."""

    steps: int
    samples: int

    @property
    def amount(self) -> int:  # to which time is proportional
        return self.steps * self.samples

    def of_case(self, case: Timing) -> Timing:
        """Return the case with as many steps and samples."""
        workload = replace(case.workload, T=self.steps, batch_size=self.samples)
        return replace(case, workload=workload)


def part_of(adapter: Adapter, case: Timing) -> Part | None:
    """Return the part to time of a trainer's iteration that would take over LONGEST; else None.

    torch modules always run all of it. Raises Incomparable where a part's time cannot be scaled.
    """
    if contract.trainer_of(adapter) is None:
        return None
    whole, in_a_second, reason = Part(case.workload.T, case.workload.batch_size), 0.0, ""
    for small in (Part(1, 1), Part(whole.steps, 1)):  # the first tells less, and is soon known
        seconds = time_part(adapter, case, small)
        in_a_second = small.amount / seconds
        if whole.amount / in_a_second <= LONGEST:
            return None
        if seconds > PARTS[0]:
            break
    for limit in PARTS:
        amount = int(limit * in_a_second)
        samples = amount // whole.steps  # all steps of as many as fit, else steps of one
        part = Part(min(whole.steps, max(1, amount)), min(max(1, samples), whole.samples))
        seconds = time_part(adapter, case, part)
        all_of_it = seconds * whole.amount / part.amount
        if all_of_it <= LONGEST:
            return None  # of the smallest parts most was there whatever the part
        others = []  # half of it, or twice as much, in each way that it is less than the whole
        if part.samples < whole.samples:
            others.append(replace(part, samples=part.samples // 2 or 2))
        if part.steps < whole.steps:
            others.append(replace(part, steps=part.steps // 2 or 2))
        for other in others:
            other_seconds = time_part(adapter, case, other)
            if abs(seconds / part.amount / (other_seconds / other.amount) - 1) > PROPORTIONAL:
                reason = (
                    f"an iteration would take about {all_of_it:,.0f} s, and cannot be scaled: "
                    f"{part.samples} samples at {part.steps} steps take {seconds:.1f} s, "
                    f"{other.samples} at {other.steps} take {other_seconds:.1f} s"
                )
                break
        else:
            return part
    raise Incomparable(reason)


def time_part(adapter: Adapter, case: Timing, part: Part) -> float:
    """Return the seconds of an iteration of that part alone, on random data.

    Below 5 s it is the shorter of two runs.
    """
    generator = torch.Generator().manual_seed(0)
    shape = part.steps, part.samples, *case.workload.network.input_shape
    x = torch.rand(shape, generator=generator)
    ready = build_for_trial(
        adapter, part.of_case(case), x, torch.zeros(part.samples, dtype=torch.int64)
    )
    device = torch.device(case.device)
    seconds = clock.seconds(ready.run, device)
    if seconds < PARTS[0] / 2:
        seconds = min(seconds, clock.seconds(ready.run, device))
    ready.close()
    return seconds


@dataclass(eq=False)
class Meter:
    """Peak memory above that in use before a contender is built, so with its weights."""

    device: torch.device
    base_mib: float

    @classmethod
    def after_trial_run(cls, adapter: Adapter, case: Timing, question: Question) -> Meter:
        """Return a meter whose base is the memory in use after a trial run on a few samples.

        What is loaded on first use is in the base then. Raises what the trial raises, and OSError
        where the peak cannot be read.
        """
        device = torch.device(case.device)
        if device.type != "cuda" and not Path("/proc/self/clear_refs").exists():
            raise OSError("the peak of memory is read from /proc, which Linux alone has")
        workload = case.workload
        small = Part(min(FIRST_USE, workload.T), min(FIRST_USE, workload.batch_size)).of_case(case)
        tried = build_for_trial(adapter, small, question.x, _labels(question))
        tried.run()
        tried.close()
        del tried  # its weights are not in the base
        if device.type == "cuda":
            torch.cuda.synchronize()
            return cls(device, torch.cuda.memory_allocated() / 2**20)
        memory.release()  # else memory that is free here, and taken again, would not be in the peak
        return cls(device, memory.resident_mib())

    def start(self) -> None:
        """Set the peak memory back to what is in use now."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            return
        for process in memory.process_tree():  # sets the peak back to the present size, proc(5)
            Path(f"/proc/{process.pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """Return the peak memory since `Meter.start`, in MiB above the base."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() / 2**20 - self.base_mib
        files = (Path(f"/proc/{one.pid}/status").read_text() for one in memory.process_tree())
        peaks = (text.partition("VmHWM:")[2].split() for text in files)  # a zombie has none
        return sum(int(words[0]) for words in peaks if words) / 1024 - self.base_mib
