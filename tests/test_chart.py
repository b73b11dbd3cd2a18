"""Figures: each mark is a figure of the rows and says it, and CSS alone colours them."""

from __future__ import annotations

import re
from dataclasses import replace
from math import inf, nan
from xml.etree import ElementTree

import pytest
from rows import descended, training
from test_ranks import changed, contender, rounds, run, run_in_bf16

from harness.analysis.named import data_in_full
from harness.analysis.speed import acceleration_lines
from harness.datasets import cifar10
from harness.records import EpochRow, IterationRow, Row
from harness.report import chart, figures, picture, systems, timings, trained
from harness.report.drawing import (
    Axis,
    Curve,
    Curves,
    Dots,
    Drawing,
    Mark,
    Strip,
    Strips,
    ValueMap,
    linear,
    logarithmic,
    names,
    per_cent,
    steps_of_time,
)
from harness.report.marks import curves, dots
from harness.report.page import page

AXIS = logarithmic("time", [0.5, 1.0, 4.0], "{:.2f} x floor")
DOTS = Dots(
    AXIS,
    (Strips("Small", (Strip("fused", (Mark(0.5, 0.25, 1.0, 12),)), Strip("norse", ()))),),
    ((1.0, "floor"),),
    (1.0, 2.0),
    (("here", Mark(1.0, form="diamond")),),
)
CURVES = Curves(
    linear("epoch", 0, 2, "epoch {:g}"),
    per_cent("accuracy, %", [10.0, 60.0]),
    (
        Curve("off", 1, ((1.0, Mark(20.0, 10.0, 30.0, 3)), (2.0, Mark(40.0, n=1))), band=True),
        Curve("on", 2, ((1.0, Mark(50.0, 45.0, 60.0, 3)),)),
    ),
    ((30.0, "before", 3),),
)
MAP = ValueMap(("cat", "dog"), ("cat", "dog"), ((1.0, 0.0), (0.5, 1.0)), 1.0, "label", "vote for")
DRAWINGS = (DOTS, CURVES, MAP)


def speed(rows: list[Row]) -> Dots:
    """The first data set's figure."""
    found = figures.of_machines(acceleration_lines(rows))
    drawing = figures.speed(found[0], "cifar10", found, {})
    assert drawing is not None
    return drawing


def titles(drawing: Drawing) -> list[str]:
    tree = ElementTree.fromstring(chart.svg(drawing, "name"))
    return [each.text or "" for each in tree.iter("title")]


def marks(drawing: Dots) -> dict[str, Mark]:
    return {
        strip.label: mark
        for group in drawing.groups
        for strip in group.strips
        for mark in strip.marks
    }


def test_each_mark_says_its_value_interval_and_n() -> None:
    assert titles(DOTS) == ["fused: 0.50 x floor [0.25, 1.00], n = 12"]
    assert "off, 1: 20.0 % [10.0, 30.0], n = 3" in titles(CURVES)
    dotted = replace(CURVES.curves[1], dotted=True, band=False)
    assert "interval" not in chart.svg(replace(CURVES, curves=(dotted,)), "name")
    assert "off, 2: 40.0 %, n = 1" in titles(CURVES) and "before: 30.0 %" in titles(CURVES)
    assert titles(MAP)[2] == "label dog, vote for cat: 0.500"


@pytest.mark.parametrize("drawing", DRAWINGS, ids=lambda each: type(each).__name__)
def test_a_figure_has_a_name_and_its_colours_are_the_pages(drawing: Drawing) -> None:
    drawn = str(chart.svg(drawing, "what it shows"))
    tree = ElementTree.fromstring(drawn)
    assert (tree.get("role"), tree.get("aria-label")) == ("img", "what it shows")
    assert not re.search(r"#[0-9a-f]{3,6}|rgb|style=|fill=\"(?!none)|stroke=", drawn)
    assert chart.svg(drawing, "what it shows") == drawn
    kinds = set(re.findall(r'class="([^"]*)"', drawn + str(chart.legend(drawing))))
    known = set(re.findall(r"\.([a-z]+\d?)", chart.style()))
    assert {word for kind in kinds for word in kind.split()} <= known | {"legend", "curve"}


