"""Fig. 3's claim against Matlab code that was timed: a word for each form of it, and its figure."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from rows import certified, row, timed

from harness.analysis.claims import verdicts
from harness.analysis.matlab import against, fig3
from harness.analysis.speed import acceleration_lines
from harness.records import EndedRow, Row
from harness.report import figures, headline
from harness.spec import paper

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
    figure = figures.matlab(acceleration_lines(rows))
    assert figure is not None
    ((_, strips),) = ((group.title, group.strips) for group in figure.groups)
    drawn = {strip.label: strip.marks[0] for strip in strips}
    assert not drawn["im2col and a product"].hollow
    scaled = drawn["one conv2 for each sample and pair of maps"]
    assert scaled.value == pytest.approx(200, rel=0.01)
    assert scaled.hollow and scaled.note.startswith("scaled")
    axis = figure.axis
    assert axis.log and 0.5 < axis.low < 1 and 200 < axis.high < 2000
    assert figure.shade == (10, 100)


def test_who_was_refused_does_not_count() -> None:
    rows = [*raced(), *_timed("octave", 2.0), *certified("octave", False)]
    assert against(acceleration_lines(rows)) == []
    assert fig3(rows).status == "not tested"
    assert figures.matlab(acceleration_lines(rows)) is None


def test_it_is_no_column_of_the_first_table() -> None:
    found = headline.headline(acceleration_lines(raced(im2col=2.0)))
    assert found is not None and found.columns == ["reference"]
    assert paper.SCALES[0] in headline.block(raced(im2col=2.0))


def test_of_two_runs_the_first_table_shows_the_fuller_and_marks_who_is_of_the_other() -> None:
    rows = [*raced(), *_timed("norse", 1.1), *certified("norse")]
    when = "20270101T000000-000000"
    later = [*_timed("floor", 0.5, run=when), *_timed("jax", 2.0, run=when)]
    later += certified("jax", run=when)
    found = headline.headline(acceleration_lines([*rows, *later]))
    assert found is not None and found.columns == ["jax", "norse", "reference"]
    assert [line.name for line in found.shown if found.of_another_run(line)] == ["jax"]
    text = headline.block([*rows, *later])
    assert len(re.findall(r"4\.00 \[[^|]* † \|", text)) == 1 and text.count("†") == 2
    figure = figures.speed(found, "cifar10", [found], {})
    assert figure is not None
    strips = {strip.label: strip for group in figure.groups for strip in group.strips}
    assert {name for name, strip in strips.items() if strip.text.endswith(" †")} == {"jax"}
    assert strips["jax"].marks[0].note == "of another run of this network"
    kept = [replace(each, allocator="another") for each in later]
    alone = headline.headline(acceleration_lines([*rows, *kept]))  # it is not set up alike
    assert alone is not None and alone.columns == ["norse", "reference"]
    refused = row(EndedRow, framework="jax", status="not comparable")
    without = headline.headline(acceleration_lines([*rows, refused, *later]))
    assert without is not None and without.columns == ["norse", "reference"]
