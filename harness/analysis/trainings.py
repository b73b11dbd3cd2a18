"""Trainings as tables: Figs. 4 to 6, ablations, and what Tables 3 to 6 are measured by.

A condition is what trainings share that differ in the seed alone: a line of every table.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import isclose, nan
from operator import attrgetter
from statistics import fmean, median
from typing import Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from harness.analysis.frame import Frame, Frames, grouped
from harness.analysis.words import FLAGS, data_name, initial_weights
from harness.records import (
    ConfusionResult,
    EpochResult,
    FittedResult,
    K,
    Row,
    TestedResult,
    TrainedResult,
    TransferResult,
)
from harness.spec import (
    ANN,
    SGD,
    Fit,
    Network,
    Training,
    network_name,
    paper,
    schedule,
)
from harness.statistics import mean, mean_share
from harness.suites.trainings import name_in

ALIKE = ("timesteps", "scale", "neunorm", "accuracy")  # suites whose trainings are the paper's
NEARLY = 0.9  # on this share of the way a curve is still steep, and further from noise than its end
# Each side's first rate: the seed it is chosen by, and how near to the best a smaller one may lie.
RATE_SEED, NEAR = 100, 0.005
# Left out of an optimiser's text: the column `stages` has the steps.
_STEPS = re.compile(", step_epochs=\\d+|, fc_factor=None")
Ended = TypeVar("Ended", TrainedResult, FittedResult)
Conditioned = TypeVar("Conditioned", Training, Fit)
# Columns in which trainings that are compared may differ.
Column = Literal[
    "scale", "network", "T", "neunorm", "neunorm_u", "precision", "width", "dropout",
    "framework", "epochs", "stages", "optimiser",
]  # fmt: skip


class LearningCurve(NamedTuple):
    """One training: accuracy by epoch at the first learning rate, and what it ended with."""

    at_first: Sequence[float]  # held-out accuracy by epoch, as long as the rate was the first one
    train_accuracy: float  # of the last epoch
    rates: Sequence[float]  # each layer's share of neurons that spike, in the last epoch
    tested: Sequence[float]  # test accuracy by epoch, of all epochs
    held_out: Sequence[float]  # held-out accuracy by epoch, of all epochs
    seconds: float  # an epoch takes, the median


@dataclass(frozen=True, kw_only=True)
class TrainingLine:
    """The trainings of a condition over their seeds: a line of every table."""

    # the condition: what they share
    dataset: str
    scale: str  # the paper's name of the network, or its notation
    framework: str
    neunorm: str
    T: int
    width: str
    epochs: int  # the most that there may be
    train_samples: int
    test_samples: int
    batch_size: int
    dropout: float
    optimiser: str
    precision: str
    device: str
    initialisation: str  # of the weights; of a file's, which has the decays too, its hash
    bin_ms: float  # of an event frame; NaN for still images
    v_th: float
    a: float
    loss_function: str
    network: str
    stages: str
    neunorm_u: str
    data_source: str
    partial: bool
    lossy: bool
    simulated: bool
    substitute: bool
    # the figures over the seeds; accuracies are in [0, 1]
    accuracy: float  # after the last epoch: the mean, with Student's 95 % interval
    low: float
    high: float
    best_accuracy: float  # at the epoch with the best test accuracy, as papers report it
    chosen_accuracy: float  # test accuracy at the epoch with the best validation accuracy
    n: int  # seeds
    seconds_per_epoch: float
    # what claims and figures need
    case: Training  # with seed 0, and without what was asked of the trained network
    keys: Mapping[str, str]  # of its trainings, each with the suite whose rows count
    is_of_suite: bool  # whether any was run under the suite that was asked for
    accuracies: Mapping[int, float]  # after the last epoch, by seed
    trained_epochs: tuple[int, ...]  # of each training
    curves: Mapping[int, LearningCurve]  # of each seed that has rows of its epochs
    machines: str
    deviations: str  # of the adapter from the paper's function; "" for none

    @property
    def is_ann(self) -> bool:
        """Whether the network has no spikes, whatever its masks are."""
        return self.case.contender.framework == ANN

    @property
    def data_title(self) -> str:
        """The data in a few words."""
        return data_name(self.dataset, substitute=self.substitute, simulated=self.simulated)

    @property
    def rate(self) -> float:
        """The first learning rate."""
        return self.case.optimiser.lr

    @property
    def chance(self) -> float:
        """The accuracy of a guess."""
        return 1 / self.case.workload.network.classes

    @property
    def seeds_at_chance(self) -> list[int]:
        """The seeds that learnt nothing: their training accuracy ends below LEARNT times chance."""
        learnt = schedule.LEARNT * self.chance
        return [seed for seed, curve in self.curves.items() if curve.train_accuracy < learnt]

    @property
    def gained_at_first(self) -> float:
        """How much held-out accuracy still rose as the first learning rate ended, over seeds.

        The mean of the last quarter of its epochs minus the quarter before; NaN where they are too
        few. It decides nothing.
        """
        gains = []
        for curve in self.curves.values():
            at_first = curve.at_first
            if quarter := len(at_first) // 4:
                gains.append(fmean(at_first[-quarter:]) - fmean(at_first[-2 * quarter : -quarter]))
        return fmean(gains) if gains else nan


_FIELDS = (*TrainingLine.__dataclass_fields__,)
SAME = _FIELDS[: _FIELDS.index("accuracy")]  # fields above it: a condition's trainings share them
# How tables order it: what stands before the figures, the figures, and the rest.
FRONT, FIGURES = SAME[:5], _FIELDS[len(SAME) : _FIELDS.index("case")]
CONDITION = SAME[5:]


class DataUsed(NamedTuple):
    """The data of a condition's trainings and tests, with the flags of both."""

    train_samples: int
    test_samples: int
    data_source: str
    partial: bool
    lossy: bool
    simulated: bool
    substitute: bool