def test_an_interval_has_the_colour_of_its_curve() -> None:
    tree = ElementTree.fromstring(chart.svg(CURVES, "name"))
    on = next(each for each in tree.iter("g") if each.get("class") == "c2")
    assert [each.get("class") for each in on.iter("path")] == ["curve", "interval"]
    off = next(each for each in tree.iter("g") if each.get("class") == "c1")
    assert [each.get("class") for each in off.iter("path")] == ["band", "curve"]
    assert ".interval { stroke: currentColor" in chart.style()


def test_what_an_interval_is_beyond_the_axis_is_an_arrow() -> None:
    def signs(mark: Mark) -> int:
        drawing = Dots(AXIS, (Strips("", (Strip("a", (mark,)),)),))
        return str(chart.svg(drawing, "name")).count('class="sign"')

    assert signs(Mark(1.0, 0.9, 1.1)) == 1
    assert signs(Mark(1.0, 0.9, 99.0)) == 2 and signs(Mark(1.0, 0.001, 99.0)) == 3
    assert signs(Mark(1.0, 0.0, inf)) == 1  # one round has none


@pytest.mark.parametrize(("width", "named"), [(400.0, "0.25 0.5 1 2 4"), (90.0, "0.25 1 4")])
def test_numbers_below_a_short_axis_do_not_touch(width: float, named: str) -> None:
    drawing = Dots(logarithmic("a", [0.25, 4.0], "{}"), (Strips("", (Strip("b", ()),)),))
    drawn, _ = dots(drawing, width)
    assert re.findall(r'class="middle small">([\d.]+)<', drawn) == named.split()


def test_axes_end_at_ticks_and_have_few() -> None:
    axis = linear("a", 0.0, 43.0)
    assert [name for _, name in axis.ticks] == ["0", "10", "20", "30", "40", "50"]
    assert linear("a", -0.031, 0.012).ticks[0][0] <= -0.031
    powers = logarithmic("a", [0.3, 6.0], "{}")
    assert [value for value, _ in powers.ticks] == [0.5, 1.0, 2.0, 4.0]
    assert len(logarithmic("a", [1.0, 2000.0], "{}").ticks) <= 8
    assert powers.share(0.001) == 0.0 and powers.share(1e9) == 1.0
    square = Axis("a", 1.0, 100.0, (), log=True)
    assert square.share(10.0) == pytest.approx(0.5)
    assert [value for value, _ in names("a", ["x", "y"]).ticks] == [0.0, 1.0]
    assert per_cent("a", [99.0, 99.5]).low > 90 and per_cent("a", []).high == 100.0


def test_names_with_markup_stay_text_in_figures() -> None:
    evil = '<script>alert("x")</script>&'
    mark = Mark(1.0, note=evil)
    for drawing in (
        Dots(replace(AXIS, title=evil), (Strips(evil, (Strip(evil, (mark,), evil),)),)),
        Curves(AXIS, AXIS, (Curve(evil, 0, ((1.0, mark),)),), ((1.0, evil, 0),)),
        ValueMap((evil,), (evil,), ((1.0,),), 1.0, evil, evil),
    ):
        drawn = f"<p>{chart.svg(drawing, evil)}{chart.legend(drawing)}</p>"
        assert "<script" not in drawn
        ElementTree.fromstring(drawn)


def test_the_numbers_of_a_figure_are_those_that_are_drawn() -> None:
    table = chart.numbers(DOTS)
    assert table.to_dict("records") == [
        {"group": "Small", "of": "fused", "value": 0.5, "low": 0.25, "high": 1.0, "n": 12}
    ]
    assert list(chart.numbers(CURVES)["value"]) == [20.0, 40.0, 50.0]
    assert chart.numbers(MAP).loc[1].tolist() == ["dog", 0.5, 1.0]


