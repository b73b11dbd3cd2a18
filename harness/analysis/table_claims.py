"""The tests of the claims that are Tables 3 to 6: accuracy, NeuNorm's gain, parity with the ANN."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import log1p
from statistics import fmean

import numpy as np
import pandas as pd

from harness.analysis import trainings
from harness.analysis.ablations import ablated
from harness.analysis.effect import FEWEST_SEEDS, Effect, Judgement, interval_text, is_on_schedule
from harness.analysis.frame import Frame, Frames, grouped
from harness.analysis.paired import (
    NEW_SEEDS,
    Untested,
    by_seed,
    common_seeds,
    comparable,
    gain,
    is_full_size,
    neunorm_pair,
    preference,
    u_in_words,
    waits_for_new_seeds,
)
from harness.analysis.tables import PublishedRow, measures, published
from harness.analysis.trainings import ChosenRate, TrainingLine, same_but
from harness.spec import ANN, schedule

# A mean over seeds may stay so far below the published figure, or a spiking network below its ANN.
ACCURACY = 0.01
HALF = 0.5  # of the gain that Tables 3 and 4 state for NeuNorm: the least that would matter
# The seeds that were fixed for the gain of NeuNorm in a table, and for parity with the ANN.
SEEDS_OF_TABLE = {3: 3, 4: 8, 5: 4, 6: 4}
LATE_EPOCHS = slice(15, 30)  # of Table 4's figure
# Nine images more or less are one deviation of counting 103 errors.
OF_TABLE_3 = "the paper's gain is 9 of 10,000 images, which one pair of runs could not have shown"
# Parity with the ANN: whether the network with spikes has NeuNorm, by table.
WITH_NEUNORM = {5: "off", 6: "mean"}
# Of the pilot for parity with the ANN: CIFARNet and its ANN go on at the second rate.
PILOT = (40, 40, 5)
MOVED = 0.01  # accuracy: where the gap moves by so much, its size is one of the schedule
RUNGS = (Fraction(1, 8), Fraction(1, 4), Fraction(1, 2), Fraction(1))  # widths of Small
PARITY_SEEDS = 5  # of a ladder's rung


def of_table(number: int, frames: Frames) -> list[Effect]:
    """Return the effects of Table 3, 4, 5 or 6: accuracy against the paper's, and the rows' order.

    A row at the paper's size may lie at most ACCURACY below the published figure; a reduced run
    cannot show that. The order is judged at any size: NeuNorm gains, and a spiking network with it
    lies at most ACCURACY below the same structure without spikes.
    """
    rows = [row for row in published() if row.table == number and row.network]
    networks = {(row.dataset, row.network) for row in rows}
    lines = [e for e in comparable(frames, "accuracy") if (e.dataset, e.scale) in networks]
    whole = [line for line in lines if line.is_of_suite and is_full_size(line)]
    effects = [_from_published(row, line) for row in rows for line in whole if measures(row, line)]
    effects += _neunorm_gains(number, rows, lines)
    if number in WITH_NEUNORM:
        effects += _behind_ann(number, frames, lines)
    if number == 5 and effects:
        effects += ladder(frames)
    if not effects:
        lack = "its rows were not run"
        if any(measures(row, line) for row in rows for line in lines):
            lack = "no two of its rows were run on the same data with a common seed"
        missing = _missing_rates(*_rates(frames)) if number in WITH_NEUNORM else ""
        raise Untested(lack + (f"; no rate is chosen yet: {missing}" if missing else ""))
    return effects


def _from_published(row: PublishedRow, line: TrainingLine) -> Effect:
    """Return accuracy minus the published one, of trainings of the paper's size."""
    kind = "ANN" if line.framework == ANN else f"NeuNorm {line.neunorm}"
    part = f"{line.scale}, {kind}: minus the paper's, points"
    bounds = f"{100 * row.accuracy:.2f} %", -ACCURACY, -ACCURACY, FEWEST_SEEDS
    difference = pd.Series(line.accuracies) - row.accuracy
    choice = u_in_words(line) if line.neunorm_u else ""
    return Effect(part, *bounds, difference, [line], may_grow=True, choice=choice)


def _neunorm_gains(
    number: int, rows: Sequence[PublishedRow], lines: Sequence[TrainingLine]
) -> Iterator[Effect]:
    """Yield NeuNorm's gain, against half of the published one; in Table 5 against all of it."""
    accuracy = {bool(row.neunorm): row.accuracy for row in reversed(rows) if row.framework != ANN}
    if len(accuracy) < 2:
        return
    try:
        groups = neunorm_pair(lines)
    except Untested:
        return
    accuracies, preset, doubts = by_seed(groups), None, ""
    if number == 4:
        accuracies, preset, doubts = _late(groups)
    gains, unit = gain(accuracies[0], accuracies[1], groups[0])
    # half of Table 5's gain is less than two runs of a seed differ by
    share = 1 if number == 5 else HALF
    part, least = "points NeuNorm gains", share * (accuracy[True] - accuracy[False])
    if unit == "share":
        part, least = "errors NeuNorm removes", -log1p(-least / (1 - accuracy[False]))
    choice = u_in_words(groups[1])
    yield Effect(
        f"{groups[0].data_title}: {part}",
        f"{100 * accuracy[False]:.2f} to {100 * accuracy[True]:.2f}",
        *(0.0, least, SEEDS_OF_TABLE[number], gains, groups, unit),
        choice=f"{choice}, rate {groups[1].rate:g}" if number == 3 else choice,
        obstacle=OF_TABLE_3 if number == 3 else "",
        preset=preset,
        doubts=doubts,
    )


