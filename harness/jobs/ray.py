"""Cases on the machines of a Ray cluster.

Each training is a task with the CPUs, or the GPU, that it needs. One whose machine is lost goes on
elsewhere, from its last checkpoint where the folder is shared. Timings are one task that has a
machine for itself.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
import torch
from ray.exceptions import (
    NodeDiedError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)

from harness.jobs import Timed, Trained
from harness.jobs.local import Command
from harness.jobs.task import Parcel, Task, shared
from harness.records import Row, Store
from harness.records.build import ended, stamped
from harness.spec import Access, Budget, Case, Say, UsageError, cells

RETRIES = 3  # after a machine or its process was lost
POLL = 0.2  # seconds between two looks at what is done
REACH = 5.0  # seconds in which a cluster's address answers
LOST = (NodeDiedError, WorkerCrashedError, OutOfMemoryError, TaskCancelledError)


@dataclass(frozen=True)
class Ray:
    """A cluster, or this machine where no address is given."""

    address: str | None
    silence: float

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[Trained]:
        """Trains as many cases at once as the cluster has room for; see `Executor`."""
        with _connected(self.address), shared(store) as share:
            task = Task(share, access, self.silence, torch.get_num_threads())
            command = Command.of(cases, store, say, self.silence)
            yield from Sweep(cases, command, task).run()

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[Timed]:
        """Times all cases on one machine of the cluster that does nothing else; see `Executor`."""
        with _connected(self.address), shared(store) as share:
            task = Task(share, access, self.silence, torch.get_num_threads())
            command = Command.of(cases, store, say, self.silence)
            yield from _measured(cases, command, task, budget)


@contextmanager
def _connected(address: str | None) -> Iterator[None]:
    """Connects to the cluster unless somebody has, and ends what it began."""
    if ray.is_initialized():
        yield
        return
    try:
        _reach(address)
        ray.init(address=address, log_to_driver=False)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(
            f"cannot reach Ray at {address or 'this machine'} ({error}): start it with "
            "`ray start --head`, or give its address with --ray-address"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str | None) -> None:
    """Raises OSError where nobody answers: Ray itself would try for minutes."""
    place = re.fullmatch(r"(?:ray://)?(\[?[^/]+?\]?):([0-9]{1,5})", address or "")
    if place is not None:
        socket.create_connection((place[1].strip("[]"), int(place[2])), REACH).close()


@dataclass(eq=False)
class Sweep:
    """Trainings of one command, spread over the cluster."""

    cases: tuple[Case, ...]
    command: Command
    task: Task
    lost: dict[int, int] = field(default_factory=dict)  # how often each case was

    def run(self) -> Iterator[Trained]:
        """All cases, as they end."""
        self.command.start()
        running = {self._start(number): number for number in range(len(self.cases))}
        total, done = sum(case.pace for case in self.cases), 0.0
        try:
            while running:
                over, _ = ray.wait(list(running), timeout=POLL)
                for each in over:
                    number = running.pop(each)
                    trained = self._outcome(number, each)
                    if trained is None:
                        running[self._start(number)] = number
                        continue
                    done += self.cases[number].pace
                    yield trained
                self.command.say(min(1.0, done / total), f"{len(running)} trainings are not done")
        finally:
            for each in running:
                ray.cancel(each, force=True)

    def _start(self, number: int) -> Any:
        case = self.cases[number]
        most = max(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
        options = {
            "num_cpus": min(self.task.threads, most),
            "num_gpus": int(case.device != "cpu"),
        }
        sent = Parcel.of(self.command.store, case)
        return ray.remote(_train).options(max_retries=0, **options).remote(self.task, case, sent)

    def _outcome(self, number: int, task: Any) -> Trained | None:
        """What a task came to; None where it is to start again."""
        case = self.cases[number]
        try:
            trained, parcel = ray.get(task)
        except LOST as error:
            self.lost[number] = self.lost.get(number, 0) + 1
            if self.lost[number] <= RETRIES:
                return None
            return self._failed(case, f"its machine or process was lost: {type(error).__name__}")
        except RayError as error:
            _raise_usage(error)
            return self._failed(case, f"{type(error).__name__}: {str(error).splitlines()[-1]}")
        parcel.unpack(self.command.store)
        return trained

    def _failed(self, case: Case, reason: str) -> Trained:
        row = stamped(ended(self.command.row(case), "failed", reason))
        self.command.store.append(row)
        return Trained(case, (row,))


def _train(task: Task, case: Case, sent: Parcel) -> tuple[Trained, Parcel]:
    return task.train(case, sent)


def _measure(task: Task, cases: tuple[Case, ...], budget: Budget) -> tuple[list[Timed], Parcel]:
    return task.measure(cases, budget)


def _raise_usage(error: RayError) -> None:
    """What a task says that the user asked in vain is said here as it is anywhere."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, UsageError):
        raise UsageError(str(error.cause)) from None


def _measured(
    cases: tuple[Case, ...], command: Command, task: Task, budget: Budget
) -> Iterator[Timed]:
    """Timings on one machine of the cluster, of which they take all CPUs and, if any, a GPU."""
    gpu = int(cases[0].device != "cpu")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = max((each.get("CPU", 1) for each in nodes if each.get("GPU", 0) >= gpu), default=None)
    if cpus is None:
        raise UsageError("no machine of the cluster has a GPU: use --device cpu")
    options = {"max_retries": 0, "num_cpus": cpus, "num_gpus": gpu}
    running = ray.remote(_measure).options(**options).remote(task, cases, budget)
    try:
        while not ray.wait([running], timeout=POLL)[0]:
            command.say(0.0, "timings run on a machine of the cluster")
        timed, parcel = ray.get(running)
    except RayError as error:
        _raise_usage(error)
        command.start()
        reason = f"its machine or process was lost: {type(error).__name__}"
        lost: list[Row] = [stamped(ended(command.row(case), "failed", reason)) for case in cases]
        command.store.append(*lost)
        for cell in cells(cases):
            rows = (row for row in lost if Case.of(row).cell == cell.cell)
            yield Timed(cell, tuple(rows), 0)
        return
    finally:
        ray.cancel(running, force=True)
    parcel.unpack(command.store)
    yield from timed