def conditions(
    ended: Iterable[tuple[Conditioned, Row[Ended]]], suite: str
) -> Iterator[tuple[Conditioned, DataUsed, list[Row[Ended]]]]:
    """Yield each condition: its case, its data, and its seeds' rows, of each seed the last.

    Each case is given `suite`, so that trainings of several suites can share a condition.
    """
    by_condition = grouped(ended, lambda pair: (_condition(pair[0], suite), _data(pair[1])))
    for (case, data), pairs in by_condition.items():
        yield case, data, [*{row.workload.seed: row for _, row in pairs}.values()]


def machines_text(rows: Iterable[Row]) -> str:
    """Return the names of the machines that rows were measured on as one text, where known."""
    return "; ".join(sorted({str(row.place) for row in rows if row.run.machine.cpu}))


def _data(row: Row) -> DataUsed:
    """Return the samples that a training used, and what is special about its data."""
    data, sources = row.data, [part for part in (row.data.source, row.data.test) if part]
    return DataUsed(
        train_samples=data.train_samples or 0,
        test_samples=data.test_samples or 0,
        data_source=data.source.description if data.source else "",
        **{flag: any(getattr(part, flag) for part in sources) for flag in FLAGS},
    )


def _condition(case: Conditioned, suite: str) -> Conditioned:
    """Return how it was trained, without the seed and the tests of the trained network."""
    workload = replace(case.workload, seed=0)
    if suite != case.suite:
        workload = replace(workload, scale=name_in(suite, workload.dataset, workload.scale))
    # the row's data say which samples
    sampling = replace(case.sampling, train=None, test=None, embedded=False)
    return replace(case, suite=suite, workload=workload, sampling=sampling, tested_at=())


def stages(case: Training) -> str:
    """Return the epochs at each learning rate, "40+5+5"; "until flat" by an earlier rule."""
    if case.least_epochs is not None:
        return "until flat"
    epochs, optimiser = case.epochs, case.optimiser
    step = optimiser.step_epochs if isinstance(optimiser, SGD) else epochs
    by_table_7 = [min(step, epochs - done) for done in range(0, epochs, step)]
    return "+".join(map(str, case.stages or by_table_7))


def first_u(network: Network) -> str:
    """Return the first value of U as text, such as "uniform"; "" without NeuNorm."""
    norm = network.neunorm
    return "" if norm is None else "uniform" if norm.u is None else f"{norm.u:g}"


def reading(network: Network) -> str:
    """Return the reading of NeuNorm's equation, "mean" or "literal"; "off" without NeuNorm."""
    return network.neunorm.reading if network.neunorm else "off"


@lru_cache(maxsize=32)
def lines(frames: Frames, suite: str, *others: str) -> tuple[TrainingLine, ...]:
    """Return the finished trainings of suites: a line a condition, in the paper's order.

    Where a condition has a seed twice, the training of `suite` counts, else the last. Trainings of
    the seed that chooses rates are none of them (`rate_trials`).
    """
    ended = (row for row in frames.current_rows(TrainedResult) if row.workload.seed != RATE_SEED)
    return _lines(frames, ended, suite, others)


