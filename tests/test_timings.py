"""The acceleration table: every figure derived by hand; which contenders rank."""

from __future__ import annotations

import random
from collections.abc import Iterable
from itertools import permutations
from math import isnan
from pathlib import Path
from typing import Any

import pytest
from cells import (
    LATE,
    REFUSED,
    contender,
    rounds,
    run,
    run_in_bf16,
    seconds_of,
    slower_twin,
)
from rows import (
    ROW,
    RUN,
    TEST,
    TRAIN,
    all_altered,
    altered,
    audited,
    bf16_training,
    certified,
    changed,
    row,
    rows_of_a_run,
    timed,
)

from harness.analysis import tables, timings
from harness.analysis.frame import cell_of, frames
from harness.analysis.timings import TimedLine
from harness.records import (
    AuditResult,
    CertificateResult,
    EndedResult,
    IterationResult,
    MemoryResult,
    Row,
    Store,
    UnmeasuredResult,
    WarmupResult,
    has,
    identity,
)
from harness.records.identity import EXAM, PROTOCOL
from harness.reports import page
from harness.reports.shown import timed as timed_tables
from harness.spec import NeuNorm

LATER: dict[str, Any] = {"run": "20270101T000000-000000"}


def timed_lines(rows: Iterable[Row]) -> tuple[TimedLine, ...]:
    return timings.lines(frames(rows))


def lines(rows: Iterable[Row]) -> dict[str, TimedLine]:
    """Lines by the contender; there is one of each."""
    every = timed_lines(rows)
    by_name = {line.name: line for line in every}
    assert len(by_name) == len(every)
    return by_name


def ranks(rows: Iterable[Row]) -> dict[str, int | None]:
    return {line.name: line.rank for line in timed_lines(rows) if line.framework != "floor"}


def test_the_columns_that_others_rely_on_are_there_also_where_there_is_no_line() -> None:
    for rows in (rows_of_a_run(), []):
        built = {name: build(rows) for name, build in tables.TABLES.items()}
        assert all(len(table.columns) for table in built.values())
        assert tuple(built["acceleration"].columns) == timings.COLUMNS
    assert {*frames(rows_of_a_run())["iteration"]["contender"]} >= {"floor", "reference"}


def test_figures_by_hand() -> None:
    by_name = lines(rows_of_a_run())
    ours, floor = by_name["snntorch"], by_name["floor"]
    assert (ours.seconds_per_iteration, ours.seconds_per_epoch) == (1.5, 1.5 * 2500)
    assert ours.ratio_to_floor == pytest.approx(1.5)  # in every round
    assert ours.speedup_vs_reference == pytest.approx((4 / 3 * 4 / 3 * 22 / 15) ** (1 / 3))
    assert (ours.peak_memory_mib, ours.spike_rate) == (607.0, 0.15)
    assert ours.rounds == 3
    assert ours.certificate == "equal (fp64+fp32)"
    assert (floor.ratio_to_floor, floor.ratio_low, floor.ratio_high) == (1, 1, 1)
    assert floor.seconds_per_iteration == pytest.approx(1)  # 1, 2, 1: of two names the mean
    assert floor.noise_low * floor.noise_high == pytest.approx(1)  # around 1: of 4, 1, 1/4 in logs


def test_contenders_without_a_rank_are_listed_with_the_reason() -> None:
    by_name = lines(rows_of_a_run())
    assert list(by_name) == ["floor", "snntorch:subtract", "snntorch", "reference", "norse"]
    assert set(ranks(rows_of_a_run()).values()) == {None}
    assert by_name["snntorch:subtract"].certificate == "not the paper's function"
    assert by_name["norse"].reason == "norse does not load" and isnan(
        by_name["norse"].ratio_to_floor
    )


