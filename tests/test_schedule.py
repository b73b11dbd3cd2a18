"""Cells on a tiny network: what becomes a row, who has its next round when, what is never timed."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeVar

import in_process
import pytest
import torch
from contenders import Forward, from_forward, off_by, stepped
from rows import CASE, altered
from torch import Tensor, nn

import adapters
from adapters import facts
from harness.adapter import Adapter, Unsupported, Variant
from harness.analysis.frame import flat
from harness.datasets import Batch
from harness.machine import clock, host
from harness.machine.files import make_user_cache
from harness.proof.exam import Exam
from harness.records import (
    AuditResult,
    CertificateResult,
    EndedResult,
    IterationResult,
    MemoryResult,
    Result,
    Row,
    Run,
    Store,
    TimedResult,
    WarmupResult,
    WarningResult,
    of_kind,
)
from harness.records.identity import PROTOCOL
from harness.records.run import CaseRows, new_run
from harness.records.store import Ledger
from harness.reference.network import ReferenceNetwork
from harness.spec import (
    Access,
    Budget,
    Contender,
    Network,
    Options,
    Precision,
    ProgressCallback,
    Timing,
    UsageError,
    paper,
)
from harness.speed import cell, estimates, judge, schedule
from harness.speed.estimates import Estimates
from harness.speed.iteration import Meter
from harness.speed.judge import Judge
from harness.speed.schedule import Schedule
from harness.speed.worker import Worker
from harness.training import descent

K = TypeVar("K", bound=Result)

TINY = paper.network("8C3(Encoding)-AP2-8C3-AP2-16FC-Voting", "cifar10")[1]


def case(name: str, precision: Precision = "fp32", **changes: Any) -> Timing:
    small = {"scale": "custom", "network": TINY, "T": 4, "batch_size": 4}
    return altered(CASE, contender=Contender.parse(name, precision), **{**small, **changes})


def is_timed(x: Tensor) -> bool:  # and not examined
    return x.dtype == torch.float32 and x.shape[:2] == (4, 4)


def breaks(right: Forward, x: Tensor) -> Tensor:
    if torch.is_autocast_enabled("cpu"):
        raise RuntimeError("no bf16 here")
    if is_timed(x):
        raise RuntimeError("out of something")
    return right(x)


def meddles(right: Forward, x: Tensor) -> Tensor:
    if is_timed(x):
        torch.set_num_threads(torch.get_num_threads() + 1)
    return right(x)


def _unsupported(network: Network) -> nn.Module:
    raise Unsupported("this framework has no average pool; use reference")


WRONG = stepped(off_by(k_tau=0.5))


class Compiles:
    """The reference, whose kernels are still to be compiled, as it says."""

    DEVIATIONS = ()
    build = ReferenceNetwork

    @staticmethod
    def compiles(device: str) -> bool:
        return device == "cpu"


class Tells:
    """The reference, which computes otherwise with large weights, as it says."""

    DEVIATIONS = ()
    build = ReferenceNetwork

    @staticmethod
    def computed(module: nn.Module) -> str:
        return str(next(module.parameters()).abs().max().item())


PLANTED: dict[str, Adapter] = {
    "compiles": Compiles(),
    "tells": Tells(),
    "unsupported": Variant((), _unsupported),
    "wrong": Variant((), WRONG),
    "marked": Variant(("another decay",), WRONG),
    "breaks": Variant((), from_forward(breaks)),
    "meddles": Variant((), from_forward(meddles)),
}


def plant(
    monkeypatch: pytest.MonkeyPatch, find: Callable[[str], Adapter], forms: dict[str, Any]
) -> None:
    """Has `planted:FORM` be found in this process; its peak is made up, cells have four rounds."""
    load, planted_facts = adapters.load, facts.Facts("planted", variants=forms)

    def find_planted(name: str) -> Adapter:
        contender = Contender.parse(name)
        return find(contender.suffix or "") if contender.framework == "planted" else load(name)

    monkeypatch.setattr(facts, "_known", {**facts._known, "planted": planted_facts})
    monkeypatch.setattr(adapters, "load", find_planted)
    monkeypatch.setattr(Meter, "peak_mib", lambda meter: 12.34)
    monkeypatch.setattr(schedule, "MOST_ROUNDS", 4)
    monkeypatch.setattr(schedule, "STARTS", 2)
    monkeypatch.setattr(Estimates, "seconds", lambda plan, group: 0.0)
    in_process.plant(monkeypatch)


@pytest.fixture(autouse=True)
def planted(monkeypatch: pytest.MonkeyPatch) -> None:
    def find(form: str) -> Adapter:
        if form == "absent":
            raise adapters.Missing("planted does not load: install it with pip install planted")
        return PLANTED[form]

    forms = {form: adapter.DEVIATIONS for form, adapter in PLANTED.items()}
    plant(monkeypatch, find, {**forms, "absent": ()})
    monkeypatch.setattr(descent, "CHECK_SETTINGS", replace(descent.CHECK_SETTINGS, steps=2))


def events(
    out: Path,
    *cases: Timing,
    seconds: float = 1e9,
    first: bool = False,
    rounds: int = 4,
    least: int | None = None,
    fresh: bool = False,
    say: ProgressCallback = lambda *_: None,
) -> Iterator[CaseRows]:
    """The cells, each when it is said; the rows are in `out`."""
    machine = host.describe(torch.device("cpu"))
    this_run = Run(id=new_run(), machine=machine, allocator="system", protocol=PROTOCOL)
    ledger = Ledger(Store(out), say, fresh, runs=(this_run.id,))
    budget = Budget(seconds=seconds, rounds=rounds, least=least, first=first)
    try:
        access = Access(out.parent, fresh=fresh)
        yield from Schedule(cases, ledger, access, budget, this_run).results()
    finally:
        ledger.release()


def run(out: Path, *cases: Timing, **settings: Any) -> list[CaseRows]:
    """The cells as they are said."""
    return list(events(out, *cases, **settings))


def rows_in(out: Path) -> list[Row]:
    rows, damaged = Store(out).read()
    assert not damaged
    return rows


def measure(out: Path, *frameworks: str, **changes: Any) -> list[Row]:
    run(out, *(case(name, **changes) for name in frameworks))
    return rows_in(out)


def pick(rows: Iterable[Row], kind: type[K], **values: object) -> list[Row[K]]:
    """The rows of a kind with these values in their tables' columns."""
    return [row for row in of_kind(rows, kind) if values.items() <= flat(row).items()]


