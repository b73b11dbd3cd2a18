"""What is measured, as the fields of rows: a case, its data, where it ran."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

from harness.records.fields import Outcome, Record
from harness.records.identity import Software
from harness.records.record import EndedRow
from harness.spec import Case, Source, paper
from harness.system.facts import Machine, Moment

R = TypeVar("R", bound=Record)
UNKNOWN = Moment()
LONGEST_REASON = 4000  # characters; a framework's message can be of any length


class Failed(Exception):
    """A case comes to nothing; the message says why. `ended` makes it a row."""

    status: Outcome

    def __init__(self, reason: str, status: Outcome = "failed") -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Run:
    """What all rows that a process measures share."""

    id: str
    machine: Machine
    allocator: str  # whether freed memory stays with the process


@dataclass(frozen=True)
class Subject:
    """What computes a case: an adapter as it is installed here, the floor, or the ANN."""

    software: Software
    deviations: str | None = None  # where it is not the paper's function
    implementation: str | None = None  # which of its kernels run


def now() -> str:
    """The time of a row."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_run() -> str:
    """A name that one command's rows share; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(3)}"


def of_case(case: Case, run: Run, subject: Subject) -> Record:
    """What all rows of a case say, before its data are known."""
    settings = paper.settings(case.dataset)
    return Record(
        **vars(case.fields),
        **{**asdict(run.machine), "torch": subject.software.torch},
        run=run.id,
        time=now(),
        code=sources_sha256(),
        revision=subject.software.revision,
        framework_version=subject.software.framework_version,
        deviations=subject.deviations,
        implementation=subject.implementation,
        iterations_per_epoch=settings.iterations_per_epoch(case.batch_size),
        allocator=run.allocator,
    )


def with_source(row: Record, source: Source) -> Record:
    """The row with where its data come from."""
    return replace(
        row,
        data_source=source.description,
        data_sha256=source.sha256,
        data_samples=source.samples,
        data_partial=source.partial,
        data_lossy=source.lossy,
        data_simulated=source.simulated,
        data_substitute=source.substitute,
        data_note=source.note or None,
    )


def with_test_source(row: Record, source: Source) -> Record:
    """The row with where its test data come from."""
    notes = dict.fromkeys(note for note in (row.data_note, source.note) if note)
    return replace(
        row,
        data_test_source=source.description,
        data_test_sha256=source.sha256,
        data_test_partial=source.partial,
        data_test_lossy=source.lossy,
        data_test_simulated=source.simulated,
        data_test_substitute=source.substitute,
        data_note="; ".join(notes) or None,
    )


def ended(row: Record, status: Outcome, reason: str) -> EndedRow:
    """The row of a case that came to nothing."""
    return EndedRow(**vars(row), status=status, reason=shortened(reason))


def stamped(row: R, moment: Moment = UNKNOWN) -> R:
    """The row as it is now: its time, and the state of the machine beside it."""
    return replace(
        row,
        time=now(),
        load=moment.load,
        clock_mhz=moment.clock_mhz,
        temperature_c=moment.temperature_c,
    )


def shortened(text: str) -> str:
    """A text of any length as one that a row may hold: its beginning and its end."""
    text = text.encode(errors="replace").decode()  # a file name may hold what is no text
    if len(text) <= LONGEST_REASON:
        return text
    half = LONGEST_REASON // 2
    return f"{text[:half]} [...] {text[-half:]}"


@cache
def sources_sha256() -> str:
    """Twelve hex digits of all our sources: a row can be traced to what wrote it."""
    digest = hashlib.sha256()
    for package in ("harness", "adapters"):
        spec = find_spec(package)
        folder = Path(spec.origin).parent if spec and spec.origin else None
        for path in sorted(folder.rglob("*.py")) if folder else ():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
