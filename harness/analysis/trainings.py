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
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from harness.analysis.frame import Frame, Frames, grouped
from harness.analysis.words import initial_weights
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
    DEAD_RATE,
    LOSS,
    SGD,
    Fit,
    Network,
    Training,
    network_name,
    paper,
    schedule,
)
from harness.statistics import mean, mean_share
from harness.suites.trainings import ABLATIONS, AS_IT_IS

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
    own: bool  # whether any was run under the suite that was asked for
    accuracies: Mapping[int, float]  # after the last epoch, by seed
    trained_epochs: tuple[int, ...]  # of each training
    curves: Mapping[int, LearningCurve]  # of each seed that has rows of its epochs
    machines: str
    deviations: str  # of the adapter from the paper's function; "" for none

    @property
    def lost(self) -> list[int]:
        """The seeds that learnt nothing: their training accuracy ends below LEARNT times chance."""
        learnt = schedule.LEARNT / self.case.workload.network.classes
        return [seed for seed, of in self.curves.items() if of.train_accuracy < learnt]

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
    data, sources = row.data, [part for part in (row.data.source, row.data.test) if part]
    return DataUsed(
        train_samples=data.train_samples or 0,
        test_samples=data.test_samples or 0,
        data_source=data.source.description if data.source else "",
        partial=any(part.partial for part in sources),
        lossy=any(part.lossy for part in sources),
        simulated=any(part.simulated for part in sources),
        substitute=any(part.substitute for part in sources),
    )


def _condition(case: Conditioned, suite: str) -> Conditioned:
    """Return how it was trained, without the seed and the tests of the trained network."""
    workload = replace(case.workload, seed=0)
    if suite != case.suite and paper.settings(workload.dataset).static:
        # Table 1's Large of still images is Table 2's CIFARNet: what suites call it
        names = {"CIFARNet": "Large"} if suite == "scale" else {"Large": "CIFARNet"}
        workload = replace(workload, scale=names.get(workload.scale, workload.scale))
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
    frames: Frames, found: Iterable[Row[TrainedResult]], suite: str, others: tuple[str, ...]
) -> tuple[TrainingLine, ...]:
    rows = [row for row in found if row.suite in (suite, *others)]
    rows.sort(key=lambda row: row.suite == suite)
    # who may deviate is no part of how it was trained
    ended = ((replace(row.training, may_deviate=False), row) for row in rows)
    made = [_line(suite, _curves(frames), *condition) for condition in conditions(ended, suite)]

    def in_order(line: TrainingLine) -> tuple[object, ...]:
        place = paper.paper_order(line.dataset, line.scale)
        return *place, *same_but()(replace(line, neunorm=line.neunorm.replace("off", "")))

    return tuple(sorted(made, key=in_order))


def same_but(*differing: Column) -> attrgetter[tuple[object, ...]]:
    """Return a key function, equal for trainings that differ only in those columns and the seed."""
    return attrgetter(*(name for name in SAME if name not in differing))


def as_fixed(found: Sequence[TrainingLine]) -> list[TrainingLine]:
    """Return of each data set the trainings on the fixed schedule; all, where none of it is."""
    by_dataset = grouped(found, lambda each: each.dataset).values()
    fixed = ([each for each in of if schedule.is_on_schedule(each.case)] or of for of in by_dataset)
    return [each for of in fixed for each in of]


def compared(frames: Frames, suite: str, *differing: Column) -> list[TrainingLine]:
    """Return a suite's trainings, and those of other suites that differ only in `differing`."""
    found, same = lines(frames, suite, *ALIKE), same_but(*differing)
    own = {same(each) for each in found if each.own}
    return [each for each in found if same(each) in own]


@lru_cache(maxsize=4)
def _curves(frames: Frames) -> dict[tuple[str, str], LearningCurve]:
    rows = sorted(frames.current_rows(EpochResult), key=lambda row: row.result.epoch)
    curves = {}
    for key, its in grouped(rows, lambda row: (row.key or "", row.suite)).items():
        epochs = [row.result for row in its]
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
        own=suite in keys.values(),
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


def table(found: Sequence[TrainingLine], more: Mapping[str, Sequence[Any]] = {}) -> Frame:
    """Return the table of trainings: a line for each condition, over all its seeds.

    `more` are further columns. `epochs` is how many were trained, the mean over the seeds;
    `at_chance` how many of the n seeds learnt nothing (the means include them); `gained_at_first`
    as the property of that name.
    """
    own: dict[str, Sequence[Any]] = {"at_chance": [len(each.lost) for each in found]}
    own |= {"gained_at_first": [each.gained_at_first for each in found]}
    own |= {"epochs": [round(fmean(each.trained_epochs)) for each in found]}
    order = [*FRONT, *FIGURES, "at_chance", *more, *CONDITION, "machines", "gained_at_first"]
    made = pd.DataFrame([vars(each) for each in found], columns=_FIELDS)
    return made.assign(**own, **more)[order]


