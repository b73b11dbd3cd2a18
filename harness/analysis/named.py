"""What stands beside figures: the data that they are of, and the machines that made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from harness.analysis.ablations import ablated
from harness.analysis.same import text
from harness.analysis.systems import live
from harness.analysis.trained import Trainings, trainings
from harness.records import Record, Row
from harness.spec import LOSS, Trained, paper

# What tells one line from another in a table of trainings and of other systems. A table of
# trainings alone has all that tells them apart.
_TOLD_BY = (
    *("dataset", "scale", "framework", "neunorm", "T", "width", "epochs", "train_samples"),
    *("test_samples", "batch_size", "precision", "device", "optimiser", "window", "data_source"),
)


def data_name(dataset: str, *, substitute: bool, simulated: bool = False) -> str:
    """The data in a few words: what stands in for a data set has its own name.

    Raises UsageError for a data set that the paper does not have.
    """
    title = paper.settings(dataset).title
    if substitute:
        return f"digits (for {title})"
    return f"simulated {title}" if simulated else title


def data_in_full(dataset: str, source: str, substitute: bool) -> str:
    """The data with their source: "scikit-learn's digits in CIFAR-10's shape"."""
    title = paper.settings(dataset).title
    if substitute:
        return f"{source} in {title}'s shape"
    return source if source.startswith(title) else f"{title}: {source}" if source else title


def steps_in_words(case: Trained) -> str:
    """T; of events with the width of a bin, since both decide how much of a recording is seen."""
    if paper.settings(case.dataset).static:
        return f"T = {case.T}"
    return f"{case.T} x {case.training.bin_us / 1000:g} ms"


def unusual(case: Trained) -> Iterator[str]:
    """What an ablation may have changed of a training, but for its framework and precision."""
    lif, usual = case.network.lif, paper.settings(case.dataset)
    if lif.a != usual.lif.a:
        yield f"a = {lif.a:g}"
    if lif.v_th != usual.lif.v_th:
        yield f"V_th = {lif.v_th:g}"
    if case.initialisation != "calibrated":
        yield f"{case.initialisation}'s initial weights"
    if case.training.loss != LOSS:
        yield case.training.loss
    if case.optimiser.lr != usual.optimiser.lr:
        yield f"rate {case.optimiser.lr:g}"


def places(rows: Iterable[Record]) -> str:
    """The machines of rows, each once, always in one order."""
    return "; ".join(sorted({str(row.place) for row in rows if row.cpu}))


def of_lines(name: str, rows: Sequence[Row], lines: Sequence[Mapping[str, object]]) -> list[str]:
    """The machines that each line of a table was measured on; "" where it says nothing of ours."""
    if name in _TRAININGS:
        found = _TRAININGS[name](rows)
        names = tuple(found[0].condition.columns()) if found else ()
        made = _of_trainings(found, names)
    else:
        names = _TOLD_BY
        made = _of_systems(rows) if name == "baselines" else _of_paper(rows)
    return [made.get(_told(line, names), "") for line in lines]


Signature = tuple[str, ...]


def _told(line: Mapping[str, object], names: Sequence[str] = _TOLD_BY) -> Signature:
    return tuple(_plainly(line.get(name)) for name in names)


def _plainly(value: object) -> str:
    """A whole number as one, though a column that lacks one elsewhere made a float of it."""
    whole = isinstance(value, float) and value.is_integer()
    return text(int(value)) if whole and isinstance(value, float) else text(value)


def _of_trainings(
    found: Iterable[Trainings], names: Sequence[str] = _TOLD_BY
) -> dict[Signature, str]:
    return {_told(each.condition.columns(), names): places(each.ended) for each in found}


def _of_systems(rows: Sequence[Row]) -> dict[Signature, str]:
    found: dict[Signature, str] = {}
    for each in live(rows):
        line = each.columns()
        for front in ({}, {"dataset": each.condition.case.dataset}):  # the paper's tables have none
            found[_told({**front, **line})] = places(each.ended)
    return found


def _of_paper(rows: Sequence[Row]) -> dict[Signature, str]:
    return {**_of_trainings(trainings(rows, "accuracy")), **_of_systems(rows)}


_TRAININGS: dict[str, Callable[[Sequence[Row]], list[Trainings]]] = {
    **{
        name: partial(trainings, suite=name)
        for name in ("scale", "timesteps", "neunorm", "accuracy")
    },
    "ablations": lambda rows: [each.trainings for each in ablated(rows)],
}
