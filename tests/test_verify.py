"""Times measured again: confirmed, another, or too noisy to tell; the noisier, the less is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import exp, inf, nan, sqrt
from pathlib import Path
from typing import Any

import pytest
from rows import timed
from test_cli import call

from harness.analysis import timings
from harness.analysis.compare import MARGIN
from harness.analysis.frame import each_of, frames
from harness.jobs import CellResult, TrialResult, verify
from harness.jobs.local import Local
from harness.jobs.verify import Check, Here, Sample, ratio_check
from harness.records import Row, Store
from harness.records.identity import PROTOCOL
from harness.spec import Access, Budget, Case, Say

NOW: dict[str, Any] = {"protocol": PROTOCOL}
LINE = next(
    line
    for line in each_of(
        timings.lines(frames([*timed("floor", 1.0, 1.0), *timed("norse", 2.0, 2.0)]))
    )
    if line.framework == "norse"
)


def line(value: float, low: float, high: float) -> Any:
    return LINE._replace(ratio_to_floor=value, ratio_low=low, ratio_high=high)


def about(value: float, reach: float) -> Any:
    """A ratio with an interval of that reach in logs."""
    return line(value, value * exp(-reach), value * exp(reach))


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (line(10.7, 5.0, 18.3), line(141.0, 0.0, 3.7e19), "too noisy to tell"),
        (line(10.7, 5.0, 18.3), line(141.0, 0.0, inf), "too noisy to tell"),
        (line(141.0, 0.0, inf), line(10.7, 5.0, 18.3), "too noisy to tell"),
        (about(2.0, 0.02), about(2.0, 0.02), "confirmed"),
        (about(2.0, 0.0), about(2.0, 0.0), "confirmed"),
        (about(2.0, 0.01), about(2.1, 0.01), "confirmed"),  # another, by less than matters
        (about(2.0, 0.02), about(2.4, 0.02), "differs"),
        (about(2.4, 0.02), about(2.0, 0.02), "differs"),
        (about(2.0, 0.10), about(2.0, 0.10), "too noisy to tell"),
        (about(2.0, 0.30), about(2.4, 0.30), "too noisy to tell"),
        (about(2.0, 1.00), about(9.0, 0.01), "differs"),
        (line(nan, nan, nan), about(2.0, 0.02), "not tested"),
        (about(2.0, 0.02), line(nan, nan, nan), "not tested"),
        (about(2.0, 0.02), None, "not tested"),
    ],
)
def test_a_ratio_is_confirmed_only_within_the_margin(old: Any, new: Any, verdict: str) -> None:
    check = ratio_check("norse", old, new)
    assert check.verdict == verdict
    assert bool(check.reason) == (verdict != "confirmed")


def test_the_interval_of_new_over_old_is_of_both_in_logs() -> None:
    check = ratio_check("norse", about(2.0, 0.3), about(2.4, 0.4))
    low, high = (1.2 * exp(sign * sqrt(0.3**2 + 0.4**2)) for sign in (-1, 1))
    assert f"1.20 [{low:.2f}, {high:.2f}]" in check.reason


def test_noise_never_makes_an_answer_surer() -> None:
    """From sure to noisy an answer goes to "too noisy to tell", and stays there."""
    for change in (1.0, 1.05, 1.5):
        reaches = [0.005 * 1.5**n for n in range(16)]
        said = [ratio_check("a", about(1.0, r), about(change, r)).verdict for r in reaches]
        first = said.index("too noisy to tell")
        assert first > 0 and set(said[first:]) == {"too noisy to tell"}
    assert ratio_check("a", about(1.0, 0.0), about(1 + MARGIN, 0.001)).verdict == "differs"


def test_another_machine_is_named_where_a_ratio_is_not_confirmed() -> None:
    there = about(3.0, 0.01)._replace(machine="another")
    assert "another machine" in ratio_check("a", about(2.0, 0.01), there).reason
    assert "another machine" not in ratio_check("a", about(2.0, 0.01), about(3.0, 0.01)).reason


@dataclass(frozen=True)
class Again:
    """An executor whose measurement is these rows."""

    rows: tuple[Row, ...]

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[TrialResult]:
        raise AssertionError("nothing here was trained")

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[CellResult]:
        if not self.rows:
            raise AssertionError("there was nothing to measure")
        store.append(*self.rows)
        yield CellResult(cases[0], self.rows, 3)


ROUNDS = (1.0, 1.01, 0.99, 1.0, 1.01)


def cell(ratio: float, **fields: Any) -> list[Row]:
    """A floor and a contender in five quiet rounds."""
    slow = [ratio * (1 + 0.002 * n) * each for n, each in enumerate(ROUNDS)]
    return [*timed("floor", *ROUNDS, **fields), *timed("norse", *slow, **fields)]


def verified(rows: list[Row], again: list[Row], cases: int = 9) -> list[Check]:
    def said(fraction: float, doing: str) -> None:
        return

    here = Here(Again(tuple(again)), Access(Path()), lambda case: None, said)
    return list(verify.verify(rows, Sample(cases=cases, seed=0, epochs=1, budget=1.0), here))


def test_a_cell_is_timed_again_and_judged_by_its_ratios() -> None:
    for ratio, verdict in ((2.0, "confirmed"), (3.0, "differs")):
        (check,) = verified(cell(2.0, **NOW), cell(ratio, run="now", **NOW))
        assert (check.verdict, check.figure) == (verdict, "ratio to the floor")


@pytest.mark.parametrize(("protocol", "taken"), [(None, 1), (1, 1), (3, 3)])
def test_a_time_of_another_protocol_is_not_measured_again(
    protocol: int | None, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "PROTOCOL", 2)
    (check,) = verified(cell(2.0, protocol=protocol), [])
    assert check.verdict == "not tested" and check.recorded.startswith("2.0")
    assert check.reason == f"measured under protocol {taken}, this harness measures under 2"


def test_cells_of_the_present_protocol_are_drawn_first() -> None:
    older = [replace(each, T=T) for T in range(1, 9) for each in cell(2.0, protocol=PROTOCOL + 1)]
    (check,) = verified([*older, *cell(2.0, **NOW)], cell(2.0, run="now", **NOW), cases=1)
    assert check.verdict == "confirmed"


@pytest.mark.parametrize(
    ("ratios", "code", "line"),
    [
        ({4: 2.0, 5: 2.0}, 0, "2 confirmed, 0 differs, 0 too noisy to tell, 0 not tested"),
        ({4: 2.0, 5: 3.0}, 1, "1 confirmed, 1 differs, 0 too noisy to tell, 0 not tested"),
        ({4: 2.0, 5: nan}, 0, "1 confirmed, 0 differs, 1 too noisy to tell, 0 not tested"),
        ({4: 2.0}, 0, "1 confirmed, 0 differs, 0 too noisy to tell, 1 not tested"),
        ({}, 1, "0 confirmed, 0 differs, 0 too noisy to tell, 2 not tested"),
    ],
)
def test_the_command_counts_all_four_and_fails_on_what_differs(
    ratios: dict[int, float],
    code: int,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def again(
        self: Local, cases: tuple[Case, ...], store: Store, *rest: object
    ) -> Iterator[CellResult]:
        T = cases[0].T
        if T in ratios:
            noisy = ratios[T] != ratios[T]
            store.append(*(wild(T) if noisy else cell(ratios[T], T=T, run="now", **NOW)))
        yield CellResult(cases[0], (), 0)

    def wild(T: int) -> list[Row]:
        return [
            *timed("floor", 1.0, 3.0, 0.3, T=T, run="now", **NOW),
            *timed("norse", 2.0, 1.0, 9.0, T=T, run="now", **NOW),
        ]

    monkeypatch.setattr(Local, "measure", again)
    monkeypatch.setattr("harness.cli.here.lacks", lambda case: None)
    Store(tmp_path).append(*cell(2.0, T=4, **NOW), *cell(2.0, T=5, **NOW))
    assert call(monkeypatch, "verify", str(tmp_path)) == code
    assert line in capsys.readouterr().out