def test_a_contender_is_certified_audited_and_timed_in_the_floors_rounds(tmp_path: Path) -> None:
    messages: list[tuple[float, str]] = []
    cases = case("reference"), case("planted:unsupported")
    run(tmp_path, *cases, seconds=math.inf, say=lambda *message: messages.append(message))
    rows = rows_in(tmp_path)
    for name, twin in (("reference", False), ("floor", False), ("floor", True)):
        timed = pick(rows, IterationResult, framework=name, twin=twin)
        starts = [(row.result.round, row.result.start) for row in timed]
        assert starts == [(1, 1), (2, 1), (3, 2), (4, 2)]
        assert all(row.result.seconds > 0 for row in timed)
    assert [row.result.peak_memory_mib for row in pick(rows, MemoryResult)] == [12.3]
    assert [row.result.steps for row in pick(rows, WarmupResult, framework="reference")] == [4, 4]
    audits = [row.result for row in pick(rows, AuditResult)]
    assert {(audit.when, audit.passed) for audit in audits} == {
        *(("before", True), ("round", True), ("late", True))
    }
    assert all((audit.round is None) == (audit.when != "round") for audit in audits)
    proofs = pick(rows, CertificateResult)  # of the very network, and kept per layer
    assert {row.workload.network for row in proofs} == {TINY}
    layers = [None, "1 8C3(Encoding)", "2 8C3", "3 16FC", "4 Voting"]
    assert [
        (row.result.certificate_precision, row.result.layer, row.result.certified) for row in proofs
    ] == [(precision, layer, True) for precision in ("fp64", "fp32") for layer in layers]
    for row in rows:
        assert row.data.source and row.data.source.sha256 and row.data.source.substitute
        machine = row.run.machine
        assert (
            machine.cpu
            and machine.threads
            and machine.torch
            and machine.python
            and row.run.allocator
        )
        assert row.workload.width == 1 and row.workload.initialisation == "calibrated"
    assert not pick(rows, WarningResult)
    assert all(doing.startswith(f"cifar10 {TINY}: ") for _, doing in messages)
    # it is not measured again, and its keys are said
    (measured,) = run(tmp_path, *cases, seconds=math.inf)
    assert rows_in(tmp_path) == rows
    ended = {row.key for row in rows if isinstance(row.result, TimedResult | EndedResult)}
    assert measured.was_done and {row.key for row in measured.rows} == ended
    assert len(ended) == 3  # with the floor