def test_bf16_is_drawn_over_the_float32_floor() -> None:
    drawn = marks(speed([*run_in_bf16(), descended("fused")]))
    assert drawn["fused bf16"].value == pytest.approx(0.6, abs=0.05)
    assert drawn["fused"].value == pytest.approx(1.1, abs=0.05)


def test_contenders_stand_in_one_order_next_to_each_other_in_each_scale() -> None:
    slow = [*run(scale="Middle"), *contender("norse", 0.2, scale="Middle")]
    drawn = speed([*run(), *slow])
    assert [group.title for group in drawn.groups] == ["Small", "Middle"]
    labels = [[strip.label for strip in group.strips] for group in drawn.groups]
    assert labels == [
        ["fused", "reference", "snntorch"],
        ["fused", "norse", "reference", "snntorch"],
    ]


def test_machines_have_one_axis_and_one_list_of_contenders() -> None:
    there = [*run(cpu="Other", run="o"), *contender("norse", 9.0, cpu="Other", run="o")]
    found = figures.of_machines(acceleration_lines([*run(cpu="Some"), *there]))
    drawn = [figures.speed(each, "cifar10", found, {}) for each in found]
    (one, other) = (each for each in drawn if each)
    assert one.axis == other.axis
    labels = [[strip.label for strip in each.groups[0].strips] for each in (one, other)]
    assert labels[0] == labels[1] == ["fused", "norse", "reference", "snntorch"]
    assert {len(each.groups[0].strips[1].marks) for each in (one, other)} == {0, 1}


def test_preliminary_marks_are_hollow_and_have_interval_and_n() -> None:
    rows = changed(
        run(), lambda each: None if isinstance(each, IterationRow) and each.round > 4 else each
    )
    drawn = marks(speed([*rows, *rounds("norse", 0.5)]))  # of norse nothing was proved
    assert list(drawn) == ["fused", "reference", "snntorch"]
    assert [(each.n, each.hollow) for each in drawn.values()] == [(5, False), (5, False), (4, True)]
    assert all(each.low < each.value < each.high for each in drawn.values())


def test_accuracies_end_at_0_and_100_per_cent() -> None:
    rows = [row for seed, each in enumerate((0.6, 1.0)) for row in training(seed, (each,))]
    drawing = trained.timesteps(rows)
    assert drawing is not None
    ((_, mark),) = drawing.curves[0].marks
    assert (mark.low, mark.high) == (pytest.approx(0.0), pytest.approx(100.0))
    assert drawing.curves[0].name.endswith("photographs: CIFARNet")


def test_a_mark_of_trainings_of_which_a_seed_learnt_nothing_is_hollow() -> None:
    fine, lost = training(0, (0.6,)), training(1, (0.1,))
    lost = [replace(r, train_accuracy=0.1) if isinstance(r, EpochRow) else r for r in lost]
    drawing = trained.timesteps([*fine, *lost])
    assert drawing is not None
    ((_, mark),) = drawing.curves[0].marks
    assert (mark.hollow, mark.note) == (True, "seed 1 learnt nothing")
    drawn, _ = curves(drawing, 400.0)
    assert 'class="sign hollow"' in drawn and "seed 1 learnt nothing" in drawn
    sound = trained.timesteps(fine)
    assert sound is not None and not sound.curves[0].marks[0][1].hollow


def test_what_was_trained_over_a_t_and_tested_over_others_has_a_colour_of_its_own() -> None:
    rows = [row for T in (2, 4) for row in training(0, (0.5,), suite="timesteps", T=T)]
    rows = [replace(each, key=f"{each.T}".rjust(16, "0")) for each in rows]
    drawing = trained.timesteps(rows)
    ((_, by_epoch, _),) = trained.learning_curves(rows, "timesteps")
    assert drawing is not None
    whole, *over = drawing.curves
    assert [each.name[:16] for each in over] == ["trained over T =", "trained over T ="]
    assert [each.colour for each in over] == [0, 1] and whole.colour == 2
    assert all(each.dotted for each in over)
    assert [each.colour for each in by_epoch.curves if each.listed] == [0, 1]


