"""What each change of a training costs: accuracy against that of the same training without it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from harness.analysis.groups import grouped
from harness.analysis.statistics import mean
from harness.analysis.trained import Condition, Trainings, table, trainings
from harness.records import Row
from harness.spec import DEAD_RATE, paper
from harness.suites.ablations import ABLATIONS, AS_IT_IS


@dataclass(frozen=True)
class Ablated:
    """Trainings with one change, beside those without."""

    change: str  # in words
    trainings: Trainings
    base: Trainings

    @property
    def gains(self) -> tuple[float, ...]:
        """Accuracy less that without the change, by the seeds that both have."""
        ours, theirs = self.trainings.accuracies, self.base.accuracies
        return tuple(ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys()))


def ablated(records: Iterable[Row]) -> list[Ablated]:
    """The changes that were trained, each set after the training that it is held against."""
    found = {each.condition: each for each in trainings(records, "ablations")}
    sets = grouped(found, _without_change)
    return [each for conditions in sets.values() for each in _of(conditions, found)]


def _without_change(condition: Condition) -> object:
    """What the changes leave alone: data, size, network, and of the optimiser all but its rate."""
    case = condition.case
    usual = paper.settings(case.dataset).optimiser
    lif = replace(case.network.lif, a=1.0, v_th=1.0)
    bare = replace(
        case,
        framework=case.framework.partition(":")[0],
        precision="fp32",
        initialisation="calibrated",
        network=replace(case.network, lif=lif),
        training=replace(case.training, loss="mse"),
        optimiser=replace(case.optimiser, lr=usual.lr),
    )
    return replace(condition, case=bare)


def _of(conditions: list[Condition], found: dict[Condition, Trainings]) -> list[Ablated]:
    """Those of one set: without any change is the one from which most others follow."""
    base = max(conditions, key=lambda each: len(_changed(each, conditions)))
    changed = _changed(base, conditions)
    return [Ablated(name, found[each], found[base]) for each, name in changed.items()]


def _changed(base: Condition, conditions: list[Condition]) -> dict[Condition, str]:
    """Conditions by the change that makes them of `base`, itself first."""
    made: dict[Condition, str] = {}
    for each in ABLATIONS:
        case = each.change(base.case)
        made.setdefault(replace(base, case=case), each.name)
    return {condition: name for condition, name in made.items() if condition in conditions}


def ablations(records: Iterable[Row]) -> pd.DataFrame:
    """A line for each change. Accuracies are in [0, 1].

    `difference` is to the training without it, by seeds that both have, with Student's 95 %
    interval; `dead_layers` how many layers fire at less than a thousandth at the end.
    """
    found = ablated(records)
    more = []
    for each in found:
        gain = mean(each.gains if each.change != AS_IT_IS else ())
        more.append(
            {
                "change": each.change,
                "difference": gain.value,
                "difference_low": gain.low,
                "difference_high": gain.high,
                "dead_layers": mean(_dead(each.trainings)).value,
                "train_accuracy": mean(_accuracies(each.trainings)).value,
            }
        )
    made = table([each.trainings for each in found], more)
    if found:
        made.insert(0, "change", made.pop("change"))
    return made


def _dead(each: Trainings) -> list[float]:
    return [float(sum(rate < DEAD_RATE for rate in row.rates)) for row in each.last_epochs]


def _accuracies(each: Trainings) -> list[float]:
    return [row.train_accuracy for row in each.last_epochs]