def _late(groups: Sequence[TrainingLine]) -> tuple[Frame, Judgement | None, str]:
    """Return Table 4's accuracies by seed, its answer without NEW_SEEDS, and what is against it.

    Of NEW_SEEDS the mean of LATE_EPOCHS; until one is there of other seeds, as in other tables.
    """
    late_means = common_seeds(
        {seed: fmean(tests) for seed, c in e.curves.items() if (tests := c.tested[LATE_EPOCHS])}
        for e in groups
    )
    new = late_means[late_means.index.isin(NEW_SEEDS)] if len(late_means) else late_means
    if len(new):
        return new, None, ""
    best = common_seeds({seed: max(c.tested) for seed, c in e.curves.items()} for e in groups)
    doubts = ""
    if len(late_means) > 1:
        by_late, by_best = (interval_text(pair[1] - pair[0]) for pair in (late_means, best))
        doubts = f"By epochs 16 to 30 it is {by_late}, by the best epoch {by_best}."
    return by_seed(groups), waits_for_new_seeds(), doubts


def _behind_ann(number: int, frames: Frames, lines: Sequence[TrainingLine]) -> Iterator[Effect]:
    """Yield a spiking network minus the same structure without spikes, each at its chosen rate.

    Until CIFARNet's rates are chosen Table 5's is open, with the figure at the schedule's own rate,
    and Table 6 has none.
    """
    structure = same_but("framework", "neunorm", "neunorm_u", "T", "optimiser")
    snns, anns = _sides(lines)
    pairs = [pair for pair in product(snns, anns) if len({*map(structure, pair)}) == 1]
    pairs = [pair for pair in pairs if len(by_seed(pair))]
    sides, neunorm = _rates(frames), WITH_NEUNORM[number]
    whole = [pair for pair in pairs if all(map(is_full_size, pair))]
    chosen = [
        (snn, ann)
        for snn, ann in pairs
        if (snn.rate, ann.rate) == tuple(side.rate for side in sides)
        and snn.neunorm == neunorm
        and _has_fixed_stages(snn)
        and _has_fixed_stages(ann)
    ]
    usual = [p for p in pairs if p[0].neunorm == "mean" and number == 5 and is_on_schedule(p)]
    if not (options := whole or chosen or usual):
        return
    snn, ann = pair = min(options, key=preference)
    published = "+1.52" if number == 6 else "+0.04"  # 85.24 - 83.72, 90.53 - 90.49
    if snn.neunorm == "off":
        published = "-0.66"  # 89.83 - 90.49
    preset = None if whole else _by_pilot(frames)
    if not (whole or chosen):
        why = _missing_rates(*sides) or "at the rates chosen since, trainings are not complete"
        preset = Judgement("open", f"behind at the one rate of both sides: {why}", "rate")
    rates = list(dict.fromkeys(f"{line.rate:g}" for line in pair))
    accuracies = by_seed(pair)
    yield Effect(
        f"{snn.scale} minus its ANN, points",
        *(published, -ACCURACY, -ACCURACY, SEEDS_OF_TABLE[number]),
        *(accuracies[0] - accuracies[1], pair),
        preset=preset,
        needs_schedule=False,
        choice=f"rate{'s' * (len(rates) - 1)} {'/'.join(rates)}",
        doubts=_doubts_of_rate(frames, pair),
    )


def _has_fixed_stages(line: TrainingLine) -> bool:
    """Return whether trainings have the stages that were fixed, at whatever rate."""
    return line.case.stages == schedule.STAGES[line.dataset]


def _rates(frames: Frames) -> tuple[ChosenRate, ChosenRate]:
    """Return the rates of CIFARNet at an eighth of its width, with spikes and without."""
    trials = [
        line
        for line in trainings.rate_trials(frames, "accuracy", *trainings.ALIKE)
        if (line.dataset, line.scale, line.neunorm) == ("cifar10", "CIFARNet", "off")
        and (line.case.workload.width, line.dropout, line.T) == (RUNGS[0], 0.0, 4)
        and _has_fixed_stages(line)
        and not line.substitute
        and not line.deviations
    ]
    snns, anns = _sides(trials)
    return trainings.chosen_rate(snns), trainings.chosen_rate(anns)


def _sides(lines: Iterable[TrainingLine]) -> tuple[list[TrainingLine], list[TrainingLine]]:
    """Return the trainings with spikes, and those without."""
    by_kind = grouped(lines, lambda line: line.framework == ANN)
    return by_kind.get(False, []), by_kind.get(True, [])