def test_precisions_are_classes_of_their_own() -> None:
    proof = certified("fused bf16")[0]
    rows = [
        *(*rows_of_a_run(), *certified("fused bf16")),
        altered(proof, certificate_precision="bf16", spikes=1000, mismatches=5),
        *(altered(proof, layer=n, gradient_cosine=c) for n, c in (("1", 0.99), ("2", 0.97))),
        *timed("floor bf16", 0.5, 1.0, 0.5),
        *timed("fused bf16", 0.6, 1.2, 0.6),
    ]
    line = in_bf16(rows)
    assert line.ratio_to_floor == pytest.approx(0.6)  # of 1, 2, 1, as every ratio is
    assert lines(rows)["floor bf16"].ratio_to_floor == pytest.approx(0.5)  # a line of its own
    assert (line.mismatch_rate, line.gradient_cosine) == (0.005, 0.97)
    assert isnan(line.speedup_vs_reference)  # it did not run in bf16
    # what an audit finds given its own spikes stands before what runs freely
    line = in_bf16([*rows, *audited("fused bf16", mismatches=2, gradient_cosine=0.9995)])
    assert (line.mismatch_rate, line.gradient_cosine) == (0.002, 0.9995)


def test_the_last_run_of_a_cell_counts_and_its_rounds_are_not_mixed_with_others() -> None:
    later = seconds_of(
        all_altered(rows_of_a_run(), **LATER),
        lambda r: 3.0 if r.contender.framework == "floor" else r.result.seconds,
    )
    by_name = lines([*rows_of_a_run(), *later])
    assert {line.run for line in by_name.values()} == {LATER["run"]}
    assert by_name["floor"].seconds_per_iteration == 3.0
    # a run in another precision leaves the figures
    by_name = lines([*rows_of_a_run(), *timed("floor bf16", 3.0, **LATER)])
    assert by_name["snntorch"].ratio_to_floor == pytest.approx(1.5)


def notes_of(rows: Iterable[Row]) -> list[str]:
    return [note for line in timed_lines(rows) for note in line.notes]


def test_a_run_that_is_unlike_the_one_that_it_replaces_has_a_note() -> None:
    def run_later(factor: float, **fields: Any) -> list[Row]:
        return changed(
            run(**fields, **LATER),
            IterationResult,
            lambda row: {"seconds": row.result.seconds * factor},
            contender="snntorch",
        )

    for factor in (1.0, 1.4, 1 / 1.4):
        assert notes_of([*run(), *run_later(factor)]) == []
    for factor, text in ((3.0, "3 times"), (1 / 3, "0.33 times")):
        rows = [*run(), *run_later(factor)]
        (note,) = notes_of(rows)
        assert note == lines(rows)["snntorch"].notes[0]
        assert f"takes {text} as long as in run {RUN}" in note
        (table,) = timed_tables(timed_lines(rows))
        assert f"snntorch: {note}" in table.notes
        assert f"CIFAR-10 Small, snnTorch: {note}." in timings.notes(timed_lines(rows))
    # in three rounds that vary as much it may be noise
    few = [*run(), *run_later(3.0)]
    vague = changed(few, IterationResult, {"seconds": 90.0}, contender="snntorch", round=2)
    assert notes_of(vague) == []
    rows = [*run(source=TRAIN), *run_later(1.0, source=TEST)]
    assert {*notes_of(rows)} == {
        f"was timed on other data than in run {RUN}, which a later one replaced"
    }
    # one that was cut off replaces none, and one under another protocol was none
    cut = [r for r in run_later(3.0) if not has(r, IterationResult) or r.result.round < 3]
    assert notes_of([*run(), *cut]) == [] == notes_of([*run(protocol=1), *run_later(3.0)])


@pytest.mark.parametrize(
    "place",
    [{"cpu": "Another"}, {"capability": "AVX2"}, {"gpu": "NVIDIA H100"}, {"threads": 4}],
    ids=str,
)
def test_rows_of_two_machines_are_never_mixed_in_one_cells_ratios(place: dict[str, Any]) -> None:
    machine: dict[str, Any] = {"cpu": "One", "capability": "AVX512", "threads": 2}
    other = {**machine, **place}
    # of the same run: as if two machines wrote to one folder
    rows = [
        *timed("floor", 1.0, 2.0, 1.0, **machine),
        *timed("floor", 4.0, 4.0, **other),
    ]
    rows += [
        *timed("snntorch", 2.0, 4.0, 2.0, **machine),
        *timed("snntorch", 4.0, 4.0, **other),
    ]
    one, two = (line for line in timed_lines(rows) if line.name == "snntorch")
    assert (one.ratio_to_floor, two.ratio_to_floor) == pytest.approx((2.0, 1.0))
    assert one.machine != two.machine and one.cell != two.cell
    twin = timed("floor", 8.0, 8.0, 8.0, twin=True, **other)
    twin += timed("floor", 4.0, 4.0, 4.0, **other)
    a_a = {
        (e.noise_low, e.noise_high) for e in timed_lines([*twin, *rows]) if e.cpu == other["cpu"]
    }
    assert (2.0, 2.0) in a_a  # to its own floor: 8 and 4


