"""Cases on the machines of a Ray cluster.

Each training is a task with the CPUs, or the GPU, that it needs. One whose machine is lost goes on
elsewhere, from its last checkpoint where the folder is shared. Timings are one task that has a
machine for itself. A task does what the command does on its own machine.

Rows go to the result folder where a machine sees it. Else a parcel travels there and back: the rows
and files of the very case.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
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

from harness.jobs import CellResult, TrialResult
from harness.jobs.local import Command, Local
from harness.records import Store, TrainedRow
from harness.records.identity import fields_that_train
from harness.records.store import parse
from harness.spec import Access, Budget, Case, Say, UsageError, cells
from harness.system.files import unwritable, write_whole

RETRIES = 3  # after a machine or its process was lost
POLL = 0.2  # seconds between two looks at what is done
REACH = 5.0  # seconds in which a cluster's address answers
LOST = (NodeDiedError, WorkerCrashedError, OutOfMemoryError, TaskCancelledError)
FOLDERS = ("checkpoints", "splits", "runs", "weights")  # whose files travel


@dataclass(frozen=True)
class Ray:
    """The cluster at RAY_ADDRESS, or this machine where none is given."""

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[TrialResult]:
        """As many cases at once as the cluster has room for; see `Executor`."""
        with _connected(), shared(store) as share:
            task = Task(share, access, torch.get_num_threads())
            command = Command(cases, share.store)
            lost = dict.fromkeys(cases, 0)
            running = {_start(task, case): case for case in cases}
            total, done = sum(case.pace for case in cases), 0.0
            try:
                while running:
                    for each in ray.wait(list(running), timeout=POLL)[0]:
                        case = running.pop(each)
                        try:
                            result, parcel = ray.get(each)
                            parcel.unpack(store)
                        except LOST as error:
                            lost[case] += 1
                            if lost[case] <= RETRIES:
                                running[_start(task, case)] = case
                                continue
                            result = TrialResult(case, (command.failed(case, _lost(error)),))
                        except RayError as error:
                            _raise_usage(error)
                            reason = f"{type(error).__name__}: {str(error).splitlines()[-1]}"
                            result = TrialResult(case, (command.failed(case, reason),))
                        done += case.pace
                        yield result
                    say(min(1.0, done / total), f"{len(running)} cases are not done")
            finally:
                for each in running:
                    ray.cancel(each, force=True)

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[CellResult]:
        """All on one machine, of which they take all CPUs and, if any, a GPU; see `Executor`."""
        with _connected(), shared(store) as share:
            task = Task(share, access, torch.get_num_threads())
            gpu = int(cases[0].device != "cpu")
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            cpus = [each.get("CPU", 1) for each in nodes if each.get("GPU", 0) >= gpu]
            if not cpus:
                raise UsageError("no machine of the cluster has a GPU: use --device cpu")
            remote = ray.remote(_measure).options(max_retries=0, num_cpus=max(cpus), num_gpus=gpu)
            running = remote.remote(task, cases, budget)
            try:
                while not ray.wait([running], timeout=POLL)[0]:
                    say(0.0, "timings run on a machine of the cluster")
                results, parcel = ray.get(running)
                parcel.unpack(store)
            except RayError as error:
                _raise_usage(error)
                command = Command(cases, store)
                lost = [(case, command.failed(case, _lost(error))) for case in cases]
                results = [
                    CellResult(cell, tuple(row for case, row in lost if case.cell == cell.cell), 0)
                    for cell in cells(cases)
                ]
            finally:
                ray.cancel(running, force=True)
            yield from results


@contextmanager
def _connected() -> Iterator[None]:
    """Connects to the cluster unless somebody has, and ends what it began."""
    if ray.is_initialized():
        yield
        return
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        place = re.fullmatch(r"(?:ray://)?(\[?[^/]+?\]?):([0-9]{1,5})", address)
        if place is not None:  # where nobody answers, Ray itself would try for minutes
            socket.create_connection((place[1].strip("[]"), int(place[2])), REACH).close()
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


def _start(task: Task, case: Case) -> Any:
    most = max(int(node["Resources"].get("CPU", 1)) for node in ray.nodes() if node["Alive"])
    gpus = int(case.device != "cpu")
    options = {"max_retries": 0, "num_cpus": min(task.threads, most), "num_gpus": gpus}
    sent = Parcel.of(task.share.store, case)
    return ray.remote(_train).options(**options).remote(task, case, sent)


def _lost(error: RayError) -> str:
    return f"its machine or process was lost: {type(error).__name__}"


def _raise_usage(error: RayError) -> None:
    """What a task says that the user asked in vain is said here as it is anywhere."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, UsageError):
        raise UsageError(str(error.cause)) from None


