"""Cases on a cluster: the same rows as on this machine, even where machines die."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
from recordings import quiet
from rows import altered
from surroundings import needs_linux
from trainings import case, rows_of

from harness import api
from harness.jobs.local import Local
from harness.records import EpochResult, Row, Store, TrainedResult, has
from harness.records.run import CaseRows, RowMaker
from harness.records.store import Busy, Ledger
from harness.spec import ANN, Access, Budget, Case, UsageError

SHORT: dict[str, Any] = {"epochs": 6, "train": 200, "test": 50, "embedded": True}
NESTED = "HARNESS_TEST_NESTED"


def in_a_process_of_its_own(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in another process, and again where Ray's server did not start: on a busy machine
    it may die or not answer, and Ray then ends the process that uses it, or says so much later.
    """
    if NESTED in os.environ:
        return test

    def once() -> subprocess.CompletedProcess[str]:
        name = f"{Path(__file__)}::{test.__name__}"
        call = [sys.executable, "-m", "pytest", "-q", "-m", "slow", name]
        env = {**os.environ, NESTED: "1"}
        return subprocess.run(call, env=env, capture_output=True, text=True, check=False)

    def run() -> None:
        done = once()
        ended = " passed" in done.stdout or " failed" in done.stdout
        if not ended or "cannot reach Ray at this machine" in done.stdout:
            done = once()
        assert done.returncode == 0, done.stdout + done.stderr

    run.__name__ = test.__name__
    return run


def sweep() -> tuple[Case, ...]:
    """Twelve short trainings."""
    short = case(contender="reference", **SHORT)
    return tuple(altered(short, T=T, seed=seed) for T in (1, 2, 4) for seed in range(4))


def figures(out: Path) -> dict[tuple[object, ...], tuple[object, ...]]:
    values: dict[tuple[object, ...], tuple[object, ...]] = {}
    names = ("loss", "test_accuracy", "rates", "gradient_norm")
    for row in [*rows_of(out, EpochResult), *rows_of(out, TrainedResult)]:
        result, workload = row.result, row.workload
        place = workload.T, workload.seed, result.kind, getattr(result, "epoch", None)
        assert place not in values, f"{place} is there twice"
        values[place] = (row.key, *(getattr(result, name, None) for name in names))
    return values


def test_an_unreachable_cluster_is_an_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with warnings.catch_warnings(action="ignore"):  # Ray's own
        executor = api.executor("ray", ())
        for address in ("127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1"):
            monkeypatch.setenv("RAY_ADDRESS", address)
            with pytest.raises(UsageError, match=r"cannot reach Ray at .*RAY_ADDRESS"):
                next(executor.train(sweep(), Store(Path()), Access(Path()), quiet))


@pytest.mark.usefixtures("no_data_of_the_machine")
def test_a_worker_without_the_result_folder_is_an_error(tmp_path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):  # Ray's own
        from harness.jobs import ray
    short = case(contender=ANN, **{**SHORT, "epochs": 2})
    work = 1, Local.train, Local(), (short,), Access(tmp_path)
    with pytest.raises(UsageError, match=f"does not see {tmp_path}: give --out"):
        ray.run_task(tmp_path / "no such mark", *work)
    (tmp_path / "mark").touch()
    (result,) = ray.run_task(tmp_path / "mark", *work)
    assert Store(tmp_path).read()[0][-1] == result.rows[-1]


@needs_linux
@pytest.mark.usefixtures("no_data_of_the_machine")
def test_threads_of_a_training_sleep_sooner_at_barriers(tmp_path: Path) -> None:
    others, counts = {*psutil.Process().children(recursive=True)}, set[str | None]()

    def look(*message: object) -> None:
        for process in {*psutil.Process().children(recursive=True)} - others:
            counts.add(process.environ().get("GOMP_SPINCOUNT"))

    short = case(contender=ANN, **{**SHORT, "epochs": 1})
    (result,) = Local().train((short,), Store(tmp_path), Access(tmp_path), look)
    assert has(result.rows[-1], TrainedResult) and counts == {"30000"}


