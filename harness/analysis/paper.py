"""Tables 3 to 6: every row of the paper, beside it what was measured here, and how."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict

import pandas as pd

from harness.analysis import published
from harness.analysis.published import Published
from harness.analysis.systems import Live, live
from harness.analysis.trained import Condition, Trainings, trainings
from harness.records import Row
from harness.spec import ANN


def paper_table(number: int, records: Iterable[Row]) -> pd.DataFrame:
    """Table 3, 4, 5 or 6 in the paper's order; a line for each condition that a row was run under.

    `published` and the measured figures are in [0, 1]; `source` says whether the paper measured the
    row or cites it, `note` what of it is doubtful. Of another system `framework` is its name, and
    `fidelity` and `deviations` say how near it is to what was published. Table 6's row of ours does
    not say whether NeuNorm was on: both are listed.
    """
    records = list(records)
    found, systems = trainings(records, "accuracy"), live(records)
    lines: list[dict[str, object]] = []
    for row in published.published(number):
        front: dict[str, object] = {
            "model": row.model,
            "method": row.method,
            "published": row.accuracy,
            "source": "this paper" if row.network else "cited by the paper",
            "note": row.note,
        }
        measured = [
            *(_measured(row, each) for each in found if measures(row, each.condition)),
            *(_run(row, each) for each in systems if is_of(row, each)),
        ]
        lines += [{**front, **each} for each in measured] or [front]
    columns = list(dict.fromkeys(name for line in lines for name in line))
    return pd.DataFrame(lines, columns=columns)


def measures(row: Published, condition: Condition) -> bool:
    """Whether trainings of that condition measure this row; Table 6 leaves NeuNorm open."""
    case = condition.case
    spiking = case.framework != ANN
    return (
        (case.dataset, case.scale) == (row.dataset, row.network)
        and spiking == (row.framework != ANN)
        and (row.table == 6 or bool(case.network.neunorm) == bool(row.neunorm))
    )


def is_of(row: Published, each: Live) -> bool:
    """Whether a system that was run is that of a row."""
    return each.name in row.baselines and each.condition.case.dataset == row.dataset


def _run(row: Published, each: Live) -> dict[str, object]:
    return {"difference": each.accuracy.value - row.accuracy, **each.columns()}


def _measured(row: Published, each: Trainings) -> dict[str, object]:
    figures = asdict(each.figures)
    difference = each.figures.accuracy - row.accuracy
    return {**figures, "difference": difference, **each.condition.columns()}