def scale(frames: Frames) -> Frame:
    """Return Fig. 4: accuracy of the Small, Middle and Large networks."""
    return table(by_scale(frames))


def by_scale(frames: Frames) -> list[TrainingLine]:
    """Return Fig. 4's trainings: all of suite `scale`, the three scales of other suites."""
    found = compared(frames, "scale", "scale", "network")
    return [each for each in found if each.own or each.scale in paper.SCALES]


def timesteps(frames: Frames) -> Frame:
    """Return Fig. 5: accuracy against T. Column `tested_8`: the networks tested over 8 steps."""
    found = compared(frames, "timesteps", "T")
    tested = [
        grouped((row.result for row in rows_of(frames, TestedResult, line)), attrgetter("tested_T"))
        for line in found
    ]
    steps = sorted({T for by_steps in tested for T in by_steps})

    def over(T: int) -> list[float]:
        results = (by_steps.get(T, ()) for by_steps in tested)
        return [mean_share([result.test_accuracy for result in its]).value for its in results]

    return table(found, {f"tested_{T}": over(T) for T in steps})


def accuracy(frames: Frames) -> Frame:
    """Return the trainings of suite `accuracy`, for Tables 3 to 6: a line a condition.

    `recorded_accuracy`: for networks trained on simulated events, accuracy on `recorded_samples`
    real recordings, with its interval over seeds.
    """
    found = lines(frames, "accuracy")
    results = [[row.result for row in rows_of(frames, TransferResult, line)] for line in found]
    if not any(results):
        return table(found)
    means = [mean_share([result.test_accuracy for result in its]) for its in results]
    samples = [dict.fromkeys(str(result.recorded_samples) for result in its) for its in results]
    more = {
        "recorded_accuracy": [each.value for each in means],
        "recorded_low": [each.low for each in means],
        "recorded_high": [each.high for each in means],
        "recorded_samples": [*map(", ".join, samples)],
    }
    return table(found, more)


def neunorm(frames: Frames) -> Frame:
    """Return trainings with NeuNorm off and on: accuracy, convergence, and Fig. 6's contrast.

    `target` is the held-out accuracy of `goal`, the same for all readings, `epochs_to_target` the
    mean epochs to it of the seeds that reach it; `contrast` is the mean vote for the right class
    minus that for a wrong one, on Fig. 6's 500 samples, `contrast_of_all` on all test samples.
    """
    found = compared(frames, "neunorm", "neunorm", "neunorm_u")
    same = same_but("neunorm", "neunorm_u")
    goals = {key: goal(of) for key, of in grouped(found, same).items()}
    targets = [goals[same(each)] for each in found]
    by_seed = {
        "epochs_to_target": [*map(epochs_to, targets, found)],
        "contrast": [contrasts(frames, each) for each in found],
        "contrast_of_all": [contrasts(frames, each, whole=True) for each in found],
    }
    means = {name: [mean([*e.values()]).value for e in of] for name, of in by_seed.items()}
    return table(found, {"target": targets, **means})


Samples = Literal["held out", "test"]


def at_first(curve: LearningCurve, on: Samples) -> Sequence[float]:
    """Return the accuracy by epoch at the first rate, on held-out or on test samples."""
    return curve.at_first if on == "held out" else curve.tested[: len(curve.at_first)]


