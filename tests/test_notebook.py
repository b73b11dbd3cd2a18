"""The notebook's door: what it imports, that its options are the command's, that its page runs."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest
import typer.main
from harness.notebook import command
from rows import rows_of_a_run, training
from test_docs import python_of

import harness
from harness.analysis import tables
from harness.analysis.claims import CLAIMS, COLUMNS, verdicts
from harness.cli import app, console
from harness.records import EndedRow, Row, Store
from harness.report import Room

ROOT = Path(__file__).resolve().parents[1]
OURS = [
    path.relative_to(ROOT)
    for folder in ("harness", "adapters")
    for path in sorted((ROOT / folder).rglob("*.py"))
]
ROOMS = {path.parts[1] for path in OURS if path.parts[0] == "harness" and len(path.parts) > 2}


def filled(folder: Path, rows: list[Row]) -> Path:
    for row in rows:
        Store(folder).append(row)
    return folder


def click(name: str) -> Any:
    """A command as click has it; Typer does not say that its commands are click's."""
    return cast(Any, typer.main.get_command(app.app)).commands[name]


def options(name: str) -> dict[str, object]:
    """A command's options by the names that Python has for them, with their defaults."""
    defaults = inspect.signature(click(name).callback).parameters
    return {
        each.opts[0].removeprefix("--").replace("-", "_"): defaults[each.name].default
        for each in click(name).params
        if each.name in defaults
    }


def signature(function: object) -> dict[str, object]:
    assert callable(function)
    parameters = inspect.signature(function).parameters
    return {name: each.default for name, each in parameters.items() if name != "self"}


def test_run_has_the_options_and_defaults_of_the_command() -> None:
    own = signature(harness.run)
    assert own.pop("quiet") is False
    assert own == options("run")


def test_report_has_the_options_and_defaults_of_the_command() -> None:
    assert signature(Room.__call__) == options("report")


def test_a_switch_of_run_is_a_switch_of_the_command() -> None:
    params = click("run").params
    switches = {each.opts[0][2:].replace("-", "_") for each in params if each.is_flag}
    own = inspect.signature(harness.run).parameters.values()
    assert {each.name for each in own if "bool" in str(each.annotation)} == switches | {"quiet"}


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


def test_no_module_imports_from_the_door() -> None:
    for path in OURS:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert "harness" not in [each.name for each in node.names], path
            if isinstance(node, ast.ImportFrom) and node.module == "harness" and not node.level:
                assert {each.name for each in node.names} <= ROOMS | {"adapter"}, path


def test_what_is_not_there_is_an_attribute_error() -> None:
    name = "walk"
    with pytest.raises(AttributeError, match="has no attribute 'walk'"):
        getattr(harness, name)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, []),
        ({"quick": True, "fresh": False}, ["--quick"]),
        ({"download": False}, ["--no-download"]),
        ({"download": True}, ["--download"]),
        ({"frameworks": ["norse", "fused:dense"]}, ["--frameworks", "norse,fused:dense"]),
        ({"frameworks": "norse"}, ["--frameworks", "norse"]),
        ({"steps": (1, 2), "batch_size": 4}, ["--steps", "1,2", "--batch-size", "4"]),
        ({"steps": 4, "width": 0.125}, ["--steps", "4", "--width", "0.125"]),
        ({"budget": 60.0, "silence": "1m"}, ["--budget", "60.0", "--silence", "1m"]),
        ({"out": Path("there"), "device": "auto"}, ["--out", "there"]),
    ],
)
def test_values_become_the_commands_words(given: dict[str, object], words: list[str]) -> None:
    assert list(command.arguments("run", harness.run, given)) == ["run", *words]


