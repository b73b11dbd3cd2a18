"""Contenders in processes of their own: what one does to its process costs the others nothing."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import hostile_contenders
import in_process
import psutil
import pytest
import torch
from contenders import question_on
from rows import altered
from surroundings import needs_linux
from test_schedule import TINY, case, pick, rows_in, run

from adapters import facts
from harness.datasets import load_batch
from harness.machine import clock, memory
from harness.proof.installation import NOTHING_KNOWN
from harness.records import AuditResult, EndedResult, IterationResult, Row, Run, WarningResult
from harness.records.run import Failed, RowMaker
from harness.spec import FLOOR
from harness.speed import cell, contender
from harness.speed.contender import ContenderProcess
from harness.speed.estimates import Estimates
from harness.speed.iteration import Meter, of_round
from harness.speed.judge import Judge
from harness.speed.worker import First, Turn, Worker

QUESTION = question_on(TINY, T=4, B=4, static=True)
CHEATS = {  # once they are audited, and how they are refused
    **dict.fromkeys(("remembers", "tires", "skips-one"), "output spikes|of shapes|saw no"),
    **dict.fromkeys(("coarse", "keeps-gradients"), "the gradient of"),
}


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch, plant: Callable[[str, str], None]) -> None:
    """Install the hostile contenders, of which nothing is known before."""
    plant("planted", "from hostile_contenders import DEVIATIONS, VARIANTS, build\n")
    monkeypatch.setattr(cell, "installation_of", lambda case: NOTHING_KNOWN)
    monkeypatch.setattr(Estimates, "seconds", lambda plan, group: 0.0)
    monkeypatch.setitem(facts._known, "planted", facts.Facts("planted"))


def measured(out: Path, *names: str) -> list[Row]:
    """The rows of one cell with these planted contenders."""
    run(out, *map(case, names), seconds=0.0, first=True, rounds=3)
    return rows_in(out)


@pytest.mark.slow
def test_what_one_sets_is_its_own_and_said_and_one_that_dies_or_hangs_costs_its_own_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contender, "SILENCE", 15.0)
    dies = {"exits": "exit code 3", "hangs": "said nothing for 15 s", "crashes": "SIGSEGV"}
    dies["eats"] = "can't allocate memory"
    forms = ("threads", "deterministic", "babbles", *dies)
    rows = measured(tmp_path, "reference", *(f"planted:{form}" for form in forms))
    warnings = {row.contender.suffix: row.result.reason for row in pick(rows, WarningResult)}
    assert set(warnings) == {"threads", "deterministic"}
    assert "threads" in warnings["threads"] and "determin" in warnings["deterministic"]
    used = {row.contender.name: row.build.threads for row in pick(rows, IterationResult)}
    assert used["reference"] == used["planted:deterministic"]
    assert (used["planted:threads"] or 0) > (used["reference"] or 0) > 0
    ended = {row.contender.suffix: row.result.reason for row in pick(rows, EndedResult)}
    assert set(ended) == {*dies} and all(words in ended[name] for name, words in dies.items())
    for timed in ({"framework": "reference"}, {"framework": "floor"}, {"variant": "babbles"}):
        rounds = pick(rows, IterationResult, twin=False, **timed)
        assert [row.result.round for row in rounds] == [1, 2, 3]


def test_a_late_cheat_costs_its_own_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = in_process.plant(monkeypatch)
    rows = measured(tmp_path, "reference", *(f"planted:{name}" for name in CHEATS))
    ended = {row.contender.suffix: row.result for row in pick(rows, EndedResult)}
    assert set(ended) == set(CHEATS)
    for name, words in CHEATS.items():
        assert ended[name].status == "not comparable"
        assert re.search(words, ended[name].reason), ended[name].reason
        first, *_ = pick(rows, AuditResult, variant=name)
        assert (first.result.when, first.result.passed) == ("before", True)  # it was honest then
    rounds = pick(rows, IterationResult, framework="reference")
    assert [row.result.round for row in rounds] == [1, 2, 3]
    assert all(child.ended for child in started)


def test_votes_unlike_the_others_are_audited_though_the_round_is_not_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process.plant(monkeypatch)
    monkeypatch.setattr(cell, "DRAWN", 0.0)  # the round that is always audited is never the first
    rows = measured(tmp_path, "reference", "reference:channels-last", "planted:tires")
    (ended,) = pick(rows, EndedResult)
    assert (ended.contender.suffix, ended.result.status) == ("tires", "not comparable")
    assert [row.result.round for row in pick(rows, IterationResult, variant="tires")] == [1]
    assert all(
        row.result.round != 1
        for row in pick(rows, AuditResult, framework="reference", when="round")
    )


def test_each_round_has_weights_and_a_batch_of_its_own() -> None:
    rounds = [of_round(QUESTION, number) for number in (1, 2)]
    for number, question in enumerate(rounds, 1):
        assert torch.equal(question.x, QUESTION.x.roll(number, 1))
        assert question.labels is not None and QUESTION.labels is not None
        assert torch.equal(question.labels, QUESTION.labels.roll(number, 0))
        for old, new in zip(QUESTION.parameters, question.parameters, strict=True):
            assert 0 < float((new - old).abs().sum() / old.abs().sum()) < 2e-3
    assert not any(map(torch.equal, *(question.parameters for question in rounds)))


def test_a_late_audit_is_on_another_batch_and_weights_three_times_as_large(tmp_path: Path) -> None:
    one = case("reference")
    batch, other = (load_batch("cifar10", 4, 4, seed, root=tmp_path) for seed in (0, 1))
    late_question = Judge(one, batch, other, tmp_path).question(one, is_late=True)
    first, _ = Judge(altered(one, seed=1), other, batch, tmp_path).weights(is_late=False)
    tripled = (3 * weights.detach() for weights in first.parameters())
    assert all(map(torch.equal, late_question.parameters, tripled))
    assert torch.equal(late_question.x[0], other.inputs[0])


@pytest.mark.slow
def test_each_compiles_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    rows = measured(tmp_path / "out", "planted:compiles", "planted:compiles-too")
    folders = {row.result.reason.partition(": ")[2] for row in pick(rows, EndedResult)}
    assert len(folders) == 2 and str(tmp_path) not in folders
    assert not any(map(os.path.exists, folders))  # they went with their contenders


def test_one_that_has_no_turn_is_stopped_with_all_that_it_left_running() -> None:
    with started("planted:burns") as burning:
        burning.call(Worker.build, QUESTION)
        process, watch = process_of(burning), clock.Stopwatch()
        while process.status() != psutil.STATUS_STOPPED:
            assert watch.seconds < 10
            time.sleep(0.01)
        times = process.cpu_times()
        time.sleep(0.3)
        assert process.cpu_times() == times


@contextmanager
def started(name: str, *args: Path, **settings: bool) -> Iterator[ContenderProcess]:
    one = ContenderProcess(RowMaker(Run(id="run"), case(name)))
    one.start(*args, **settings)
    try:
        yield one
    finally:
        one.end()


def process_of(one: ContenderProcess) -> psutil.Process:
    assert one.child is not None
    return psutil.Process(one.child.pid)


def first(name: str) -> First:
    """Its first iteration in a process."""
    with started(name) as one:
        return one.call(Worker.build, QUESTION)


def test_what_a_module_holds_is_in_its_memory_and_what_was_free_before_is_not_in_the_base() -> None:
    names = ("planted:greedy", "reference", "planted:littering", "planted:hoards")
    greedy, plain, littering, hoards = (first(name).peak_mib or 0.0 for name in names)
    held = hostile_contenders.HELD / 2**20
    assert 0 < plain < held / 2 and 0.9 * held < greedy - plain < 1.5 * held
    assert littering == pytest.approx(greedy, rel=0.1)
    assert hoards == pytest.approx(greedy, rel=0.1)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("planted:first-use", "RuntimeError: no such small network"),
        ("planted:compiled", "a compiler works in"),
        ("reference", "FileNotFoundError: /proc/1/status"),
    ],
    ids=["it raises on a small network", "it is compiled", "the peak cannot be read"],
)
def test_where_memory_cannot_be_measured_the_time_stands(
    name: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(meter: Meter) -> float:
        raise FileNotFoundError("/proc/1/status")

    monkeypatch.setattr(Meter, "peak_mib", gone)
    outcome = Worker(case(name)).build(QUESTION)
    assert outcome.seconds > 0 and outcome.peak_mib is None and outcome.unmeasured.startswith(why)


@pytest.mark.parametrize("iterations", [1, 2], ids=["starts", "is audited"])
@pytest.mark.parametrize(("spare", "count"), [(90.0, 1), (110.0, 0)], ids=["tight", "enough"])
def test_room_is_made_for_one_that_starts_or_is_audited_and_the_largest_gives_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: float, count: int, iterations: int
) -> None:
    """In MiB: an iteration takes 1,000, 100 are to spare, a release gives 200."""
    children, released = in_process.plant(monkeypatch), list[Worker]()

    def available(device: str) -> float:  # little before the third starts, or is audited
        frameworks = [child.worker.case.contender.framework for child in children if child.worker]
        later = frameworks[frameworks.index(FLOOR) :] if FLOOR in frameworks else []
        free = 1000.0 * iterations + (spare if len(later) == 1 + iterations else 9000.0)
        return free + 200.0 * len({*released})

    monkeypatch.setattr(memory, "case_mib", lambda case: 1000.0)
    monkeypatch.setattr(memory, "spare_mib", lambda: 100.0)
    monkeypatch.setattr(memory, "available_mib", available)
    monkeypatch.setattr(Worker, "release", released.append)
    later_hold_more = property(lambda process: float(children.index(process.child)))
    monkeypatch.setattr(ContenderProcess, "held_mib", later_hold_more)
    assert not pick(measured(tmp_path, "reference"), EndedResult)
    *_, floor, again, reference = (child.worker for child in children)
    assert floor not in released and reference not in released
    assert {*released} == {*[again][:count]}


def test_one_that_gives_its_memory_back_does_so_after_audits_and_runs_once_before_it_is_timed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs, released, worker = list[object](), list[object](), Worker(case("reference"))
    worker.build(QUESTION)
    monkeypatch.setattr(memory, "release", lambda: released.append(None))
    monkeypatch.setattr(clock, "seconds", lambda run, device: float(runs.append(run()) or 1))
    for times in (0, 1):
        worker.tapped(QUESTION)
        assert len(released) == 2 * times  # when it is told to, and after the answer
        worker.turn(1)
        assert len(runs) == 2 + 3 * times  # with the copy that what was left is measured by
        worker.release()


@pytest.mark.parametrize("seconds", [-1.0, 1e9], ids=["rested", "in succession"])
def test_contenders_run_untimed_before_a_round_that_comes_after_a_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    in_process.plant(monkeypatch)
    turns, turn = list[int](), Worker.turn

    def noted(worker: Worker, number: int) -> Turn:
        turns.extend([number] * (worker.case.contender.framework == "reference"))
        return turn(worker, number)

    monkeypatch.setattr(Worker, "turn", noted)
    monkeypatch.setattr(cell, "REST_SECONDS", seconds)
    measured(tmp_path, "reference")
    assert turns == ([0, 1, 0, 2, 0, 3] if seconds < 0 else [0, 1, 2, 3])


def test_each_round_is_in_its_own_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_process.plant(monkeypatch)

    def measured_orders(out: Path) -> list[list[tuple[str, bool]]]:
        rows = measured(out, "reference", "reference:channels-last")
        rounds = (pick(rows, IterationResult, round=n) for n in (1, 2, 3))
        return [[(r.contender.full_name, r.result.twin) for r in lines] for lines in rounds]

    orders = measured_orders(tmp_path / "first")
    assert orders == measured_orders(tmp_path / "again")
    assert {len(order) for order in orders} == {4}
    assert any(order != orders[0] for order in orders)


def test_a_device_is_synchronised_on_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(clock, "synchronise", lambda device: events.append("synchronise"))
    clock.seconds(lambda: events.append("work"), torch.device("cpu"))
    assert events == ["synchronise", "work", "synchronise"]


@needs_linux
def test_threads_of_what_is_timed_wait_as_they_come_and_of_the_training_in_bf16_sleep_sooner(
    tmp_path: Path,
) -> None:
    def spin_count(one: ContenderProcess) -> str | None:
        return process_of(one).environ().get("GOMP_SPINCOUNT")

    for name in (FLOOR, "reference"):
        with started(name, tmp_path) as timed:
            assert spin_count(timed) is None
    with started("reference", trains=True) as trained:
        assert spin_count(trained) == "30000"


def test_a_start_has_a_limit_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contender, "SILENCE", 0.01)
    with started("reference") as one, pytest.raises(Failed, match="said nothing"):
        one.call(Worker.build, QUESTION)


@needs_linux
def test_a_process_that_has_ended_has_no_memory() -> None:
    with subprocess.Popen(["true"]) as ended:
        while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert Meter(torch.device("cpu"), 0.0).peak_mib() > 0
