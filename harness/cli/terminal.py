"""What a command shows while it works: a bar, and each training as it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd
from rich.console import Console, Group, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from harness.analysis.words import counted, data_name, steps_in_words, unusual
from harness.records import EndedRow, EpochRow, FittedRow, OperationsRow, TrainedRow
from harness.report.shown import data_title, times
from harness.spec import FLOOR, Case, System, Trained

if TYPE_CHECKING:  # shown without torch
    from harness.jobs import TrialResult
    from harness.spec import Say


@contextmanager
def progress(console: Console) -> Iterator[Say]:
    """A bar with what is being done and the time left, where there is a terminal.

    While the block runs, what this yields moves the bar.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
    task = bar.add_task("starting", total=1.0)
    with bar:
        yield lambda fraction, doing: bar.update(task, completed=fraction, description=doing)


def first_figures(frame: pd.DataFrame, rounds: int) -> str:
    """A cell in a line, while its rounds go on: each contender's time divided by the floor's."""
    timed = frame.loc[(frame["framework"] != FLOOR) & frame["ratio_to_floor"].notna()]
    said = ", ".join(
        f"{line['name']} {times(line['ratio_to_floor'])}"
        for line in timed.sort_values("ratio_to_floor").to_dict("records")
    )
    first = frame.iloc[0].to_dict()
    what = f"{data_title(first)} {first['scale']}"
    return f"{what}, {counted(rounds, 'round')} so far, x floor: {said or 'nothing'}"


def trained(ended: TrialResult) -> RenderableType:
    """A training in a few lines: its three figures, and its warnings or why it failed."""
    substitute = any(row.data_substitute for row in ended.rows)
    simulated = any(row.data_simulated for row in ended.rows)
    data = data_name(ended.case.dataset, substitute=substitute, simulated=simulated)
    head = Text(f"{data} {_name(ended.case)}: ", "bold")
    warnings = []
    for row in ended.rows:
        match row:
            case EpochRow():
                warnings += [Text(each, "yellow") for each in row.warnings]
            case EndedRow():
                head.append(f"{row.status}: {row.reason}", "red")
            case TrainedRow():
                head.append(_three_figures(row), "default")
            case FittedRow():
                head.append(_fitted(row), "default")
            case OperationsRow() if row.epochs is None:
                millions = sum(row.operations) / row.counted_samples / 1e6
                said = f"{millions:,.1f} million operations a sample, of "
                head.append(said + counted(row.counted_samples, "test sample"), "default")
            case _:
                pass
    if ended.before:
        head.append(" (done before)", "dim")
    return Group(head, *warnings)


def _name(case: Case) -> str:
    """What of a case tells it from the others of its suite, in words."""
    if isinstance(case, System):
        window = {"first": f" first {case.T} bins", "whole": " whole recordings", None: ""}
        return f"{case.framework}{window[case.window]} seed {case.seed}"
    reading = f" NeuNorm {case.network.neunorm.reading}" if case.network.neunorm else ""
    steps = f"T = {case.T}"
    if isinstance(case, Trained):
        steps = ", ".join([steps_in_words(case), *unusual(case)])
    return f"{case.scale}{reading} {case.framework} {case.precision} {steps}, seed {case.seed}"


def _fitted(row: FittedRow) -> str:
    source = ""
    if row.source_accuracy is not None:
        source = f" (the network it was made from: {100 * row.source_accuracy:.2f} %)"
    chosen = f"; {row.chosen}" if row.chosen else ""
    spent = f"{row.seconds:.1f} s to fit, {row.test_seconds:.1f} s to test"
    return f"{100 * row.test_accuracy:.2f} %{source}; {spent}{chosen}"


def _three_figures(row: TrainedRow) -> str:
    accuracies = (row.test_accuracy, row.best_test_accuracy, row.chosen_test_accuracy)
    last, best, chosen = (f"{100 * value:.2f} %" for value in accuracies)
    epochs = row.epochs or 1
    return (
        f"{last} after {counted(epochs, 'epoch')}, best {best} (epoch {row.best_test_epoch}), "
        f"{chosen} where it validates best (epoch {row.chosen_epoch}); "
        f"{row.seconds / epochs:.1f} s an epoch"
    )