def test_what_is_wrong_is_the_commands_sentence_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"suite": "speed"}, "unknown suite 'speed', choose from acceleration"),
        ({"suite": "scale", "steps": [0]}, "'--steps': '0', expected whole numbers of 1 or more"),
        ({"suite": "scale", "quick": True, "paper": True}, "exclude each other"),
        ({"suite": "scale", "frameworks": []}, "'' names nothing: name something"),
        ({"suite": "scale", "quick": 1}, "quick is on or off: give True or False, not 1"),
    ]
    for given, sentence in wrong:
        with pytest.raises(harness.UsageError, match=re.escape(sentence)):
            harness.run(**given)
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_warns_and_returns_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The command is replaced: it prints, keeps rows, and ends with 1."""
    seen: list[list[str]] = []

    def invoke(*words: str) -> int:
        seen.append(sys.argv)
        assert not hasattr(sys.modules["__main__"], "__file__")  # children import no script of ours
        console.out.print("printed")
        print("printed", file=sys.stderr)
        filled(tmp_path, rows_of_a_run())
        return 1

    main = sys.modules["__main__"]
    monkeypatch.setattr(app, "invoke", invoke)
    with pytest.warns(harness.CasesFailed, match="failed"):
        found = harness.run(suite="acceleration", out=tmp_path, quiet=True)
    assert capsys.readouterr() == ("", "")
    assert seen == [["harness", "run", "--suite", "acceleration", "--out", str(tmp_path)]]
    assert sys.modules["__main__"] is main
    assert list(found.failed()["reason"]) == ["norse does not load"]
    assert any(isinstance(row, EndedRow) for row in found.rows)
    with pytest.warns(harness.CasesFailed):
        harness.run(suite="acceleration", out=tmp_path)
    assert capsys.readouterr() == ("printed\n", "printed\n")


def test_every_table_of_the_command_is_a_frame_with_its_columns(tmp_path: Path) -> None:
    rows = [*rows_of_a_run()]
    for suite in ("timesteps", "scale", "neunorm", "accuracy"):
        rows += training(0, (0.2, 0.4), suite=suite)
    found = harness.results(filled(tmp_path, rows))
    assert repr(found).startswith(f"Results({len(rows)} rows: acceleration ")
    suites = {row.suite for row in rows}
    for name, build in tables.TABLES.items():
        if suites & set(tables.suites_of(name)):
            pd.testing.assert_frame_equal(found.table(name), build(rows))
        else:
            with pytest.raises(harness.UsageError, match=f"first harness.run.suite='{name}'"):
                found.table(name)
    methods = {name for name in tables.TABLES if not name.isdigit()}
    assert {name for name in methods if not hasattr(harness.Results, name)} == set()
    assert list(found.table(5).columns) == list(found.table("5").columns)
    with pytest.raises(harness.UsageError, match="unknown table '7', choose from acceleration"):
        found.table(7)


def test_verdicts_are_those_of_the_report(tmp_path: Path) -> None:
    rows = [row for seed in range(3) for row in training(seed, (0.2, 0.4), suite="scale")]
    found = harness.results(filled(tmp_path, rows)).verdicts()
    assert list(found.columns) == list(COLUMNS)
    assert list(dict.fromkeys(found["id"])) == [claim.id for claim in CLAIMS]
    for claim, verdict in verdicts(rows):
        lines = found[found["id"] == claim.id]
        assert set(lines["verdict"]) == {verdict.text}
        assert set(lines["reason"]) == {verdict.reason}
        if verdict.effects:
            assert list(lines["effect"]) == [each.name for each in verdict.effects]
            assert list(lines["value"]) == [each.found.value for each in verdict.effects]
            assert list(lines["n"]) == [len(each.values) for each in verdict.effects]


def test_results_reads_one_folder_several_and_a_folder_of_machines(tmp_path: Path) -> None:
    rows = rows_of_a_run()
    one, two = (filled(tmp_path / "published" / name, rows) for name in ("a", "b"))
    assert list(harness.results(one).rows) == rows
    assert len(harness.results(one, two).rows) == 2 * len(rows)
    assert len(harness.results(tmp_path).rows) == 2 * len(rows)
    assert len(harness.results(tmp_path / "published").rows) == 2 * len(rows)
    assert list(harness.results(str(one / "records")).rows) == rows
    with pytest.raises(harness.UsageError, match="no rows under .*nowhere: give a folder"):
        harness.results(tmp_path / "nowhere")


def test_lines_that_are_no_rows_are_warned_of(tmp_path: Path) -> None:
    path = filled(tmp_path, rows_of_a_run()) / "records" / "acceleration.jsonl"
    path.write_text(path.read_text() + "no row\n")
    with pytest.warns(UserWarning, match="1 lines were no rows and were skipped, the first: "):
        assert list(harness.results(tmp_path).rows) == rows_of_a_run()


def test_the_room_of_the_report_can_be_called_and_is_a_room(tmp_path: Path) -> None:
    from harness import report

    assert harness.report is report is sys.modules["harness.report"]
    written = harness.report(filled(tmp_path, rows_of_a_run()))
    assert {tmp_path / "report.html", tmp_path / "tables" / "acceleration.md"} <= set(written)
    assert all(path.is_file() for path in written)


def test_the_notebooks_page_runs_as_a_script_from_top_to_bottom(tmp_path: Path) -> None:
    """In a process of its own, without a guard around the run: its children do not run it again."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "published").symlink_to(ROOT / "results" / "published")
    script = tmp_path / "page.py"
    script.write_text("print('begins')\n" + python_of(ROOT / "docs" / "notebook.md"))
    places = {"HARNESS_DATA": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ended = subprocess.run(
        [sys.executable, script],
        env={**os.environ, **places, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "CasesFailed" not in ended.stderr
    assert ended.stdout.count("begins") == 1
    assert "rounds of the floor" in ended.stdout
    assert "expected whole numbers of 1 or more" in ended.stdout
    assert (tmp_path / "results" / "local" / "notebook" / "report.html").is_file()
    (kept,) = (tmp_path / "results" / "local" / "notebook" / "runs").glob("*.json")
    assert "--suite" in kept.read_text() and "page.py" not in kept.read_text()