def test_the_machine_with_most_rows_comes_first_then_cells_in_the_papers_order() -> None:
    cells = [("nmnist", "Large"), ("cifar10", "Middle"), ("nmnist", "Small"), ("cifar10", "Small")]
    rows = timed("floor", 1.0, 1.0, cpu="A")
    rows += [r for d, s in cells for r in timed("floor", 1.0, dataset=d, scale=s, cpu="B")]
    places = [(line.cpu, line.dataset, line.scale) for line in timed_lines(rows)]
    order = [cells[3], cells[1], cells[2], cells[0]]
    assert places == [*(("B", *cell) for cell in order), ("A", "cifar10", "Small")]


@pytest.mark.parametrize(
    "setting",
    [
        *({"v_th": 0.5}, {"population": 5}, {"lr": 0.01}, {"batch_size": 10}),
        *({"seed": 1}, {"initialisation": "torch"}, {"neunorm": NeuNorm(0.9)}),
        {"mode": "inference"},
    ],
    ids=str,
)
def test_all_but_framework_and_precision_make_another_cell(setting: dict[str, Any]) -> None:
    assert cell_of(row(IterationResult, **setting)) != cell_of(ROW)
    other = row(IterationResult, contender="norse", variant="super", precision="bf16")
    assert cell_of(other) == cell_of(ROW)
    rows = [*timed("floor", 1.0), *timed("reference", 2.0), *timed("floor", 4.0, **setting)]
    (line,) = (line for line in timed_lines(rows) if line.name == "reference")
    assert line.ratio_to_floor == pytest.approx(2)


def places(rows: Iterable[Row]) -> dict[str, str]:
    return {line.name: line.ranks for line in timed_lines(rows) if line.framework != "floor"}


def test_a_rank_counts_those_proved_faster_and_slower_in_paired_rounds() -> None:
    assert places(run()) == {"fused": "1", "reference": "2-3", "snntorch": "2-3"}
    slow = [*run(), *contender("norse", 2.5)]
    assert places(slow) == {"fused": "1", "reference": "2-3", "snntorch": "2-3", "norse": "4"}
    # the same rounds share a range
    same = [*run(), *contender("norse", 2.0, 1)]
    assert {places(same)[name] for name in ("norse", "reference", "snntorch")} == {"2-4"}
    # a drift that all meet leaves their pairs alone: one that takes 3 % longer in each is slower,
    # though its interval of the ratio to the floor, which met another, overlaps
    drift = {1: 1.0, 2: 1.6, 3: 0.7, 4: 1.3, 5: 0.8}
    paired = [*run(), *contender("norse", 2.06, 1)]
    for name in ("reference", "norse"):
        paired = changed(
            paired,
            IterationResult,
            lambda r: {"seconds": r.result.seconds * drift[r.result.round]},
            framework=name,
        )
    by_name = lines(paired)
    assert by_name["norse"].ratio_low < by_name["reference"].ratio_high
    assert by_name["reference"].is_faster(by_name["norse"])
    assert not by_name["norse"].is_faster(by_name["reference"])
    assert (by_name["norse"].rank or 0) > (by_name["reference"].rank or 0)


