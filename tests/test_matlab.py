"""Fig. 3's claim against Matlab code that was timed: a word for each form of it, and its figure."""

from __future__ import annotations

from typing import Any

import pytest
from rows import certified, timed

from harness.analysis import timings
from harness.analysis.claims import verdicts
from harness.analysis.frame import frames
from harness.analysis.matlab import against, fig3
from harness.analysis.speed import acceleration_lines
from harness.records import Row
from harness.report import figures, headline, page

NOISE = (1.0, 1.02, 0.99, 1.01, 0.98)


def raced(**times: float) -> list[Row]:
    """Five rounds of plain PyTorch, and of forms of the Matlab code that take so many times it."""
    rows: list[Row] = [*_timed("floor", 0.5), *_timed("reference", 1.0), *certified("reference")]
    for form, ratio in times.items():
        variant: dict[str, Any] = {} if form == "im2col" else {"variant": form}
        rows += [*_timed("octave", ratio, **variant), *certified("octave", **variant)]
    return rows


def _timed(name: str, seconds: float, **fields: Any) -> list[Row]:
    noisy = [seconds * each for each in (NOISE if name == "octave" else (1.0,) * len(NOISE))]
    return timed(name, *noisy, **fields)


@pytest.mark.parametrize(
    ("times", "status"),
    [
        ({"im2col": 30.0, "convn": 50.0, "conv2": 200.0}, "reproduced"),
        ({"im2col": 2.0, "convn": 50.0, "conv2": 200.0}, "inconclusive"),
        ({"im2col": 2.0, "convn": 3.0, "conv2": 4.0}, "contradicted"),
        ({"convn": 10.05}, "inconclusive"),  # the interval has room for both
        ({"convn": 11.0}, "reproduced"),
        ({"convn": 9.0}, "contradicted"),
    ],
)
def test_a_word_for_all_forms(times: dict[str, float], status: str) -> None:
    verdict = fig3(raced(**times))
    assert verdict.status == status
    assert "GPU would add" in verdict.reason and "how its Matlab was written" in verdict.reason


def test_each_form_has_its_own_word_and_figure() -> None:
    found = {claim.id: verdict for claim, verdict in verdicts(raced(im2col=2.0, conv2=200.0))}
    verdict = found["fig3"]
    assert verdict.figures == (
        "plain PyTorch is faster, octave (im2col and a product): 2 times; "
        "octave:conv2 (one conv2 for each sample and pair of maps): 200 times"
    )
    assert "not tens of times for octave (im2col and a product)" in verdict.reason
    assert "tens of times or more for octave:conv2" in verdict.reason


def test_what_is_scaled_is_said() -> None:
    rows = raced(im2col=2.0)
    rows += [
        *_timed("octave", 200.0, variant="conv2", part=0.01),
        *certified("octave", variant="conv2"),
    ]
    assert "200 times (1 of 1 cells scaled)" in fig3(rows).figures
    drawn = figures.svg(page.matlab(timings.lines(frames(rows))), "name")
    assert ">im2col and a product<" in drawn and ">200<" in drawn and "hollow" in drawn


def test_who_was_refused_does_not_count() -> None:
    rows = [*raced(), *_timed("octave", 2.0), *certified("octave", False)]
    assert against(acceleration_lines(rows)) == []
    assert fig3(rows).status == "not tested"
    assert page.matlab(timings.lines(frames(rows))) is None


def test_it_is_no_rival_of_the_first_table() -> None:
    found = headline.headline(timings.lines(frames(raced(im2col=2.0))))
    assert set(found["name"]) == {"floor", "reference"}
