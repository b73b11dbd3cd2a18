"""One run: what all its rows share, kept once in OUT/runs/RUN.json, and how its rows are made."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import psutil

from harness.records.identity import Software
from harness.records.row import EndedRow, Outcome, Record
from harness.spec import Case, CaseFields, Source, paper
from harness.system.files import unwritable, write_whole
from harness.system.installed import Machine, Moment, diff_sha256, version

R = TypeVar("R", bound=Record)
UNKNOWN = Moment()
LONGEST_REASON = 4000  # characters; a framework's message can be of any length
# Packages whose versions decide what a run computes or how fast, beside the frameworks.
PACKAGES = ("torch", "numpy", "numba", "triton", "torchvision", "scipy", "pandas", "tonic")
SYSFS_CPU = Path("/sys/devices/system/cpu/cpu0/cpufreq")
# Fields that each row says itself: what it is, what it is of, and when it was measured.
_OWN = frozenset((*CaseFields.__dataclass_fields__, "schema", "run", "time", "key", "kind"))


class Failed(Exception):
    """A case failed; the message says why. `ended` makes it a row."""

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


# a run's file


@dataclass(frozen=True)
class Shared:
    """Fields that rows leave to their run's file. What a row says itself counts."""

    fields: Mapping[str, Any]
    of_dataset: Mapping[str, Mapping[str, Any]]

    def of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """A row with all its fields."""
        dataset = row.get("dataset")
        more = self.of_dataset.get(dataset, {}) if isinstance(dataset, str) else {}
        return {**self.fields, **more, **row}


NOTHING = Shared({}, {})


def shared_by(out: Path, run: object) -> Shared:
    """What the rows of a run share; nothing where its file is missing.

    Raises ValueError where the file is damaged.
    """
    if not (isinstance(run, str) and run.replace("-", "").isalnum()):  # it names a file
        return NOTHING
    path = out / "runs" / f"{run}.json"
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError:
        return NOTHING


@lru_cache(maxsize=1024)
def _read(path: Path, mtime_ns: int) -> Shared:
    content = json.loads(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("a JSON object was expected")
    by_dataset = content.get("shared_by_dataset") or {}
    if not isinstance(by_dataset, dict):
        raise ValueError("shared_by_dataset: an object was expected")
    of_dataset = {name: _shareable(fields) for name, fields in by_dataset.items()}
    return Shared(_shareable(content.get("shared") or {}), of_dataset)


def _shareable(fields: object) -> dict[str, Any]:
    if not isinstance(fields, dict):
        raise ValueError("shared: an object was expected")
    known = Record.__dataclass_fields__.keys() - _OWN
    return {name: value for name, value in fields.items() if name in known and value is not None}


@dataclass(frozen=True)
class DataUsed:
    """One data set that rows of a run are of."""

    dataset: str
    source: str
    sha256: str
    test_sha256: str | None


@dataclass(frozen=True)
class Manifest:
    """One run with all that one must know to do it again. None: the system did not tell.

    It is written when the run starts, and again as its data become known.
    """

    command: tuple[str, ...]
    started: str  # UTC, ISO 8601
    shared: dict[str, Any]  # fields of its rows
    diff_sha256: str | None  # of what differs from the commit
    packages: dict[str, str]
    clock_mhz: tuple[float, float] | None  # least and most
    governor: str | None  # how the system sets the clock
    load: float  # of the minute before
    data: tuple[DataUsed, ...] = ()

    @classmethod
    def of_command(cls, machine: Machine, frameworks: Iterable[str]) -> Manifest:
        """Of the command that this process was started with, which runs these frameworks."""
        found = {name: version(name) for name in (*PACKAGES, *frameworks)}
        return cls(
            command=("harness", *sys.argv[1:]),
            started=now(),
            shared={"code": sources_sha256(), **asdict(machine)},
            diff_sha256=diff_sha256(),
            packages={name: each for name, each in found.items() if each},
            clock_mhz=_clocks(),
            governor=_content(SYSFS_CPU / "scaling_governor"),
            load=round(psutil.getloadavg()[0], 2),
        )

    def with_data(self, rows: Iterable[Record]) -> Manifest:
        """The same with the data that rows are of."""
        new = {
            DataUsed(row.dataset, row.data_source or "", row.data_sha256, row.data_test_sha256)
            for row in rows
            if row.data_sha256
        } - set(self.data)
        return replace(self, data=(*self.data, *sorted(new, key=str))) if new else self

    def write(self, out: Path, run: str) -> None:
        """Raises UsageError where the folder cannot be written."""
        path = out / "runs" / f"{run}.json"
        text = json.dumps({"run": run, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"
        # a lone surrogate, of an argument that is no UTF-8, has no place in JSON
        content = text.encode(errors="replace")
        try:
            write_whole(path, lambda part: part.write_bytes(content))
        except OSError as error:
            raise unwritable(path, error) from error


def _content(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None


def _clocks() -> tuple[float, float] | None:
    least, most = _content(SYSFS_CPU / "cpuinfo_min_freq"), _content(SYSFS_CPU / "cpuinfo_max_freq")
    if least is None or most is None:
        return None
    return float(least) / 1000, float(most) / 1000  # they are in kHz


# a run's rows


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