def goal(
    rivals: Sequence[TrainingLine], on: Samples = "held out", seeds: Container[int] | None = None
) -> float:
    """Return the accuracy until which the epochs of trainings are counted; of all seeds by default.

    NEARLY (0.9) of the way from chance to their mean over the last quarter of the epochs at the
    first rate. All enter it alike, so noise in one brings none of them there sooner.
    """
    curves = [
        at_first(curve, on)
        for each in rivals
        for seed, curve in each.curves.items()
        if seeds is None or seed in seeds
    ]
    held = fmean(fmean(curve[-max(1, len(curve) // 4) :]) for curve in curves) if curves else nan
    chance = 1 / rivals[0].case.workload.network.classes
    return chance + NEARLY * (held - chance)


def epochs_to(
    goal: float, line: TrainingLine, on: Samples = "held out", seeds: Container[int] | None = None
) -> dict[int, float]:
    """Return, by seed, the epochs at the first rate until accuracy reaches the goal.

    Interpolated linearly between epochs, from chance at 0. Seeds that never reach it are left out.
    """
    found: dict[int, float] = {}
    chance = 1 / line.case.workload.network.classes
    for seed, curve in line.curves.items():
        for done, (low, high) in enumerate(pairwise([chance, *at_first(curve, on)])):
            if low < goal <= high and (seeds is None or seed in seeds):
                found.setdefault(seed, done + (goal - low) / (high - low))
    return found


class ChosenRate(NamedTuple):
    """The first learning rate of one side by the rule that was fixed, or why there is none yet."""

    rate: float | None
    why: str


def chosen_rate(found: Iterable[TrainingLine]) -> ChosenRate:
    """Return the rate of trainings that differ only in it, by held-out accuracy of one seed.

    The smallest rate whose last three epochs of seed RATE_SEED hold within NEAR of the best.
    None until both half and twice of it were tried too.
    """
    held = {
        each.case.optimiser.lr: fmean(curve.held_out[-3:])
        for each in found
        if (curve := each.curves.get(RATE_SEED))
    }
    if not held:
        return ChosenRate(None, f"no rate was tried (seed {RATE_SEED})")
    best = max(held.values())
    rate = min(rate for rate, accuracy in held.items() if accuracy >= best - NEAR - 1e-9)
    tried = ", ".join(f"{each:g}: {100 * held[each]:.1f} %" for each in sorted(held))
    for more in (2 * rate, rate / 2):
        if not any(isclose(more, other) for other in held):
            return ChosenRate(
                None, f"{rate:g} is the best that was tried ({tried}): {more:g} is next"
            )
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
    found: dict[int, float] = {}
    for seed, row in votes(frames, line, whole=whole).items():
        table = np.array(row.result.votes)
        right = np.eye(len(table), dtype=bool)
        found[seed] = float(table[right].mean() - table[~right].mean())
    return found


@dataclass(frozen=True)
class AblationLine:
    """A training with one change, and its gains over the training without any."""

    change: str  # in words
    trained: TrainingLine  # with the change
    gains: tuple[float, ...]  # accuracy minus that without a change, by the seeds that both have


def ablated(frames: Frames) -> list[AblationLine]:
    """Return trainings with one change, after the unchanged one that their gains are against."""
    found, data_of = list[AblationLine](), attrgetter(*DataUsed._fields)
    comparable = grouped(lines(frames, "ablations"), lambda e: (_unchanged(e.case), data_of(e)))
    for of in comparable.values():
        by_case = {each.case: each for each in of}
        # without any change is the one from which most others follow
        made = max((_changed(case, by_case) for case in by_case), key=len)
        base = by_case[next(iter(made))].accuracies
        for case, change in made.items():
            ours = by_case[case].accuracies
            gains = tuple(ours[seed] - base[seed] for seed in sorted(ours.keys() & base.keys()))
            found.append(AblationLine(change, by_case[case], gains))
    return found


def _unchanged(case: Training) -> Training:
    """Return what the changes leave alone."""
    network = case.workload.network
    network = replace(network, lif=replace(network.lif, a=1.0, v_th=1.0))
    return replace(
        case,
        workload=replace(case.workload, network=network, initialisation="calibrated"),
        contender=replace(case.contender.plain, precision="fp32"),
        loss=LOSS,
        optimiser=paper.settings(case.workload.dataset).optimiser,
    )


def _changed(base: Training, among: Mapping[Training, TrainingLine]) -> dict[Training, str]:
    """Return trainings by the change that makes them of `base`, itself first."""
    made: dict[Training, str] = {}
    for name, change in ABLATIONS.items():
        made.setdefault(change(base), name)
    return {case: name for case, name in made.items() if case in among}


def ablations(frames: Frames) -> Frame:
    """Return the ablations, a line for each change. Accuracies are in [0, 1].

    `difference` is to the training without a change, by seeds that both have, with Student's 95 %
    interval; `dead_layers` is the mean count of layers whose final rate is below DEAD_RATE.
    """
    found = ablated(frames)
    gains = [mean(() if each.change == AS_IT_IS else each.gains) for each in found]
    ends = [each.trained.curves.values() for each in found]
    dead = [[float(sum(rate < DEAD_RATE for rate in of.rates)) for of in each] for each in ends]
    more = {
        "difference": [gain.value for gain in gains],
        "difference_low": [gain.low for gain in gains],
        "difference_high": [gain.high for gain in gains],
        "dead_layers": [mean(each).value for each in dead],
        "train_accuracy": [mean([of.train_accuracy for of in each]).value for each in ends],
    }
    made = table([each.trained for each in found], more)
    made.insert(0, "change", [each.change for each in found])
    return made
