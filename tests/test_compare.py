"""Two runs compared: noise is not called a change, a slower adapter is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from test_cli import call
from test_records import ROW
from test_trained_tables import training

from harness.analysis.compare import Change, compare
from harness.records import Record, Store

RECORDED = Path(__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def two_runs() -> tuple[list[Record], list[Record]]:
    """Two default runs of the same code, one after the other, as they were recorded."""
    rows, _ = Store(RECORDED).read("acceleration")
    whole: dict[tuple[str | None, str | None], list[str]] = {}
    for row in rows:
        if row.run not in whole.setdefault((row.commit, row.cpu), []):
            whole[row.commit, row.cpu].append(row.run)
    first, second = next(runs for runs in whole.values() if len(runs) > 1)[:2]
    return [r for r in rows if r.run == first], [r for r in rows if r.run == second]


def slowed(rows: list[Record], framework: str, factor: float) -> list[Record]:
    return [
        replace(row, seconds=row.seconds * factor)
        if row.kind == "iteration" and row.framework == framework and row.seconds
        else row
        for row in rows
    ]


def called(rows: tuple[Change, ...]) -> set[tuple[str, str]]:
    return {(each.contender, each.call) for each in rows if each.call in ("slower", "faster")}


def test_two_runs_of_the_same_code_are_not_called_different(
    two_runs: tuple[list[Record], list[Record]],
) -> None:
    found = compare(*two_runs)
    assert len(found.changes) > 36
    assert called(found.changes) == set()
    assert found.differences == () and found.unmatched == ()


@pytest.mark.parametrize("framework", ["snntorch", "norse"])
def test_an_adapter_that_became_10_percent_slower_is(
    two_runs: tuple[list[Record], list[Record]], framework: str
) -> None:
    old, new = two_runs
    found = compare(old, slowed(new, framework, 1.1))
    assert called(found.changes) == {(f"{framework} fp32", "slower")}
    (each,) = found.beyond(0.05)
    assert 0.07 < each.change < 0.13


def test_all_that_became_slower_together_are_called_so(
    two_runs: tuple[list[Record], list[Record]],
) -> None:
    old, new = two_runs
    for framework in {row.framework for row in new} - {"floor"}:
        new = slowed(new, framework, 1.5)
    assert ("all fp32", "slower") in called(compare(old, new).changes)


def test_other_machines_versions_and_data_are_said_first() -> None:
    old = [replace(ROW, cpu="A", torch="2.12", data_sha256="a", framework_version="1")]
    new = [replace(ROW, cpu="B", torch="2.13", data_sha256="b", framework_version="2")]
    assert compare(old, new).differences == (
        "CPU: A before, B now",
        "torch: 2.12 before, 2.13 now",
        "reference: 1 before, 2 now",
        "data of cifar10 in acceleration: not the same",
    )


def runs_of(accuracies: tuple[float, ...]) -> list[Record]:
    return [
        row
        for seed, each in enumerate(accuracies)
        for row in training(seed, (each,), suite="scale")
    ]


def test_accuracy_is_compared_over_seeds() -> None:
    old = runs_of((0.50, 0.51, 0.52))
    for new, call_ in (
        (runs_of((0.50, 0.51, 0.52)), "no change"),
        (runs_of((0.51, 0.52, 0.50)), "no change"),
        (runs_of((0.70, 0.71, 0.72)), "better"),
        (runs_of((0.30, 0.31, 0.32)), "worse"),
        (runs_of((0.60,)), "not judged"),
    ):
        (change,) = compare(old, new).changes
        assert (change.what, change.call) == ("accuracy", call_)


def test_the_command_says_what_cannot_be_compared_and_fails_on_a_regression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, accuracies in (("old", (0.5, 0.51)), ("new", (0.1, 0.11))):
        for row in runs_of(accuracies):
            Store(tmp_path / name).append(row)
    for row in [replace(ROW, framework="floor")]:
        Store(tmp_path / "other").append(row)
    old, new, other = (str(tmp_path / name) for name in ("old", "new", "other"))
    assert call(monkeypatch, "compare", old, new) == 0
    assert call(monkeypatch, "compare", old, new, "--fail-above", "5%") == 1
    assert call(monkeypatch, "compare", old, new, "--fail-above", "50%") == 0
    capsys.readouterr()
    for arguments, sentence in (
        ([old, other], "have no cell in common"),
        ([old, str(tmp_path / "none")], "no rows of acceleration under"),
        ([old, new, "--fail-above", "much"], "'--fail-above': 'much', expected a percentage"),
    ):
        assert call(monkeypatch, "compare", *arguments) == 2
        error = capsys.readouterr().err
        assert sentence in error and error.count("\n") == 1
