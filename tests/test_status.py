"""Cases are done, dated, failed or missing; a second measurement confirms them or differs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import exp, inf, isnan, nan, sqrt
from pathlib import Path
from typing import Any

import pytest
from recordings import quiet
from rows import (
    TEST,
    TRAIN,
    all_altered,
    altered,
    changed,
    fitted_case,
    row,
    timed,
    training,
)
from surroundings import Command
from test_schedule import case as timed_case
from test_schedule import rows_in
from trainings import case, rows_of

from harness import suites
from harness.analysis import status, timings
from harness.analysis.compare import MARGIN
from harness.analysis.frame import frames
from harness.analysis.timings import TimedLine
from harness.analysis.trainings import RATE_SEED
from harness.cli.status import key_now, lacks
from harness.jobs import verify
from harness.jobs.local import Local
from harness.jobs.verify import FigureCheck, VerifyContext, ratio_check
from harness.machine import host
from harness.records import (
    EndedResult,
    EpochResult,
    FittedResult,
    IterationResult,
    Row,
    Store,
    TestedResult,
    TimedResult,
    TrainedResult,
)
from harness.records.identity import PROTOCOL
from harness.records.run import CaseRows
from harness.reports import stored
from harness.spec import ANN, Access, Budget, Case, Options, Training, schedule
from harness.suites.trainings import STEPS

GIVEN = case(contender=ANN)
NOW = key_now("cpu")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one training, made by the local executor."""
    out = tmp_path_factory.mktemp("done")
    list(Local().train((GIVEN,), Store(out), Access(out), quiet))
    return out


def trained(out: Path) -> Row[TrainedResult]:
    (end,) = rows_of(out, TrainedResult)
    return end


def test_a_case_is_done_where_its_key_would_be_the_same_now(done: Path) -> None:
    assert all(row.case == GIVEN for row in rows_in(done))
    gone = altered(GIVEN, contender="gone:variant")
    for case_, change, now, state in (
        (GIVEN, {"code": "another", "commit": "another"}, NOW, "done"),
        (GIVEN, {}, lambda case, row: "another", "dated"),
        (
            GIVEN,
            {"source": replace(TRAIN, sha256="another")},
            NOW,
            "dated",
        ),  # the key follows from the row's data
        (gone, {"contender": "gone:variant"}, NOW, "dated"),  # and nothing fails
    ):
        rows = all_altered(rows_in(done), **change)
        assert status.state(case_, rows, now, Budget()) == state
    assert "unknown framework 'gone'" in str(lacks(gone))


def test_a_case_is_missing_failed_or_left_out_as_its_last_row_says(done: Path) -> None:
    every, failed = rows_in(done), row(EndedResult, GIVEN, reason="why")
    old = replace(trained(done), key="old")
    for rows, state in (
        ([], "missing"),
        ([failed], "failed"),
        ([altered(failed, status="missing")], "left out"),
        ([failed, *every], "done"),
        ([old, failed], "failed"),
        ([failed, old], "dated"),
    ):
        assert status.state(GIVEN, rows, NOW, Budget()) == state


def test_a_timing_of_another_machine_is_dated(monkeypatch: pytest.MonkeyPatch) -> None:
    case_ = timed_case("reference")
    timing = row(TimedResult, case_, source=TRAIN, allocator="system", rounds=5)
    timing = replace(timing, key=NOW(case_, timing))
    assert status.state(case_, [timing], NOW, Budget()) == "done"
    cut_off = row(IterationResult, case_, source=TRAIN, allocator="system", key=timing.key)
    assert status.state(case_, [cut_off], NOW, Budget()) == "missing"
    assert status.state(case_, [replace(cut_off, key="old")], NOW, Budget()) == "dated"
    another = replace(host.describe(host.torch.device("cpu")), cpu="another")
    monkeypatch.setattr(host, "describe", lambda device: another)
    assert status.state(case_, [timing], key_now("cpu"), Budget()) == "dated"


def test_a_timing_is_done_where_a_run_would_not_measure_it_again() -> None:
    """As after two rounds of --quick, or where the cell's contenders were timed in two runs."""
    one, two = timed_case("reference"), timed_case("reference", precision="fp64")
    data: dict[str, Any] = {"source": TRAIN, "allocator": "system"}
    rows = [row(TimedResult, case_, **data, rounds=5) for case_ in (one, two)]
    rows = [altered(row, key=NOW(row.case, row)) for row in rows]
    quick, usual = (
        Options.parse(suite="acceleration", quick=True),
        Options.parse(suite="acceleration"),
    )
    for changes, budget, done in (
        (({}, {}), usual, 2),
        (({"rounds": 2}, {"rounds": 2}), usual, 0),
        (({"rounds": 2}, {"rounds": 2}), quick, 2),
        (({}, {"run": "another"}), usual, 0),
        (({"converged": False, "budget_seconds": 60.0}, {}), usual, 0),
    ):
        measured = [altered(row, **new) for row, new in zip(rows, changes, strict=True)]
        (standing,) = status.standings((one, two), measured, NOW, budget.spending)
        assert (standing.done, standing.missing) == (done, 2 - done)


