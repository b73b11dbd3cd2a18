"""Ablations: trainings with one change of the base case, and what each change costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from operator import attrgetter

from harness.analysis.frame import Frame, Frames, grouped
from harness.analysis.trainings import DataUsed, TrainingLine, Values, lines, table
from harness.spec import DEAD_RATE, LOSS, Training, paper
from harness.statistics import mean
from harness.suites.trainings import ABLATIONS, AS_IT_IS


@dataclass(frozen=True)
class AblationLine:
    """A training with one change, and its gains over the training without any."""

    change: str  # in words
    trained: TrainingLine  # with the change
    gains: tuple[float, ...]  # accuracy minus that without a change, by the seeds that both have


def ablated(frames: Frames) -> list[AblationLine]:
    """Return trainings with one change, after the unchanged one that their gains are against."""
    ablations, data_of = list[AblationLine](), attrgetter(*DataUsed._fields)
    every = lines(frames, "ablations")
    comparable = grouped(every, lambda line: (_unchanged(line.case), data_of(line)))
    for group in comparable.values():
        by_case = {line.case: line for line in group}
        # without any change is the one from which most others follow
        changes = max((_changes(case, by_case) for case in by_case), key=len)
        base = by_case[next(iter(changes))].accuracies
        for case, change in changes.items():
            changed = by_case[case].accuracies
            both = sorted(changed.keys() & base.keys())
            gains = tuple(changed[seed] - base[seed] for seed in both)
            ablations.append(AblationLine(change, by_case[case], gains))
    return ablations


def _unchanged(case: Training) -> Training:
    """Return a case with all that ablations change reset: equal for those that are compared."""
    network = case.workload.network
    network = replace(network, lif=replace(network.lif, a=1.0, v_th=1.0))
    return replace(
        case,
        workload=replace(case.workload, network=network, initialisation="calibrated"),
        contender=replace(case.contender.plain, precision="fp32"),
        loss=LOSS,
        optimiser=paper.settings(case.workload.dataset).optimiser,
    )


def _changes(base: Training, trained: Mapping[Training, TrainingLine]) -> dict[Training, str]:
    """Return trainings by the change that makes them of `base`, itself first."""
    changes: dict[Training, str] = {}
    for name, change in ABLATIONS.items():
        changes.setdefault(change(base), name)
    return {case: name for case, name in changes.items() if case in trained}


def ablations(frames: Frames) -> Frame:
    """Return the ablations, a line for each change. Accuracies are in [0, 1].

    `difference` is to the training without a change, by seeds that both have, with Student's 95 %
    interval; `dead_layers` is the mean count of layers whose final rate is below DEAD_RATE.
    """
    changed = ablated(frames)
    gains = [mean(() if line.change == AS_IT_IS else line.gains) for line in changed]
    curves = [line.trained.curves.values() for line in changed]
    dead = [[sum(rate < DEAD_RATE for rate in c.rates) for c in of_line] for of_line in curves]
    more: dict[str, Values] = {
        "difference": [gain.value for gain in gains],
        "difference_low": [gain.low for gain in gains],
        "difference_high": [gain.high for gain in gains],
        "dead_layers": [mean(counts).value for counts in dead],
        "train_accuracy": [mean([c.train_accuracy for c in of_line]).value for of_line in curves],
    }
    frame = table([line.trained for line in changed], more)
    frame.insert(0, "change", [line.change for line in changed])
    return frame