def _missing_rates(snn: ChosenRate, ann: ChosenRate) -> str:
    """Return why a rate of CIFARNet or its ANN is not chosen yet; "" where both are."""
    sides = ("the SNN", snn), ("its ANN", ann)
    return ", ".join(f"{name}: {side.why}" for name, side in sides if not side.rate)


def _doubts_of_rate(frames: Frames, pair: Sequence[TrainingLine]) -> str:
    """Return what other rows say of the rate of a gap, in sentences."""
    ends = [fmean(c.train_accuracy for c in e.curves.values()) for e in pair if e.curves]
    shares = " and ".join(f"{100 * end:.1f} %" for end in ends)
    text = f"They end at {shares} of their training samples." if len(ends) == 2 else ""
    accuracies = {line.change: line.trained.accuracies for line in ablated(frames)}
    wide, halved = map(accuracies.get, ("surrogate twice as wide", "threshold halved"))
    if wide and halved and len(both := common_seeds((wide, halved))) > 1:
        points = interval_text(both[1] - both[0])
        text += f" Four times the rate at twice a adds {points} points with spikes (15 epochs)."
    return text.strip()


def ladder(frames: Frames) -> list[Effect]:
    """Return whether Small's gap to its ANN closes with width, and parity at the whole width.

    By RUNGS, at the schedule's own rate and without dropout; none where no rung has both sides.
    """
    rungs, lacking = _rungs(frames)
    if not rungs:
        return []
    accuracies = {width: by_seed(pair) for width, pair in rungs.items()}
    gaps = {width: sides[0] - sides[1] for width, sides in accuracies.items()}
    groups = [line for pair in rungs.values() for line in pair]
    choice, effects = f"rate {groups[0].rate:g}", list[Effect]()
    if len(rungs) > 1:  # a single rung has no slope
        seeds = pd.concat([*gaps.values()], axis="columns").dropna()
        slopes, _ = np.polyfit(np.log2([float(width) for width in gaps]), seeds.T, deg=1)
        effects.append(
            Effect(
                "Small: points its gap closes a doubling",
                *("not in the paper", 0.0, 0.0, 4, pd.Series(slopes, seeds.index), groups),
                preset=Judgement("open", lacking, "a rung is missing") if lacking else None,
                is_ours=True,
                choice=choice,
            )
        )
    if (width := RUNGS[-1]) in gaps:
        part = f"Small minus its ANN at width {width}, points"
        bounds = "not in the paper", -ACCURACY, -ACCURACY, PARITY_SEEDS
        effect = Effect(part, *bounds, gaps[width], rungs[width])
        effects.append(replace(effect, is_ours=True, choice=choice))
    return effects


def _rungs(frames: Frames) -> tuple[dict[Fraction, tuple[TrainingLine, TrainingLine]], str]:
    """Return Small and its ANN by width, and which of RUNGS lack one of them, in words."""
    small = [
        line
        for line in comparable(frames, "accuracy", "cifar10")
        if (line.scale, line.neunorm, line.T) == ("Small", "off", 4)
    ]
    rungs, lacking = dict[Fraction, tuple[TrainingLine, TrainingLine]](), list[str]()
    for width in RUNGS:
        sides = _sides(line for line in small if line.case.workload.width == width)
        fit = [[e for e in side if is_on_schedule([e]) and not e.dropout] for side in sides]
        if all(fit):
            rungs[width] = fit[0][0], fit[1][0]
            continue
        for name, side, fitting in zip(("SNN", "ANN"), sides, fit, strict=True):
            others = {f"{e.stages} epochs at {e.rate:g}, dropout {e.dropout:g}" for e in side}
            there = f" (there: {'; '.join(sorted(others))})" if others else ""
            lacking += [] if fitting else [f"width {width} has no {name}{there}"]
    return rungs, "; ".join(lacking)


def _by_pilot(frames: Frames) -> Judgement | None:
    """Judge whether more epochs at the second learning rate move CIFARNet's gap to its ANN.

    None where they move it by less than MOVED, "cannot be decided here" where by more, "open"
    where the trainings are not there.
    """
    lines = [line for line in comparable(frames, "accuracy", "cifar10") if line.scale == "CIFARNet"]
    plain = [line for line in lines if line.neunorm == "off"]
    schedules = PILOT, schedule.STAGES["cifar10"]
    sides = [(stages, is_ann) for stages in schedules for is_ann in (False, True)]
    for alike in grouped(plain, same_but("framework", "epochs", "stages")).values():
        ends = {(e.case.stages, e.framework == ANN): e.accuracies.get(0) for e in alike}
        accuracies = [end for side in sides if (end := ends.get(side)) is not None]
        if len(accuracies) == len(sides):
            longer, longer_ann, fixed, fixed_ann = accuracies
            moved = (longer - longer_ann) - (fixed - fixed_ann)
            if abs(moved) < MOVED:
                return None
            gap = f"the gap moves by {100 * moved:+.1f} points"
            why = f"{gap} where both go on for 35 epochs at 0.01 (CIFARNet, seed 0)"
            return Judgement("cannot be decided here", why)
    why = "the pilot of both was not run (--epochs 40+40+5, seed 0)"
    return Judgement("open", why, "no pilot")