def test_what_is_wrong_missing_or_breaks_costs_its_own_row(tmp_path: Path) -> None:
    forms = ("wrong", "marked", "absent", "unsupported", "breaks")
    rows = measure(
        tmp_path, "reference", *(f"planted:{form}" for form in forms), "reference:channels-last"
    )
    ended = {row.contender.suffix: row for row in pick(rows, EndedResult)}
    assert {form: row.result.status for form, row in ended.items()} == {
        "wrong": "not comparable",
        "absent": "missing",
        "unsupported": "unsupported",
        "breaks": "failed",
    }
    wrong = ended["wrong"].result.reason
    assert "spikes differ" in wrong or "gradients differ" in wrong
    assert "pip install planted" in ended["absent"].result.reason
    assert "no average pool" in ended["unsupported"].result.reason
    assert ended["breaks"].result.reason == "RuntimeError: out of something"
    timed = pick(rows, IterationResult, framework="planted")
    assert {(row.contender.suffix, row.installation.deviations) for row in timed} == {
        ("marked", "another decay")
    }
    assert pick(rows, IterationResult, variant="channels-last")
    assert len(pick(rows, IterationResult, framework="reference")) >= 2


def test_what_fails_its_exam_in_bf16_stands_in_float32(tmp_path: Path) -> None:
    big: dict[str, Any] = {"batch_size": 5}  # of which it says nothing in float32
    run(tmp_path, case("planted:breaks", **big), case("planted:breaks", precision="bf16", **big))
    rows = rows_in(tmp_path)
    (ended,) = pick(rows, EndedResult)
    assert ended.contender.precision == "bf16" and "no bf16 here" in ended.result.reason
    assert len(pick(rows, IterationResult, variant="breaks", precision="fp32")) == 4