@lru_cache(maxsize=4)
def rate_trials(frames: Frames, suite: str, *others: str) -> tuple[TrainingLine, ...]:
    """Return the trainings of RATE_SEED, by which rates are chosen (`chosen_rate`), as `lines`."""
    ended = (row for row in frames.current_rows(TrainedResult) if row.workload.seed == RATE_SEED)
    return _lines(frames, ended, suite, others)


def _lines(
    frames: Frames, trained: Iterable[Row[TrainedResult]], suite: str, others: tuple[str, ...]
) -> tuple[TrainingLine, ...]:
    """Return the trainings of suites as lines, in the paper's order."""
    rows = [row for row in trained if row.suite in (suite, *others)]
    rows.sort(key=lambda row: row.suite == suite)
    # who may deviate is no part of how it was trained
    ended = ((replace(row.training, may_deviate=False), row) for row in rows)
    lines = [_line(suite, _curves(frames), *condition) for condition in conditions(ended, suite)]

    def in_order(line: TrainingLine) -> tuple[object, ...]:
        place = paper.paper_order(line.dataset, line.scale)
        return *place, *same_but()(replace(line, neunorm=line.neunorm.replace("off", "")))

    return tuple(sorted(lines, key=in_order))


def same_but(*differing: Column) -> attrgetter[tuple[object, ...]]:
    """Return a key function, equal for trainings that differ only in those columns and the seed."""
    return attrgetter(*(name for name in SAME if name not in differing))


def as_fixed(lines: Sequence[TrainingLine]) -> list[TrainingLine]:
    """Return of each data set the trainings on the fixed schedule; all, where none of it is."""
    return [
        line
        for of_data in grouped(lines, lambda line: line.dataset).values()
        for line in [e for e in of_data if schedule.is_on_schedule(e.case)] or of_data
    ]


def compared(frames: Frames, suite: str, *differing: Column) -> list[TrainingLine]:
    """Return a suite's trainings, and those of other suites that differ only in `differing`."""
    every, same = lines(frames, suite, *ALIKE), same_but(*differing)
    of_suite = {same(line) for line in every if line.is_of_suite}
    return [line for line in every if same(line) in of_suite]


@lru_cache(maxsize=4)
def _curves(frames: Frames) -> dict[tuple[str, str], LearningCurve]:
    """Return the learning curves of all trainings, by key and suite."""
    rows = sorted(frames.current_rows(EpochResult), key=lambda row: row.result.epoch)
    curves = {}
    for key, of_training in grouped(rows, lambda row: (row.key or "", row.suite)).items():
        epochs = [row.result for row in of_training]
        first, last = epochs[0].learning_rate, epochs[-1]
        at_first = [epoch.validation_accuracy for epoch in epochs if epoch.learning_rate == first]
        curves[key] = LearningCurve(
            at_first,
            last.train_accuracy,
            last.rates,
            [epoch.test_accuracy for epoch in epochs],
            [epoch.validation_accuracy for epoch in epochs],
            median(epoch.seconds for epoch in epochs),
        )
    return curves


def _line(
    suite: str,
    curves: Mapping[tuple[str, str], LearningCurve],
    case: Training,
    data: DataUsed,
    ended: Sequence[Row[TrainedResult]],
) -> TrainingLine:
    """Return the line of one condition, from the rows of its seeds."""
    workload, network = case.workload, case.workload.network
    results, seeds = [row.result for row in ended], [row.workload.seed for row in ended]
    keys = {row.key or "": row.suite for row in ended}
    trained = tuple(result.trained_epochs or case.epochs for result in results)
    accuracy = mean_share([result.test_accuracy for result in results])
    paces = (result.seconds / epochs for result, epochs in zip(results, trained, strict=True))
    return TrainingLine(
        **data._asdict(),
        dataset=workload.dataset,
        scale=network_name(workload),
        framework=case.contender.name,
        T=workload.T,
        batch_size=workload.batch_size,
        precision=case.contender.precision,
        device=case.device,
        width=str(workload.width),
        network=str(network),
        neunorm=reading(network),
        neunorm_u=first_u(network),
        optimiser=_STEPS.sub("", str(case.optimiser)),
        epochs=case.epochs,
        stages=stages(case),
        dropout=network.dropout,
        initialisation=initial_weights(workload),
        bin_ms=nan if paper.settings(workload.dataset).static else case.sampling.bin_us / 1000,
        v_th=network.lif.v_th,
        a=network.lif.a,
        loss_function=case.loss,
        accuracy=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        n=accuracy.n,
        best_accuracy=fmean(result.best_test_accuracy for result in results),
        chosen_accuracy=fmean(result.chosen_test_accuracy for result in results),
        seconds_per_epoch=fmean(paces),
        case=case,
        keys=keys,
        is_of_suite=suite in keys.values(),
        accuracies={row.workload.seed: row.result.test_accuracy for row in ended},
        trained_epochs=trained,
        curves={
            seed: curves[key]
            for seed, key in zip(seeds, keys.items(), strict=True)
            if key in curves
        },
        machines=machines_text(ended),
        deviations="; ".join(sorted({d for row in ended if (d := row.installation.deviations)})),
    )


