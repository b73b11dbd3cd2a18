"""What was counted and measured of inferences: rows, put together by network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import nan
from statistics import fmean

from harness.analysis.costs import LayerMeans
from harness.analysis.groups import grouped
from harness.analysis.statistics import Mean, share
from harness.analysis.trained import FLAGS, trainings
from harness.records import JoulesRow, OperationsRow, Row, UnmeasuredRow
from harness.spec import ANN, Case, paper

# Whose trained networks are counted; a training of one of them may be one of another too.
TRAINED = ("timesteps", "scale", "neunorm", "accuracy")


@dataclass(frozen=True)
class Inference:
    """A network, the same but for the seed, and what an inference of a sample takes."""

    case: Case  # with seed 0
    rows: tuple[OperationsRow, ...]  # one a seed
    joules: tuple[JoulesRow, ...] = ()
    unmeasured: str = "a trained network is counted alone"  # why there are no joules
    accuracy: Mean | None = None  # None: it has its initial weights

    @property
    def is_ann(self) -> bool:
        """Whether it is the network without spikes."""
        return self.case.framework == ANN

    @property
    def static(self) -> bool:
        """Whether all steps see one image."""
        return paper.settings(self.case.dataset).static

    @property
    def samples(self) -> int:
        """Test samples that were counted, of one seed."""
        return min(row.counted_samples for row in self.rows)

    @property
    def layers(self) -> tuple[LayerMeans, ...]:
        """Each layer's counts: the mean over samples and seeds."""
        stages = self.case.network.stages
        befores = (None, *stages[:-1])
        spikes = self._mean("spikes")
        return tuple(
            LayerMeans(stage, before, sent, *counts)
            for stage, before, sent, *counts in zip(
                stages,
                befores,
                (0.0, *spikes[:-1]),
                spikes,
                *map(self._mean, ("events", "operations", "accumulates", "multiplies")),
                strict=True,
            )
        )

    def _mean(self, name: str) -> list[float]:
        each = [[count / row.counted_samples for count in getattr(row, name)] for row in self.rows]
        return [fmean(layer) for layer in zip(*each, strict=True)]

    @property
    def spike_rate(self) -> float:
        """Spikes a neuron and step, of the layers that drive others; of units, those not zero."""
        hidden = self.layers[:-1]
        steps = 1 if self.is_ann else self.case.T
        neurons = sum(each.stage.neurons for each in hidden)
        return sum(each.spikes for each in hidden) / (neurons * steps) if neurons else nan

    @property
    def source(self) -> str:
        """What its samples are."""
        row = self.rows[-1]
        return row.data_test_source or row.data_source or ""

    @property
    def flags(self) -> dict[str, bool]:
        """What must be said of its samples."""
        row = self.rows[-1]
        kind = "data_test" if row.data_test_source else "data"
        return {name: bool(getattr(row, f"{kind}_{name}")) for name in FLAGS}

    @property
    def millijoules(self) -> float:
        """A sample, by the machine's counter, less what it takes at rest; NaN: not measured."""
        return 1000 * fmean(map(_net, self.joules)) if self.joules else nan


def _net(row: JoulesRow) -> float:
    rest = row.idle_joules / row.idle_seconds if row.idle_seconds else 0.0
    return (row.busy_joules - rest * row.busy_seconds) / row.inferences


def inferences(records: Iterable[Row]) -> list[Inference]:
    """All networks that were counted: with initial weights, then trained; in the paper's order."""
    rows = list(records)
    first = sorted(_first(rows), key=_in_order)
    return [*first, *(each for suite in TRAINED for each in _trained(rows, suite))]


def _in_order(each: Inference) -> tuple[object, ...]:
    case = each.case
    reading = case.network.neunorm.reading if case.network.neunorm else ""
    place = paper.paper_order(case.dataset, case.scale)
    return *place, str(case.width), case.T, each.is_ann, case.framework, reading


def _first(rows: Sequence[Row]) -> Iterator[Inference]:
    """Of the energy suite, machine by machine; of what was done anew the later rows count."""
    own = [row for row in rows if row.suite == "energy" and row.key]
    counted = {row.key: row for row in own if isinstance(row, OperationsRow)}
    joules = {row.key: row for row in own if isinstance(row, JoulesRow)}
    reasons = {row.key: row.reason for row in own if isinstance(row, UnmeasuredRow)}
    groups = grouped(
        counted.values(),
        lambda row: (replace(Case.of(row), seed=0), row.place, row.data_source),
    )
    for (case, _, _), found in groups.items():
        measured = tuple(joules[row.key] for row in found if row.key in joules)
        why = next((reasons[row.key] for row in found if row.key in reasons), "")
        yield Inference(case, tuple(found), measured, unmeasured="" if measured else why)


def _trained(rows: Sequence[Row], suite: str) -> Iterator[Inference]:
    for each in trainings(rows, suite):
        counted = tuple(each.of_kind(OperationsRow))
        if counted:
            accuracy = share(list(each.accuracies.values()))
            case = replace(each.condition.case, suite=suite)
            yield Inference(case, counted, accuracy=accuracy)


def rival(each: Inference, among: Iterable[Inference]) -> Inference | None:
    """The network of the same structure without spikes, on the same samples, where it was counted.

    It has no time: of a static image any T will do, of event frames it sees the same T.
    """
    return next((other for other in among if other.is_ann and _pair(other) == _pair(each)), None)


def _pair(each: Inference) -> tuple[object, ...]:
    case = each.case
    trained = case.training and (case.training.epochs, each.rows[-1].train_samples)
    T = 0 if each.static else case.T
    return case.suite, case.dataset, str(case.network), case.width, T, trained, each.source
