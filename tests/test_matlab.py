"""The figure of Matlab code that was timed (its claim: test_claims.py)."""

from __future__ import annotations

from typing import Any

from rows import certified, timed

from harness.analysis import timings
from harness.analysis.claims import against, fig3
from harness.analysis.frame import frames
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


def test_what_is_scaled_is_said() -> None:
    rows = raced(im2col=2.0)
    rows += [
        *_timed("octave", 200.0, variant="conv2", part=0.01),
        *certified("octave", variant="conv2"),
    ]
    assert "200 times (1 of 1 cell scaled)" in fig3(frames(rows)).figures
    figure = page.matlab(timings.lines(frames(rows)))
    assert figure is not None
    drawn = figures.svg(figure, "name")
    assert ">im2col and a product<" in drawn and ">200<" in drawn and "hollow" in drawn


def test_who_was_refused_does_not_count() -> None:
    rows = [*raced(), *_timed("octave", 2.0), *certified("octave", False)]
    assert against(timings.lines(frames(rows))).empty
    assert fig3(frames(rows)).status == "not tested"
    assert page.matlab(timings.lines(frames(rows))) is None


def test_it_is_no_rival_of_the_first_table() -> None:
    found = headline.headline(timings.lines(frames(raced(im2col=2.0))))
    assert set(found["name"]) == {"floor", "reference"}