def test_a_table_of_the_paper_shows_what_was_measured_beside_what_was_published() -> None:
    rows = training(0, (0.5,), suite="accuracy")
    drawing = systems.table(5, rows)
    assert drawing is not None and systems.table(3, rows) is None
    found = {group.title: group.strips for group in drawing.groups}
    (strip,) = found["Our model, without NeuNorm"]
    assert strip.label == "width 1/8, 900 samples" and strip.text == "50.0"
    said, measured = strip.marks
    assert (said.value, said.form) == (pytest.approx(89.83), "bar")
    assert (measured.value, measured.n, measured.form) == (pytest.approx(50.0), 1, "circle")
    (strip,) = found["Our model, with NeuNorm"]
    assert strip.label == "not measured here" and len(strip.marks) == 1
    assert systems.data_of_table(5, rows) == "CIFAR-10: photographs"


def test_trainings_over_other_windows_and_data_have_other_names_in_a_table_of_the_paper() -> None:
    rows = training(0, (0.5,), dataset="nmnist", scale="OurModel", suite="accuracy")
    whole = [replace(row, bin_us=30_000, key="whole") for row in rows]
    simulated = [replace(row, data_simulated=True, key="simulated") for row in rows]
    T, size = rows[0].T, "width 1/8, 900 samples"
    for given, labels in (
        (rows, [size]),
        ([*rows, *whole], [f"{size}, {T} x 5 ms", f"{size}, {T} x 30 ms"]),
        ([*rows, *simulated], [f"{size}, recordings", f"{size}, simulated"]),
    ):
        drawing = systems.table(3, given)
        assert drawing is not None
        found = {group.title: group.strips for group in drawing.groups}
        assert [strip.label for strip in found["Our model, without NeuNorm"]] == labels


def test_networks_of_the_same_data_have_a_figure_each_but_where_scales_are_compared() -> None:
    of = "CIFAR-10: photographs"
    for suite, shown in (
        ("accuracy", {f"{of}: AlexNet": {"AlexNet"}, f"{of}: CIFARNet": {"CIFARNet"}}),
        ("scale", {of: {"AlexNet", "CIFARNet"}}),
    ):
        rows = [
            row
            for scale in ("CIFARNet", "AlexNet")
            for row in training(0, (0.5, 0.6), suite=suite, scale=scale)
        ]
        found = trained.learning_curves(rows, suite)
        assert {name: {row.scale for row in of} for name, _, of in found} == shown
        assert sum(curve.listed for _, drawn, _ in found for curve in drawn.curves) == 2


def test_classes_have_their_names_and_digits_are_digits() -> None:
    assert trained.CLASSES == cifar10.CLASSES
    votes = training(0, (0.5,), suite="neunorm")
    ((name, drawn),) = trained.confusion(votes)
    assert drawn.rows == cifar10.CLASSES and name == "CIFAR-10: photographs, NeuNorm off"
    digits = [replace(row, data_source="digits", data_substitute=True) for row in votes]
    ((name, drawn),) = trained.confusion(digits)
    assert drawn.rows == tuple("0123456789") and name.startswith("digits in CIFAR-10's shape")


def test_what_stands_in_for_a_data_set_has_its_own_name_beside_every_figure() -> None:
    assert data_in_full("cifar10", "digits", True) == "digits in CIFAR-10's shape"
    assert data_in_full("cifar10", "CIFAR-10 images", False) == "CIFAR-10 images"
    assert data_in_full("dvs-cifar10", "simulated events", False) == "DVS-CIFAR10: simulated events"
    rows = run(data_source="digits", data_substitute=True)
    captions = re.findall(r"<figcaption>([^<]*)", page(rows))
    assert captions and all("digits in CIFAR-10&#39;s shape" in each for each in captions)
    (panel,) = timings.panels(rows)
    caption = panel.caption
    assert caption == "digits in CIFAR-10's shape"


