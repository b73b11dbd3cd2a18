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
from harness.reports.shown import timed as timed_tables
from harness.spec import NeuNorm

LATER: dict[str, Any] = {"run": "20270101T000000-000000"}


def shown(rows: Iterable[Row]) -> tuple[TimedLine, ...]:
    return timings.lines(frames(rows))


def lines(rows: Iterable[Row]) -> dict[str, TimedLine]:
    """Lines by the contender; there is one of each."""
    found = shown(rows)
    assert len({each.name for each in found}) == len(found)
    return {each.name: each for each in found}


def ranks(rows: Iterable[Row]) -> dict[str, int | None]:
    return {each.name: each.rank for each in shown(rows) if each.framework != "floor"}


def test_the_columns_that_others_rely_on_are_there_also_where_there_is_no_line() -> None:
    for rows in (rows_of_a_run(), []):
        made = {name: build(rows) for name, build in tables.TABLES.items()}
        assert all(len(each.columns) for each in made.values())
        assert tuple(made["acceleration"].columns) == timings.COLUMNS
    assert {*frames(rows_of_a_run())["iteration"]["contender"]} >= {"floor", "reference"}


def test_figures_by_hand() -> None:
    found = lines(rows_of_a_run())
    ours, floor = found["snntorch"], found["floor"]
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
    found = lines(rows_of_a_run())
    assert list(found) == ["floor", "snntorch:subtract", "snntorch", "reference", "norse"]
    assert set(ranks(rows_of_a_run()).values()) == {None}
    assert found["snntorch:subtract"].certificate == "not the paper's function"
    assert found["norse"].reason == "norse does not load" and isnan(found["norse"].ratio_to_floor)


def test_precisions_are_classes_of_their_own() -> None:
    proof = certified("fused bf16")[0]
    rows = [
        *(*rows_of_a_run(), *certified("fused bf16")),
        altered(proof, certificate_precision="bf16", spikes=1000, mismatches=5),
        *(altered(proof, layer=n, gradient_cosine=c) for n, c in (("1", 0.99), ("2", 0.97))),
        *timed("floor bf16", 0.5, 1.0, 0.5),
        *timed("fused bf16", 0.6, 1.2, 0.6),
    ]
    found = in_bf16(rows)
    assert found.ratio_to_floor == pytest.approx(0.6)  # of 1, 2, 1, as every ratio is
    assert lines(rows)["floor bf16"].ratio_to_floor == pytest.approx(0.5)  # a line of its own
    assert (found.mismatch_rate, found.gradient_cosine) == (0.005, 0.97)
    assert isnan(found.speedup_vs_reference)  # it did not run in bf16
    # what an audit finds given its own spikes stands before what runs freely
    found = in_bf16([*rows, *audited("fused bf16", mismatches=2, gradient_cosine=0.9995)])
    assert (found.mismatch_rate, found.gradient_cosine) == (0.002, 0.9995)


def test_the_last_run_of_a_cell_counts_and_its_rounds_are_not_mixed_with_others() -> None:
    later = seconds_of(
        all_altered(rows_of_a_run(), **LATER),
        lambda r: 3.0 if r.contender.framework == "floor" else r.result.seconds,
    )
    found = lines([*rows_of_a_run(), *later])
    assert {each.run for each in found.values()} == {LATER["run"]}
    assert found["floor"].seconds_per_iteration == 3.0
    # a run in another precision leaves the figures
    found = lines([*rows_of_a_run(), *timed("floor bf16", 3.0, **LATER)])
    assert found["snntorch"].ratio_to_floor == pytest.approx(1.5)


def notes_of(rows: Iterable[Row]) -> list[str]:
    return [note for line in shown(rows) for note in line.notes]


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
        (table,) = timed_tables(shown(rows))
        assert f"snntorch: {note}" in table.notes
        assert f"CIFAR-10 Small, snnTorch: {note}." in timings.notes(shown(rows))
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
    here: dict[str, Any] = {"cpu": "One", "capability": "AVX512", "threads": 2}
    there = {**here, **place}
    # of the same run: as if two machines wrote to one folder
    rows = [*timed("floor", 1.0, 2.0, 1.0, **here), *timed("floor", 4.0, 4.0, **there)]
    rows += [*timed("snntorch", 2.0, 4.0, 2.0, **here), *timed("snntorch", 4.0, 4.0, **there)]
    one, two = (each for each in shown(rows) if each.name == "snntorch")
    assert (one.ratio_to_floor, two.ratio_to_floor) == pytest.approx((2.0, 1.0))
    assert one.machine != two.machine and one.cell != two.cell
    twin = timed("floor", 8.0, 8.0, 8.0, twin=True, **there)
    twin += timed("floor", 4.0, 4.0, 4.0, **there)
    a_a = {(e.noise_low, e.noise_high) for e in shown([*twin, *rows]) if e.cpu == there["cpu"]}
    assert (2.0, 2.0) in a_a  # to its own floor: 8 and 4


