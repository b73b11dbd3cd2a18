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
from typing import Any, NamedTuple

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from harness.jobs.local import Command, Local, Result
from harness.records import Row, Store, TrainedRow
from harness.records.identity import fields_that_train
from harness.records.store import parse
from harness.spec import Access, Budget, Case, Say, UsageError, cells
from harness.system.files import write_result

RETRIES = 3  # of a training, after its machine or its process was lost
POLL = 0.2  # seconds between two looks at what is done
REACH = 5.0  # seconds in which a cluster's address answers
FOLDERS = ("checkpoints", "splits", "runs", "weights")  # whose files travel


@dataclass(frozen=True)
class Ray:
    """The cluster at RAY_ADDRESS, or this machine where none is given."""

    def train(
        self, cases: tuple[Case, ...], store: Store, access: Access, say: Say
    ) -> Iterator[Result]:
        """As many cases at once as the cluster has room for; see `Local.train`."""
        with _connected():
            cpus = min(torch.get_num_threads(), _most_cpus(0))
            groups = [(case,) for case in cases]
            yield from _done("train", groups, store, say, cpus, access)

    def measure(
        self, cases: tuple[Case, ...], store: Store, access: Access, budget: Budget, say: Say
    ) -> Iterator[Result]:
        """All on one machine, with all of its CPUs and, if any, a GPU; see `Local.measure`."""
        with _connected():
            cpus = _most_cpus(int(cases[0].device != "cpu"))
            yield from _done("measure", [cases], store, say, cpus, access, budget)


def _done(
    work: str,
    groups: list[tuple[Case, ...]],
    store: Store,
    say: Say,
    cpus: float,
    *given: object,
) -> Iterator[Result]:
    """The results of a task for each group, as they come."""
    trains = work == "train"
    options = {"num_cpus": cpus, "num_gpus": int(groups[0][0].device != "cpu")}
    remote = ray.remote(there).options(max_retries=RETRIES if trains else 0, **options)
    running: dict[Any, tuple[Case, ...]] = {}
    total, done = sum(case.pace for group in groups for case in group), 0.0
    with marked(store) as mark:
        try:
            for group in groups:
                sent = Parcel.of(store, group[0]) if trains else Parcel()
                settings = mark, torch.get_num_threads(), sent, work, group
                running[remote.remote(*settings, *given)] = group
            while running:
                for each in ray.wait(list(running), timeout=POLL)[0]:
                    group = running.pop(each)
                    try:
                        results, parcel = ray.get(each)
                        parcel.unpack(store)
                    except RayError as error:
                        command, reason = Command(group, store), _reason(error)
                        lost = {case: (case,) for case in group} if trains else cells(group)
                        results = [
                            Result(case, tuple(command.failed(each, reason) for each in of))
                            for case, of in lost.items()
                        ]
                    done += sum(case.pace for case in group)
                    yield from results
                say(min(1.0, done / total), f"{len(running)} tasks of the cluster are not done")
        finally:
            for each in running:
                ray.cancel(each, force=True)


def there(
    mark: Path, threads: int, sent: Parcel, work: str, cases: tuple[Case, ...], *given: object
) -> tuple[list[Result], Parcel]:
    """On another machine: what `Local` does with the cases, and what has to travel back. It is done
    in the result folder where this machine sees it, else in one that is thrown away.
    """
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory(prefix="harness-") as folder:
        store = Store(mark.parent if mark.exists() else Path(folder))
        if not mark.exists():
            sent.unpack(store)
        results = list(getattr(Local(), work)(cases, store, *given, lambda *_: None))
        return results, Parcel() if mark.exists() else Parcel.back(store, sent)


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


def _most_cpus(gpus: int) -> float:
    """Of the machines that have so many GPUs. Raises UsageError where none has."""
    found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = [each.get("CPU", 1) for each in found if each.get("GPU", 0) >= gpus]
    if not cpus:
        raise UsageError("no machine of the cluster has a GPU: use --device cpu")
    return max(cpus)


def _reason(error: RayError) -> str:
    """Why a task came to nothing. What the user asked in vain is raised as it is anywhere."""
    if not isinstance(error, RayTaskError):
        return f"its machine or process was lost: {type(error).__name__}"
    if isinstance(error.cause, UsageError):
        raise UsageError(str(error.cause)) from None
    return str(error).splitlines()[-1]


class Parcel(NamedTuple):
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
        return cls._packed(rows, store.out, (store.out / name for name in names))

    @classmethod
    def back(cls, store: Store, sent: Parcel) -> Parcel:
        """All that a task's own folder holds and had not been sent."""
        rows = [row for row in store.read()[0] if row.to_json() not in sent.lines]
        paths = (path for folder in FOLDERS for path in (store.out / folder).glob("*"))
        return cls._packed(rows, store.out, paths)

    @classmethod
    def _packed(cls, rows: Iterable[Row], out: Path, paths: Iterable[Path]) -> Parcel:
        files = ((p.relative_to(out).as_posix(), p.read_bytes()) for p in paths if p.is_file())
        return cls(tuple(row.to_json() for row in rows), tuple(files))

    def unpack(self, store: Store) -> None:
        """Puts it into a folder: files before the rows that tell of them."""
        for name, content in self.files:
            write_result(store.out / name, content)
        store.append(*(parse(line.encode()) for line in self.lines))


@contextmanager
def marked(store: Store) -> Iterator[Path]:
    """A mark in the result folder while the block runs: a machine that sees it shares the folder.

    Raises UsageError where the folder is not writable.
    """
    store.check_writable()
    store.out.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(prefix=".share-", dir=store.out.resolve()) as mark:
        yield Path(mark.name)
