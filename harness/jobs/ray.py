"""Cases on the machines of a Ray cluster.

Each training is a task with the CPUs, or the GPU, that it needs. One whose machine is lost goes on
elsewhere, from its last checkpoint. Timings are one task that has a machine for itself. A task does
what the command does on its own machine, in the same result folder: all machines must see it.
"""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# Ray reads these as it is imported. Tries of 40 s until a server counts as dead: else 20.
os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "3")
# Of processes on this machine: else 15, at which timings are others than the command's own.
os.environ.setdefault("RAY_worker_niceness", "0")

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from harness.jobs.local import Cases, Local, begin_run, keep_failure
from harness.records import Store
from harness.records.run import CaseRows
from harness.spec import Access, Budget, ProgressCallback, Timing, UsageError, cells

RETRIES = 3  # of a training, after its machine or its process was lost
POLL = 0.2  # seconds between two looks at what is done
REACH = 5.0  # seconds in which a cluster's address answers
LocalMethod = Callable[..., Iterator[CaseRows]]  # `Local.train` or `Local.measure`


@dataclass(frozen=True)
class Ray:
    """Executor on the Ray cluster at RAY_ADDRESS, or on this machine if that is not set."""

    command: tuple[str, ...] = ()  # as it was typed, for the file of the run

    def train(
        self, cases: Cases, store: Store, access: Access, say: ProgressCallback
    ) -> Iterator[CaseRows]:
        """Run as many cases at once as the cluster has room for, as `Local.train` does each."""
        yield from self._results(Local.train, [(case,) for case in cases], store, say, access)

    def measure(
        self, cases: Cases, store: Store, access: Access, budget: Budget, say: ProgressCallback
    ) -> Iterator[CaseRows]:
        """Time all cases on one machine, with its CPUs and a GPU if needed; see `Local.measure`."""
        yield from self._results(Local.measure, [cases], store, say, access, budget)

    def _results(
        self,
        work: LocalMethod,
        groups: list[Cases],
        store: Store,
        say: ProgressCallback,
        *args: object,
    ) -> Iterator[CaseRows]:
        """Connect to the cluster; yield the results of a task for each group, as they come."""
        trains, gpus = work == Local.train, int(groups[0][0].device != "cpu")
        local, running = Local(self.command), dict[Any, Cases]()
        total, done = sum(case.forward_macs for group in groups for case in group), 0.0
        store.out.mkdir(parents=True, exist_ok=True)
        # a machine that sees it shares the folder: one of the same name may be its own
        out = store.out.resolve()
        with tempfile.NamedTemporaryFile(prefix=".share-", dir=out) as mark, _connected():
            most, threads = _most_cpus(gpus), torch.get_num_threads()
            options = {"num_cpus": min(threads, most) if trains else most, "num_gpus": gpus}
            remote = ray.remote(run_task).options(max_retries=RETRIES if trains else 0, **options)
            try:
                for group in groups:
                    task = remote.remote(Path(mark.name), threads, work, local, group, *args)
                    running[task] = group
                while running:
                    for task in ray.wait(list(running), timeout=POLL)[0]:
                        group = running.pop(task)
                        try:
                            results = ray.get(task)
                        except RayError as error:
                            results = self._lost(group, trains, _reason(error), store)
                        done += sum(case.forward_macs for case in group)
                        yield from results
                    say(min(1.0, done / total), f"{len(running)} tasks of the cluster are not done")
            finally:
                for task in running:
                    ray.cancel(task, force=True)

    def _lost(self, group: Cases, trains: bool, reason: str, store: Store) -> list[CaseRows]:
        """Keep that a task's cases failed; return a result for each training, or each cell."""
        run = begin_run(group, store, self.command)
        failures = {case: keep_failure(case, reason, run, store) for case in group}
        if trains:
            return [CaseRows(case, (row,)) for case, row in failures.items()]
        return [
            CaseRows(cell, tuple(failures[case] for case in group))
            for cell, group in cells([case for case in group if isinstance(case, Timing)]).items()
        ]


def run_task(
    mark: Path, threads: int, work: LocalMethod, local: Local, cases: Cases, *args: object
) -> list[CaseRows]:
    """Run `work`, a method of `Local`, on the cases, on the machine that Ray chose for the task.

    Rows go to the result folder that holds the file `mark`. Raises UsageError where this machine
    does not see that folder.
    """
    if not mark.exists():
        raise UsageError(
            f"{socket.gethostname()} does not see {mark.parent}: give --out a folder that all "
            "machines of the cluster share"
        )
    torch.set_num_threads(threads)
    return list(work(local, cases, Store(mark.parent), *args, lambda *_: None))


@contextmanager
def _connected() -> Iterator[None]:
    """Connect to the cluster unless somebody has, and end what began here."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        place = urlsplit(address if "//" in address else f"//{address}")
        if place.hostname and place.port:  # where nobody answers, Ray would try for minutes
            socket.create_connection((place.hostname, place.port), REACH).close()
        ray.init(log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"cannot reach Ray at {address or 'this machine'} ({error}): start it with "
            "`ray start --head`, or give its address in RAY_ADDRESS"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _most_cpus(gpus: int) -> float:
    """Return the most CPUs of a machine with so many GPUs. Raises UsageError where none has."""
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [machine.get("CPU", 1) for machine in machines if machine.get("GPU", 0) >= gpus]
    if not cpus:
        raise UsageError("no machine of the cluster has a GPU: use --device cpu")
    return max(cpus)


def _reason(error: RayError) -> str:
    """Return why a task failed. What the user asked in vain is raised as it is anywhere."""
    if not isinstance(error, RayTaskError):
        return f"its machine or process was lost: {type(error).__name__}"
    if isinstance(error.cause, UsageError):
        raise UsageError(str(error.cause)) from None
    return str(error).splitlines()[-1]