def test_what_does_not_count_is_not_done(done: Path) -> None:
    """Nobody would ever see it: a training whose epoch says otherwise, two times of a round."""
    untrue = changed(rows_in(done), TrainedResult, {"test_accuracy": 0.99})
    assert status.state(GIVEN, untrue, NOW, Budget()) == "missing"
    case_ = timed_case("reference")
    data: dict[str, Any] = {"source": TRAIN, "allocator": "system"}
    rounds = [row(IterationResult, case_, **data, round=n, seconds=0.5) for n in (1, 2)]
    end = row(TimedResult, case_, **data, rounds=2)
    rows = all_altered((*rounds, end), key=NOW(case_, end))
    assert status.state(case_, rows, NOW, Budget(rounds=2)) == "done"
    twice = altered(rows[0], seconds=0.7)
    assert status.state(case_, [*rows, twice], NOW, Budget(rounds=2)) == "missing"


def test_a_training_is_done_where_another_suite_has_done_it(done: Path) -> None:
    """A run copies its rows, unless it was tested at other T or deviates."""
    other = replace(GIVEN, suite="scale")
    tested = replace(other, tested_at=(1,))
    deviates = all_altered(rows_in(done), deviations="why")
    for case_, rows, state in (
        (other, rows_in(done), "done"),
        (tested, rows_in(done), "missing"),
        (other, deviates, "missing"),
    ):
        assert status.state(case_, rows, NOW, Budget()) == state


def test_a_training_is_not_done_where_it_was_tested_at_fewer_steps(done: Path) -> None:
    more = replace(GIVEN, tested_at=(1, 2))
    end = {"key": trained(done).key, "test_accuracy": trained(done).result.test_accuracy}
    tested = [row(TestedResult, more, tested_T=T, **end) for T in (1, 2)]
    for rows, state in ((tested[:1], "missing"), (tested, "done")):
        assert status.state(more, [*rows_in(done), *rows], NOW, Budget()) == state


@pytest.mark.parametrize(
    ("limit", "samples", "state"),
    [(40, 60, "missing"), (80, 60, "missing"), (60, 60, "done"), (None, 50, "done")],
    ids=["fewer", "more", "as many", "all that there are"],
)
def test_a_training_on_another_number_of_samples_is_another(
    limit: int | None, samples: int, state: str, done: Path
) -> None:
    rows = all_altered(rows_in(done), train_samples=samples - 6)  # 6 are held out
    limited = altered(GIVEN, train=limit)
    assert status.state(limited, rows, NOW, Budget()) == state


def test_standings_count_cases_and_estimate_the_rest(done: Path) -> None:
    cases = (GIVEN, altered(GIVEN, seed=1), altered(GIVEN, seed=2))
    (standing,) = status.standings(cases, rows_in(done), NOW, Budget())
    assert (standing.done, standing.missing, standing.failed) == (1, 2, 0)
    passes = 2 * status.TESTING * trained(done).result.seconds
    assert standing.seconds_left == pytest.approx(2 * schedule.SETUP_SECONDS + passes)
    (unknown,) = status.standings(cases, [], NOW, Budget())
    assert isnan(unknown.seconds_left) and unknown.missing == 3
    fewer = altered(GIVEN, seed=1, train=40)
    (other,) = status.standings((fewer,), rows_in(done), NOW, Budget())
    assert other.seconds_left == pytest.approx(schedule.SETUP_SECONDS + passes / 2 * 40 / 60)


PUBLISHED = Path(__file__).parents[1] / "results" / "published"


def test_status_counts_the_trainings_that_the_report_rests_on_and_names_them(
    command: Command,
) -> None:
    (plan,) = status.plans("timesteps", stored.read(PUBLISHED)[0])
    code, out, _ = command("status", "--suite", "timesteps", "--out", PUBLISHED)
    text = " ".join(out.split())
    assert code == 0 and str(plan) in text and len(plan.seeds) >= 5
    there = next(line for line in out.splitlines() if line.startswith("timesteps"))
    assert int(there.split()[2]) + int(there.split()[3]) == len(plan.seeds) * len(STEPS)
    _, out, _ = command("status", "--suite", "timesteps", "--long", "--out", PUBLISHED)
    assert "--seeds" not in out


