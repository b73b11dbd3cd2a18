"""One run: its file OUT/runs/RUN.json, and how its rows are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

from harness.records.identity import PROTOCOL, Software
from harness.records.row import Bf16TrainingRow, EndedRow, Outcome, Record, Row
from harness.spec import ACCELERATION, Case, NeuronSource, Source, paper
from harness.system.files import printable, write_result
from harness.system.installed import ROOT, Machine, Moment, version

R = TypeVar("R", bound=Record)
LONGEST_REASON = 1000  # characters; a framework's message can be of any length
# Packages, with the frameworks, whose versions decide what a run computes or how fast.
PACKAGES = ("torch", "numpy", "numba", "triton", "torchvision", "scipy", "pandas", "tonic")


class Failed(Exception):
    """A case failed; the message says why. `ended` makes a row of it."""

    def __init__(self, reason: str, status: Outcome = "failed") -> None:
        super().__init__(reason)
        self.status: Outcome = status


@dataclass(frozen=True)
class Run:
    """What all rows that a process measures share: run, machine, allocator."""

    id: str
    machine: Machine
    allocator: str  # whether freed memory stays with the process


@dataclass(frozen=True)
class Result:
    """Rows of a case that ended, or of a cell so far; of a cell not begun, the seconds it needs."""

    case: Case  # of a cell what its cases share
    rows: tuple[Row, ...]  # with those of an earlier command that serve the case
    rounds: int = 0  # of a cell
    more: bool = False  # of a cell with its first round: it will be yielded once more
    before: bool = False  # an earlier command had done it
    left_seconds: float = 0.0  # of a cell that was not begun: an estimate of what it takes
    bf16_trainings: tuple[Bf16TrainingRow, ...] = ()  # of a cell: all trainings in bf16 so far


@dataclass(frozen=True)
class Installation:
    """What computes a case: an adapter as installed here, the floor, or the ANN of Table 5."""

    software: Software
    deviations: str | None = None  # where it is not the paper's function
    neuron: NeuronSource | None = None  # whose code it is; None: not declared
    implementation: str | None = None  # which of its kernels run


def new_run() -> str:
    """Return a new name for the rows of one command; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(3)}"


def save_run(out: Path, machine: Machine, frameworks: Iterable[str], command: Sequence[str]) -> str:
    """Write OUT/runs/RUN.json: command, versions, the fields that its rows share; return its name.

    `command`: as it was typed. Raises UsageError where the folder cannot be written.
    """
    run = new_run()
    found = {name: version(name) for name in (*PACKAGES, *frameworks)}
    manifest = {
        "run": run,
        "command": [*command],
        "started": now(),
        "shared": {"code": sources_sha256(), **asdict(machine)},
        "packages": {name: each for name, each in found.items() if each},
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    # a lone surrogate, of an argument that is no UTF-8, has no place in JSON
    write_result(out / "runs" / f"{run}.json", text.encode(errors="replace"))
    return run


def now() -> str:
    """Return the present time as rows have it: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def of_case(case: Case, run: Run, subject: Installation) -> Record:
    """Return the row that all rows of a case are made from; its data are not filled in yet."""
    settings = paper.settings(case.dataset)
    return Record(
        **vars(case.fields),
        **{**asdict(run.machine), **asdict(subject.software)},
        run=run.id,
        time=now(),
        code=sources_sha256(),
        deviations=subject.deviations,
        neuron=subject.neuron,
        implementation=subject.implementation,
        iterations_per_epoch=settings.iterations_per_epoch(case.batch_size),
        allocator=run.allocator,
        protocol=PROTOCOL if case.suite == ACCELERATION else None,
    )


def with_data(row: Record, source: Source, test: Source | None = None) -> Record:
    """Return the row with the `data_` fields of its data, and of its test data if any."""
    found: dict[str, object] = {"data_samples": source.samples}
    for prefix, of in (("data_", source), ("data_test_", test)):
        if of is not None:
            found[f"{prefix}source"] = of.description
            for name in ("sha256", "partial", "lossy", "simulated", "substitute"):
                found[prefix + name] = getattr(of, name)
    notes = dict.fromkeys(each.note for each in (source, test) if each and each.note)
    return replace(row, **found, data_note="; ".join(notes) or None)


def ended(row: Record, status: Outcome, reason: str) -> EndedRow:
    """Return the row of a case that failed."""
    return EndedRow(**vars(row), status=status, reason=shortened(reason))


def stamped(row: R, moment: Moment | None = None) -> R:
    """Return the row with the present time, and the machine's state `moment` if it is known."""
    return replace(row, time=now(), **vars(moment or Moment()))


def shortened(text: str) -> str:
    """Return a text as one printable line for a row; of a long one its beginning and end."""
    text = " ".join(text.encode(errors="replace").decode().split())  # a name may be no text
    half = LONGEST_REASON // 2
    return printable(text if len(text) <= LONGEST_REASON else f"{text[:half]} [...] {text[-half:]}")


@cache
def sources_sha256() -> str:
    """Hash harness and adapters to twelve hex digits, so that a row tells what code wrote it."""
    digest = hashlib.sha256()
    for package in ("harness", "adapters"):
        for path in sorted((ROOT / package).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