def test_a_floor_whose_process_is_changed_ranks_nobody(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    try:  # here all contenders share this process, as if it was changed from outside
        rows = measure(tmp_path, "reference", "planted:meddles")
    finally:
        torch.set_num_threads(threads)
    (ended,) = pick(rows, EndedResult, framework="floor")[:1]
    assert "changed from outside: sets torch's threads" in ended.result.reason
    assert not pick(rows, TimedResult)


@pytest.mark.parametrize(
    ("error", "module", "name"),
    [
        (UsageError("delete it"), cell.datasets, "load_batch"),
        (MemoryError("delete it"), cell.datasets, "load_batch"),
        (MemoryError("delete it"), judge, "initial_network"),
    ],
    ids=["damaged data", "too large data", "too large weights"],
)
def test_data_that_is_damaged_or_too_large_is_a_row_a_case(
    error: Exception, module: object, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*args: object, **kwargs: object) -> None:
        raise error

    monkeypatch.setattr(module, name, damaged)
    failures = pick(measure(tmp_path, "reference", "norse"), EndedResult, reason="delete it")
    assert [row.contender.framework for row in failures] == ["reference", "norse"]


def test_a_case_that_cannot_fit_is_refused_with_the_estimate(tmp_path: Path) -> None:
    (ended,) = pick(measure(tmp_path, "reference", T=10**8), EndedResult)
    assert ended.result.status == "failed" and "it would take about" in ended.result.reason


@pytest.mark.parametrize("dataset", paper.SETTINGS)
def test_exams_are_of_full_width_for_small_and_of_a_quarter_for_larger_networks(
    dataset: str,
) -> None:
    for scale in paper.SCALES:
        _, network = paper.network(scale, dataset)
        one, unread = case("reference", dataset=dataset, network=network), Batch.__new__(Batch)
        examined = Judge(one, unread, unread, Path()).network_of(one)
        assert examined == network.scaled(Fraction(1) if scale == "Small" else Fraction(1, 4))


def test_cells_come_by_worth_each_with_its_first_rounds_and_with_all(tmp_path: Path) -> None:
    results = run(tmp_path, case("reference"), case("reference", T=2), seconds=math.inf)
    rows = rows_in(tmp_path)
    rounds = [
        (row.workload.T, row.result.round)
        for row in pick(rows, IterationResult, framework="floor", twin=True)
    ]
    assert rounds == [(T, number) for T in (2, 4) for number in (1, 2, 3, 4)]
    yielded = [(result.case.workload.T, result.rounds) for result in results]
    assert yielded == [(2, 1), (2, 4), (4, 1), (4, 4)]


def test_all_runs_take_cells_in_one_order() -> None:
    """Else two that hold a cell each would wait for each other's for ever."""
    one, other = case("reference"), case("reference", seed=1)
    assert schedule.worth(one) != schedule.worth(other)


def test_what_does_not_fit_into_the_budget_is_said_with_its_estimate_and_done_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Estimates, "seconds", lambda plan, group: 100.0 * group[0].workload.T)
    cases = case("reference"), case("reference", T=2), case("reference", T=3)
    says = r"no cell fits into a budget of 0.001 s: .*about 200 s here, .* 1.2 times .*--budget 5m"
    with pytest.raises(UsageError, match=says):  # 240 s, and a moment for data
        run(tmp_path, *cases, seconds=0.001)
    # nobody gave these ten minutes, so a busy machine measures a cell all the same
    assert Options().spending.first and not Options(budget=600.0).spending.first
    (look, *_) = run(tmp_path / "look", *cases, seconds=100.0, first=True)
    assert (look.case.workload.T, look.rounds) == (2, 1)

    def measured(*cases: Timing) -> list[tuple[object, ...]]:
        results = run(tmp_path, *cases, seconds=330.0)
        return [(r.was_done, r.case.workload.T, r.rounds, r.left_seconds) for r in results]

    assert measured(*cases[:2]) == [*((False, 2, 1, 0.0), (False, 2, 4, 0.0), (False, 4, 0, 400.0))]
    # what is done takes no time of it; 330 s are not 1.2 times 300
    assert measured(*cases) == [*((True, 2, 0, 0.0), (False, 3, 0, 300.0), (False, 4, 0, 400.0))]
    monkeypatch.setattr(Estimates, "seconds", lambda plan, group: 90.0 * group[0].workload.T)
    assert measured(*cases)[1:3] == [(False, 3, 1, 0.0), (False, 3, 4, 0.0)]


def test_an_estimate_follows_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(estimates, "_rate", lambda device: 1e9)
    plan, cases = Estimates(5), (case("reference"), case("snntorch"))
    first = plan.seconds(cases)
    assert 0 < plan.round_seconds(cases) < first < plan.seconds((*cases, case("norse")))
    rounds = first - 2 * estimates.EXAM_SECONDS
    plan.correct(cases, 3 * rounds, 5)  # without its exams it took three times as long
    assert plan.seconds(cases) == pytest.approx(3 * rounds + 2 * estimates.EXAM_SECONDS)


