"""The runner on a tiny network: what becomes a row, and what is never timed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from test_records import ROW
from torch import Tensor, nn

import adapters
from harness.adapter import Adapter, Unsupported, Variant
from harness.analysis import tables
from harness.records import Record, Store
from harness.records import build as rows_
from harness.records.ledger import StoreLedger
from harness.reference.network import ReferenceNetwork
from harness.spec import Case, Network, UsageError, paper
from harness.speed import cell, contenders, memory, schedule
from harness.system import footprint, machine

TINY = paper.network("8C3(Encoding)-AP2-8C3-AP2-16FC-Voting", "cifar10")[1]


def case(framework: str, **changes: object) -> Case:
    made = Case(
        suite="acceleration",
        dataset="cifar10",
        scale="custom",
        network=TINY,
        width=Fraction(1),
        framework=framework,
        T=4,
        batch_size=4,
        precision="fp32",
        device="cpu",
        seed=0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


class Slow(ReferenceNetwork):
    """Ends with an error when it trains, but not when it is examined (in float64)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32 and x.shape[0] == 4 and x.shape[1] == 4:
            raise RuntimeError("out of something")
        return super().forward(x)


def _unsupported(network: Network) -> nn.Module:
    raise Unsupported("this framework has no average pool; use reference")


def _wrong(network: Network) -> nn.Module:
    return ReferenceNetwork(replace(network, lif=replace(network.lif, k_tau=0.5)))


