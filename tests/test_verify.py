"""Times measured again: confirmed, another, or too noisy to tell; the noisier, the less is said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import exp, inf, log, nan, sqrt
from pathlib import Path
from typing import Any

import pytest
from conftest import Command
from rows import timed

from harness.analysis import timings
from harness.analysis.compare import MARGIN
from harness.analysis.frame import each_of, frames
from harness.jobs import verify
from harness.jobs.local import Local, Result
from harness.jobs.verify import Check, Here, ratio_check
from harness.records import Row, Store
from harness.records.identity import PROTOCOL
from harness.spec import Access, Budget, Case, Say

NOW: dict[str, Any] = {"protocol": PROTOCOL}
_ROWS = [*timed("floor", 1.0, 1.0), *timed("norse", 2.0, 2.0)]
(LINE,) = (r for r in each_of(timings.lines(frames(_ROWS))) if r.framework == "norse")


def about(value: float, reach: float) -> Any:
    """A ratio with an interval of that reach in logs."""
    low, high = value * exp(-reach), value * exp(reach)
    return LINE._replace(ratio_to_floor=value, ratio_low=low, ratio_high=high)


ONCE = about(141.0, inf)  # of one round
UNKNOWN = about(nan, nan)


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (about(10.7, 0.6), about(141.0, 44.0), "too noisy to tell"),
        (about(10.7, 0.6), ONCE, "too noisy to tell"),
        (ONCE, about(10.7, 0.6), "too noisy to tell"),
        (about(2.0, 0.02), about(2.0, 0.02), "confirmed"),
        (about(2.0, 0.0), about(2.0, 0.0), "confirmed"),
        (about(2.0, 0.01), about(2.1, 0.01), "confirmed"),  # another, by less than matters
        (about(2.0, 0.02), about(2.4, 0.02), "differs"),
        (about(2.4, 0.02), about(2.0, 0.02), "differs"),
        (about(1.0, 0.0), about(1 + MARGIN, 0.001), "differs"),
        (about(2.0, 0.10), about(2.0, 0.10), "too noisy to tell"),
        (about(2.0, 0.30), about(2.4, 0.30), "too noisy to tell"),
        (about(2.0, 1.00), about(9.0, 0.01), "differs"),
        (UNKNOWN, about(2.0, 0.02), "not tested"),
        (about(2.0, 0.02), UNKNOWN, "not tested"),
        (about(2.0, 0.02), None, "not tested"),
    ],
)
def test_a_ratio_is_confirmed_only_within_the_margin(old: Any, new: Any, verdict: str) -> None:
    check = ratio_check("norse", old, new, "it was not timed here")
    assert check.verdict == verdict
    assert bool(check.reason) == (verdict != "confirmed")


def test_the_interval_of_new_over_old_is_of_both_in_logs_and_another_machine_is_named() -> None:
    there = about(2.4, 0.4)._replace(machine="another")
    reason = ratio_check("norse", about(2.0, 0.3), there).reason
    low, high = (1.2 * exp(sign * sqrt(0.3**2 + 0.4**2)) for sign in (-1, 1))
    assert f"1.20 [{low:.2f}, {high:.2f}]" in reason and "another machine" in reason
    assert "another machine" not in ratio_check("a", about(2.0, 0.01), about(3.0, 0.01)).reason


def test_noise_never_makes_an_answer_surer() -> None:
    """From sure to noisy an answer goes to "too noisy to tell", and stays there."""
    for change in (1.0, 1.05, 1.5):
        reaches = [0.005 * 1.5**n for n in range(16)]
        said = [ratio_check("a", about(1.0, r), about(change, r)).verdict for r in reaches]
        first = said.index("too noisy to tell")
        assert first > 0 and set(said[first:]) == {"too noisy to tell"}


def test_the_intervals_of_tables_are_even_in_logs_as_is_taken_for_granted() -> None:
    rows = [*timed("floor", 1.0, 1.2, 0.9), *timed("norse", 2.0, 2.1, 3.3)]
    (line,) = (r for r in each_of(timings.lines(frames(rows))) if r.framework == "norse")
    above = log(line.ratio_high / line.ratio_to_floor)
    assert above == pytest.approx(log(line.ratio_to_floor / line.ratio_low))


@dataclass(frozen=True)
class Again(Local):
    """An executor whose measurement is these rows."""

    rows: tuple[Row, ...] = ()

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[Result]:
        assert self.rows, "there was nothing to measure"
        store.append(*self.rows)
        yield Result(cases[0], self.rows, 3)


ROUNDS = (1.0, 1.01, 0.99, 1.0, 1.01)


def cell(ratio: float, **fields: Any) -> list[Row]:
    """A floor and a contender in five quiet rounds."""
    slow = [ratio * (1 + 0.002 * n) * each for n, each in enumerate(ROUNDS)]
    return [*timed("floor", *ROUNDS, **fields), *timed("norse", *slow, **fields)]


def verified(rows: list[Row], again: list[Row], cases: int = 9) -> list[Check]:
    here = Here(
        Again(rows=tuple(again)), Access(Path()), lambda case: None, lambda *_: None, Path()
    )
    return list(verify.verify(rows, here, cases, 0, 1, 1.0))


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
    assert f"protocol {taken}, this harness measures under 2" in check.reason


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
    command: Command,
) -> None:
    def again(
        self: Local, cases: tuple[Case, ...], store: Store, *rest: object
    ) -> Iterator[Result]:
        T = cases[0].T
        fields = {"T": T, "run": "now", **NOW}
        wild = [*timed("floor", 1.0, 3.0, 0.3, **fields), *timed("norse", 2.0, 1.0, 9.0, **fields)]
        if T in ratios:
            store.append(*(wild if ratios[T] != ratios[T] else cell(ratios[T], **fields)))
        yield Result(cases[0], (), 0)

    monkeypatch.setattr(Local, "measure", again)
    monkeypatch.setattr("harness.cli.status.lacks", lambda case: None)
    Store(tmp_path).append(*cell(2.0, T=4, **NOW), *cell(2.0, T=5, **NOW))
    found, out, _ = command("verify", tmp_path)
    assert found == code and line in out