@pytest.mark.parametrize("twin", [1.1, 1 / 1.1], ids=["slower twin", "faster twin"])
def test_a_difference_counts_only_beyond_an_a_a_that_leaves_out_1(twin: float) -> None:
    rows = [*run(), *contender("norse", 2.1)]
    quiet, noisy = lines(rows), lines(slower_twin(rows, twin))
    assert quiet["floor"].noise_low < 1 < quiet["floor"].noise_high and not quiet["floor"].notes
    assert quiet["norse"].ratio_to(quiet["reference"]) == quiet["norse"].together.ratio(
        quiet["norse"].contender, quiet["reference"].contender
    )
    # 5 % slower in each round, on a machine on which the floor differs from itself by 10 %
    assert quiet["reference"].is_faster(quiet["norse"])
    assert not noisy["reference"].is_faster(noisy["norse"])
    ratio, wide = (by_name["norse"].ratio_to(by_name["reference"]) for by_name in (quiet, noisy))
    assert (wide.value, wide.low, wide.high) == pytest.approx(
        (ratio.value, ratio.low / 1.1, ratio.high * 1.1), rel=0.01
    )
    assert places(slower_twin(rows, twin)) == {
        "fused": "1",
        **dict.fromkeys(("reference", "snntorch", "norse"), "2-4"),
    }
    (note,) = noisy["floor"].notes
    assert "leaves out 1" in note and "9." in note or "10." in note
    (table,) = timed_tables(noisy.values())
    assert any(note in text for text in table.notes)


def test_notes_on_figures_stand_below_the_first_table_those_of_other_machines_too() -> None:
    rows = frames([*slower_twin(run(cpu="A"), 1.1), *slower_twin(run(cpu="B", run="later"), 1.2)])
    first, second = (line for line in timings.lines(rows) if line.name == "floor")
    text = page.block(rows, []).replace("\\", "")
    assert f" CIFAR-10 Small, floor: {first.notes[0]}." in text
    assert f"{second.machine}, CIFAR-10 Small, floor: {second.notes[0]}." in text


@pytest.mark.parametrize("seed", range(20))
def test_a_noisy_contender_is_never_above_one_that_beats_it_in_its_pairs(seed: int) -> None:
    drawn = random.Random(seed)
    factors = {number: drawn.uniform(0.6, 1.6) for number in range(1, 6)}
    rows = [*run(), *contender("norse", 2.3), *contender("spikingjelly", 2.4, 3)]
    rows = changed(
        rows,
        IterationResult,
        lambda r: {"seconds": r.result.seconds * factors[r.result.round]},
        contender="norse",
    )
    ranked = [line for line in timed_lines(rows) if line.rank]
    for line, other in permutations(ranked, 2):
        if line.is_faster(other):
            assert (line.rank or 0) < (other.rank or 0) and (line.rank_high or 0) < (
                other.rank_high or 0
            )
            assert ranked.index(line) < ranked.index(other)


def test_contenders_that_share_no_round_have_no_ranks() -> None:
    rows = [*rounds("floor", 1.0, count=10), *rounds("floor", 1.0, 3, count=10, twin=True)]
    rows += contender("reference", 2.0) + changed(
        contender("norse", 2.5), IterationResult, lambda r: {"round": r.result.round + 5}
    )
    assert places(rows) == {"reference": "", "norse": ""}
    assert "no other contender that can be ranked ran in its rounds" in lines(rows)["norse"].reason
    assert places(rows[:-5]) == {"reference": "1", "norse": ""}


@pytest.mark.parametrize("protocol", [None, PROTOCOL - 1, PROTOCOL + 1])
def test_timings_under_another_protocol_do_not_count_and_are_named(protocol: int | None) -> None:
    older = run(protocol=protocol, run="older")
    assert {line.run for line in lines([*older, *run()]).values()} == {RUN}
    (note,) = frames([*older, *run()]).notes
    assert f"{len(older)} rows of 1 runs do not count" in note and "measure them again" in note
    assert not lines(older)


EQUAL, BY_EXAM = "equal (fp64+fp32)", "equal by its exam alone"
FAILED = {"certified": False, "reason": "spikes differ"}