def rows_of(frames: Frames, kind: type[K], line: TrainingLine) -> list[Row[K]]:
    """Return the rows of a kind (epochs, tests, votes) that belong to a line's trainings."""
    return [row for row in frames.current_rows(kind) if line.keys.get(row.key or "") == row.suite]


Values = list[float] | list[str]  # a column


def table(lines: Sequence[TrainingLine], more: Mapping[str, Values] = {}) -> Frame:
    """Return the table of trainings: a line for each condition, over all its seeds.

    `more` are further columns. `epochs` is how many were trained, the mean over the seeds;
    `at_chance` how many of the n seeds learnt nothing (the means include them); `gained_at_first`
    as the property of that name.
    """
    computed: dict[str, Values] = {
        "at_chance": [len(line.seeds_at_chance) for line in lines],
        "gained_at_first": [line.gained_at_first for line in lines],
        "epochs": [round(fmean(line.trained_epochs)) for line in lines],
    }
    order = [*FRONT, *FIGURES, "at_chance", *more, *CONDITION, "machines", "gained_at_first"]
    frame = pd.DataFrame([vars(line) for line in lines], columns=_FIELDS)
    return frame.assign(**computed, **more)[order]


def scale(frames: Frames) -> Frame:
    """Return Fig. 4: accuracy of the Small, Middle and Large networks."""
    return table(by_scale(frames))


def by_scale(frames: Frames) -> list[TrainingLine]:
    """Return Fig. 4's trainings: all of suite `scale`, the three scales of other suites."""
    every = compared(frames, "scale", "scale", "network")
    return [line for line in every if line.is_of_suite or line.scale in paper.SCALES]


def timesteps(frames: Frames) -> Frame:
    """Return Fig. 5: accuracy against T. Column `tested_8`: the networks tested over 8 steps."""
    lines = compared(frames, "timesteps", "T")
    tests = [
        grouped((row.result for row in rows_of(frames, TestedResult, line)), attrgetter("tested_T"))
        for line in lines
    ]
    means = {
        f"tested_{T}": [
            mean_share([test.test_accuracy for test in by_T.get(T, ())]).value for by_T in tests
        ]
        for T in sorted({T for by_T in tests for T in by_T})
    }
    return table(lines, means)


def accuracy(frames: Frames) -> Frame:
    """Return the trainings of suite `accuracy`, for Tables 3 to 6: a line a condition.

    `recorded_accuracy`: for networks trained on simulated events, accuracy on `recorded_samples`
    real recordings, with its interval over seeds.
    """
    trained = lines(frames, "accuracy")
    tests = [[row.result for row in rows_of(frames, TransferResult, line)] for line in trained]
    if not any(tests):
        return table(trained)
    means = [mean_share([test.test_accuracy for test in of_line]) for of_line in tests]
    samples = [dict.fromkeys(str(e.recorded_samples) for e in of_line) for of_line in tests]
    more: dict[str, Values] = {
        "recorded_accuracy": [mean.value for mean in means],
        "recorded_low": [mean.low for mean in means],
        "recorded_high": [mean.high for mean in means],
        "recorded_samples": [*map(", ".join, samples)],
    }
    return table(trained, more)


def neunorm(frames: Frames) -> Frame:
    """Return trainings with NeuNorm off and on: accuracy, convergence, and Fig. 6's contrast.

    `target` is the held-out accuracy of `goal`, the same for all readings, `epochs_to_target` the
    mean epochs to it of the seeds that reach it; `contrast` is the mean vote for the right class
    minus that for a wrong one, on Fig. 6's 500 samples, `contrast_of_all` on all test samples.
    """
    lines = compared(frames, "neunorm", "neunorm", "neunorm_u")
    same = same_but("neunorm", "neunorm_u")
    goals = {key: goal(rivals) for key, rivals in grouped(lines, same).items()}
    targets = [goals[same(line)] for line in lines]
    columns = {
        "epochs_to_target": [*map(epochs_to, targets, lines)],
        "contrast": [contrasts(frames, line) for line in lines],
        "contrast_of_all": [contrasts(frames, line, whole=True) for line in lines],
    }
    means = {
        name: [mean([*by_seed.values()]).value for by_seed in column]
        for name, column in columns.items()
    }
    return table(lines, {"target": targets, **means})


