"""Who is ranked: one who lacks any of proof, audit, rounds, protocol or a quiet run is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import isnan
from typing import Any

import pytest
from rows import audited, certified, descended, row, timed

from harness.analysis import tables
from harness.analysis.rounds import is_steady, noise_of, noise_of_runs
from harness.analysis.speed import FEWEST_RANKED, Acceleration, acceleration_lines, first_round
from harness.records import (
    AuditRow,
    CertificateRow,
    EndedRow,
    IterationRow,
    MemoryRow,
    Row,
    UnmeasuredRow,
    WarmupRow,
    identity,
)
from harness.speed.ratios import Ratio

JITTER = (1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.01, 0.99)


def rounds(framework: str, seconds: float, shift: int = 0, **fields: Any) -> list[Row]:
    """As many rounds as a rank needs, with some noise."""
    given = [seconds * JITTER[(n + shift) % len(JITTER)] for n in range(FEWEST_RANKED)]
    return timed(framework, *given, **fields)


def contender(framework: str, seconds: float, shift: int = 0, **fields: Any) -> list[Row]:
    """A contender that lacks nothing."""
    measured = rounds(framework, seconds, shift, **fields)
    return [*certified(framework, **fields), *audited(framework, **fields), *measured]


def run(**fields: Any) -> list[Row]:
    """A cell of three who lack nothing: `reference` and `snntorch` are as fast, `fused` faster."""
    return [
        *rounds("floor", 1.0, **fields),
        *rounds("floor", 1.0, 3, twin=True, **fields),
        *contender("reference", 2.0, 1, **fields),
        *contender("snntorch", 2.01, 4, **fields),
        *contender("fused", 1.1, 2, **fields),
    ]


def lines(rows: Sequence[Row]) -> dict[str, Acceleration]:
    return {each.name: each for each in acceleration_lines(rows)}


def ranks(rows: list[Row]) -> dict[str, int | None]:
    return {name: each.rank for name, each in lines(rows).items() if name != "floor"}


def changed(rows: list[Row], change: Callable[[Row], Row | None]) -> list[Row]:
    """The rows with those of snntorch changed; None leaves one out."""
    new = [change(each) if each.framework == "snntorch" else each for each in rows]
    return [each for each in new if each is not None]


def test_contenders_whose_intervals_overlap_share_a_rank() -> None:
    assert ranks(run()) == {"fused": 1, "reference": 2, "snntorch": 2}
    slow = [*run(), *contender("norse", 2.5)]
    assert ranks(slow) == {"fused": 1, "reference": 2, "snntorch": 2, "norse": 4}
    noisy = [*run(), *contender("spikingjelly", 1.0)]
    for n, each in enumerate(noisy):
        if isinstance(each, IterationRow) and each.framework == "spikingjelly":
            noisy[n] = replace(each, seconds=each.seconds * (1 + each.round % 2))
    # its interval reaches from below the first to above the last, and takes no one's place
    assert ranks(noisy) == {"spikingjelly": 1, "fused": 1, "reference": 2, "snntorch": 2}
    table = tables.acceleration(run())
    assert list(table["rank"].dropna()) == [1, 2, 2] and set(table["reason"]) == {""}


def test_fewer_rounds_than_five_are_preliminary() -> None:
    four = [each for each in run() if not isinstance(each, IterationRow) or each.round < 5]
    assert set(ranks(four).values()) == {None}
    found = lines(four)["fused"]
    assert found.preliminary and found.reason == "preliminary: 4 rounds, ranked from 5 on"
    assert not isnan(found.ratio_to_floor) and not lines(run())["fused"].preliminary


def refused(each: Row) -> Row:
    last = isinstance(each, AuditRow) and each.when == "after"
    return replace(each, passed=False, reason="it computes two samples") if last else each


def test_a_failed_audit_takes_the_rank_and_the_word() -> None:
    rows = changed(run(), refused)
    assert ranks(rows) == {"fused": 1, "reference": 2, "snntorch": None}
    found = lines(rows)["snntorch"]
    assert (found.certificate, found.standing, found.proved) == ("audit failed", "none", ())
    assert found.reason == "audit after its rounds: it computes two samples"


@pytest.mark.parametrize(
    ("missing", "says", "certificate"),
    [
        (("before", "after"), "not audited", "equal by exam "),
        (("before",), "not audited before its rounds", "equal by exam "),
        (("after",), "not audited after its rounds", "equal (fp64+fp32)"),
    ],
)
def test_who_was_not_audited_on_both_sides_of_the_rounds_has_no_rank(
    missing: tuple[str, ...], says: str, certificate: str
) -> None:
    rows = changed(
        run(), lambda each: None if isinstance(each, AuditRow) and each.when in missing else each
    )
    found = lines(rows)["snntorch"]
    assert found.rank is None and found.reason == says
    assert found.certificate.startswith(certificate)
    assert lines(rows)["fused"].rank == 1


def test_an_audit_by_another_exam_counts_as_none() -> None:
    def older(each: Row) -> Row:
        return replace(each, exam=identity.EXAM - 1) if isinstance(each, AuditRow) else each

    found = lines(changed(run(), older))["snntorch"]
    assert (found.rank, found.reason, found.audit) == (None, "not audited", "")


def test_an_exam_that_failed_or_was_not_taken_takes_the_rank() -> None:
    def failed(each: Row) -> Row:
        fails = isinstance(each, CertificateRow) and each.certificate_precision == "fp32"
        return replace(each, certified=False, reason="spikes differ") if fails else each

    found = lines(changed(run(), failed))["snntorch"]
    assert (found.rank, found.certificate) == (None, "none")
    assert found.reason == "its exam failed: spikes differ"
    untaken = changed(run(), lambda each: None if isinstance(each, CertificateRow) else each)
    assert lines(untaken)["snntorch"].reason == "no exam was taken"
    says = changed(run(), lambda each: replace(each, deviations="it subtracts"))
    assert lines(says)["snntorch"].rank is None


@pytest.mark.parametrize(("protocol", "number"), [(None, 1), (1, 1), (2, 2)])
def test_figures_of_an_older_protocol_stay_readable_and_have_no_rank(
    protocol: int | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "PROTOCOL", 3)
    rows = changed(run(protocol=3), lambda each: replace(each, protocol=protocol))
    found = lines(rows)["snntorch"]
    assert (found.rank, found.protocol) == (None, number)
    assert found.reason == f"measured under protocol {number}"
    assert found.ratio_to_floor == pytest.approx(2.01, rel=0.02)
    assert lines(rows)["fused"].rank == 1


def test_rows_of_before_the_audit_are_equal_by_their_exam(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        replace(each, exam=1) if isinstance(each, CertificateRow) else replace(each, protocol=None)
        for each in run()
        if not isinstance(each, AuditRow)
    ]
    monkeypatch.setattr(identity, "PROTOCOL", 2)
    monkeypatch.setattr(identity, "EXAM", 2)
    found = lines(rows)["fused"]
    assert (found.certificate, found.standing, found.rank) == ("equal by exam 1", "examined", None)
    assert found.reason == "proved by exam 1; not audited; measured under protocol 1"


def slower_twin(rows: list[Row], factor: float) -> list[Row]:
    return [
        replace(each, seconds=each.seconds * factor)
        if isinstance(each, IterationRow) and each.twin
        else each
        for each in rows
    ]


@pytest.mark.parametrize("factor", [0.75, 1.3])
def test_a_run_whose_floor_differs_from_itself_ranks_nobody(factor: float) -> None:
    rows = slower_twin(run(), factor)
    noise = noise_of(rows)
    assert noise is not None and noise.value == pytest.approx(factor, rel=0.01)
    assert set(ranks(rows).values()) == {None}
    assert "is not within 0.8 to 1.25" in lines(rows)["fused"].reason
    assert ranks(slower_twin(run(), 1.1))["fused"] == 1


def test_the_a_a_of_a_run_is_made_of_its_own_rows_alone() -> None:
    other = slower_twin(run(run="20250101T000000-000000", scale="Large"), 2.0)
    found = noise_of_runs([*other, *run()])
    assert [each and round(each.value, 2) for each in found.values()] == [2.0, 1.0]
    at = {each.scale: each.rank for each in acceleration_lines([*other, *run()]) if each.rank}
    assert set(at) == {"Small"}
    # over all its cells: one that is off makes no unsteady run of ten, and one of two it does
    cells = [each for n in range(9) for each in run(seed=n + 1)]
    off = slower_twin(run(scale="Large"), 1.3)
    assert is_steady(noise_of([*cells, *off])) and not is_steady(noise_of([*run(), *off]))
    # also where that cell is shown as it ends, by itself
    shown = acceleration_lines(off, among=[*cells, *off])
    assert any(each.rank for each in shown) and not any(each.rank for each in lines(off).values())


def test_a_run_too_short_to_know_its_noise_or_without_a_twin_is_not_steady() -> None:
    once = [*timed("floor", 1.0), *timed("floor", 1.0, twin=True)]
    noise = noise_of(once)
    assert noise is not None and noise.value == 1.0 and not is_steady(noise)
    alone = [each for each in run() if not (isinstance(each, IterationRow) and each.twin)]
    assert noise_of(alone) is None and not is_steady(None)
    assert lines(alone)["fused"].reason == "its run has no A/A"
    assert is_steady(Ratio(1.0, 0.8, 1.25, "student", 5))


def test_each_cell_has_an_a_a_of_its_own() -> None:
    off = slower_twin(run(scale="Large"), 1.1)
    found = {each.scale: each for each in acceleration_lines([*run(), *off])}
    assert found["Small"].noise_low < 1 < found["Small"].noise_high
    assert 1 < found["Large"].noise_low < 1.1 < found["Large"].noise_high


def test_a_failed_memory_measurement_leaves_the_rank() -> None:
    lost = row(UnmeasuredRow, framework="fused", reason="its process died")
    measured = row(MemoryRow, framework="snntorch", peak_memory_mib=300.0)
    found = lines([*run(), lost, measured])
    assert found["fused"].rank == 1 and isnan(found["fused"].peak_memory_mib)
    assert (found["fused"].memory_note, found["fused"].reason) == ("its process died", "")
    assert (found["snntorch"].peak_memory_mib, found["snntorch"].memory_note) == (300.0, "")
    # a failure of the case is another matter
    assert ranks([*run(), row(EndedRow, framework="fused")])["fused"] is None


BF16: dict[str, Any] = {"precision": "bf16"}


def run_in_bf16(**audit: Any) -> list[Row]:
    audits = audited("fused", **BF16, spikes=1000, **audit)
    proofs = certified("fused", **BF16)
    floor = rounds("floor", 0.5, **BF16)
    return [*run(), *floor, *proofs, *audits, *rounds("fused", 0.6, 2, **BF16)]


def test_bf16_without_its_bar_has_neither_word_nor_rank() -> None:
    found = lines(run_in_bf16())["fused bf16"]
    assert (found.certificate, found.standing, found.rank) == ("not proved", "none", None)
    assert found.reason == "no training in bf16 yet: a run of fused in bf16 makes one"
    unaudited = [
        each
        for each in run_in_bf16()
        if not (isinstance(each, AuditRow) and each.precision == "bf16")
    ]
    found = lines([*unaudited, descended("fused")])["fused bf16"]
    assert (found.certificate, found.rank) == ("not proved", None)
    assert found.reason == "not audited"


def test_bf16_with_its_bar_says_what_differs_and_is_not_called_equal() -> None:
    descent = descended("fused")
    found = lines([descent, *run_in_bf16(mismatches=5, near_ties=3)])["fused bf16"]
    assert found.certificate == "bf16 (0.2 % of spikes differ beyond rounding, 0.3 % within it)"
    assert (found.standing, found.proved, found.rank) == ("bf16", (), 1)
    assert found.mismatch_rate == 0.005
    refused = run_in_bf16(passed=False, reason="its gradients differ")
    failed = lines([*refused, descent])["fused bf16"]
    assert (failed.certificate, failed.rank) == ("audit failed", None)


@pytest.mark.parametrize(
    "other",
    [
        {"framework": "norse"},
        {"variant": "compiled"},
        {"framework_version": "2"},
        {"torch": "2"},
        {"revision": 1},
        {"cpu": "another"},
        {"device": "cuda"},
        {"exam": identity.EXAM - 1},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_training_in_bf16_is_of_one_form_version_and_machine(other: dict[str, Any]) -> None:
    descent = descended(**{"framework": "fused", **other})
    assert lines([*run_in_bf16(), descent])["fused bf16"].standing == "none"


def test_a_training_in_bf16_that_failed_says_why_and_is_no_line_of_its_own() -> None:
    failed = descended("fused", passed=False, reason="its loss ends at 0.09, in float32 at 0.05")
    found = lines([*run_in_bf16(), failed])
    assert set(found) == set(lines(run_in_bf16()))
    assert (found["fused bf16"].certificate, found["fused bf16"].rank) == ("not proved", None)
    assert found["fused bf16"].reason == (
        "its training in bf16: its loss ends at 0.09, in float32 at 0.05"
    )
    # the last that came to its end counts
    assert lines([*run_in_bf16(), failed, descended("fused")])["fused bf16"].rank == 1
    assert lines([*run_in_bf16(), descended("fused"), failed])["fused bf16"].rank is None
    cut = replace(failed, finished=False, reason="it died")
    assert lines([*run_in_bf16(), descended("fused"), cut])["fused bf16"].rank == 1
    assert lines([*run_in_bf16(), cut])["fused bf16"].reason == "its training in bf16: it died"


def test_how_many_inputs_an_exam_took_and_how_it_was_audited_stand_in_the_line() -> None:
    def tenth(each: Row) -> Row:
        match each:
            case CertificateRow():
                return replace(each, attempts=10 if each.certificate_precision == "fp32" else 1)
            case AuditRow():
                return replace(each, way="replay" if each.when == "after" else "direct")
            case _:
                return each

    found = lines(changed(run(), tenth))
    assert (found["snntorch"].exam_inputs, found["fused"].exam_inputs) == (10, 0)
    assert (found["snntorch"].audit, found["fused"].audit) == ("replay", "direct")
    assert found["snntorch"].rank == 2


def test_compile_time_is_of_compiled_forms_alone() -> None:
    compiled: dict[str, Any] = {"variant": "compiled"}
    rows = [
        *run(),
        *contender("norse", 1.5, **compiled),
        row(WarmupRow, framework="norse", seconds=25.0, steps=10, **compiled),
        row(WarmupRow, framework="fused", seconds=3.0, steps=10),
    ]
    found = lines(rows)
    assert found["norse:compiled"].compile_seconds == 25.0
    assert isnan(found["fused"].compile_seconds) and found["fused"].warmup_seconds == 3.0


def test_the_first_round_over_the_second_is_a_geometric_mean_over_cells() -> None:
    rows: list[Row] = []
    for scale, first in (("Small", 2.0), ("Large", 0.5)):
        rows += rounds("floor", 1.0, scale=scale)
        rows += timed("reference", first, 1.0, 3.0, scale=scale)
    rows += timed("norse", 3.0, 2.0, 2.0, scale="Small")
    rows += timed("snntorch", 3.0, scale="Small")  # one round
    table = first_round(rows).set_index("contender")
    assert set(table.index) == {"floor", "reference", "norse"}
    assert table.loc["reference", "first_over_second"] == pytest.approx(1.0)
    assert table.loc["reference", "n"] == 2
    assert table.loc["norse", "first_over_second"] == pytest.approx(1.5)
    assert table.loc["floor", "first_over_second"] == pytest.approx(1 / 1.02)
    assert table.loc["floor", "low"] == pytest.approx(1 / 1.02)  # the same in both cells
    assert list(first_round([]).columns) == list(table.reset_index().columns[[1, 2, 0, 3, 4, 5, 6]])


def test_intervals_of_speedups_are_those_of_the_ratio_to_the_reference() -> None:
    found = lines(run())["fused"]
    assert found.speedup_low < found.speedup_vs_reference < found.speedup_high
    assert found.speedup_vs_reference == pytest.approx(2 / 1.1, rel=0.01)
    assert found.ratio_to_fp32_floor_low == found.ratio_low
