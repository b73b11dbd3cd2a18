"""Trainings as tables: Figs. 4 to 6, ablations, and what Tables 3 to 6 are measured by.

A condition is what trainings share that differ in the seed alone: a line of every table.
"""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from math import nan
from operator import attrgetter
from statistics import fmean, median
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import pandas as pd

from harness.analysis.frame import Frame, Frames, R, grouped
from harness.analysis.words import FLAGS, initial_weights
from harness.records import (
    ConfusionRow,
    EpochRow,
    FittedRow,
    Record,
    TestedRow,
    TrainedRow,
    TransferRow,
)
from harness.spec import DEAD_RATE, SGD, Case, Trained, network_name, paper, schedule
from harness.statistics import mean, mean_share
from harness.suites.trainings import ABLATIONS, AS_IT_IS

ALIKE = ("timesteps", "scale", "neunorm", "accuracy")  # suites whose trainings are the paper's
NEARLY = 0.9  # on this share of the way a curve is still steep, and further from noise than its end
# Each side's first rate: the seed it is chosen by, and how near to the best a smaller one may lie.
RATE_SEED, NEAR = 100, 0.005
# Left out of an optimiser's text: the column `stages` has the steps.
_STEPS = re.compile(", step_epochs=\\d+|, fc_factor=None")
Ended = TypeVar("Ended", TrainedRow, FittedRow)
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
    case: Trained  # with seed 0, and without what was asked of the trained network
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
        learnt = schedule.LEARNT / self.case.network.classes
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
# Fields of a case that tables have as they are.
OF_CASE = ("dataset", "framework", "T", "batch_size", "precision", "device")


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
    ended: Iterable[Ended], suite: str
) -> Iterator[tuple[Trained, DataUsed, list[Ended]]]:
    """Yield each condition: its case, its data, and its seeds' rows, of each seed the last.

    Each case is given `suite`, so that trainings of several suites can share a condition.
    """
    by_condition = grouped(ended, lambda row: (_condition(row, suite), _data(row)))
    for (case, data), rows in by_condition.items():
        yield case, data, [*{row.seed: row for row in rows}.values()]


def machines_text(rows: Iterable[Record]) -> str:
    """Return the names of the machines that rows were measured on as one text, where known."""
    return "; ".join(sorted({str(row.place) for row in rows if row.cpu}))


def _data(row: Record) -> DataUsed:
    sizes = row.train_samples or 0, row.test_samples or 0
    flags = (bool(getattr(row, f"data_{n}") or getattr(row, f"data_test_{n}")) for n in FLAGS)
    return DataUsed(*sizes, row.data_source or "", *flags)


def _condition(row: Record, suite: str) -> Trained:
    """Return how it was trained, without the seed and the tests of the trained network."""
    case = Trained.of(row)
    asked = {"samples": None, "test_samples": None, "embedded": False}  # the row's data say it
    training = replace(case.training, tested_at=(), **asked)
    case = replace(case, suite=suite, seed=0, training=training)
    if suite != row.suite and paper.settings(case.dataset).static:
        # Table 1's Large of still images is Table 2's CIFARNet: what suites call it
        names = {"CIFARNet": "Large"} if suite == "scale" else {"Large": "CIFARNet"}
        case = replace(case, scale=names.get(case.scale, case.scale))
    return case


def stages(case: Trained) -> str:
    """Return the epochs at each learning rate, "40+5+5"; "until flat" by an earlier rule."""
    training, optimiser = case.training, case.optimiser
    if training.least_epochs is not None:
        return "until flat"
    of = training.stages
    if not of:
        step = optimiser.step_epochs if isinstance(optimiser, SGD) else training.epochs
        of = [min(step, training.epochs - done) for done in range(0, training.epochs, step)]
    return "+".join(map(str, of))


def first_u(case: Case) -> str:
    """Return the first value of U as text, such as "uniform"; "" without NeuNorm."""
    norm = case.network.neunorm
    return "" if norm is None else "uniform" if norm.u is None else f"{norm.u:g}"


def reading(case: Case) -> str:
    """Return the reading of NeuNorm's equation, "mean" or "literal"; "off" without NeuNorm."""
    return case.network.neunorm.reading if case.network.neunorm else "off"


@lru_cache(maxsize=32)
def lines(frames: Frames, suite: str, *others: str) -> tuple[TrainingLine, ...]:
    """Return the finished trainings of suites: a line a condition, in the paper's order.

    Where a condition has a seed twice, the training of `suite` counts, else the last.
    """
    ended = [row for row in frames.current_rows(TrainedRow) if row.suite in (suite, *others)]
    ended.sort(key=lambda row: row.suite == suite)
    found = [_line(suite, _curves(frames), *each) for each in conditions(ended, suite)]

    def in_order(line: TrainingLine) -> tuple[object, ...]:
        place = paper.paper_order(line.dataset, line.scale)
        return *place, *same_but()(replace(line, neunorm=line.neunorm.replace("off", "")))

    return tuple(sorted(found, key=in_order))


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
    rows = sorted(frames.current_rows(EpochRow), key=lambda row: row.epoch)
    found = {}
    for key, of in grouped(rows, lambda row: (row.key or "", row.suite)).items():
        first, last = of[0].learning_rate, of[-1]
        at_first = [each.validation_accuracy for each in of if each.learning_rate == first]
        found[key] = LearningCurve(
            at_first,
            last.train_accuracy,
            last.rates,
            [each.test_accuracy for each in of],
            [each.validation_accuracy for each in of],
            median(each.seconds for each in of),
        )
    return found