def test_the_machine_with_most_rows_comes_first_then_cells_in_the_papers_order() -> None:
    cells = [("nmnist", "Large"), ("cifar10", "Middle"), ("nmnist", "Small"), ("cifar10", "Small")]
    rows = timed("floor", 1.0, 1.0, cpu="A")
    rows += [r for d, s in cells for r in timed("floor", 1.0, dataset=d, scale=s, cpu="B")]
    found = [(each.cpu, each.dataset, each.scale) for each in shown(rows)]
    order = [cells[3], cells[1], cells[2], cells[0]]
    assert found == [*(("B", *each) for each in order), ("A", "cifar10", "Small")]


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
    (found,) = (each for each in shown(rows) if each.name == "reference")
    assert found.ratio_to_floor == pytest.approx(2)


def places(rows: Iterable[Row]) -> dict[str, str]:
    return {line.name: line.ranks for line in shown(rows) if line.framework != "floor"}


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
    found = lines(paired)
    assert found["norse"].ratio_low < found["reference"].ratio_high
    assert found["reference"].is_faster(found["norse"])
    assert not found["norse"].is_faster(found["reference"])
    assert (found["norse"].rank or 0) > (found["reference"].rank or 0)


@pytest.mark.parametrize("twin", [1.1, 1 / 1.1], ids=["slower twin", "faster twin"])
def test_a_difference_counts_only_beyond_an_a_a_that_leaves_out_1(twin: float) -> None:
    rows = [*run(), *contender("norse", 2.1)]
    quiet, noisy = lines(rows), lines(slower_twin(rows, twin))
    assert quiet["floor"].noise_low < 1 < quiet["floor"].noise_high and not quiet["floor"].notes
    assert quiet["norse"].over(quiet["reference"]) == quiet["norse"].together.ratio(
        quiet["norse"].contender, quiet["reference"].contender
    )
    # 5 % slower in each round, on a machine on which the floor differs from itself by 10 %
    assert quiet["reference"].is_faster(quiet["norse"])
    assert not noisy["reference"].is_faster(noisy["norse"])
    ratio, wide = (of["norse"].over(of["reference"]) for of in (quiet, noisy))
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
    ranked = [line for line in shown(rows) if line.rank]
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


def test_speedups_are_of_paired_rounds() -> None:
    found = lines(run())["fused"]
    assert found.speedup_low < found.speedup_vs_reference < found.speedup_high
    assert found.speedup_vs_reference == pytest.approx(2 / 1.1, rel=0.01)


@pytest.mark.parametrize("protocol", [None, PROTOCOL - 1, PROTOCOL + 1])
def test_timings_under_another_protocol_do_not_count_and_are_named(protocol: int | None) -> None:
    older = run(protocol=protocol, run="older")
    assert {each.run for each in lines([*older, *run()]).values()} == {RUN}
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
    found = lines(rows)["snntorch"]
    assert (found.certificate, found.reason) == (certificate, reason)
    assert found.ratio_to_floor == pytest.approx(2.01, rel=0.06)


def test_an_a_a_ratio_outside_its_bounds_leaves_no_rank() -> None:
    for factor, ranked in ((0.75, False), (1.1, True), (1.3, False)):
        rows = slower_twin(run(), factor)
        assert any(ranks(rows).values()) == ranked
        assert ("is not within 0.8 to 1.25" in lines(rows)["fused"].reason) != ranked
    alone = changed(run(), IterationResult, None, twin=True)
    assert lines(alone)["fused"].reason == "no A/A: the floor did not run twice"
    # as where the second floor ran too few rounds to know
    twin = [each for each in run() if has(each, IterationResult) and each.result.twin]
    assert set(ranks([*alone, *twin[:2]]).values()) == {None}


def test_a_failed_memory_measurement_leaves_the_rank_and_a_failed_case_does_not() -> None:
    lost = row(UnmeasuredResult, contender="fused", reason="its process died")
    found = lines([*run(), lost, row(MemoryResult, contender="snntorch", peak_memory_mib=300.0)])
    assert found["fused"].rank == 1 and isnan(found["fused"].peak_memory_mib)
    assert (found["fused"].memory_note, found["fused"].reason) == ("its process died", "")
    assert (found["snntorch"].peak_memory_mib, found["snntorch"].memory_note) == (300.0, "")
    assert ranks([*run(), row(EndedResult, contender="fused")])["fused"] is None


