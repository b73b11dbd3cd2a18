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
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from harness.jobs.local import Command, Local
from harness.jobs.results import CellResult, TrialResult
from harness.records import Row, Store, TrainedRow
from harness.records.identity import fields_that_train
from harness.records.store import parse
from harness.spec import Access, Budget, Case, Say, UsageError, cells
from harness.system.files import unwritable, write_whole

RETRIES = 3  # after a machine or its process was lost
POLL = 0.2  # seconds between two looks at what is done
REACH = 5.0  # seconds in which a cluster's address answers
FOLDERS = ("checkpoints", "splits", "runs", "weights")  # whose files travel


@dataclass(frozen=True)
class Ray:
    """The cluster at RAY_ADDRESS, or this machine where none is given."""

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[TrialResult]:
        """As many cases at once as the cluster has room for; see `Executor`."""
        with _connected(), marked(store) as mark:
            task = Task(mark, access, torch.get_num_threads())
            command = Command(cases, store)
            most = max(int(node["Resources"].get("CPU", 1)) for node in _nodes())
            gpus = int(cases[0].device != "cpu")
            # again, elsewhere, where its machine or its process is lost
            remote = ray.remote(Task.train).options(
                max_retries=RETRIES, num_cpus=min(task.threads, most), num_gpus=gpus
            )
            running = {remote.remote(task, case, Parcel.of(store, case)): case for case in cases}
            total, done = sum(case.pace for case in cases), 0.0
            try:
                while running:
                    for each in ray.wait(list(running), timeout=POLL)[0]:
                        case = running.pop(each)
                        try:
                            result, parcel = ray.get(each)
                            parcel.unpack(store)
                        except RayError as error:
                            result = TrialResult(case, (command.failed(case, _reason(error)),))
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
        with _connected(), marked(store) as mark:
            task = Task(mark, access, torch.get_num_threads())
            gpu = int(cases[0].device != "cpu")
            resources = [node["Resources"] for node in _nodes()]
            cpus = [each.get("CPU", 1) for each in resources if each.get("GPU", 0) >= gpu]
            if not cpus:
                raise UsageError("no machine of the cluster has a GPU: use --device cpu")
            options = {"max_retries": 0, "num_cpus": max(cpus), "num_gpus": gpu}
            running = ray.remote(Task.measure).options(**options).remote(task, cases, budget)
            try:
                while not ray.wait([running], timeout=POLL)[0]:
                    say(0.0, "timings run on a machine of the cluster")
                results, parcel = ray.get(running)
                parcel.unpack(store)
            except RayError as error:
                reason, command = _reason(error), Command(cases, store)
                lost = [(case, command.failed(case, reason)) for case in cases]
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


def _nodes() -> list[Any]:
    return [node for node in ray.nodes() if node["Alive"]]


def _reason(error: RayError) -> str:
    """Why a task came to nothing. What the user asked in vain is raised as it is anywhere."""
    if isinstance(error, RayTaskError) and isinstance(error.cause, UsageError):
        raise UsageError(str(error.cause)) from None
    if isinstance(error, RayTaskError):
        return str(error).splitlines()[-1]
    return f"its machine or process was lost: {type(error).__name__}"


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
        paths = [path for name in names if (path := store.out / name).is_file()]
        return cls._packed(store.out, rows, paths)

    @classmethod
    def back(cls, store: Store, sent: Parcel) -> Parcel:
        """All that a task's own folder holds and had not been sent."""
        rows = [row for row in store.read()[0] if row.to_json() not in sent.lines]
        paths = [path for folder in FOLDERS for path in (store.out / folder).glob("*")]
        return cls._packed(store.out, rows, paths)

    @classmethod
    def _packed(cls, out: Path, rows: Iterable[Row], paths: Iterable[Path]) -> Parcel:
        files = tuple((path.relative_to(out).as_posix(), path.read_bytes()) for path in paths)
        return cls(tuple(row.to_json() for row in rows), files)

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


@contextmanager
def marked(store: Store) -> Iterator[Path]:
    """A mark in the result folder while the block runs: a machine that sees it shares the folder.

    Raises UsageError where the folder is not writable.
    """
    mark = store.out.resolve() / f".share-{token_hex(8)}"
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:
        raise unwritable(mark, error) from error
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


# What follows runs on another machine.


@dataclass(frozen=True)
class Task:
    """What a task is given beside its case."""

    mark: Path
    access: Access
    threads: int

    def train(self, case: Case, sent: Parcel) -> tuple[TrialResult, Parcel]:
        """One case, and what of it has to travel back."""
        with self._store(sent) as store:
            (result,) = Local().train((case,), store, self.access, _nobody)
            return result, self._back(store, sent)

    def measure(self, cases: tuple[Case, ...], budget: Budget) -> tuple[list[CellResult], Parcel]:
        """All timings, and what of them has to travel back."""
        with self._store(Parcel()) as store:
            results = list(Local().measure(cases, store, self.access, budget, _nobody))
            return results, self._back(store, Parcel())

    @contextmanager
    def _store(self, sent: Parcel) -> Iterator[Store]:
        """The result folder where this machine sees it, else one that is thrown away."""
        torch.set_num_threads(self.threads)
        if self.mark.exists():
            yield Store(self.mark.parent)
            return
        with tempfile.TemporaryDirectory(prefix="harness-") as folder:
            sent.unpack(Store(Path(folder)))
            yield Store(Path(folder))

    def _back(self, store: Store, sent: Parcel) -> Parcel:
        return Parcel() if store.out == self.mark.parent else Parcel.back(store, sent)


def _nobody(fraction: float, doing: str) -> None:
    """Nobody is told how far a task is."""
