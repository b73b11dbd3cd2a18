"""What the terminal shows: whole lines, the data's own name, each machine by itself."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rows import CASE, row, rows_of_a_run, timed, trained_case, training
from test_ablations import rows_with
from test_cli import call

from harness.analysis import named, tables
from harness.analysis.compare import Change, Comparison, Margins
from harness.analysis.speed import acceleration_lines
from harness.cli import measuring, terminal
from harness.cli.terminal.blocks import Block, Blocks, Head
from harness.datasets.download import FAILED
from harness.jobs import CellResult, TrialResult
from harness.records import IterationRow, Row, Store, TrainedRow
from harness.spec import Access, Budget, Case, Say, paper
from harness.suites.ablations import AS_IT_IS

RECORDED = Path(__file__).parents[1] / "results" / "published" / "intel-xeon-amx"
STANDING_IN: dict[str, Any] = {"data_substitute": True, "data_source": "scikit-learn's digits"}


def said(shown: object, width: int = 80) -> list[str]:
    """The lines that a terminal of that width shows."""
    out = io.StringIO()
    Console(width=width, file=out, emoji=False).print(shown)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def trained_table(name: str, rows: Sequence[Row]) -> Blocks:
    table = tables.TABLES[name](rows)
    lines = [{str(k): v for k, v in each.items()} for each in table.to_dict("records")]
    show = terminal.paper if name.isdigit() else terminal.plain
    return show(table, named.of_lines(name, rows, lines))


@pytest.mark.parametrize("name", ["scale", "timesteps", "neunorm", "accuracy", "ablations", "5"])
def test_a_table_of_trainings_has_a_line_a_row_in_80_columns(name: str) -> None:
    rows, _ = Store(RECORDED).read("accuracy" if name.isdigit() else name)
    shown = trained_table(name, rows)
    lines = said(shown)
    assert max(map(len, lines)) <= 80
    for block in shown.blocks:
        for cells in block.lines:  # each cell of it in one and the same line
            assert any(all(cell in line for cell in cells) for line in lines), cells
        heads = {word for column in block.columns for word in column.text.split()}
        assert heads <= {word for line in lines for word in line.split()}


def test_a_line_of_ablations_is_named_by_its_change_and_has_its_own_machine() -> None:
    rows = [
        replace(each, cpu=f"a processor, the {'other' if each.a == 2.0 else 'first'} one")
        for each in rows_with({AS_IT_IS: 0.5, "surrogate twice as wide": 0.1, "bf16": 0.5})
    ]
    shown = trained_table("ablations", rows)
    heads = {column.text for block in shown.blocks for column in block.columns}
    assert "change" in heads and not heads & {"framework", "precision", "a", "V_th", "loss"}
    lines = " ".join(said(shown))
    assert f"{AS_IT_IS}; bf16: measured on a processor, the first one" in lines
    assert "surrogate twice as wide: measured on a processor, the other one" in lines


def test_a_long_name_breaks_behind_its_colon_alone() -> None:
    columns = (Head(""), Head("ms", right=True), Head("proof"))
    lines = (("  1 norse", "5", "equal"), ("  2 spikingjelly:channels-last", "6", "equal"))
    block = Block("", (), columns, lines)
    narrow = [" ".join(line.split()) for line in said(Blocks((block,)), 30)]
    assert narrow[-3:-1] == ["2 spikingjelly: 6 equal", "channels-last"]
    wide = [" ".join(line.split()) for line in said(Blocks((block,)))]
    assert wide[-2] == "2 spikingjelly:channels-last 6 equal"


@pytest.mark.parametrize("width", [20, 40])
def test_in_a_narrow_terminal_nothing_is_cut(width: int) -> None:
    rows = [*training(0, (0.4123,), suite="scale"), *training(1, (0.5,), suite="scale")]
    blocks = trained_table("scale", rows).blocks
    shown = "".join("".join(said(Blocks(blocks), width)).split())
    cells = "".join(cell for block in blocks for line in block.lines for cell in line)
    assert "…" not in shown
    assert not Counter(cells) - Counter(shown)


def test_what_stands_in_for_data_is_named_beside_every_figure() -> None:
    rows = [replace(each, **STANDING_IN) for each in training(0, (0.7667,), suite="accuracy")]
    (end,) = (each for each in rows if isinstance(each, TrainedRow))
    line = " ".join(said(terminal.trained(TrialResult(Case.of(end), (end,)))))
    assert line.startswith("digits (for CIFAR-10) CIFARNet") and "76.67 %" in line
    assert said(trained_table("accuracy", rows))[0] == "digits (for CIFAR-10)"
    cell = [replace(each, **STANDING_IN) for each in rows_of_a_run()]
    shown = "\n".join(said(terminal.acceleration(acceleration_lines(cell))))
    assert "digits (for CIFAR-10) Small" in shown and "\nCIFAR-10" not in shown


def test_the_line_of_a_training_says_what_tells_it_from_the_others_of_its_suite() -> None:
    def line(case: Case) -> str:
        return " ".join(said(terminal.trained(TrialResult(case, ()))))

    case = trained_case(1)
    assert line(case) == "CIFAR-10 Small reference fp32 T = 10, seed 0:"
    wide = replace(case.network, lif=replace(case.network.lif, a=2.0, v_th=1.0))
    entropy = replace(case.trained, loss="cross-entropy")
    slow = replace(case.optimiser, lr=0.0005)
    changed = replace(case, network=wide, initialisation="torch", training=entropy, optimiser=slow)
    assert line(changed).endswith(
        "a = 2, V_th = 1, torch's initial weights, cross-entropy, rate 0.0005, seed 0:"
    )
    recording = trained_case(1, dataset="nmnist")
    assert "reference fp32 10 x 5 ms, " in line(recording)


def test_events_that_were_computed_are_called_simulated() -> None:
    given: dict[str, Any] = {"suite": "accuracy", "dataset": "dvs-cifar10", "scale": "OurModel"}
    rows = [replace(each, data_simulated=True) for each in training(0, (0.4,), **given)]
    assert said(trained_table("accuracy", rows))[0] == "simulated DVS-CIFAR10"


def test_the_processor_stands_above_its_cells() -> None:
    here = [*timed("floor", 1.0, cpu="A processor", threads=2), *timed("floor", 1.0, cpu="B")]
    lines = said(terminal.acceleration(acceleration_lines(here)))
    assert "on A processor, 2 threads" in lines and "on B, 0 threads" in lines


def test_trainings_of_several_machines_say_so_line_by_line() -> None:
    rows: list[Row] = []
    for scale, cpus in (("Small", ("A", "B")), ("Middle", ("A",))):
        for seed, cpu in enumerate(cpus):
            made = training(seed, (0.4,), suite="scale", scale=scale)
            rows += [replace(each, cpu=cpu, threads=2) for each in made]
    lines = said(trained_table("scale", rows), 120)
    assert any("Small" in line and "A, 2 threads; B, 2 threads" in line for line in lines)
    assert any("Middle" in line and line.count("2 threads") == 1 for line in lines)
    made = [replace(e, cpu="A", threads=2) for e in training(0, (0.4,), suite="accuracy")]
    assert "on A, 2 threads" in " ".join(said(trained_table("5", made)))


def test_markdown_has_what_the_terminal_has_and_csv_all() -> None:
    rows = [replace(each, cpu="<b>|bold|</b>") for each in rows_of_a_run()]
    text = terminal.as_markdown(terminal.acceleration(acceleration_lines(rows)))
    heads = next(line for line in text.splitlines() if line.startswith("|"))
    assert heads == "|  | ms | min/epoch | x floor | 95 % | MiB | n | proof |"
    assert "<b>" not in text and "| snntorch |" in text
    head = tables.markup(tables.acceleration(rows), "csv").splitlines()[0]
    assert len(head.split(",")) > 40


def test_a_change_that_is_not_known_to_tenfold_is_not_known() -> None:
    front = ("speed", "CIFAR-10 Small", "norse fp32", 2.0, 3.0, 0.5)
    wide = Change(*front, -1.0, 6254.2, "too noisy to tell", "cpu T=10 batch 20")
    lines = said(terminal.comparison(Comparison((), (wide,), (), Margins())))
    (line,) = (each for each in lines if each.startswith(" norse"))
    assert line.split() == [
        "norse",
        "CIFAR-10",
        "Small",
        "2.000",
        "3.000",
        "+50.0",
        "not",
        "known",
        "noisy",
    ]
    assert "cpu T=10 batch 20" in lines


def test_a_pipe_gets_each_network_whole_in_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "list", "networks") == 0
    lines = capsys.readouterr().out.splitlines()
    for each in paper.NETWORKS:
        assert any(line.split() == [each.name, each.notation] for line in lines)


class Stub:
    """An executor whose cells and trainings are given."""

    def __init__(
        self, timed: Sequence[CellResult] = (), trained: Sequence[TrialResult] = ()
    ) -> None:
        self.timed, self.trained = timed, trained

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[CellResult]:
        return iter(self.timed)

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[TrialResult]:
        return iter(self.trained)


@pytest.fixture
def where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> measuring.Where:
    monkeypatch.setattr("harness.speed.plan.seconds", lambda *given: 600.0)
    monkeypatch.setattr("harness.speed.plan.training_seconds", lambda *given: 4000.0)
    return measuring.Where(tmp_path, False, tmp_path / "out")


def test_a_run_says_what_it_does_shows_a_cell_once_and_ends_with_what_to_type(
    where: measuring.Where, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tuple(rows_of_a_run())
    cell = Case.of(rows[0]).cell
    events = [CellResult(cell, rows, rounds) for rounds in (2, 3)]
    asked = measuring.Asked(framework=False, precision=True)
    measuring.measure((CASE,), where, Stub(events), Budget(seconds=60.0), asked)
    out = capsys.readouterr().out
    assert out.startswith("acceleration: 1 cell, 1 contender, about 10 min\n")
    assert "CIFAR-10 Small, 2 rounds so far, x floor: " in out
    assert out.count("min/epoch") == 1
    assert f"{len(rows)} rows: {where.out / 'records'}" in out
    assert f"harness tables acceleration --out {where.out}" in out
    assert f"harness report --out {where.out} writes {where.out / 'report.html'}" in out


def test_a_training_says_how_long_it_takes_and_that_a_download_failed(
    where: measuring.Where, capsys: pytest.CaptureFixture[str]
) -> None:
    note = f"{FAILED}: URLError: no route; CIFAR-10: not found"
    rows = [replace(each, data_note=note, **STANDING_IN) for each in training(0, (0.5,))]
    case = trained_case(1, suite="timesteps")
    measuring.train((case,), where, Stub(trained=[TrialResult(case, tuple(rows))]))
    said = capsys.readouterr()
    first = "timesteps: 1 case (Small on CIFAR-10), about 67 min, less for what is done"
    assert said.out.splitlines()[0] == first
    assert said.err.count(f"data: {note}") == 1


def test_a_row_of_real_data_says_nothing_of_them_on_stderr(
    where: measuring.Where, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [replace(each, data_note="1,000 of 60,000 found") for each in training(0, (0.5,))]
    case = trained_case(1, suite="timesteps")
    measuring.train((case,), where, Stub(trained=[TrialResult(case, tuple(rows))]))
    assert capsys.readouterr().err == ""


def test_a_round_alone_has_no_interval_to_show() -> None:
    (block,) = terminal.acceleration(acceleration_lines([row(IterationRow)])).blocks
    assert block.lines[0][4] == ""