@pytest.mark.parametrize(
    ("kind", "new", "where", "certificate", "reason"),
    [
        (
            AuditResult,
            REFUSED,
            {"when": "late"},
            "audit failed",
            f"audit {LATE}: {REFUSED['reason']}",
        ),
        (AuditResult, None, {}, BY_EXAM, "not audited"),
        (AuditResult, None, {"when": "before"}, BY_EXAM, "not audited before its rounds"),
        (AuditResult, None, {"when": "round"}, EQUAL, "not audited of a round"),
        (AuditResult, None, {"when": "late"}, EQUAL, f"not audited {LATE}"),
        (AuditResult, {"exam": EXAM - 1}, {}, BY_EXAM, "not audited"),
        (CertificateResult, {"exam": EXAM + 1}, {}, "none", "no exam was taken"),
        (
            *(CertificateResult, FAILED, {"certificate_precision": "fp32"}),
            *("none", "its exam failed: spikes differ"),
        ),
        (CertificateResult, None, {}, "none", "no exam was taken"),
        (object, {"deviations": "why"}, {}, "not the paper's function", "why"),
        (IterationResult, None, {"round": 5}, EQUAL, "preliminary: 4 rounds, ranked from 5 on"),
    ],
)
def test_a_rank_needs_proof_audits_and_rounds(
    kind: Any,
    new: dict[str, Any] | None,
    where: dict[str, Any],
    certificate: str,
    reason: str,
) -> None:
    rows = changed(run(), kind, new, contender="snntorch", **where)
    assert ranks(rows) == {"fused": 1, "reference": 2, "snntorch": None}
    line = lines(rows)["snntorch"]
    assert (line.certificate, line.reason) == (certificate, reason)
    assert line.ratio_to_floor == pytest.approx(2.01, rel=0.06)


def test_an_a_a_ratio_outside_its_bounds_leaves_no_rank() -> None:
    for factor, ranked in ((0.75, False), (1.1, True), (1.3, False)):
        rows = slower_twin(run(), factor)
        assert any(ranks(rows).values()) == ranked
        assert ("is not within 0.8 to 1.25" in lines(rows)["fused"].reason) != ranked
    alone = changed(run(), IterationResult, None, twin=True)
    assert lines(alone)["fused"].reason == "no A/A: the floor did not run twice"
    # as where the second floor ran too few rounds to know
    twin = [row for row in run() if has(row, IterationResult) and row.result.twin]
    assert set(ranks([*alone, *twin[:2]]).values()) == {None}


def test_a_failed_memory_measurement_leaves_the_rank_and_a_failed_case_does_not() -> None:
    lost = row(UnmeasuredResult, contender="fused", reason="its process died")
    by_name = lines([*run(), lost, row(MemoryResult, contender="snntorch", peak_memory_mib=300.0)])
    assert by_name["fused"].rank == 1 and isnan(by_name["fused"].peak_memory_mib)
    assert (by_name["fused"].memory_note, by_name["fused"].reason) == ("its process died", "")
    assert (by_name["snntorch"].peak_memory_mib, by_name["snntorch"].memory_note) == (300.0, "")
    assert ranks([*run(), row(EndedResult, contender="fused")])["fused"] is None


def in_bf16(rows: list[Row]) -> TimedLine:
    (line,) = (line for line in timed_lines(rows) if line.name == "fused bf16")
    return line


def test_bf16_needs_its_audits_and_a_training_and_is_never_called_equal() -> None:
    trained, refused = bf16_training("fused"), run_in_bf16(passed=False, reason="gradients")
    bare = [row for row in run_in_bf16() if not has(row, AuditResult)]
    for rows, certificate, reason in (
        (run_in_bf16(), "not proved", "no training in bf16 yet"),
        ([*bare, trained], "not proved", "not audited"),
        ([*refused, trained], "audit failed", "gradients"),
    ):
        line = in_bf16(rows)
        assert line.certificate == certificate and not line.is_proved
        assert line.rank is None and reason in line.reason
    line = in_bf16([trained, *run_in_bf16(mismatches=5, near_ties=3)])
    assert line.certificate == "bf16 (0.2 % of spikes differ beyond rounding, 0.3 % within it)"
    assert (line.is_proved, line.rank) == (True, 1)
    assert line.mismatch_rate == 0.005


