"""Steps and forward passes of each framework as asv benchmarks: time, memory, ratio, proof."""

from __future__ import annotations

import gc
import random
from fractions import Fraction
from functools import partial
from statistics import median

import torch
from torch import Tensor

import adapters
from harness import datasets
from harness.formats.weights import initial_network
from harness.machine import clock, memory
from harness.proof import certificate
from harness.proof.answer import question_of
from harness.proof.certificate import Certificate
from harness.proof.exam import Exam
from harness.spec import Mode, Options, Precision, Timing
from harness.speed import floor, iteration
from harness.suites import timings

FRAMEWORKS = ("reference", "fused", "snntorch", "spikingjelly", "norse")
DATASETS = ("cifar10", "nmnist")
BATCH_SIZE, STEPS, WIDTH = 4, 4, Fraction(1, 2)
# The median ratio of the first 15 rounds differed by up to 14 % from process to process, that of
# 100 after 50 that are not counted by up to 9 %.
WARMUP_ROUNDS, ROUNDS = 50, 100


def case(framework: str, dataset: str, mode: Mode) -> Timing:
    """Return the Small network at half its width, as the acceleration suite would time it."""
    options = Options(
        suite="acceleration", frameworks=(framework,),
        datasets=(dataset,), networks=("Small",), steps=(STEPS,),
        batch_size=BATCH_SIZE, width=WIDTH, precision="fp32", inference=mode == "inference",
        device="cuda" if torch.cuda.is_available() else "cpu",
    )  # fmt: skip
    return timings.acceleration(options)[0]


def batch(dataset: str) -> tuple[Tensor, Tensor]:
    """Return inputs (T, B, C, H, W) and labels of the embedded digits, the same everywhere."""
    request = datasets.SplitRequest(dataset, T=STEPS, samples=BATCH_SIZE, embedded=True)
    split = datasets.load_split(request, "train", lambda fraction, doing: None)
    return next(split.batches(STEPS, BATCH_SIZE))


class Steps:
    """A training iteration after warm-up."""

    params = (FRAMEWORKS, DATASETS)
    param_names = ("framework", "dataset")
    timeout = 300
    mode: Mode = "training"

    def setup(self, framework: str, dataset: str) -> None:
        """Build the contender's network, with its optimiser and batch, and run one step."""
        if adapters.missing(framework):
            raise NotImplementedError(framework)  # it is skipped
        memory.keep_freed()
        self.case = case(framework, dataset, self.mode)
        x, labels = batch(dataset)
        # calibrated, as the suite's: layers that are silent would take `fused` no time
        drawn = initial_network(self.case.workload, x, None)
        weights = tuple(weight.detach() for weight in drawn.parameters())
        question = question_of(self.case, weights, x, labels)
        self.ready = iteration.make_ready(adapters.load(framework), self.case, question)
        self.step = partial(iteration.run_to_end, self.ready)  # as the clock of a suite has it
        self.step()
        self.device = torch.device(self.case.device)
        clock.synchronise(self.device)

    def time_step(self, framework: str, dataset: str) -> None:
        self.step()
        clock.synchronise(self.device)

    def peakmem_step(self, framework: str, dataset: str) -> None:
        self.step()

    def track_ratio_to_floor(self, framework: str, dataset: str) -> float:
        """Return the median ratio to the floor over rounds: the same on a slower machine."""
        bottom = floor.iteration(self.case, floor.fastest_layouts(self.case))
        runs = {"floor": bottom, "framework": self.step}
        names, order, ratios = list(runs), random.Random(0), list[float]()
        gc.collect()
        gc.disable()  # as in the suite, where it waits for the end of a turn
        try:
            for _ in range(WARMUP_ROUNDS + ROUNDS):
                order.shuffle(names)
                taken = {name: clock.seconds(runs[name], self.device) for name in names}
                ratios.append(taken["framework"] / taken["floor"])
        finally:
            gc.enable()
        return median(ratios[WARMUP_ROUNDS:])


class Inference(Steps):
    """A forward pass after warm-up."""

    mode: Mode = "inference"


class Proof:
    """Proofs that each framework still computes the reference's function."""

    params = (FRAMEWORKS, DATASETS)
    param_names = ("framework", "dataset")
    timeout = 300

    def setup(self, framework: str, dataset: str) -> None:
        """Read the batch of which the proof is timed."""
        if adapters.missing(framework):
            raise NotImplementedError(framework)
        self.batch = batch(dataset)[0].to(case(framework, dataset, "training").device)

    def _proof(self, framework: str, dataset: str, precision: Precision) -> Certificate:
        network = case(framework, dataset, "training").workload.network
        return Exam(network, self.batch, precision).certify(adapters.load(framework))

    def track_certificates_passed(self, framework: str, dataset: str) -> int:
        """Return the number of proofs passed, of two: in float64 and in float32."""
        required = certificate.required("fp32")
        return sum(self._proof(framework, dataset, precision).passed for precision in required)

    def track_spike_rate(self, framework: str, dataset: str) -> float:
        """Return spikes per neuron and step, which change if the network does."""
        return self._proof(framework, dataset, "fp64").spike_rate


Steps.track_ratio_to_floor.unit = "x floor"  # type: ignore[attr-defined]
Proof.track_certificates_passed.unit = "certificates"  # type: ignore[attr-defined]
Proof.track_spike_rate.unit = "spikes per neuron and step"  # type: ignore[attr-defined]