def test_a_failure_that_a_later_run_has_overcome_is_none_of_what_was_measured_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cases = case("reference"), case("planted:breaks")
    first = run(tmp_path, *cases)[-1]
    assert [row.contender.framework for row in pick(first.rows, EndedResult)] == ["planted"]
    monkeypatch.setitem(PLANTED, "breaks", Variant((), ReferenceNetwork))
    run(tmp_path, *cases)
    (measured,) = run(tmp_path, *cases)
    assert measured.was_done and not pick(measured.rows, EndedResult)
    assert len(pick(measured.rows, TimedResult, framework="planted")) == 1


def test_a_framework_that_is_not_installed_has_nothing_timed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path, case("reference"))
    absent = facts.Facts("absent", missing="absent does not load: pip install it")
    monkeypatch.setitem(facts._known, "absent", absent)
    for _ in range(2):
        (measured,) = run(tmp_path, case("reference"), case("absent"))
        (ended,) = pick(measured.rows, EndedResult)
        assert measured.was_done and pick(rows_in(tmp_path), EndedResult) == [ended]
        assert (ended.contender.framework, ended.result.status) == ("absent", "missing")
    assert len(pick(rows_in(tmp_path), TimedResult, framework="reference")) == 1


def test_rounds_say_how_their_own_weights_were_computed(tmp_path: Path) -> None:
    rows = measure(tmp_path, "planted:tells")
    warm = pick(rows, WarmupResult, framework="planted")
    usual, large = [float(str(row.build.computed)) for row in warm]
    assert large > 2 * usual  # of the late audit, drawn anew
    rounds = pick(rows, IterationResult, framework="planted")
    assert {row.result.start for row in rounds} == {1, 2}
    for row in (*rounds, *pick(rows, TimedResult, framework="planted")):
        assert float(str(row.build.computed)) == usual
    audits = pick(rows, AuditResult, when="late")
    assert audits and all(float(str(row.build.computed)) == large for row in audits)


