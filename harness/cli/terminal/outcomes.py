"""What came of a training, a look at a folder, a measurement made again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.analysis.named import data_name, steps_in_words, unusual
from harness.cli.terminal.numbers import duration
from harness.records import EndedRow, EpochRow, FittedRow, OperationsRow, TrainedRow
from harness.spec import Case

if TYPE_CHECKING:  # shown without torch
    from harness.analysis.status import Standing
    from harness.jobs import TrialResult
    from harness.jobs.verify import Check


def trained(ended: TrialResult) -> RenderableType:
    """A training in a few lines: its three figures, and its warnings or why it came to nothing."""
    substitute = any(row.data_substitute for row in ended.rows)
    simulated = any(row.data_simulated for row in ended.rows)
    data = data_name(ended.case.dataset, substitute=substitute, simulated=simulated)
    head = Text(f"{data} {_who(ended.case)}: ", "bold")
    lines = []
    for row in ended.rows:
        match row:
            case EpochRow():
                lines += [Text(each, "yellow") for each in row.warnings]
            case EndedRow():
                head.append(f"{row.status}: {row.reason}", "red")
            case TrainedRow():
                head.append(_three_figures(row), "default")
            case FittedRow():
                head.append(_fitted(row), "default")
            case OperationsRow() if row.epochs is None:
                head.append(_counted(row), "default")
            case _:
                pass
    if ended.before:
        head.append(" (done before)", "dim")
    return Group(head, *lines)


def _who(case: Case) -> str:
    """What of a case tells it from the others of its suite, in words."""
    if case.beside is not None:
        window = {"first": f" first {case.T} bins", "whole": " whole recordings", None: ""}
        return f"{case.framework}{window[case.beside.window]} seed {case.seed}"
    reading = f" NeuNorm {case.network.neunorm.reading}" if case.network.neunorm else ""
    steps = ", ".join([steps_in_words(case), *unusual(case)])
    return f"{case.scale}{reading} {case.framework} {case.precision} {steps}, seed {case.seed}"


def _fitted(row: FittedRow) -> str:
    source = ""
    if row.source_accuracy is not None:
        source = f" (the network it was made from: {100 * row.source_accuracy:.2f} %)"
    chosen = f"; {row.chosen}" if row.chosen else ""
    seconds = f"{row.seconds:.1f} s to fit, {row.test_seconds:.1f} s to test"
    return f"{100 * row.test_accuracy:.2f} %{source}; {seconds}{chosen}"


def _counted(row: OperationsRow) -> str:
    millions = sum(row.operations) / row.counted_samples / 1e6
    return f"{millions:,.1f} million operations a sample, of {row.counted_samples} test samples"


def _three_figures(row: TrainedRow) -> str:
    last, best, chosen = (
        f"{100 * value:.2f} %"
        for value in (row.test_accuracy, row.best_test_accuracy, row.chosen_test_accuracy)
    )
    spent = row.seconds / (row.epochs or 1)
    return (
        f"{last} after {row.epochs} {'epoch' if row.epochs == 1 else 'epochs'}, "
        f"best {best} (epoch {row.best_test_epoch}), "
        f"{chosen} where it validates best (epoch {row.chosen_epoch}); {spent:.1f} s an epoch"
    )


def standing(found: Sequence[Standing]) -> RenderableType:
    """How the suites stand, and about how long the rest takes."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("suite", "data set"):
        grid.add_column(name, no_wrap=True)
    for name in ("done", "dated", "failed", "absent", "missing", "left"):
        grid.add_column(name, justify="right", no_wrap=True)
    for each in found:
        counts = (each.done, each.dated, each.failed, each.left_out, each.missing)
        grid.add_row(each.suite, each.dataset, *map(str, counts), duration(each.seconds_left))
    dated = any(each.dated for each in found)
    note = "dated: rows of other code or versions, or (timings) of another machine"
    return Group(grid, Text(note, "dim")) if dated else grid


def checks(found: Sequence[Check]) -> RenderableType:
    """What was confirmed."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("case", "figure", "recorded", "now", ""):
        grid.add_column(name, overflow="fold", min_width=len(name))
    for each in found:
        verdict = Text(each.verdict, "" if each.verdict == "confirmed" else "yellow")
        texts = (each.case, each.figure, each.recorded, each.now)
        grid.add_row(*map(escape, texts), verdict)
    reasons = dict.fromkeys(f"{each.case}: {each.reason}" for each in found if each.reason)
    return Group(grid, *(Text(each, "dim") for each in reasons))
