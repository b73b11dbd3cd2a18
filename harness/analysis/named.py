"""What stands beside figures: the data that they are of, and the machines that made them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from harness.analysis.ablations import ablated
from harness.analysis.same import text
from harness.analysis.systems import live
from harness.analysis.trained import trainings
from harness.records import Record, Row
from harness.spec import Case, paper

# What tells one condition from another in a table that has lines of trainings and of other systems.
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


def steps_in_words(case: Case) -> str:
    """T; of events with the width of a bin, since both decide how much of a recording is seen."""
    if paper.settings(case.dataset).static:
        return f"T = {case.T}"
    return f"{case.T} x {case.trained.bin_us / 1000:g} ms"


def places(rows: Iterable[Record]) -> str:
    """The machines of rows, each once, always in one order."""
    return "; ".join(sorted({str(row.place) for row in rows if row.cpu}))


def of_lines(name: str, rows: Sequence[Row], lines: Sequence[Mapping[str, object]]) -> list[str]:
    """The machines that each line of a table was measured on; "" where it says nothing of ours."""
    made = _SOURCES.get(name, _of_paper)(rows)
    return [made.get(_told(line), "") for line in lines]


Signature = tuple[str, ...]


def _told(line: Mapping[str, object]) -> Signature:
    return tuple(_plainly(line.get(name)) for name in _TOLD_BY)


def _plainly(value: object) -> str:
    """A whole number as one, though a column that lacks one elsewhere made a float of it."""
    whole = isinstance(value, float) and value.is_integer()
    return text(int(value)) if whole and isinstance(value, float) else text(value)


def _of_suite(suite: str) -> Callable[[Sequence[Row]], dict[Signature, str]]:
    def found(rows: Sequence[Row]) -> dict[Signature, str]:
        each = trainings(rows, suite)
        return {_told(one.condition.columns()): places(one.ended) for one in each}

    return found


def _of_ablations(rows: Sequence[Row]) -> dict[Signature, str]:
    found = [each.trainings for each in ablated(rows)]
    return {_told(each.condition.columns()): places(each.ended) for each in found}


def _of_systems(rows: Sequence[Row]) -> dict[Signature, str]:
    found: dict[Signature, str] = {}
    for each in live(rows):
        line = each.columns()
        for front in ({}, {"dataset": each.condition.case.dataset}):  # the paper's tables have none
            found[_told({**front, **line})] = places(each.ended)
    return found


def _of_paper(rows: Sequence[Row]) -> dict[Signature, str]:
    return {**_of_suite("accuracy")(rows), **_of_systems(rows)}


_SOURCES: dict[str, Callable[[Sequence[Row]], dict[Signature, str]]] = {
    **{name: _of_suite(name) for name in ("scale", "timesteps", "neunorm", "accuracy")},
    "ablations": _of_ablations,
    "baselines": _of_systems,
}
