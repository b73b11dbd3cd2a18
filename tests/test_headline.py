"""What a reader sees first of the timings: each figure with its interval and n, and its doubts."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console
from rows import descended, row
from test_ranks import (
    BF16,
    changed,
    contender,
    refused,
    rounds,
    run,
    run_in_bf16,
    slower_twin,
)

import adapters
from harness.analysis.speed import acceleration_lines
from harness.cli import terminal
from harness.cli.measuring import say_noise
from harness.conformance import random_batch, small
from harness.proof.check import Examined, OnNetwork
from harness.proof.exam import Exam
from harness.records import CertificateRow, EndedRow, IterationRow, Row, UnmeasuredRow, identity
from harness.report import headline, provenance

FIGURE = re.compile(r"\d+\.\d\d \[\d+\.\d\d, (\d+\.\d\d|inf)\]")


def table(rows: list[Row]) -> list[dict[str, str]]:
    """The first table's lines."""
    lines = [each for each in headline.block(rows).splitlines() if each.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [dict(zip(cells[0], line, strict=True)) for line in cells[2:]]


def shown(rows: list[Row]) -> str:
    """What the terminal shows, 80 columns wide, its lines joined."""
    said = io.StringIO()
    Console(width=80, file=said).print(terminal.acceleration(acceleration_lines(rows)))
    return " ".join(said.getvalue().split())


def test_each_figure_has_its_interval_and_its_n() -> None:
    (line,) = table(run())
    assert list(line) == ["network", "floor, ms", "fused", "reference", "snntorch", "n"]
    assert all(FIGURE.fullmatch(line[name]) for name in ("fused", "reference", "snntorch"))
    assert line["n"] == "5" and line["floor, ms"] == "1,005"
    assert "Preliminary" not in headline.block(run()) and "ranked" not in headline.block(run())


def test_where_rounds_differ_each_figure_has_its_own() -> None:
    rows = changed(
        run(), lambda each: None if isinstance(each, IterationRow) and each.round > 4 else each
    )
    (line,) = table(rows)
    assert line["n"] == "4 to 5"
    assert line["fused"].endswith("], n = 5") and line["snntorch"].endswith(r"], n = 4 \*")


def test_preliminary_figures_are_marked() -> None:
    few = [each for each in run() if not isinstance(each, IterationRow) or each.round < 3]
    (line,) = table(few)
    assert all(line[name].endswith(r" \*") for name in ("fused", "reference"))
    text = headline.block(few)
    assert r"\* Preliminary: fewer than 5 rounds." in text
    assert "Nobody is ranked: preliminary: 2 rounds, ranked from 5 on" in text


def test_beside_a_framework_stands_its_best_tuned_form_that_is_ranked() -> None:
    forms: dict[str, float] = {"compiled": 1.5, "channels-last": 1.8}
    tuned = [each for form, s in forms.items() for each in contender("snntorch", s, variant=form)]
    cheat = [
        replace(each, framework="snntorch")
        for each in changed(contender("snntorch", 0.2, variant="cuda-graph"), refused)
    ]
    fast = [
        each
        for each in contender("snntorch", 1.2, variant="quick")
        if not (isinstance(each, IterationRow) and each.round > 4)
    ]
    (line,) = table([*run(), *tuned, *cheat, *fast])
    assert "snntorch, best tuned" in line and "fused, best tuned" not in line
    assert re.fullmatch(r"1\.5\d \[.*\] compiled", line["snntorch, best tuned"])
    (alone,) = table([*run(), *fast])  # where none is ranked, one that is marked
    assert alone["snntorch, best tuned"].endswith(r"n = 4 quick \*")
    assert all(len(cell) < 60 for cell in line.values())


def test_the_first_sentence_counts_tuned_forms() -> None:
    plain = headline.block(run()).partition("\n")[0]
    assert "`fused` is fastest on 1 of 1 networks: 1.8 to 1.8 times" in plain
    assert "tuned" not in plain
    tuned = headline.block([*run(), *contender("snntorch", 1.3, variant="compiled")])
    assert "1.2 to 1.2 times as fast as the next; tuned forms are among them on 1." in tuned


def test_who_failed_an_audit_or_did_not_run_is_left_out_and_named() -> None:
    rows = [*changed(run(), refused), row(EndedRow, framework="norse", status="failed")]
    (line,) = table(rows)
    assert "snntorch" not in line and "norse" not in line
    text = headline.block(rows)
    assert "Left out: snntorch (audit failed)." in text and "Left out: norse (failed)." in text


def test_bf16_is_on_the_first_table_once_its_bar_is_passed() -> None:
    (line,) = table(run_in_bf16())
    assert "fused bf16" not in line
    assert "Left out: fused bf16 (not proved)." in headline.block(run_in_bf16())
    (line,) = table([*run_in_bf16(), descended("fused")])
    assert line["fused bf16"].startswith("0.60 [") and list(line)[-2] == "fused bf16"


def test_a_machine_of_the_present_protocol_comes_before_one_with_more_rows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(identity, "PROTOCOL", 2)
    old = [each for n in range(3) for each in run(cpu="Older", protocol=1, run=f"old{n}")]
    new = run(cpu="Newer", protocol=2)
    text = headline.block([*old, *new])
    assert "Newer, " in text and "Older" not in text and "timing protocol 2" in text
    text = headline.block(old)
    assert "timing protocol 1" in text and "Nobody is ranked: measured under protocol 1." in text


def test_what_contenders_do_not_share_is_said_from_their_rows() -> None:
    layouts = {"fused": "channels_last", "reference": "contiguous", "snntorch": "contiguous"}
    rows = [
        replace(
            each,
            layout=layouts.get(each.framework),
            implementation="numba 0.68.1" if each.framework == "fused" else None,
            allocator="default",
        )
        for each in run()
    ]
    said = headline.unlike([e for e in acceleration_lines(rows) if e.framework != "floor"])
    assert said == (
        "Not shared by all: layout: fused channels_last; reference, snntorch contiguous. "
        "kernels: fused numba 0.68.1."
    )
    assert "layout: fused channels_last; reference, snntorch contiguous" in headline.block(rows)
    assert headline.unlike(acceleration_lines(run())) == ""


def test_who_passed_its_exam_late_says_so() -> None:
    rows = changed(
        run(), lambda each: replace(each, attempts=10) if isinstance(each, CertificateRow) else each
    )
    assert "not at the first input: snntorch at input 10." in headline.block(rows)
    assert "snntorch: its exam passed at input 10, not before" in shown(rows)
    assert "first input" not in headline.block(run())


def test_harness_check_says_how_many_inputs_float32_took() -> None:
    network = small("cifar10")
    exam = Exam(network, random_batch(network, 4, 4, static=True), "fp32")
    first = exam.certify("reference", adapters.load("reference"))
    for attempts, says in ((1, False), (3, True)):
        proof = replace(first, attempts=attempts)
        said = io.StringIO()
        examined = Examined("reference", (), (OnNetwork("Small", None, proof),))
        Console(width=120, file=said).print(terminal.examined(examined))
        assert ("float32 took up to 3 inputs" in said.getvalue()) == says


def test_the_caption_names_machine_numbers_and_noise() -> None:
    text = headline.block(run(cpu="Some CPU", threads=2, torch="2.13.0"))
    assert f"exam {identity.EXAM}, timing protocol {identity.PROTOCOL}" in text
    assert "Some CPU, 2 threads, torch 2.13.0, 2026-01-01; the floor over itself (A/A) 1.0" in text
    assert "n = 5." in text and "proved equal as it was timed" in text
    older = [replace(e, exam=0) if isinstance(e, CertificateRow) else e for e in run()]
    assert "proved equal by an exam (exam 0" in headline.block(older)
    assert headline.block([]) == ""
    lossy = headline.block(run(data_source="images (lossy copy)"))
    first, caption = lossy.split("\n\n")[:2]
    assert caption.endswith(" Data: images (lossy copy).")
    assert first.startswith("**`") and "` is fastest on 1 of 1 networks: " in first


def test_the_share_by_events_is_the_inputs_and_not_the_windows() -> None:
    how = (
        "layer 1: dense; layer 2: forward and input gradient by events, density 0.14, window 0.47; "
        "layer 3: weight gradient by events, density 0.32"
    )
    text = headline.block(run(computed=how))
    assert "in 2 of 3 layers; of their inputs 14 to 32 % are not zero" in text


def test_the_report_names_the_runs_that_rank_nobody() -> None:
    other = slower_twin(run(run="20250101T000000-000000"), 1.4)
    found = provenance.noise([*run(), *other])
    assert list(found["ranks"]) == [True, False] and list(found["n"]) == [5, 5]


def test_the_terminal_says_under_the_table_why_who_has_no_rank() -> None:
    lost = row(UnmeasuredRow, framework="fused", reason="its process died")
    compiled: dict[str, Any] = {"variant": "compiled"}
    rows = [*changed(run(), refused), lost, *contender("norse", 3.0, **compiled)]
    text = shown(rows)
    assert "1 fused" in text and "2 reference" in text and "audit failed" in text
    assert "snntorch: audit after its rounds: it computes two samples" in text
    assert "fused: no peak memory: its process died" in text
    few = [each for each in run() if not isinstance(each, IterationRow) or each.round < 5]
    assert "all: preliminary: 4 rounds, ranked from 5 on" in shown(few)


def test_the_terminal_calls_bf16_by_its_word() -> None:
    assert "fused bf16: no training in bf16 yet" in shown(run_in_bf16())
    rows = [*run_in_bf16(near_ties=3, mismatches=3), *rounds("reference", 1.0, **BF16)]
    text = shown([*rows, descended("fused")])
    assert "1 fused bf16" in text and "0.3 % within it" in text


@pytest.mark.parametrize(("factor", "says"), [(1.0, False), (1.3, True)])
def test_a_run_says_at_its_end_whether_it_ranks_anybody(
    factor: float, says: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    say_noise(slower_twin(run(), factor))
    said = " ".join(capsys.readouterr().out.split())
    assert "A/A over the whole run: " in said
    assert ("That is not within 0.8 to 1.25: this run ranks nobody." in said) == says
    say_noise([])
    assert capsys.readouterr().out == ""
