"""Work as a task on another machine: rows go to the folder where it is shared, else they come back.

What travels then is a parcel: the rows and files of the very case, there and back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex

import torch

from harness.jobs import Timed, Trained
from harness.jobs.local import Local
from harness.records import Store, TrainedRow
from harness.records.identity import fields_that_train
from harness.records.reading import parse
from harness.spec import Access, Budget, Case
from harness.system.files import unwritable, write_whole

FOLDERS = ("checkpoints", "splits", "runs", "weights")  # whose files travel


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
        names = [
            path.relative_to(store.out).as_posix()
            for folder in FOLDERS
            for path in (store.out / folder).glob("*")
        ]
        there = set(sent.lines)
        return cls(tuple(line for line in lines if line not in there), _read(store.out, names))

    def unpack(self, store: Store) -> None:
        """Puts it into a folder: files before the rows that tell of them."""
        for name, content in self.files:
            folder, _, file = name.partition("/")
            if folder not in FOLDERS or Path(file).name != file:
                continue
            path = store.out / folder / file
            try:
                write_whole(path, lambda part, content=content: part.write_bytes(content))
            except OSError as error:
                raise unwritable(path, error) from error
        rows = (parse(line.encode()) for line in self.lines)
        for row in rows:
            if not isinstance(row, str):
                store.append(row)


def _read(out: Path, names: list[str]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, (out / name).read_bytes()) for name in names if (out / name).is_file())


@dataclass(frozen=True)
class Share:
    """A result folder that other machines may see too: they do where its mark is."""

    store: Store
    mark: str

    @property
    def is_seen(self) -> bool:
        """Whether this machine sees the very folder."""
        return (self.store.out / f".share-{self.mark}").exists()


@contextmanager
def shared(store: Store) -> Iterator[Share]:
    """The folder with a mark, while the block runs.

    Raises UsageError where it cannot be written.
    """
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


@dataclass(frozen=True)
class Task:
    """What a task is given beside its case."""

    share: Share
    access: Access
    silence: float
    threads: int

    @contextmanager
    def _store(self) -> Iterator[Store]:
        """The result folder where this machine sees it, else one that is thrown away."""
        torch.set_num_threads(self.threads)
        if self.share.is_seen:
            yield self.share.store
            return
        with tempfile.TemporaryDirectory(prefix="harness-") as folder:
            yield Store(Path(folder))

    def train(self, case: Case, sent: Parcel) -> tuple[Trained, Parcel]:
        """One training, and what of it has to travel back."""
        with self._store() as store:
            if store == self.share.store:
                sent = Parcel()
            sent.unpack(store)
            (ended,) = Local(self.silence).train((case,), store, self.access, _nobody)
            return ended, self._back(store, sent)

    def measure(self, cases: tuple[Case, ...], budget: Budget) -> tuple[list[Timed], Parcel]:
        """All timings, and what of them has to travel back."""
        with self._store() as store:
            local = Local(self.silence)
            timed = list(local.measure(cases, store, self.access, budget, _nobody))
            return timed, self._back(store, Parcel())

    def _back(self, store: Store, sent: Parcel) -> Parcel:
        return Parcel() if store == self.share.store else Parcel.back(store, sent)


def _nobody(fraction: float, doing: str) -> None:
    """Nobody is told how far a task is."""
