"""Tables on the terminal: text of a row stays text, and nothing is cut."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import unescape
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.error import URLError

import pytest
from cells import contender, refused, run
from fuzzing import MARKUP
from markdown_it import MarkdownIt
from rich.console import Console
from rows import CASE, all_altered, altered, retrained, row, timed, trained_case, training

from harness import suites
from harness.analysis import tables, timings
from harness.analysis.compare import Change, Comparison
from harness.analysis.frame import frames
from harness.api import Work
from harness.cli import console, measuring
from harness.cli.tables import comparison
from harness.datasets import DOWNLOAD_FAILED
from harness.records import (
    IterationResult,
    Row,
    Store,
    TrainedResult,
    UnmeasuredResult,
    has,
    of_kind,
)
from harness.records.run import CaseRows
from harness.reports import fastest
from harness.reports import table as render
from harness.reports.shown import as_tables
from harness.reports.shown import timed as shown_timings
from harness.reports.table import Table
from harness.spec import Access, Case, Options, paper


def terminal_lines(*renderables: object, width: int = 80) -> list[str]:
    """The lines that a terminal of that width shows, but for empty ones at the end."""
    out = io.StringIO()
    Console(width=width, file=out, emoji=False).print(*renderables, sep="")
    return [line.rstrip() for line in out.getvalue().rstrip().splitlines()]


@pytest.mark.parametrize("text", MARKUP, ids=range(len(MARKUP)))
def test_a_field_in_markdown_shows_its_text_and_nothing_else(text: str) -> None:
    """As a reader of CommonMark shows it, whatever stands in a row."""
    text_of_table = render.markdown(
        Table([{"reason": f"a {text} b", "n": 1}, {"reason": "x", "n": 2}])
    )
    html = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text_of_table)
    body = html.partition("<tbody>")[2].partition("</tbody>")[0]
    assert set(re.findall(r"</?(\w+)", body)) == {"tr", "td"}
    assert "<thead>" in html and body.count("<td") == 4
    cell = unescape(re.findall(r"<td[^>]*>(.*?)</td>", body)[0])
    assert cell.split() == f"a {text} b".split()


def test_numbers_have_their_interval_and_their_unit() -> None:
    assert render.interval(0.619, 0.617, 0.621, ".1f", 100) == "61.9 [61.7, 62.1]"
    assert render.interval(1.0, float("nan"), float("nan"), ".2f") == "1.00"
    assert [render.seconds(duration) for duration in (0.001, 5, 90, 7200)] == [
        *("0.001 s", "5 s", "2 min", "2.0 h")
    ]


# commands

RECORDED = Path(__file__).parents[1] / "results" / "published" / "intel-xeon-amx"
STANDING_IN: dict[str, Any] = {"substitute": True, "description": "scikit-learn's digits"}


def table(name: str, rows: Sequence[Row]) -> list[Table]:
    if name == "acceleration":
        return shown_timings(timings.lines(frames(rows)))
    return as_tables(name, tables.FULL[name](frames(rows)))


@pytest.mark.parametrize("name", ["scale", "timesteps", "neunorm", "accuracy", "acceleration"])
def test_a_table_has_a_line_a_row_in_80_columns(name: str) -> None:
    parts = table(name, Store(RECORDED).read(name)[0])
    lines = terminal_lines(*parts)
    assert max(map(len, lines)) <= 80
    for part in parts:
        for cells in part.lines:  # all numbers of a line in one and the same
            numbers = [cell for cell, right in zip(cells, part.right, strict=True) if right]
            assert any(all(cell in line for cell in numbers) for line in lines), cells


def test_machines_have_letters_and_the_schedule_says_when_the_rate_falls() -> None:
    first, second = (
        all_altered(training(0, (0.5,) * n, suite="scale"), cpu=f"CPU {n}") for n in (1, 2)
    )
    second = retrained(second, step_epochs=1)
    *lines, one, other, of_one, of_other = terminal_lines(*table("scale", [*first, *second]))
    assert one.split()[0] == "1" and one.endswith("a")
    assert other.split()[0] == "1+1" and other.endswith("b")
    assert (of_one, of_other) == ("a: CPU 1, 2 threads", "b: CPU 2, 2 threads")
    assert "optimiser SGD(lr=0.1, momentum=0.9, factor=0.1), " in " ".join(lines)


def test_a_line_of_ablations_is_named_by_its_change() -> None:
    parts = table("ablations", Store(RECORDED).read("ablations")[0])
    heads = {head for part in parts for head in part.columns}
    assert "change" in heads and not heads & {"framework", "precision", "a", "V_th", "loss"}
    assert re.search(r"[+-]\d+\.\d \[[+-]\d+\.\d, [+-]\d+\.\d\]", "\n".join(terminal_lines(*parts)))


def test_at_reduced_scale_no_difference_to_a_published_figure_is_shown() -> None:
    (table_5,) = table("5", training(0, (0.4123,), suite="accuracy"))
    assert table_5.columns == ["model", "method", "published", "ours", "n", "ours was"]
    (line,) = [line[3:] for line in table_5.lines if line[3]]
    assert line[:2] == ("41.2", "1") and "1/8" in line[2]


def test_substituted_and_simulated_data_are_named_with_every_figure() -> None:
    rows = all_altered(training(0, (0.7667,), suite="accuracy"), **STANDING_IN)
    (end,) = of_kind(rows, TrainedResult)
    line = " ".join(terminal_lines(measuring.trained(CaseRows(end.case, (end,)))))
    assert line.startswith("digits (for CIFAR-10) CIFARNet") and "76.67 %" in line
    assert terminal_lines(*table("accuracy", rows))[0] == "digits (for CIFAR-10)"
    rows = training(0, (0.4,), suite="accuracy", dataset="dvs-cifar10", scale="OurModel")
    rows = all_altered(rows, simulated=True)
    assert terminal_lines(*table("accuracy", rows))[0] == "simulated DVS-CIFAR10"


def test_a_cell_names_its_machine_and_the_reasons_for_missing_ranks() -> None:
    rows = [*timed("floor", 1.0, cpu="A processor", threads=2), *timed("floor", 1.0, cpu="B")]
    assert {"on A processor, 2 threads", "on B, 2 threads"} <= {
        *terminal_lines(*table("acceleration", rows))
    }
    lost = row(UnmeasuredResult, contender="fused", reason="its process died")
    rows = [*refused(run()), lost, *contender("norse:compiled", 3.0)]
    text = " ".join(" ".join(terminal_lines(*table("acceleration", rows))).split())
    assert "1 fused" in text and "2 reference" in text and "audit failed" in text
    assert "as late in a training: it computes two samples" in text
    assert "fused: no peak memory: its process died" in text
    few = [line for line in run() if not has(line, IterationResult) or line.result.round == 1]
    assert "all: preliminary: 1 round" in " ".join(terminal_lines(*table("acceleration", few)))


def ran(case: Case, out: Path, *results: CaseRows, **options: Any) -> None:
    """Print a run whose executor has these results."""
    chosen = Options.parse(suite=case.suite, out=out, **{"precision": "fp32", **options})
    suite, store = suites.suite(case.suite), Store(out)
    executor: Any = SimpleNamespace(
        measure=lambda *arguments: results, train=lambda *arguments: results
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.cli.measuring.training_seconds", lambda *arguments: 4000.0)
        patch.setattr("harness.datasets.why_not_the_data", lambda request: "")
        measuring.run(Work(chosen, suite, (case,), store, Access(out), executor))


def test_a_run_shows_each_cell_once_and_ends_with_a_summary_and_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, other = tuple(run()), altered(CASE, dataset="nmnist")
    unbegun = CaseRows(other.cell, (), left_seconds=200.0)
    long = CaseRows(altered(other, scale="Large").cell, (), left_seconds=900.0)
    done = (CaseRows(CASE.cell, rows, n, n == 1) for n in (1, 5))
    ran(CASE, tmp_path, *done, unbegun, long, budget="8m")
    whole = capsys.readouterr().out
    out = " ".join(whole.split())
    assert out.startswith("acceleration: 1 cell, 1 contender, as many as fit into 8 min ")
    assert "CIFAR-10 Small, 1 round so far, x floor: " in out and out.count("s/epoch") == 1
    assert re.search("CIFAR-10 .*5 .* 2.00 2.01 1.10", out)
    assert "Untuned, none is measurably faster than PyTorch on 1 network" in out
    assert "no time was left for N-MNIST Small (3 min): run the same command to resume" in out
    assert "no time was left for N-MNIST Large (15 min): it needs --budget" in out
    assert f"{len(rows)} rows: {tmp_path / 'records'}\n" in whole
    assert f"harness tables acceleration --out {tmp_path}\n" in whole
    assert f"report: {tmp_path / 'report.html'}\n" in whole


def test_missing_data_and_a_failed_download_are_said_before_the_run_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise URLError("no route")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", fail)
    monkeypatch.setattr("harness.cli.measuring.training_seconds", lambda *arguments: 4000.0)
    note: dict[str, Any] = {"note": f"{DOWNLOAD_FAILED}: again", **STANDING_IN}
    case, errors = trained_case(1, suite="timesteps"), list[str]()

    def trained(*_: object) -> list[CaseRows]:
        errors.append(capsys.readouterr().err)
        return [CaseRows(case, tuple(all_altered(training(0, (0.5,)), **note)))]

    executor: Any = SimpleNamespace(train=trained)
    options = Options.parse(suite="timesteps", out=tmp_path, precision="fp32")
    access = Access(tmp_path, frozenset({"cifar10"}))
    chosen = suites.suite("timesteps")
    measuring.run(Work(options, chosen, (case,), Store(tmp_path), access, executor))
    assert "data: " in errors[0] and DOWNLOAD_FAILED in errors[0]
    assert "scikit-learn's digits" in errors[0] and "data: " not in capsys.readouterr().err


def test_a_bf16_training_without_instructions_warns_unless_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = trained_case(1, suite="timesteps", precision="bf16")
    result = CaseRows(case, tuple(training(0, (0.5,))))
    for amx, precision, warns in ((False, None, True), (False, "bf16", False), (True, None, False)):
        monkeypatch.setattr("harness.machine.host.has_bf16", lambda device, amx=amx: amx)
        ran(case, tmp_path, result, precision=precision)
        assert ("--precision fp32" in capsys.readouterr().err) == warns


@pytest.mark.parametrize(
    ("moves", "now", "time_left"),
    [
        pytest.param([], 5.0, "-:--:--", id="nothing done"),
        pytest.param([(10.0, 0.25)], 10.0, "-:--:--", id="one look tells no speed"),
        pytest.param([(10.0, 0.25), (20.0, 0.5)], 20.0, "0:00:20", id="even"),
        pytest.param([(10.0, 0.2), (60.0, 0.4), (70.0, 0.8)], 70.0, "0:00:20", id="a leap"),
        pytest.param([(10.0, 0.25), (20.0, 0.5), (30.0, 0.4)], 30.0, "0:00:20", id="a step back"),
    ],
)
def test_the_time_left_goes_by_all_that_is_done(
    moves: list[tuple[float, float]], now: float, time_left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, file = SimpleNamespace(now=0.0), io.StringIO()
    terminal: Any = {"file": file, "force_terminal": True, "width": 80}
    monkeypatch.setattr(console, "out", Console(**terminal, get_time=lambda: clock.now))
    with console.progress() as say:
        for clock.now, fraction in moves:
            say(fraction, "a round")
        clock.now = now
    assert re.findall(r"[-\d]:[-\d]{2}:[-\d]{2}", file.getvalue())[-1] == time_left
    furthest = max((fraction for _, fraction in moves), default=0.0)  # it does not go back
    assert re.findall(r"(\d+)%", file.getvalue())[-1] == f"{100 * furthest:.0f}"


def test_a_custom_network_is_shown_by_its_notation_everywhere() -> None:
    """Two of them are two networks, on the page too."""
    rows: list[Row] = []
    for notation in ("8C3(Encoding)-Voting", "16C3(Encoding)-32FC-Voting"):
        _, network = paper.network(notation, "cifar10")
        rows += run(scale="custom", network=network, run=notation)
    lines = timings.lines(frames(rows))
    text = " ".join(terminal_lines(measuring.summary(lines), *shown_timings(lines), width=200))
    learnt = training(0, (0.3,), suite="scale", scale="CIFARNet")
    learnt = all_altered(learnt, scale="custom")
    text += " ".join(terminal_lines(*table("scale", learnt), width=200))
    assert "custom" not in text and "CIFAR-10 16C3(Encoding)-32FC-Voting" in text
    assert {cell.name for cell in fastest.headline(lines)} == {
        *("CIFAR-10 8C3(Encoding)-Voting", "CIFAR-10 16C3(Encoding)-32FC-Voting")
    }


def test_a_change_uncertain_by_tenfold_has_no_interval() -> None:
    front = ("speed", "CIFAR-10 Small", "norse fp32", 2.0, 3.0, 0.5)
    wide = Change(*front, -1.0, 6254.2, 0.1, "cpu T=10 batch 20")
    lines = terminal_lines(comparison(Comparison((), (wide,), ()), "old", "new"))
    (line,) = (line for line in lines if line.startswith("norse"))
    assert line.split() == ["norse", "CIFAR-10", "Small", "2.000", "3.000", "+50.0", "noisy"]
