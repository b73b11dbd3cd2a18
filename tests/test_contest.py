"""Contenders in processes of their own: what one does to its process costs the others nothing."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import beside
import hostile_contenders
import psutil
import pytest
import torch
from test_schedule import Owner, case, of, rows_in

from harness.proof.subject import NOTHING_KNOWN
from harness.records import EndedRow, IterationRow, Record, Row, Store, WarningRow
from harness.records.build import Failed, Run, new_run
from harness.records.ledger import Ledger
from harness.reference.network import ReferenceNetwork
from harness.spec import FLOOR, Access, Budget, Case
from harness.speed import cell, schedule
from harness.speed.apart import Apart, Host
from harness.speed.inside import Setting
from harness.speed.judge import Audited, Judge, When
from harness.speed.schedule import Contest
from harness.system import footprint, machine
from harness.system.clock import Deadline

R = TypeVar("R", bound=Record)
KEPT = Setting(threads=1, allocator="system")


@pytest.fixture(autouse=True)
def nothing_is_known_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cell, "subject_of", lambda case: NOTHING_KNOWN)


def measured(out: Path, *names: str, silence: float = 60.0) -> list[Row]:
    """The rows of one cell with these planted contenders, in processes."""
    at = Run(new_run(), machine.describe(torch.device("cpu")), "system")
    ledger = Ledger(Store(out), Owner(), runs=(at.id,))
    cases = tuple(case(name) for name in names)
    contest = Contest(hostile_contenders.find, silence)
    budget = Budget(seconds=0.0, rounds=3, allocator="system")
    try:
        list(schedule.run(cases, ledger, Access(out.parent), budget, at, contest))
    finally:
        ledger.release()
    return rows_in(out)


def test_what_a_contender_sets_is_its_own_and_said(tmp_path: Path) -> None:
    rows = measured(tmp_path, "reference", "planted:threads", "planted:deterministic")
    said = {row.contender: row.reason for row in of(rows, WarningRow)}
    assert set(said) == {"planted:threads", "planted:deterministic"}
    assert "threads" in said["planted:threads"] and "determin" in said["planted:deterministic"]
    used = {row.contender: row.contender_threads for row in of(rows, IterationRow)}
    assert used["reference"] == used["planted:deterministic"] == 1
    assert used["planted:threads"] == 3
    assert not of(rows, EndedRow)


def test_a_contender_that_stops_its_clock_is_timed_by_ours(tmp_path: Path) -> None:
    rows = measured(tmp_path, "reference", "planted:clock")
    times = {row.contender: row.seconds for row in of(rows, IterationRow)}
    assert times["planted:clock"] > 1e-3


@pytest.mark.slow
def test_one_that_exits_or_hangs_costs_its_own_row(tmp_path: Path) -> None:
    rows = measured(tmp_path, "reference", "planted:exits", "planted:hangs", silence=20.0)
    ended = {row.contender: row.reason for row in of(rows, EndedRow)}
    assert "ended with exit code 3" in ended["planted:exits"]
    assert "said nothing for" in ended["planted:hangs"]
    timed = [row.round for row in of(rows, IterationRow) if row.contender == "reference"]
    assert timed == [1, 2, 3]


@pytest.mark.parametrize("name", ["remembers", "tires"])
def test_one_that_computes_less_once_it_was_audited_is_found(tmp_path: Path, name: str) -> None:
    rows = measured(tmp_path, "reference", f"planted:{name}")
    (ended,) = of(rows, EndedRow)
    assert (ended.contender, ended.status) == (f"planted:{name}", "not comparable")
    assert "a timed iteration is not what was audited" in ended.reason


def built(name: str) -> Apart:
    """A planted contender in its process, built and ready for an iteration."""
    apart = Apart.start(case(name), Host(hostile_contenders.find, KEPT, math.inf, lambda: None))
    weights = [torch.zeros_like(each) for each in ReferenceNetwork(case(name).network).parameters()]
    inputs, labels = torch.rand(1, 4, 3, 32, 32), torch.arange(4)
    apart.ask("build", apart.give([*weights, inputs, labels]))
    apart.ask("ready", 0)
    return apart


def test_each_compiles_where_nothing_was_compiled_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    found = []
    for _ in range(2):
        apart = built("planted:compiles")
        folder = Path(apart.compiled.name)
        with pytest.raises(Failed, match=str(folder)):
            apart.seconds()
        (folder / "a kernel").touch()
        apart.end()
        assert not folder.exists()
        found.append(folder)
    assert len({*found, tmp_path}) == 3


def test_who_has_no_turn_is_stopped_with_all_that_it_left_running() -> None:
    apart = built("planted:burns")
    try:
        apart.seconds()
        apart.report()
        process = psutil.Process(apart.child.process.pid)
        deadline = Deadline.after(10)
        while process.status() != psutil.STATUS_STOPPED:
            assert deadline.left > 0
            time.sleep(0.01)
        before = process.cpu_times()
        time.sleep(0.3)
        assert process.cpu_times() == before
    finally:
        apart.end()


def test_who_fails_at_the_last_round_ends_and_so_do_all_with_their_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = beside.plant(monkeypatch)

    def failed(judge: Judge, apart: Apart, when: When, case: Case) -> Audited:
        audited = audit(judge, apart, when, case)
        wrong = replace(audited.finding, passed=False, reason="it tired")
        return replace(audited, finding=wrong) if when == "after" else audited

    audit = Judge.audit
    monkeypatch.setattr(Judge, "audit", failed)
    rows = measured(tmp_path, "reference")
    assert [row.reason for row in of(rows, EndedRow)] == ["it tired"]
    assert len(started) >= 4 and all(each.ended for each in started)


@pytest.mark.parametrize(("free", "lean"), [(10.0, 1), (90.0, 1), (110.0, 0)])
def test_room_is_made_for_who_starts_with_some_to_spare_and_the_largest_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: float, lean: int
) -> None:
    started = beside.plant(monkeypatch)
    needed = footprint.iteration_mib(case("reference")) + footprint.weights_mib(case("reference"))

    def available(device: str) -> float:  # short of room once both floors are there
        cases = [cast(beside.InThisProcess, each.child).case for each in started]
        both = sum(each.framework == FLOOR for each in cases) == 2
        return needed + (free if both else 1000.0) + 200.0 * sum(each.lean for each in started)

    monkeypatch.setattr(footprint, "available_mib", available)
    monkeypatch.setattr(footprint, "spare_mib", lambda: 100.0)
    monkeypatch.setattr(Apart, "held_mib", property(lambda each: float(started.index(each))))
    assert not of(measured(tmp_path, "reference"), EndedRow)
    *_, floor, again, reference = started
    assert not floor.lean and not reference.lean
    assert [each for each in started if each.lean] == [again][:lean]


def test_what_breaks_the_pipe_is_a_reason() -> None:
    host = Host(hostile_contenders.find, KEPT, 30.0, lambda: None)
    apart = Apart.start(case("reference"), host)
    try:
        with pytest.raises(Failed, match="KeyError"):
            apart.ask("nothing of the kind")
    finally:
        apart.end()