@pytest.mark.usefixtures("no_data_of_the_machine")
def test_the_command_writes_a_training_s_rows_while_its_case_is_locked(tmp_path: Path) -> None:
    class Watched(Store):
        """Takes rows, and writes none: what else is in the folder, another process wrote."""

        def append(self, *rows: Row) -> None:
            taken.extend(rows)
            if any(has(row, TrainedResult) for row in rows):
                maker = RowMaker(rows[-1].run, rows[-1].case, key=rows[-1].key)
                with pytest.raises(Busy):
                    Ledger(Store(tmp_path), quiet).lock_and_read(maker)

    taken = list[Row]()
    short = case(contender=ANN, **{**SHORT, "epochs": 1})
    (result,) = Local().train((short,), Watched(tmp_path), Access(tmp_path), quiet)
    assert taken == [*result.rows] and has(taken[-1], TrainedResult)
    assert Store(tmp_path).read() == ([], [])
    ledger = Ledger(Store(tmp_path), quiet)
    assert ledger.lock_and_read(RowMaker(taken[-1].run, short, key=taken[-1].key)) == []
    ledger.release()


@pytest.mark.slow
@in_a_process_of_its_own
def test_a_sweep_on_two_machines_of_which_one_dies_has_the_rows_of_a_local_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    local_out, cluster_out = tmp_path / "here", tmp_path / "there"
    access = Access(tmp_path)
    list(Local().train(sweep(), Store(local_out), access, quiet))

    with warnings.catch_warnings(action="ignore"):  # Ray's own
        import ray
        from ray.cluster_utils import Cluster

        from harness.jobs.ray import Ray

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
        try:
            doomed = cluster.add_node(num_cpus=2)
            cluster.wait_for_nodes()
            ray.init(address=cluster.address, log_to_driver=False)
            ended: list[CaseRows] = []
            for result in Ray().train(sweep(), Store(cluster_out), access, quiet):
                ended.append(result)
                if len(ended) == 3:
                    cluster.remove_node(doomed, allow_graceful=False)
        finally:
            ray.shutdown()
            cluster.shutdown()
    assert len(ended) == 12
    assert all(has(result.rows[-1], TrainedResult) for result in ended)
    assert figures(cluster_out) == figures(local_out)
    # a second request finds all done
    again = list(Local().train(sweep(), Store(cluster_out), access, quiet))
    assert all(result.was_done for result in again)


@pytest.mark.slow
@in_a_process_of_its_own
def test_timings_have_a_machine_of_the_cluster_for_themselves(tmp_path: Path) -> None:
    from test_schedule import case as timed

    with warnings.catch_warnings(action="ignore"):  # Ray's own
        from harness.jobs.ray import Ray

        access, budget = Access(tmp_path), Budget(seconds=2.0, first=True)
        store = Store(tmp_path / "out")
        cases = (timed("reference"), timed("norse"))
        (first, last) = Ray().measure(cases, store, access, budget, quiet)
    assert first.case == last.case and last.rounds >= budget.rounds
    kinds = {row.result.kind for row in store.read()[0] if row.contender.framework == "norse"}
    assert kinds == {"certificate", "warmup", "memory", "audit", "iteration", "timed"}
    (again,) = Local().measure(cases, store, access, budget, quiet)  # not measured a second time
    assert again.was_done and {row.contender.framework for row in again.rows} == {
        "reference",
        "norse",
        "floor",
    }


@pytest.mark.slow
def test_two_commands_on_one_folder_share_the_work(tmp_path: Path) -> None:
    cases = sweep()[:4]
    access = Access(tmp_path)
    ended: list[list[CaseRows]] = [[], []]

    def command(n: int) -> None:
        ended[n] += Local().train(cases, Store(tmp_path), access, quiet)

    threads = [threading.Thread(target=command, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
        time.sleep(0.2)
    for thread in threads:
        thread.join()
    assert [len(result) for result in ended] == [4, 4]
    assert sorted(row.workload.seed for row in rows_of(tmp_path, TrainedResult)) == [0, 1, 2, 3]
    assert len(figures(tmp_path)) == 4 * 7
    assert sum(not result.was_done for trained in ended for result in trained) == 4