def in_bf16(rows: list[Row]) -> TimedLine:
    (found,) = (each for each in shown(rows) if each.name == "fused bf16")
    return found


def test_bf16_needs_its_audits_and_a_training_and_is_never_called_equal() -> None:
    trained, refused = bf16_training("fused"), run_in_bf16(passed=False, reason="gradients")
    bare = [each for each in run_in_bf16() if not has(each, AuditResult)]
    for rows, certificate, reason in (
        (run_in_bf16(), "not proved", "no training in bf16 yet"),
        ([*bare, trained], "not proved", "not audited"),
        ([*refused, trained], "audit failed", "gradients"),
    ):
        found = in_bf16(rows)
        assert found.certificate == certificate and not found.is_proved
        assert found.rank is None and reason in found.reason
    found = in_bf16([trained, *run_in_bf16(mismatches=5, near_ties=3)])
    assert found.certificate == "bf16 (0.2 % of spikes differ beyond rounding, 0.3 % within it)"
    assert (found.is_proved, found.rank) == (True, 1)
    assert found.mismatch_rate == 0.005


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
        found = in_bf16([*run_in_bf16(), *descents])
        assert found.rank == rank
        assert ("its loss ends at 0.09" in found.reason) == (rank is None)


def test_compile_time_is_the_first_iteration_of_a_compiled_form_or_measured_before() -> None:
    found = lines(
        [
            *(*run(), *contender("norse:compiled", 2.0)),
            row(WarmupResult, contender="norse:compiled", seconds=30.0),
            row(WarmupResult, contender="snntorch", seconds=2.0, compile_seconds=9.0),
            row(WarmupResult, contender="fused", seconds=3.0),
        ]
    )
    assert found["norse:compiled"].compile_seconds == 30.0
    assert found["snntorch"].compile_seconds == 9.0
    assert isnan(found["fused"].compile_seconds) and found["fused"].warmup_seconds == 3.0


@pytest.mark.parametrize("kind", sorted({each.result.kind for each in rows_of_a_run()}))
def test_one_row_of_an_odd_run_hides_no_figure_of_its_cell(kind: str) -> None:
    """Whatever stands in it, wherever it stands, timed against a floor or not."""
    unpaired = [*certified("reference"), *timed("reference", 2.0, 2.0)]
    untimed = [each for each in rows_of_a_run() if not has(each, IterationResult)]
    for rows in (rows_of_a_run(), unpaired, untimed):
        before = {(each.name, each.rounds, each.certificate) for each in shown(rows)}
        of_kind = {each.contender: each for each in rows if each.result.kind == kind}
        for odd in (altered(each, run="odd") for each in of_kind.values()):
            for found in (shown([*rows, odd]), shown([odd, *rows])):
                kept = (each for each in found if each.run != "odd")
                assert before <= {(each.name, each.rounds, each.certificate) for each in kept}


@pytest.mark.parametrize("seconds", [5e-324, 0.0, 1e308])
def test_an_impossible_time_is_damage_and_ranks_nobody(tmp_path: Path, seconds: float) -> None:
    first = changed(run(), IterationResult, {"seconds": seconds}, contender="fused")
    Store(tmp_path).append(*first)
    rows, damaged = Store(tmp_path).read()
    assert damaged and all("an iteration takes" in each for each in damaged)
    assert not any(line.name == "fused" and line.rank for line in timings.lines(frames(rows)))


def test_a_round_without_the_time_of_one_is_no_pair() -> None:
    whole = lines(run())
    # the floor ran once
    found = lines(changed(run(), IterationResult, None, twin=True, round=2))
    assert found["floor"].rounds == whole["floor"].rounds - 1
    for name in ("reference", "snntorch", "fused"):
        assert found[name].over(found["floor"]).rounds == found["floor"].rounds
    # rounds that are shifted by one: the first has lost its pair, and so has the last
    found = lines(
        changed(
            run(), IterationResult, lambda r: {"round": r.result.round + 1}, contender="snntorch"
        )
    )
    for name in ("floor", "reference", "fused"):
        assert found["snntorch"].over(found[name]).rounds == whole["snntorch"].rounds - 1
    assert found["fused"].over(found["reference"]) == whole["fused"].over(whole["reference"])