@pytest.mark.parametrize(
    "other",
    [
        *({"framework": "norse"}, {"variant": "compiled"}, {"framework_version": "2"}),
        *({"torch": "2"}, {"revision": 1}, {"cpu": "another"}, {"device": "cuda"}),
        {"exam": identity.EXAM - 1},
    ],
    ids=str,
)
def test_a_training_in_bf16_is_of_one_form_version_and_machine(other: dict[str, Any]) -> None:
    trained = altered(bf16_training("fused"), **other)
    assert not in_bf16([*run_in_bf16(), trained]).is_proved


def test_the_last_training_in_bf16_that_came_to_its_end_counts() -> None:
    passed = bf16_training("fused")
    failed = altered(passed, passed=False, reason="its loss ends at 0.09, in float32 at 0.05")
    cut = altered(failed, finished=False, reason="it died")
    for descents, rank in (
        ((failed,), None),
        ((failed, passed), 1),
        ((passed, failed), None),
        ((passed, cut), 1),
    ):
        line = in_bf16([*run_in_bf16(), *descents])
        assert line.rank == rank
        assert ("its loss ends at 0.09" in line.reason) == (rank is None)


def test_compile_time_is_the_first_iteration_of_a_compiled_form_or_measured_before() -> None:
    by_name = lines(
        [
            *(*run(), *contender("norse:compiled", 2.0)),
            row(WarmupResult, contender="norse:compiled", seconds=30.0),
            row(WarmupResult, contender="snntorch", seconds=2.0, compile_seconds=9.0),
            row(WarmupResult, contender="fused", seconds=3.0),
        ]
    )
    assert by_name["norse:compiled"].compile_seconds == 30.0
    assert by_name["snntorch"].compile_seconds == 9.0
    assert isnan(by_name["fused"].compile_seconds) and by_name["fused"].warmup_seconds == 3.0


@pytest.mark.parametrize("kind", sorted({row.result.kind for row in rows_of_a_run()}))
def test_one_row_of_an_odd_run_hides_no_figure_of_its_cell(kind: str) -> None:
    """Whatever stands in it, wherever it stands, timed against a floor or not."""

    def figures_of(line: TimedLine) -> tuple[object, ...]:
        return line.name, line.rounds, line.certificate

    unpaired = [*certified("reference"), *timed("reference", 2.0, 2.0)]
    untimed = [row for row in rows_of_a_run() if not has(row, IterationResult)]
    for rows in (rows_of_a_run(), unpaired, untimed):
        figures = {figures_of(line) for line in timed_lines(rows)}
        of_kind = {row.contender: row for row in rows if row.result.kind == kind}
        for odd in all_altered(of_kind.values(), run="odd"):
            for both in ([*rows, odd], [odd, *rows]):
                assert figures <= {figures_of(e) for e in timed_lines(both) if e.run != "odd"}


@pytest.mark.parametrize("seconds", [5e-324, 0.0, 1e308])
def test_an_impossible_time_is_damage_and_ranks_nobody(tmp_path: Path, seconds: float) -> None:
    first = changed(run(), IterationResult, {"seconds": seconds}, contender="fused")
    Store(tmp_path).append(*first)
    rows, damaged = Store(tmp_path).read()
    assert damaged and all("an iteration takes" in text for text in damaged)
    assert not any(line.name == "fused" and line.rank for line in timings.lines(frames(rows)))


def test_a_round_without_the_time_of_one_is_no_pair() -> None:
    whole = lines(run())
    # the floor ran once
    by_name = lines(changed(run(), IterationResult, None, twin=True, round=2))
    assert by_name["floor"].rounds == whole["floor"].rounds - 1
    for name in ("reference", "snntorch", "fused"):
        assert by_name[name].ratio_to(by_name["floor"]).rounds == by_name["floor"].rounds
    # rounds that are shifted by one: the first has lost its pair, and so has the last
    by_name = lines(
        changed(
            run(), IterationResult, lambda r: {"round": r.result.round + 1}, contender="snntorch"
        )
    )
    for name in ("floor", "reference", "fused"):
        assert by_name["snntorch"].ratio_to(by_name[name]).rounds == whole["snntorch"].rounds - 1
    assert by_name["fused"].ratio_to(by_name["reference"]) == whole["fused"].ratio_to(
        whole["reference"]
    )