Samples = Literal["held out", "test"]


def at_first(curve: LearningCurve, samples: Samples) -> Sequence[float]:
    """Return the accuracy by epoch at the first rate, on held-out or on test samples."""
    return curve.at_first if samples == "held out" else curve.tested[: len(curve.at_first)]


def goal(
    rivals: Sequence[TrainingLine],
    samples: Samples = "held out",
    seeds: Container[int] | None = None,
) -> float:
    """Return the accuracy until which the epochs of trainings are counted; of all seeds by default.

    NEARLY (0.9) of the way from chance to their mean over the last quarter of the epochs at the
    first rate. All enter it alike, so noise in one brings none of them there sooner.
    """
    curves = [
        at_first(curve, samples)
        for line in rivals
        for seed, curve in line.curves.items()
        if seeds is None or seed in seeds
    ]
    held = fmean(fmean(curve[-max(1, len(curve) // 4) :]) for curve in curves) if curves else nan
    return rivals[0].chance + NEARLY * (held - rivals[0].chance)


def epochs_to(
    goal: float,
    line: TrainingLine,
    samples: Samples = "held out",
    seeds: Container[int] | None = None,
) -> dict[int, float]:
    """Return, by seed, the epochs at the first rate until accuracy reaches the goal.

    Interpolated linearly between epochs, from chance at 0. Seeds that never reach it are left out.
    """
    epochs: dict[int, float] = {}
    for seed, curve in line.curves.items():
        for n, (low, high) in enumerate(pairwise([line.chance, *at_first(curve, samples)])):
            if low < goal <= high and (seeds is None or seed in seeds):
                epochs.setdefault(seed, n + (goal - low) / (high - low))
    return epochs


class ChosenRate(NamedTuple):
    """The first learning rate of one side by the rule that was fixed, or why there is none yet."""

    rate: float | None
    why: str


def chosen_rate(lines: Iterable[TrainingLine]) -> ChosenRate:
    """Return the rate of trainings that differ only in it, by held-out accuracy of one seed.

    It is the smallest whose last three epochs of seed RATE_SEED hold within NEAR of the best. It
    is None until half and twice of it were tried too.
    """
    accuracies = {
        line.rate: fmean(curve.held_out[-3:])
        for line in lines
        if (curve := line.curves.get(RATE_SEED))
    }
    if not accuracies:
        return ChosenRate(None, f"no rate was tried (seed {RATE_SEED})")
    best = max(accuracies.values())
    rate = min(rate for rate, accuracy in accuracies.items() if accuracy >= best - NEAR - 1e-9)
    tried = ", ".join(f"{lr:g}: {100 * accuracies[lr]:.1f} %" for lr in sorted(accuracies))
    for neighbour in (2 * rate, rate / 2):
        if not any(isclose(neighbour, lr) for lr in accuracies):
            why = f"{rate:g} is the best that was tried ({tried}): {neighbour:g} is next"
            return ChosenRate(None, why)
    return ChosenRate(rate, f"held-out accuracy by rate: {tried}")


def votes(
    frames: Frames, line: TrainingLine, *, whole: bool = False
) -> dict[int, Row[ConfusionResult]]:
    """Return each seed's votes on Fig. 6's 500 samples, with `whole` on all test samples."""
    rows = rows_of(frames, ConfusionResult, line)
    rows.sort(key=lambda row: row.result.confusion_samples, reverse=not whole)
    return {row.workload.seed: row for row in rows}  # the last of each seed counts


def contrasts(frames: Frames, line: TrainingLine, *, whole: bool = False) -> dict[int, float]:
    """Return, by seed, the mean of `votes` for the right class minus that for a wrong one."""
    by_seed: dict[int, float] = {}
    for seed, row in votes(frames, line, whole=whole).items():
        table = np.array(row.result.votes)
        right = np.eye(len(table), dtype=bool)
        by_seed[seed] = float(table[right].mean() - table[~right].mean())
    return by_seed
