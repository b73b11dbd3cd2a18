"""From Python: what `import harness` imports, its options, its results, and that its page runs."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from rows import CASE, altered, rows_of_a_run, training
from surroundings import Command

import harness
from harness import api, suites
from harness.analysis import claims, tables
from harness.cli.app import run
from harness.records import EndedResult, Row, Store, has
from harness.records.run import CaseRows
from harness.spec import Options, paper
from harness.spec.options import GIVEN


def filled(folder: Path, rows: list[Row]) -> Path:
    for row in rows:  # of several suites: each has a file of its own
        Store(folder).append(row)
    return folder


def test_run_and_the_command_have_the_options_of_one_place() -> None:
    parameters = inspect.signature(harness.run).parameters
    names = {option.name for option in GIVEN}
    assert set(parameters) == {*names, "quiet"} and next(iter(parameters)) == "suite"
    assert set(inspect.signature(run).parameters) == names


@pytest.mark.parametrize(
    ("choice", "fetched"),
    [
        ({}, ["cifar10"]),  # the others are gigabytes
        ({"download": True}, sorted(paper.SETTINGS)),
        ({"download": False}, []),
        ({"quick": True}, []),
        ({"quick": True, "download": True}, ["cifar10"]),
    ],
    ids=str,
)
def test_a_run_fetches_small_data_sets_alone_unless_it_is_asked(
    choice: dict[str, bool], fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "executor", lambda *arguments: None)
    monkeypatch.setattr("harness.machine.child.warm", lambda *arguments, **named: None)
    where: dict[str, Any] = {"out": tmp_path, "data_root": tmp_path, "device": "cpu"}
    options = Options.parse(suite="acceleration", frameworks="reference", **where, **choice)
    assert api.Work.prepare(options, ()).access.download == set(fetched)


def test_options_take_texts_or_values() -> None:
    for texts, option, value in (
        ({"frameworks": ["norse", "norse:super", "norse"]}, "frameworks", ("norse", "norse:super")),
        ({"frameworks": "norse, jax"}, "frameworks", ("norse", "jax")),
        ({"steps": (1, 2)}, "steps", (1, 2)),
        ({"steps": 4}, "steps", (4,)),
        ({"steps": "04,8"}, "steps", (4, 8)),
        ({"batch_size": "4"}, "batch_size", 4),
        ({"width": 0.125}, "width", Fraction(1, 8)),
        ({"width": "1/8"}, "width", Fraction(1, 8)),
        ({"budget": "1.5h"}, "budget", 5400.0),
        ({"budget": 60}, "budget", 60.0),
        ({"out": Path("there")}, "out", Path("there")),
        ({"download": False}, "download", False),
        ({}, "download", None),
    ):
        assert getattr(harness.Options.parse(suite="acceleration", **texts), option) == value


def test_the_door_imports_neither_torch_nor_pandas_nor_typer() -> None:
    code = (
        "import sys, harness, harness.spec\n"
        "assert harness.UsageError and 'run' in dir(harness) and harness.__version__\n"
        "found = {'torch', 'pandas', 'typer', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not found, found\n"
        "harness.results, harness.run, harness.report\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"suite": "scale", "steps": [0]}, "steps: '0', expected whole numbers of 1 or more"),
    ({"suite": "scale", "steps": "x" * 999}, "steps: 'xxx"),
    ({"suite": "scale", "out": "a\0b"}, "null"),  # no system takes such a name
    ({"suite": "scale", "frameworks": []}, "frameworks: [] names nothing"),
    ({"suite": "scale", "quick": 1}, "quick: it is on or off"),
    ({"suite": "scale", "quick": True, "long": True}, "quick, long and paper exclude each other"),
    ({"suite": "scale", "out": 5}, "out: 5 is no path"),
    ({"suite": "scale", "walk": 1}, "unknown option 'walk'"),
    ({"suite": "scale", "budget": 60}, "leave budget out"),
    ({"suite": "scale", "files": ()}, "unknown option 'files'"),
]


def test_wrong_options_write_nothing(inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, sentence in WRONG:
        with pytest.raises(harness.UsageError, match=re.escape(sentence)) as error:
            harness.run(**options)
        assert len(str(error.value)) < 300
        assert "--" not in str(error.value)  # a keyword is named, not the command's option
    assert capsys.readouterr() == ("", "") and list(inside.iterdir()) == []


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The commands that were run; each kept the rows of a run in which a case failed."""
    commands_run: list[tuple[str, ...]] = []

    def measure(cases: object, store: Store, *arguments: object) -> Iterator[CaseRows]:
        rows = rows_of_a_run()
        filled(store.out, rows)
        yield CaseRows(CASE.cell, tuple(rows), 1, more=True)
        yield CaseRows(CASE.cell, tuple(rows), 2)
        yield CaseRows(altered(CASE, T=5).cell, (), left_seconds=180.0)

    def executor(name: str, command: tuple[str, ...]) -> SimpleNamespace:
        commands_run.append(command)
        return SimpleNamespace(measure=measure)

    monkeypatch.setattr("harness.api.executor", executor)
    return commands_run


