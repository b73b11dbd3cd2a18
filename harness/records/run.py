"""One run: its file OUT/runs/RUN.json, and how its rows are made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from secrets import token_hex
from typing import TypeVar

from harness.machine.files import printable, write_result
from harness.machine.installed import ROOT, Machine, Moment, version
from harness.records.identity import PROTOCOL, Installation
from harness.records.row import (
    Bf16TrainingResult,
    Build,
    Data,
    EndedResult,
    Outcome,
    Result,
    Row,
    Run,
    installed,
)
from harness.spec import Case, paper

R = TypeVar("R", bound=Result)
LONGEST_REASON = 1000  # characters; a framework's message can be of any length
# Packages, with the frameworks, whose versions decide what a run computes or how fast.
PACKAGES = ("torch", "numpy", "numba", "triton", "torchvision", "scipy", "pandas", "tonic")
UNKNOWN = Moment()  # how busy and warm the machine was


class Failed(Exception):
    """A case failed; the message says why. `ended` makes a row of it."""

    def __init__(self, reason: str, status: Outcome = "failed") -> None:
        super().__init__(reason)
        self.status: Outcome = status


@dataclass(frozen=True)
class CaseRows:
    """Rows of a case that ended, or of a cell so far; of a cell not begun, the seconds it needs."""

    case: Case  # of a cell what its cases share
    rows: tuple[Row, ...]  # with those of an earlier command that serve the case
    rounds: int = 0  # of a cell
    more: bool = False  # of a cell with its first round: it will be yielded once more
    was_done: bool = False  # by an earlier command
    left_seconds: float = 0.0  # of a cell that was not begun: an estimate of what it takes
    bf16_trainings: tuple[Row[Bf16TrainingResult], ...] = ()  # of a cell: all so far


@dataclass(frozen=True)
class RowMaker:
    """What the rows of one case share, and how a result becomes one of them."""

    run: Run
    case: Case
    installation: Installation = Installation()
    data: Data = Data()
    key: str | None = None
    build: Build = Build()

    def row(self, result: R, moment: Moment = UNKNOWN) -> Row[R]:
        """Return the row of a result, with the present time."""
        return Row(
            run=self.run, time=now(), moment=moment, key=self.key, case=self.case,
            installation=self.installation, build=self.build, data=self.data, result=result,
        )  # fmt: skip

    @property
    def installed(self) -> tuple[object, ...]:
        """What a check of bf16 training holds for, as `Row.installed`."""
        return installed(self.case, self.installation, self.run.machine)

    def ended(self, status: Outcome, reason: str) -> Row[EndedResult]:
        """Return the row of a case that failed."""
        return self.row(EndedResult(status=status, reason=shortened(reason)))


def maker(case: Case, run: Run, installation: Installation) -> RowMaker:
    """Return what makes rows of a case; of its data only the size of an epoch is known."""
    workload = case.workload
    epoch = paper.settings(workload.dataset).iterations_per_epoch(workload.batch_size)
    return RowMaker(run, case, installation, Data(iterations_per_epoch=epoch or None))


def new_run() -> str:
    """Return a new name for the rows of one command; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(3)}"


def begin(
    out: Path, machine: Machine, allocator: str, frameworks: Iterable[str], command: Sequence[str]
) -> Run:
    """Write OUT/runs/ID.json, what the rows of a run share, and return the run, with a new id.

    `command`: as it was typed. Raises UsageError where the folder cannot be written.
    """
    run = Run(
        id=new_run(), machine=machine, code=sources_sha256(), allocator=allocator, protocol=PROTOCOL
    )
    versions = {name: version(name) for name in (*PACKAGES, *frameworks)}
    manifest = {
        "run": run.id,
        "command": [*command],
        "started": now(),
        "shared": {"run": {"code": run.code, "protocol": PROTOCOL, "machine": asdict(machine)}},
        "packages": {name: number for name, number in versions.items() if number},
    }
    text = json.dumps(manifest, indent=1, ensure_ascii=False) + "\n"
    # a lone surrogate, of an argument that is no UTF-8, has no place in JSON
    write_result(out / "runs" / f"{run.id}.json", text.encode(errors="replace"))
    return run


def now() -> str:
    """Return the present time as rows have it: UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


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