def test_status_counts_the_settings_that_were_trained_and_a_seed_that_one_lacks(
    tmp_path: Path, command: Command
) -> None:
    """As on the page: neither an ANN that was never asked for nor the seed that chooses rates."""
    suite = suites.suite("accuracy")
    places: dict[str, Any] = {"datasets": ("cifar10",), "networks": ("CIFARNet",)}
    options = Options(suite="accuracy", frameworks=("fused",), device="cpu", long=True, **places)
    off, mean = suite.cases(replace(options, seeds=(0,)))
    trials = (altered(off, seed=RATE_SEED), altered(off, seed=1))
    Store(tmp_path).append(*(row(TrainedResult, case_) for case_ in (off, mean, *trials)))
    _, out, _ = command("status", "--suite", "accuracy", "--out", tmp_path)
    line = next(line for line in out.splitlines() if line.startswith("accuracy"))
    done, dated, failed, absent, missing = map(int, line.split()[2:7])
    assert (done + dated, failed, absent, missing) == (3, 0, 0, 1)
    assert "--seeds 0,1\n" in out


def test_a_plan_has_the_seeds_that_other_suites_trained_of_its_networks() -> None:
    fixed: dict[str, Any] = {"stages": schedule.STAGES["cifar10"]}
    rows = [*training(0, (0.5,), suite="scale", **fixed), *training(3, (0.5,), **fixed)]
    rows += training(5, (0.5,), suite="ablations", **fixed)
    for suite, seeds in (("scale", (0, 3)), ("ablations", (5,)), ("neunorm", ())):
        assert [plan.seeds for plan in status.plans(suite, rows)] == [seeds] * bool(seeds)


def test_a_plan_is_of_trainings_on_the_fixed_schedule_alone() -> None:
    fixed: dict[str, Any] = {"stages": schedule.STAGES["cifar10"]}
    rows = [row for seed in (0, 3) for row in training(seed, (0.5,), **fixed)]
    rows += [*training(1, (0.5,)), *training(2, (0.5,), stages=(1,))]
    assert [str(plan) for plan in status.plans("timesteps", rows)] == [
        "--long --datasets cifar10 --networks CIFARNet --seeds 0,3"
    ]
    assert status.plans("scale", rows) == []


def test_at_a_rate_of_its_own_a_plan_has_only_the_frameworks_that_were_trained_there() -> None:
    fixed: dict[str, Any] = {"stages": schedule.STAGES["cifar10"]}
    rows = [*training(0, (0.5,), lr=0.2, contender="fused", **fixed)]
    (plan,) = status.plans("timesteps", rows)
    assert str(plan) == (
        "--long --datasets cifar10 --networks CIFARNet --frameworks fused --rate 0.2 --seeds 0"
    )
    assert plan.options(Options()).frameworks == ("fused",)


def test_an_estimate_goes_by_the_trainings_that_are_most_like_the_case(done: Path) -> None:
    long = altered(GIVEN, epochs=4, train=600, test=None)
    other, end = altered(long, contender="fused"), trained(done)
    slow = altered(end, contender="fused", seconds=1000 * end.result.seconds)
    few = altered(end, T=end.workload.T + 1, seconds=0.001 * end.result.seconds)
    expected = status.TESTING * long.forward_macs / GIVEN.forward_macs * end.result.seconds
    for cases, rows, times in (
        ([long], [slow, few, end], 1),
        ([other], [few, end, slow], 1000),
        ([long, other], [end, slow], 1001),
    ):
        setup = schedule.SETUP_SECONDS * len(cases)
        assert status.seconds_of(cases, rows) == pytest.approx(setup + times * expected)
    # one that learnt nothing, and ended half-way, took half of its work
    halved = altered(end, trained_epochs=1, seconds=end.result.seconds / 2)
    setup = schedule.SETUP_SECONDS
    assert status.seconds_of([long], [halved]) == pytest.approx(setup + expected)
    assert isnan(status.seconds_of([fitted_case("hats")], [end]))  # a training tells nothing of it