def test_a_cell_without_a_second_floor_is_not_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has a rank without A/A: the next run tries again."""
    build, built = Worker.build_floor, list[Worker]()

    def build_first(worker: Worker, *args: Any) -> Any:
        built.append(worker)
        if len(built) == 2:
            raise MemoryError("no room")
        return build(worker, *args)

    monkeypatch.setattr(Worker, "build_floor", build_first)
    (*_, last) = run(tmp_path, case("reference"))
    assert last.rounds == 4 and len(pick(last.rows, IterationResult, framework="reference")) == 4
    assert not pick(last.rows, IterationResult, twin=True)
    (*_, last) = run(tmp_path, case("reference"))
    assert not last.was_done and len(pick(last.rows, IterationResult, twin=True)) == 4
    assert all(result.was_done for result in run(tmp_path, case("reference")))


@pytest.mark.usefixtures("no_data_of_the_machine")
def test_a_fresh_run_measures_the_floors_layouts_anew(tmp_path: Path) -> None:
    def times() -> list[int]:
        return [path.stat().st_mtime_ns for path in make_user_cache("layouts").glob("*.json")]

    run(tmp_path / "first", case("reference"))
    first = times()
    run(tmp_path / "second", case("reference"))
    assert times() == first and len(first) == 2  # one for each of its convolutions
    run(tmp_path / "third", case("reference"), fresh=True)
    assert not {*times()} & {*first}


def test_what_was_timed_apart_or_in_fewer_rounds_is_timed_again(tmp_path: Path) -> None:
    cases = case("reference"), case("reference:channels-last")
    for one in cases:
        run(tmp_path, one)
    (*_, last) = run(tmp_path, *cases)  # only seconds of the same rounds compare
    assert not last.was_done and last.rounds == 4
    assert all(result.was_done for result in run(tmp_path, *cases))
    (look, *_) = run(tmp_path / "look", cases[0], rounds=2)
    assert look.rounds == 1
    assert all(result.was_done for result in run(tmp_path / "look", cases[0], rounds=2))
    assert [result.rounds for result in run(tmp_path / "look", cases[0])] == [1, 4]


class SlowWatch:
    """Every look at it finds it 50 s later."""

    def __init__(self, device: object = None) -> None:
        self._looks = 0

    @property
    def seconds(self) -> float:
        self._looks += 1
        return 50.0 * self._looks


@pytest.mark.parametrize(
    ("watch", "rounds", "starts"),
    [(clock.Stopwatch, 5, 2), (SlowWatch, 2, 1)],
    ids=["time for all", "slower than foreseen"],
)
def test_a_first_look_has_the_rounds_of_a_rank_where_there_is_time_and_is_audited_in_any_case(
    watch: type, rounds: int, starts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "Stopwatch", watch)
    look: dict[str, Any] = {"seconds": 100.0, "rounds": 5, "least": 2, "first": True}
    run(tmp_path, case("reference"), **look)
    rows = rows_in(tmp_path)
    last = pick(rows, IterationResult, framework="reference")[-1].result
    assert (last.round, last.start) == (rounds, starts)
    assert pick(rows, AuditResult, when="round")
    assert [row.result.rounds for row in pick(rows, TimedResult, framework="reference")] == [rounds]
    assert all(result.was_done for result in run(tmp_path, case("reference"), **look))


def test_what_was_measured_before_an_interruption_is_kept_and_no_folder_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))

    def say(fraction: float, doing: str) -> None:
        if "round 2" in doing:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, case("reference"), say=say)
    assert {row.result.round for row in pick(rows_in(tmp_path), IterationResult)} == {1}
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    ("precisions", "floors"),
    [
        (("fp64",), {("fp64", False), ("fp64", True), ("fp32", False)}),
        (("fp32", "bf16"), {("fp32", False), ("fp32", True), ("bf16", False)}),
    ],
    ids=["fp64", "bf16"],
)
def test_precisions_are_proved_each_and_run_in_the_same_rounds_each_with_its_floor(
    precisions: tuple[Precision, ...], floors: set[tuple[str, bool]], tmp_path: Path
) -> None:
    cases = (case("reference", precision=name) for name in precisions)
    run(tmp_path, *cases, seconds=math.inf)
    rows = rows_in(tmp_path)
    expected = {("floor", *name) for name in floors}
    expected |= {("reference", precision, False) for precision in precisions}
    for number in (1, 2, 3, 4):
        timed = pick(rows, IterationResult, round=number)
        assert {
            (row.contender.framework, row.contender.precision, row.result.twin) for row in timed
        } == expected
    precisions_of = {"fp64": ["fp64"], "fp32": ["fp64", "fp32"], "bf16": ["fp64", "fp32", "bf16"]}
    for name in precisions:
        proofs = pick(rows, CertificateResult, layer=None, precision=name)
        assert [row.result.certificate_precision for row in proofs] == precisions_of[name]


def test_dead_layers_are_said(tmp_path: Path) -> None:
    network = replace(TINY, lif=replace(TINY.lif, v_th=3.0))
    rows = measure(tmp_path, "reference", network=network, initialisation="torch")
    reason = pick(rows, WarningResult)[0].result.reason
    assert reason.startswith("dead layers under the torch initialisation: ")
    assert "4 Voting (rate 0.0000)" in reason and "--init calibrated" in reason


@pytest.mark.parametrize("seconds", [1e9, 10.0])
def test_what_is_said_of_a_run_begins_near_zero_and_is_whole_only_when_it_has_ended(
    seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Estimates, "seconds", lambda plan, group: 1000.0)
    messages: list[tuple[float, str]] = []
    look: dict[str, Any] = {"seconds": seconds, "first": True}
    run(tmp_path, case("reference"), **look, say=lambda *message: messages.append(message))
    assert messages[0][1].endswith(": data") and messages[0][0] < 0.1
    # it takes longer than foreseen
    monkeypatch.setattr(Estimates, "seconds", lambda plan, group: 0.0)
    run(tmp_path, case("reference", T=2), say=lambda *message: messages.append(message))
    assert max(fraction for fraction, _ in messages) < 1


@pytest.mark.parametrize(
    ("is_known", "seconds", "watch", "rounds"),
    [
        (False, 600.0, clock.Stopwatch, 8),
        (True, 600.0, clock.Stopwatch, 4),
        (False, 200.0, clock.Stopwatch, 4),
        (False, 600.0, SlowWatch, 4),
    ],
    ids=["unsure", "known", "no time left", "slower than foreseen"],
)
def test_a_cell_whose_ratios_are_not_known_gets_more_rounds_where_there_is_time_for_all(
    is_known: bool,
    seconds: float,
    watch: type,
    rounds: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clock, "Stopwatch", watch)
    monkeypatch.setattr(schedule, "MOST_ROUNDS", 8)
    monkeypatch.setattr(cell.Cell, "is_known", lambda one, within=cell.WITHIN: is_known)
    monkeypatch.setattr(Estimates, "seconds", lambda plan, group: 100.0)
    monkeypatch.setattr(Estimates, "round_seconds", lambda plan, group: 5.0)
    run(tmp_path, case("reference"), case("reference", T=2), seconds=seconds)
    last = pick(rows_in(tmp_path), IterationResult, T=2)[-1].result
    assert (last.round, last.start) == (rounds, 2)
    assert {row.result.rounds for row in pick(rows_in(tmp_path), TimedResult, T=2)} == {rounds}


@pytest.mark.parametrize(
    ("judging", "error"),
    [((Exam, "judge"), MemoryError), ((Judge, "audit"), torch.OutOfMemoryError)],
)
def test_an_exam_or_an_audit_without_memory_costs_one_row(
    judging: tuple[type, str], error: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise error("no room")

    monkeypatch.setattr(*judging, full)
    (ended,) = pick(measure(tmp_path, "reference"), EndedResult)
    assert (ended.contender.framework, ended.result.reason) == ("reference", "no room")


def test_bf16_is_estimated_by_the_instructions_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = (case("reference"), case("reference", precision="bf16"))
    monkeypatch.setattr(estimates, "_rate", lambda device: 1e9)
    seconds = list[float]()
    for bf16, amx in ((False, False), (True, False), (True, True)):
        monkeypatch.setattr(host, "has_bf16", lambda device, has=bf16: has)
        monkeypatch.setattr(host, "has_amx", lambda has=amx: has)
        seconds.append(Estimates(5).round_seconds(mixed))
    assert seconds[0] > seconds[1] > seconds[2]


def test_during_exams_it_is_said_who_is_examined_and_whose_kernels_are_compiled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge, "LOOK_SECONDS", 0.01)
    messages: list[str] = []
    cases = case("reference"), case("planted:compiles")
    run(tmp_path, *cases, say=lambda _, doing: messages.append(doing.partition(": ")[2]))
    exams = [text for text in dict.fromkeys(messages) if "exam" in text or "compiling" in text]
    # one is examined at a time here, in that order
    assert exams[:2] == ["exams", "exam of reference"]
    # it is looked at from time to time: of a short phase, nothing may be seen
    assert {*exams[2:]} - {"exam of planted:compiles"} == {"compiling planted:compiles's kernels"}


@pytest.mark.parametrize(
    ("versions", "known_after", "starts"),
    [([()], 8, 4), ([()], 99, 10), ([], 6, 3), ([], 99, 5)],
    ids=["versions", "versions, never", "known within 2 %", "never known"],
)
def test_a_cell_is_started_anew_until_its_ratios_are_known_closely(
    versions: list[object],
    known_after: int,
    starts: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def is_known(one: cell.Cell, within: float = cell.WITHIN) -> bool:
        asked_closely = bool(versions) or within == cell.CLOSELY
        return one.number >= known_after if asked_closely else True

    monkeypatch.setattr(schedule, "STARTS", 5)
    monkeypatch.setattr(cell.Cell, "versions", versions)
    monkeypatch.setattr(cell.Cell, "is_known", is_known)
    run(tmp_path, case("reference"))
    rows = pick(rows_in(tmp_path), IterationResult, framework="reference")
    assert [row.result.start for row in rows] == [1 + n // 2 for n in range(2 * starts)]
    assert {row.result.rounds for row in pick(rows_in(tmp_path), TimedResult)} == {len(rows)}