def _line(
    suite: str,
    curves: Mapping[tuple[str, str], LearningCurve],
    case: Trained,
    data: DataUsed,
    ended: Sequence[TrainedRow],
) -> TrainingLine:
    network, training = case.network, case.training
    keys = {row.key or "": row.suite for row in ended}
    trained = tuple(row.trained_epochs or training.epochs for row in ended)
    of_seeds = zip((row.seed for row in ended), keys.items(), strict=True)
    accuracy = mean_share([row.test_accuracy for row in ended])
    paces = (row.seconds / epochs for row, epochs in zip(ended, trained, strict=True))
    return TrainingLine(
        **{name: getattr(case, name) for name in OF_CASE},
        **data._asdict(),
        scale=network_name(case),
        width=str(case.width),
        network=str(network),
        neunorm=reading(case),
        neunorm_u=first_u(case),
        optimiser=_STEPS.sub("", str(case.optimiser)),
        epochs=training.epochs,
        stages=stages(case),
        dropout=network.dropout,
        initialisation=initial_weights(case),
        bin_ms=nan if paper.settings(case.dataset).static else training.bin_us / 1000,
        v_th=network.lif.v_th,
        a=network.lif.a,
        loss_function=training.loss,
        accuracy=accuracy.value,
        low=accuracy.low,
        high=accuracy.high,
        n=accuracy.n,
        best_accuracy=fmean(row.best_test_accuracy for row in ended),
        chosen_accuracy=fmean(row.chosen_test_accuracy for row in ended),
        seconds_per_epoch=fmean(paces),
        case=case,
        keys=keys,
        own=suite in keys.values(),
        accuracies={row.seed: row.test_accuracy for row in ended},
        trained_epochs=trained,
        curves={seed: curves[key] for seed, key in of_seeds if key in curves},
        machines=machines_text(ended),
        deviations="; ".join(sorted({row.deviations for row in ended if row.deviations})),
    )


def rows_of(frames: Frames, kind: type[R], line: TrainingLine) -> list[R]:
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
    tested = [grouped(rows_of(frames, TestedRow, e), lambda row: row.tested_T) for e in found]
    steps = sorted({T for by_steps in tested for T in by_steps})

    def over(T: int) -> list[float]:
        return [mean_share([row.test_accuracy for row in of.get(T, ())]).value for of in tested]

    return table(found, {f"tested_{T}": over(T) for T in steps})


def accuracy(frames: Frames) -> Frame:
    """Return the trainings of suite `accuracy`, for Tables 3 to 6: a line a condition.

    `recorded_accuracy`: for networks trained on simulated events, accuracy on `recorded_samples`
    real recordings, with its interval over seeds.
    """
    found = lines(frames, "accuracy")
    rows = [rows_of(frames, TransferRow, each) for each in found]
    if not any(rows):
        return table(found)
    means = [mean_share([row.test_accuracy for row in of]) for of in rows]
    samples = [dict.fromkeys(str(row.recorded_samples) for row in of) for of in rows]
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
    chance = 1 / rivals[0].case.network.classes
    return chance + NEARLY * (held - chance)


def epochs_to(
    goal: float, line: TrainingLine, on: Samples = "held out", seeds: Container[int] | None = None
) -> dict[int, float]:
    """Return, by seed, the epochs at the first rate until accuracy reaches the goal.

    Interpolated linearly between epochs, from chance at 0. Seeds that never reach it are left out.
    """
    found: dict[int, float] = {}
    chance = 1 / line.case.network.classes
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
    None where it is the least or the largest that was tried.
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
    for end, more in ((max(held), 2 * max(held)), (min(held), min(held) / 2)):
        if rate == end:
            where = f"{rate:g} is at the edge of the rates that were tried ({tried})"
            return ChosenRate(None, f"{where}: {more:g} is next")
    return ChosenRate(rate, f"held-out accuracy by rate: {tried}")


def votes(frames: Frames, line: TrainingLine, *, whole: bool = False) -> dict[int, ConfusionRow]:
    """Return each seed's votes on Fig. 6's 500 samples, with `whole` on all test samples."""
    rows = rows_of(frames, ConfusionRow, line)
    rows.sort(key=lambda row: row.confusion_samples, reverse=not whole)
    return {row.seed: row for row in rows}  # the last of each seed counts


def contrasts(frames: Frames, line: TrainingLine, *, whole: bool = False) -> dict[int, float]:
    """Return, by seed, the mean of `votes` for the right class minus that for a wrong one."""
    found: dict[int, float] = {}
    for seed, row in votes(frames, line, whole=whole).items():
        table = np.array(row.votes)
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


def _unchanged(case: Trained) -> Trained:
    """Return what the changes leave alone."""
    return replace(
        case,
        framework=case.framework.partition(":")[0],
        precision="fp32",
        initialisation="calibrated",
        network=replace(case.network, lif=replace(case.network.lif, a=1.0, v_th=1.0)),
        training=replace(case.training, loss="mse"),
        optimiser=paper.settings(case.dataset).optimiser,
    )


def _changed(base: Trained, among: Mapping[Trained, TrainingLine]) -> dict[Trained, str]:
    """Return trainings by the change that makes them of `base`, itself first."""
    made: dict[Trained, str] = {}
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