@pytest.mark.parametrize(
    ("times", "seconds"),
    [
        (("2026-01-01T00:00:00+00:00", "2026-01-01T00:01:00+00:00"), 60.0),
        (("2026-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"), status.LONGEST_STEP),
        (("9999-12-31T23:59:59+00:00",) * 2, nan),
    ],
    ids=["a minute", "the clock was set", "one moment"],
)
def test_an_estimate_of_a_timing_goes_by_the_time_between_rows(
    times: tuple[str, str], seconds: float
) -> None:
    rows = [
        replace(row, time=time) for row, time in zip(timed("floor", 1.0, 1.0), times, strict=True)
    ]
    estimate = status.seconds_of([timed_case("reference")], rows)
    assert estimate == pytest.approx(seconds, nan_ok=True)


@pytest.mark.parametrize(
    ("change", "verdict", "reason"),
    [
        ({}, "confirmed", ""),
        ({"source": replace(TRAIN, sha256="another")}, "not tested", "data"),
        ({"test": replace(TEST, sha256="another")}, "not tested", "data"),
        ({"device": "cuda"}, "not tested", "it ran on cuda, and this machine has none"),
        ({"contender": "gone"}, "not tested", "unknown framework 'gone'"),
    ],
    ids=str,
)
def test_verify_confirms_equal_numbers_and_says_why_others_cannot_be_tested(
    done: Path, change: dict[str, Any], verdict: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    again: Any = Again(rows_in(done)) if change else Local()  # it trains where all is as it was
    context = VerifyContext(again, Access(done), lacks, quiet, done / "weights")
    recorded = all_altered(rows_in(done), **change)
    checks = [*verify.verify(recorded, context, 1, 0, 1, 1.0)]
    assert {check.verdict for check in checks} == {verdict}
    assert all(reason in check.reason for check in checks)
    assert len(checks) == (1 if change else len(verify.FIGURES))


def test_verify_names_the_figure_that_differs(done: Path) -> None:
    again = Again(rows_in(done))
    checks = verified(
        changed(again.rows, EpochResult, lambda r: {"loss": r.result.loss + 1e-9}), again
    )
    (differing,) = (check for check in checks if check.verdict == "differs")
    assert differing.figure == "epoch 1 loss"
    assert differing.reason == "nothing that is recorded explains it"


# ratios measured again: confirmed, different, or too noisy to tell


_, LINE = timings.lines(frames([*timed("floor", 1.0, 1.0), *timed("norse", 2.0, 2.0)]))


def about(value: float, reach: float) -> TimedLine:
    """A ratio with an interval of that reach in logs."""
    low, high = value * exp(-reach), value * exp(reach)
    return replace(LINE, ratio_to_floor=value, ratio_low=low, ratio_high=high)


ONCE = about(141.0, inf)  # of one round
UNKNOWN = about(nan, nan)


def test_a_ratio_is_confirmed_only_within_the_margin() -> None:
    for old, new, verdict in (
        (about(10.7, 0.6), about(141.0, 44.0), "too noisy to tell"),
        (about(10.7, 0.6), ONCE, "too noisy to tell"),
        (ONCE, about(10.7, 0.6), "too noisy to tell"),
        (about(1.0, 600.0), about(1.0, 600.0), "too noisy to tell"),
        (about(2.0, 0.02), about(2.0, 0.02), "confirmed"),
        (about(2.0, 0.01), about(2.1, 0.01), "confirmed"),  # another, by less than matters
        (about(2.0, 0.02), about(2.4, 0.02), "differs"),
        (about(1.0, 0.0), about(1 + MARGIN, 0.001), "differs"),
        (about(2.0, 0.10), about(2.0, 0.10), "too noisy to tell"),
        (about(2.0, 1.00), about(9.0, 0.01), "differs"),
        (about(2.0, 0.02), UNKNOWN, "not tested"),
        (about(2.0, 0.02), None, "not tested"),
    ):
        check = ratio_check("norse", old, new)
        assert check.verdict == verdict
        assert bool(check.reason) == (verdict != "confirmed")


def test_the_interval_of_new_over_old_is_of_both_in_logs_and_another_machine_is_named() -> None:
    there = replace(about(2.4, 0.4), machine="another")
    reason = ratio_check("norse", about(2.0, 0.3), there).reason
    low, high = (1.2 * exp(sign * sqrt(0.3**2 + 0.4**2)) for sign in (-1, 1))
    assert f"1.20 [{low:.2f}, {high:.2f}]" in reason and "another machine" in reason
    assert "another machine" not in ratio_check("a", about(2.0, 0.01), about(3.0, 0.01)).reason


def test_noise_never_makes_an_answer_surer() -> None:
    """From sure to noisy an answer goes to "too noisy to tell", and stays there."""
    for change in (1.0, 1.05, 1.5):
        reaches = [0.005 * 1.5**n for n in range(16)]
        verdicts = [ratio_check("a", about(1.0, r), about(change, r)).verdict for r in reaches]
        first = verdicts.index("too noisy to tell")
        assert first > 0 and set(verdicts[first:]) == {"too noisy to tell"}


@dataclass
class Again:
    """An executor that measures these rows."""

    rows: list[Row]
    measured: list[Case] = field(default_factory=list)

    def train(self, cases: tuple[Case, ...], *arguments: object) -> Iterator[CaseRows]:
        self.measured.extend(cases)
        yield CaseRows(cases[0], tuple(self.rows), 1)

    def measure(
        self, cases: tuple[Case, ...], store: Store, *arguments: object
    ) -> Iterator[CaseRows]:
        store.append(*(row for row in self.rows if row.workload.T == cases[0].workload.T))
        yield CaseRows(cases[0], tuple(self.rows), 3)


ROUNDS = (1.0, 1.01, 0.99, 1.0, 1.01)


def cell(ratio: float, **fields: Any) -> list[Row]:
    """A floor and a contender in five quiet rounds."""
    slow = [ratio * (1 + 0.002 * n) * seconds for n, seconds in enumerate(ROUNDS)]
    return [*timed("floor", *ROUNDS, **fields), *timed("norse", *slow, **fields)]


def verified(recorded: list[Row], again: Any, epochs: int = 1) -> list[FigureCheck]:
    """One of each kind."""
    context = VerifyContext(again, Access(Path()), lambda case: None, lambda *_: None, Path())
    return list(verify.verify(recorded, context, 1, 0, epochs, 1.0))


def test_verify_repeats_another_system_and_compares_its_accuracy() -> None:
    system = fitted_case("hats", epochs=6)
    data: dict[str, Any] = {"key": "a", "source": TRAIN, "test": TEST}
    old = row(FittedResult, system, **data)
    for accuracy, verdict in ((0.3, "confirmed"), (0.4, "differs")):
        again = Again([altered(old, test_accuracy=accuracy)])
        (check,) = verified([old], again)
        assert (check.figure, check.verdict) == ("test_accuracy", verdict)
        assert again.measured == [system]


def test_verify_trains_while_the_shorter_schedule_has_the_same_rate() -> None:
    old = training(0, (0.2,) * 4, stages=(2, 1, 1))
    again = Again(old)
    checks = verified(old, again, epochs=4)
    assert [case_.epochs for case_ in again.measured if isinstance(case_, Training)] == [2]
    assert {check.verdict for check in checks} == {"confirmed"}
    assert len(checks) == 2 * len(verify.FIGURES)


def test_only_cells_of_the_present_protocol_are_drawn() -> None:
    older = [altered(row, T=T) for T in range(1, 9) for row in cell(2.0, protocol=PROTOCOL + 1)]
    again = Again(cell(2.0, run="now"))
    (check,) = verified([*older, *cell(2.0)], again)
    assert (check.verdict, check.figure) == ("confirmed", "ratio to the floor")


def test_verify_measures_what_the_last_run_of_a_cell_had() -> None:
    slower = timed("fused", *ROUNDS)
    (check,) = verified([*cell(3.0), *slower, *cell(2.0, run="last")], Again(cell(2.0, run="now")))
    assert (check.case.split()[-1], check.verdict) == ("norse", "confirmed")


def test_the_command_counts_verdicts_and_fails_on_a_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: Command
) -> None:
    monkeypatch.setattr("harness.cli.status.lacks", lambda case: None)
    Store(tmp_path).append(*cell(2.0, T=4), *cell(2.0, T=5))
    first, other = cell(2.0, T=4, run="now"), {"T": 5, "run": "now"}
    noisy = [*timed("floor", 1.0, 3.0, 0.3, **other), *timed("norse", 2.0, 1.0, 9.0, **other)]
    for rows, code, counts in (
        ([*first, *cell(2.0, **other)], 0, (2, 0, 0, 0)),
        ([*first, *cell(3.0, **other)], 1, (1, 1, 0, 0)),
        ([*first, *noisy], 0, (1, 0, 1, 0)),
        (first, 0, (1, 0, 0, 1)),
        ([], 1, (0, 0, 0, 2)),
    ):
        monkeypatch.setattr(Local, "measure", Again(rows).measure)
        ended, out, _ = command("verify", tmp_path)
        counts_text = "{} confirmed, {} differs, {} too noisy to tell, {} not tested".format(
            *counts
        )
        assert ended == code and counts_text in out