def test_the_picture_is_a_file_of_its_own_with_both_colours() -> None:
    rows = run(data_source="a < b", cpu="Some CPU")
    drawn = picture.svgs(rows)["picture.svg"]
    tree = ElementTree.fromstring(drawn)
    said = " ".join(tree.itertext())
    assert "a < b" in said and "Some CPU, 2026-01-01" not in said and "2026-01-01" in said
    assert "prefers-color-scheme: dark" in drawn and "fused: 1.1" in drawn
    assert not re.search(r"(href|src|url)\W", drawn.replace('xmlns="http://www.w3.org', ""))
    assert picture.svgs(rows)["picture.svg"] == drawn and picture.svgs([]) == {}


def test_panels_of_a_narrow_picture_lie_one_below_the_other() -> None:
    panels = [("a", DOTS), ("b", DOTS), ("c", DOTS)]

    def size(columns: int) -> list[float]:
        drawn = ElementTree.fromstring(chart.picture(panels, "of all", columns, ["a note"]))
        assert "fused" in "".join(drawn.itertext())
        return [float(drawn.attrib[name]) for name in ("width", "height")]

    wide, narrow, between = size(3), size(1), size(2)
    assert wide[0] == 3 * narrow[0] and between[0] == 2 * narrow[0]
    assert narrow[1] > between[1] > wide[1]


def test_a_value_that_is_not_known_is_not_drawn() -> None:
    known = Mark(2.0, nan, nan)
    assert "interval" not in chart.svg(Dots(AXIS, (Strips("", (Strip("a", (known,)),)),)), "name")


def test_numbers_on_a_logarithmic_axis_have_room_and_powers_of_two_come_first() -> None:
    ticks = [text for _, text in steps_of_time([1, 2, 4, 25, 32, 50, 64, 100, 128, 200]).ticks]
    assert ticks == ["1", "2", "4", "32", "64", "128", "200"]


def test_two_trainings_of_one_name_are_told_apart_by_their_samples() -> None:
    fewer = training(0, (0.2, 0.4), suite="accuracy")
    more = [
        replace(each, key="m" * 16, train_samples=45_000)
        for each in training(0, (0.3, 0.6), suite="accuracy")
    ]
    ((_, drawn, _),) = trained.learning_curves([*fewer, *more], "accuracy")
    assert [curve.name for curve in drawn.curves if curve.listed] == [
        "CIFARNet NeuNorm off, 900 samples",
        "CIFARNet NeuNorm off, 45,000 samples",
    ]


def test_networks_trained_on_more_samples_have_a_curve_of_their_own() -> None:
    fewer = [
        each
        for scale in ("Small", "Middle", "Large")
        for each in training(0, (0.2, 0.4), suite="scale", scale=scale, T=4)
    ]
    more = [replace(each, key=each.scale.ljust(16, "x"), train_samples=45_000) for each in fewer]
    drawn = trained.scale([*fewer, *more])
    assert drawn is not None
    assert [curve.name.rpartition(", ")[2] for curve in drawn.curves] == [
        "900 samples",
        "45,000 samples",
    ]
    assert all([x for x, _ in curve.marks] == [0.0, 1.0, 2.0] for curve in drawn.curves)
    over = trained.timesteps(
        [
            replace(each, suite="timesteps", train_samples=n, key=f"{n}".rjust(16, "0"))
            for n in (900, 45_000)
            for each in training(0, (0.2, 0.4), suite="timesteps")
        ]
    )
    assert over is not None
    listed = [curve.name for curve in over.curves if not curve.dotted]
    assert len(set(listed)) == 2 and listed[1].endswith("45,000 samples")