PLANTED: dict[str, Adapter] = {
    "planted:unsupported": Variant((), _unsupported),
    "planted:wrong": Variant((), _wrong),
    "planted:marked": Variant(("another decay",), _wrong),
    "planted:breaks": Variant((), Slow),
}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters made for these tests, a memory measurement without its process, no allocator."""
    load = adapters.load

    def find(name: str) -> Adapter:
        if name == "planted:absent":
            raise adapters.Missing("planted does not load: install it with pip install planted")
        return PLANTED[name] if name in PLANTED else load(name)

    monkeypatch.setattr(adapters, "load", find)
    monkeypatch.setattr(memory, "peak_mib", lambda work, find, *, threads: 12.34)
    monkeypatch.setattr(schedule.allocator, "choose", lambda allocator: "system")
    monkeypatch.setattr(schedule, "MOST_ROUNDS", 3)


def measure(tmp_path: Path, *frameworks: str, **changes: object) -> list[Record]:
    cases = tuple(case(name, **changes) for name in frameworks)
    plan = schedule.Plan(budget=5.0, data_root=tmp_path.parent)
    events = list(schedule.run(cases, ledger(tmp_path), plan, rows_.new_run()))
    measured = [event for event in events if isinstance(event, schedule.Measured)]
    rows, damaged = Store(tmp_path).read()
    assert not damaged
    last = {event.cell: event.rows for event in measured}
    assert [row for said in last.values() for row in said] == rows  # what is said is what is kept
    return rows


def ledger(tmp_path: Path) -> StoreLedger:
    return StoreLedger(Store(tmp_path), lambda fraction, doing: None)


def of(rows: list[Record], kind: str, **fields: object) -> Iterator[Record]:
    return (
        row
        for row in rows
        if row.kind == kind and all(getattr(row, name) == value for name, value in fields.items())
    )


def test_a_certified_contender_is_timed_with_the_floor_in_the_same_rounds(tmp_path: Path) -> None:
    rows = measure(tmp_path, "reference")
    own = {row.round: row for row in of(rows, "iteration", framework="reference")}
    floor = {row.round for row in of(rows, "iteration", framework="floor", twin=False)}
    twin = {row.round for row in of(rows, "iteration", framework="floor", twin=True)}
    assert set(own) == floor == twin
    assert len(own) >= schedule.FEWEST_ROUNDS
    assert all((row.seconds or 0) > 0 for row in own.values())
    assert [row.peak_memory_mib for row in of(rows, "memory")] == [12.3]
    warm = list(of(rows, "warmup", framework="reference"))
    assert [row.steps for row in warm] == [contenders.WARMUP_STEPS]


def test_the_certificate_is_of_the_very_network_and_kept_per_layer(tmp_path: Path) -> None:
    rows = measure(tmp_path, "reference")
    proofs = list(of(rows, "certificate"))
    assert {row.network for row in proofs} == {str(TINY)}
    outcomes = [(row.certificate_precision, row.certified) for row in proofs if row.layer is None]
    assert outcomes == [("fp64", True), ("fp32", True)]
    layers = [row.layer for row in proofs if row.certificate_precision == "fp64" and row.layer]
    assert layers == ["1 8C3(Encoding)", "2 8C3", "3 16FC", "4 Voting"]


def test_every_row_says_where_its_data_and_its_machine_come_from(tmp_path: Path) -> None:
    for row in measure(tmp_path, "reference"):
        assert row.data_source and row.data_sha256 and row.data_substitute
        assert row.cpu and row.threads and row.torch and row.python and row.allocator
        assert row.width == "1" and row.initialisation == "calibrated"


def test_a_wrong_network_is_not_timed(tmp_path: Path) -> None:
    rows = measure(tmp_path, "reference", "planted:wrong")
    assert not list(of(rows, "iteration", framework="planted"))
    (ended,) = of(rows, "case", framework="planted")
    assert ended.status == "failed"
    assert (ended.reason or "").startswith("not comparable: ")
    assert list(of(rows, "iteration", framework="reference"))


def test_a_marked_variant_is_timed_and_marked(tmp_path: Path) -> None:
    rows = measure(tmp_path, "reference", "planted:marked")
    timed = list(of(rows, "iteration", framework="planted", variant="marked"))
    assert timed
    assert all(row.deviations == "another decay" for row in timed)
    table = tables.acceleration(rows)
    marked = table[table["framework"] == "planted"].iloc[0]
    assert marked["certificate"] == "not the paper's function"
    assert marked.isna()["rank"]


def test_missing_and_unsupported_are_rows_with_a_reason_and_the_others_run(tmp_path: Path) -> None:
    rows = measure(tmp_path, "planted:absent", "planted:unsupported", "reference")
    reasons = {row.status: row.reason or "" for row in of(rows, "case")}
    assert "pip install planted" in reasons["missing"]
    assert "no average pool" in reasons["unsupported"]
    assert list(of(rows, "iteration", framework="reference"))


def test_one_that_breaks_in_a_round_costs_its_own_row(tmp_path: Path) -> None:
    rows = measure(tmp_path, "planted:breaks", "reference")
    (ended,) = of(rows, "case", framework="planted")
    assert ended.reason == "RuntimeError: out of something"
    assert not list(of(rows, "iteration", framework="planted"))
    assert len(list(of(rows, "iteration", framework="reference"))) >= 2


def test_damaged_data_is_a_row_for_each_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(request: object) -> None:
        raise UsageError("cannot read image.png: delete it")

    monkeypatch.setattr(cell.datasets, "load_batch", damaged)
    rows = measure(tmp_path, "reference", "norse")
    assert [(row.framework, row.reason) for row in rows] == [
        ("reference", "cannot read image.png: delete it"),
        ("norse", "cannot read image.png: delete it"),
    ]


def test_cases_that_differ_in_framework_and_precision_alone_are_timed_together() -> None:
    cases = (case("reference"), case("norse", precision="bf16"), case("reference", T=2))
    grouped = schedule.cells(cases)
    assert [cell.precision for cell in grouped] == ["fp32", "fp32"]
    assert [[each.framework for each in group] for group in grouped.values()] == [
        ["reference", "norse"],
        ["reference"],
    ]


def test_a_cell_stays_ready_and_gets_its_rounds_between_those_of_later_cells(
    tmp_path: Path,
) -> None:
    cases = (case("reference"), case("reference", T=2), case("reference", T=3))
    plan = schedule.Plan(budget=math.inf, data_root=tmp_path)
    list(schedule.run(cases, ledger(tmp_path), plan, rows_.new_run()))
    rows, _ = Store(tmp_path).read()
    rounds = [(row.T, row.round) for row in of(rows, "iteration", framework="floor", twin=True)]
    for T in (4, 2, 3):  # each has all its rounds, in order
        assert [number for t, number in rounds if t == T] == [1, 2, 3]
    assert rounds.index((4, 3)) > rounds.index((2, 1))  # not at one go


def test_a_cell_is_said_with_its_first_rounds_and_again_with_all(tmp_path: Path) -> None:
    cases = (case("reference"), case("reference", T=2))
    plan = schedule.Plan(budget=math.inf, data_root=tmp_path)
    events = list(schedule.run(cases, ledger(tmp_path), plan, rows_.new_run()))
    said = [event for event in events if isinstance(event, schedule.Measured)]
    assert [(event.cell.T, event.rounds) for event in said] == [(4, 1), (2, 1), (4, 3), (2, 3)]


def test_a_cell_is_ended_before_the_next_where_memory_is_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(footprint, "SPARE", 1.1)
    cases = (case("reference"), case("reference", T=2))
    plan = schedule.Plan(budget=math.inf, data_root=tmp_path)
    list(schedule.run(cases, ledger(tmp_path), plan, rows_.new_run()))
    rows, _ = Store(tmp_path).read()
    rounds = [(row.T, row.round) for row in of(rows, "iteration", framework="floor", twin=True)]
    assert rounds == [(T, number) for T in (4, 2) for number in (1, 2, 3)]


def test_progress_goes_up_and_names_the_cell(tmp_path: Path) -> None:
    plan = schedule.Plan(budget=5.0, data_root=tmp_path)
    events = list(schedule.run((case("reference"),), ledger(tmp_path), plan, rows_.new_run()))
    fractions = [event.fraction for event in events if isinstance(event, schedule.Progress)]
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0 and fractions[-1] <= 1


def test_what_was_measured_before_an_interruption_is_kept(tmp_path: Path) -> None:
    plan = schedule.Plan(budget=5.0, data_root=tmp_path)
    run = schedule.run((case("reference"),), ledger(tmp_path), plan, rows_.new_run())
    for event in run:
        if isinstance(event, schedule.Progress) and event.doing == "round 1":
            break
    with pytest.raises(KeyboardInterrupt):
        run.throw(KeyboardInterrupt)  # type: ignore[attr-defined]
    rows, damaged = Store(tmp_path).read()
    assert not damaged
    assert {row.round for row in of(rows, "iteration")} == {1}


def test_thread_counts_are_keyed_by_what_they_come_to_and_other_variables_by_name() -> None:
    row = replace(ROW, threads=2)
    key = rows_.timing_key(replace(row, environment=None))
    assert rows_.timing_key(replace(row, environment="OMP_NUM_THREADS=2 MKL_NUM_THREADS=2")) == key
    assert rows_.timing_key(replace(row, environment="OMP_NUM_THREADS=1", threads=1)) != key
    assert rows_.timing_key(replace(row, environment="LD_PRELOAD=x OMP_NUM_THREADS=2")) != key


def test_bf16_is_left_out_where_the_device_has_no_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cases = (case("fused"), case("fused", precision="bf16"))
    monkeypatch.setattr(machine, "has_bf16", lambda device: True)
    assert schedule.suited(cases) == cases
    monkeypatch.setattr(machine, "has_bf16", lambda device: False)
    assert schedule.suited(cases) == cases[:1]


@pytest.mark.parametrize("precision", ["fp64", "bf16"])
def test_other_precisions_are_proved_and_timed_in_their_own_class(
    tmp_path: Path, precision: str
) -> None:
    rows = measure(tmp_path, "reference", precision=precision)
    assert {row.precision for row in of(rows, "iteration")} == {precision}
    proved = [row.certificate_precision for row in of(rows, "certificate", layer=None)]
    assert proved == {"fp64": ["fp64"], "bf16": ["fp64", "fp32", "bf16"]}[precision]


def test_two_precisions_run_in_the_same_rounds_each_with_its_floor(tmp_path: Path) -> None:
    cases = (case("reference"), case("reference", precision="bf16"))
    list(
        schedule.run(
            cases,
            ledger(tmp_path),
            schedule.Plan(budget=math.inf, data_root=tmp_path),
            rows_.new_run(),
        )
    )
    rows, _ = Store(tmp_path).read()
    timed = {(row.framework, row.precision, row.twin, row.round) for row in of(rows, "iteration")}
    for number in (1, 2, 3):
        assert {each[:3] for each in timed if each[3] == number} == {
            ("floor", "fp32", False),
            ("floor", "fp32", True),
            ("floor", "bf16", False),
            ("reference", "fp32", False),
            ("reference", "bf16", False),
        }
    proved = [
        (row.precision, row.certificate_precision) for row in of(rows, "certificate", layer=None)
    ]
    assert proved == [
        ("fp32", "fp64"),
        ("fp32", "fp32"),
        ("bf16", "fp64"),
        ("bf16", "fp32"),
        ("bf16", "bf16"),
    ]


def test_a_form_that_the_device_has_not_is_said_and_not_a_failure(tmp_path: Path) -> None:
    rows = measure(tmp_path, "reference", "reference:cuda-graph", "reference:channels-last")
    (ended,) = of(rows, "case", variant="cuda-graph")
    assert ended.status == "unsupported" and "need a CUDA device" in (ended.reason or "")
    assert list(of(rows, "iteration", variant="channels-last"))


def test_inference_is_timed_apart(tmp_path: Path) -> None:
    for mode in ("inference", "training"):
        cases = (case("reference", mode=mode),)
        list(
            schedule.run(
                cases,
                ledger(tmp_path),
                schedule.Plan(budget=5.0, data_root=tmp_path),
                rows_.new_run(),
            )
        )
    rows, _ = Store(tmp_path).read()
    table = tables.acceleration(rows)
    assert sorted(table["mode"]) == ["inference"] * 2 + ["training"] * 2
    assert all(line["rounds"] > 0 for line in table.to_dict("records"))
    assert {row.mode for row in of(rows, "memory")} == {"inference", "training"}


def test_dead_layers_are_said(tmp_path: Path) -> None:
    network = paper.network("Large", "cifar10", width=Fraction(1, 8))[1]
    rows = measure(tmp_path, "reference", network=network, initialisation="torch")
    (warning,) = of(rows, "warning")
    reason = warning.reason or ""
    assert reason.startswith("dead layers under the torch initialisation: ")
    assert "8 Voting (rate 0.0000)" in reason and "--init calibrated" in reason
    assert not list(of(measure(tmp_path / "other", "reference"), "warning"))