@dataclass(frozen=True)
class Parcel:
    """Rows as lines, and files by their name under the result folder."""

    lines: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()

    @classmethod
    def of(cls, store: Store, case: Case) -> Parcel:
        """What a folder holds of a training, whichever suite it was for."""
        wanted = fields_that_train(case)
        rows = [row for row in store.read()[0] if fields_that_train(Case.of(row)) == wanted]
        names = [f"checkpoints/{key}.pt" for key in dict.fromkeys(row.key for row in rows) if key]
        kept = [row.kept_weights_sha256 for row in rows if isinstance(row, TrainedRow)]
        names += [f"weights/{each}.safetensors" for each in (case.weights_sha256, *kept) if each]
        return cls(tuple(row.to_json() for row in rows), _read(store.out, names))

    @classmethod
    def back(cls, store: Store, sent: Parcel) -> Parcel:
        """All that a task's own folder holds and had not been sent."""
        lines = (row.to_json() for row in store.read()[0])
        paths = [path for folder in FOLDERS for path in (store.out / folder).glob("*")]
        names = [path.relative_to(store.out).as_posix() for path in paths]
        there = set(sent.lines)
        return cls(tuple(line for line in lines if line not in there), _read(store.out, names))

    def unpack(self, store: Store) -> None:
        """Puts it into a folder: files before the rows that tell of them."""
        for name, content in self.files:
            path = store.out / name
            try:
                write_whole(path, lambda part, content=content: part.write_bytes(content))
            except OSError as error:
                raise unwritable(path, error) from error
        for row in (parse(line.encode()) for line in self.lines):
            if not isinstance(row, str):
                store.append(row)


def _read(out: Path, names: list[str]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, (out / name).read_bytes()) for name in names if (out / name).is_file())


@dataclass(frozen=True)
class Share:
    """A result folder that other machines may see too: they do where its mark is."""

    store: Store
    mark: str


@contextmanager
def shared(store: Store) -> Iterator[Share]:
    """The folder with a mark, while the block runs. Raises UsageError where it is not writable."""
    share = Share(Store(store.out.resolve()), token_hex(8))
    path = share.store.out / f".share-{share.mark}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        yield share
    finally:
        path.unlink(missing_ok=True)


# What follows runs on another machine.


@dataclass(frozen=True)
class Task:
    """What a task is given beside its case."""

    share: Share
    access: Access
    threads: int

    @contextmanager
    def store(self, sent: Parcel) -> Iterator[Store]:
        """The result folder where this machine sees it, else one that is thrown away."""
        torch.set_num_threads(self.threads)
        share = self.share
        if (share.store.out / f".share-{share.mark}").exists():
            yield share.store
            return
        with tempfile.TemporaryDirectory(prefix="harness-") as folder:
            sent.unpack(Store(Path(folder)))
            yield Store(Path(folder))

    def back(self, store: Store, sent: Parcel) -> Parcel:
        """What of a store has to travel back."""
        return Parcel() if store == self.share.store else Parcel.back(store, sent)


def _train(task: Task, case: Case, sent: Parcel) -> tuple[TrialResult, Parcel]:
    with task.store(sent) as store:
        (result,) = Local().train((case,), store, task.access, _nobody)
        return result, task.back(store, sent)


def _measure(
    task: Task, cases: tuple[Case, ...], budget: Budget
) -> tuple[list[CellResult], Parcel]:
    with task.store(Parcel()) as store:
        results = list(Local().measure(cases, store, task.access, budget, _nobody))
        return results, task.back(store, Parcel())


def _nobody(fraction: float, doing: str) -> None:
    """Nobody is told how far a task is."""