def test_a_run_that_fails_warns_and_returns_the_rest(
    tmp_path: Path, commands: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.warns(harness.CasesFailed, match="failed"):
        results = harness.run("acceleration", quiet=True, frameworks="norse", out=tmp_path)
    assert capsys.readouterr().out == ""
    ((*front, frameworks, _),) = commands  # as the run's file says what was asked for
    assert front == ["harness", "run", "suite=acceleration"] and "norse" in frameworks
    assert "norse does not load" in set(results.failed()["reason"])
    assert any(has(row, EndedResult) for row in results.rows)


@pytest.mark.usefixtures("commands")
@pytest.mark.filterwarnings("ignore::harness.CasesFailed")
def test_a_run_prints_each_network_once_and_the_time_of_one_not_begun(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harness.run("acceleration", frameworks="norse", out=tmp_path)
    first, second = capsys.readouterr().out.splitlines()  # a network once, at its end
    assert first.startswith("cifar10 Small T=10 seed 0: ") and "row" in first
    assert "T=5" in second and "not begun, it takes about 180 s" in second and "row" not in second
    assert "call again to go on" in second
    harness.run("acceleration", frameworks="norse", out=tmp_path, budget=200)
    assert "give a larger budget" in capsys.readouterr().out
    harness.run("acceleration", frameworks="fused,norse:compiled,norse", out=tmp_path)
    compiled, *_ = capsys.readouterr().out.splitlines()
    assert compiled.startswith("fused, norse:compiled: compiled at first use")


@pytest.mark.parametrize(
    ("name", "precision", "count"),
    [("acceleration", None, 1), ("acceleration", "bf16", 2), ("accuracy", None, 2)],
)
def test_bf16_without_instructions_is_not_timed_unless_it_is_named(
    name: str, precision: str | None, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.machine.host.has_bf16", lambda device: False)
    options = Options.parse(suite=name, precision=precision)
    cases = CASE, altered(CASE, precision="bf16")
    assert api.suited(cases, suites.suite(name), options) == cases[:count]


def test_tables_and_verdicts_equal_the_commands_and_the_reports(tmp_path: Path) -> None:
    rows = [*rows_of_a_run()]
    for suite in ("timesteps", "scale", "neunorm", "accuracy"):
        rows += training(0, (0.2, 0.4), suite=suite) + training(1, (0.2, 0.5), suite=suite)
    results = harness.results(filled(tmp_path, rows))
    assert repr(results).startswith(f"Results({len(rows)} rows: acceleration ")
    for name, build in tables.TABLES.items():
        assert name.isdigit() or hasattr(harness.Results, name)
        if {row.suite for row in rows} & set(tables.suites_of(name)):
            pd.testing.assert_frame_equal(results.table(name), build(rows))
        else:
            with pytest.raises(harness.UsageError, match=f"first harness.run.suite='{name}'"):
                results.table(name)
    pd.testing.assert_frame_equal(results.table(5), results.table("5"))
    pd.testing.assert_frame_equal(results.acceleration(latest=False), results.table("acceleration"))
    nothing = harness.results(filled(tmp_path / "trained", training(0, (0.2,), suite="scale")))
    for latest in (False, True):
        with pytest.raises(harness.UsageError, match="first harness.run.suite='acceleration'"):
            nothing.acceleration(latest=latest)
    with pytest.raises(harness.UsageError, match="unknown table '7', choose from acceleration"):
        results.table(7)
    pd.testing.assert_frame_equal(results.verdicts(), claims.table(claims.findings(rows)))


def test_results_reads_one_folder_several_and_a_folder_of_machines(tmp_path: Path) -> None:
    rows = rows_of_a_run()
    one, two = (filled(tmp_path / "published" / name, rows) for name in ("a", "b"))
    for folders in ((one,), (str(one / "records"),)):
        assert list(harness.results(*folders).rows) == rows
    for folders in ((one, two), (tmp_path,), (tmp_path / "published",)):
        assert len(harness.results(*folders).rows) == 2 * len(rows)
    with pytest.raises(harness.UsageError, match="no rows under .*nowhere, which is no folder"):
        harness.results(tmp_path / "nowhere")
    path = one / "records" / "acceleration.jsonl"
    path.write_text(path.read_text() + "no row\n")
    with pytest.warns(UserWarning, match="1 lines were no rows and were skipped, the first: "):
        assert list(harness.results(one).rows) == rows


def test_a_result_shows_as_a_table_and_each_contender_once() -> None:
    rows = rows_of_a_run()
    fewer = [altered(row, run="another") for row in rows if row.contender.framework != "snntorch"]
    results = harness.Results((*rows, *fewer))
    contenders = results.acceleration()[["framework", "variant", "precision"]]
    assert not contenders.duplicated().any() and "snntorch" in set(contenders["framework"])
    assert len(results.acceleration(latest=False)) > len(contenders)
    cells = re.findall("<td>(.*?)</td>", results._repr_html_())
    assert cells[:2] == ["acceleration", "cifar10"] and cells[-1] == f"{len(results.rows)}"


NO_ROWS = {
    "newer": lambda text: re.sub('"schema": ?[0-9]+', '"schema":99', text).encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "an array": lambda text: f"[{','.join(text.splitlines())}]".encode(),
}


@pytest.mark.parametrize("kind", NO_ROWS)
def test_damage_is_named_where_no_row_is_read(kind: str, tmp_path: Path, command: Command) -> None:
    path = filled(tmp_path, rows_of_a_run()) / "records" / "acceleration.jsonl"
    path.write_bytes(NO_ROWS[kind](path.read_text()))
    code, out, error = command("tables", "acceleration", "--out", tmp_path)
    assert (code, out) == (2, "") and f"no row under {tmp_path} can be read" in error
    assert "damaged row" in error and "first run" not in error


def test_report_writes_the_page_and_its_tables(tmp_path: Path) -> None:
    written = harness.report(filled(tmp_path, rows_of_a_run()))
    assert {tmp_path / "report.html", tmp_path / "tables" / "acceleration.csv"} <= set(written)
    assert all(path.is_file() for path in written)
