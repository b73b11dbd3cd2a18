"""The leaderboard: one row a framework and form in each cell and machine, as JSON and as a page.

docs/leaderboard.md says what each field is, and how others hand in rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from harness.analysis.lines import Acceleration
from harness.analysis.proved import Standing
from harness.analysis.speed import acceleration_lines
from harness.records import Row
from harness.records.fields import Amount, Count, Nth, Number, Place, Share
from harness.spec import FLOOR, Mode, Precision, UsageError, contender, paper
from harness.system.version import VERSION

SCHEMA = 1  # raised when a field changes its meaning or goes; a new one does not raise it
LONGEST_TEXT = 4000
SUBMITTED = "submitted: the rows behind it were not seen here"

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_TEXT)]


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """A framework's form in a cell on a machine. None: not measured, or not known.

    A field that has the name of a column of the acceleration table is that column.
    """

    framework: Name
    variant: Text
    dataset: Name
    scale: Name
    network: Name
    neunorm: Text
    width: Name
    T: Nth
    batch_size: Nth
    seed: Count
    mode: Mode
    precision: Precision
    device: Name
    rank: Nth | None
    ranked: Count
    reason: Text
    equal: bool
    standing: Standing
    certificate: Text
    ratio_to_floor: Amount | None
    ratio_low: Amount | None
    ratio_high: Amount | None
    ratio_to_fp32_floor: Amount | None
    ratio_to_fp32_floor_low: Amount | None
    ratio_to_fp32_floor_high: Amount | None
    speedup_vs_reference: Amount | None
    speedup_low: Amount | None
    speedup_high: Amount | None
    seconds_per_iteration: Amount | None
    seconds_per_epoch: Amount | None
    peak_memory_mib: Number | None
    spike_rate: Share | None
    exam: Count
    audit: Text
    protocol: Nth
    rounds: Count
    part: Share | None
    noise_low: Amount | None
    noise_high: Amount | None
    cpu: Text
    capability: Text
    gpu: Text
    threads: Count
    allocator: Text
    torch: Text
    framework_version: Text
    layout: Text
    implementation: Text
    data_source: Text
    run: Name
    submitted: Text

    @property
    def name(self) -> str:
        """The framework's form, "snntorch:subtract"."""
        return contender(self.framework, self.variant)

    @property
    def machine(self) -> str:
        """The machine in words."""
        return str(Place(self.cpu, self.capability, self.gpu, self.threads))


@dataclass(frozen=True, kw_only=True)
class BoardOrigin:
    """What a board is made of: so many rows of records, measured between two times (UTC)."""

    harness: Name
    rows: Count
    first: Text
    last: Text


@dataclass(frozen=True, kw_only=True)
class Board:
    """The whole leaderboard, the least ratio to the floor first."""

    schema: Literal[1] = SCHEMA
    generated_from: BoardOrigin
    rows: tuple[BoardRow, ...]

    @property
    def json(self) -> str:
        """As a file; the same rows give the same text."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"


@cache
def _adapter() -> TypeAdapter[Board]:
    return TypeAdapter(Board)


def json_schema() -> str:
    """The JSON Schema of a board."""
    return json.dumps(_adapter().json_schema(), indent=1, sort_keys=True) + "\n"


def board(rows: Sequence[Row], submitted: Iterable[BoardRow] = ()) -> Board:
    """The leaderboard of rows of records, and of what others have handed in, which has no rank."""
    lines = acceleration_lines(rows)
    ranked = Counter((line.cell, line.precision) for line in lines if line.rank is not None)
    ours = [_row(line, ranked[line.cell, line.precision]) for line in _one_each(lines)]
    times = [row.time for row in rows]
    origin = BoardOrigin(
        harness=VERSION,
        rows=len(rows),
        first=min(times, default=""),
        last=max(times, default=""),
    )
    return Board(generated_from=origin, rows=tuple(sorted([*ours, *submitted], key=_in_order)))


def _one_each(lines: Sequence[Acceleration]) -> list[Acceleration]:
    """Of each contender in a cell on a machine one line: of the newest protocol, of the run with
    most contenders, of these the last. Who is not installed has none.
    """
    here = [line for line in lines if line.certificate != "not installed"]
    sizes = Counter(line.cell for line in here)

    def weight(line: Acceleration) -> tuple[bool, int, int]:
        return not isnan(line.seconds_per_iteration), line.protocol, sizes[line.cell]

    chosen: dict[tuple[object, ...], Acceleration] = {}
    for line in here:
        key = (*line.cell[1:], line.framework, line.variant, line.precision)  # without its run
        if key not in chosen or weight(line) >= weight(chosen[key]):
            chosen[key] = line
    return list(chosen.values())


_OURS = ("ranked", "equal", "submitted")  # fields that are no columns


def _row(line: Acceleration, ranked: int) -> BoardRow:
    names = [field.name for field in fields(BoardRow) if field.name not in _OURS]
    columns: dict[str, Any] = {name: _known(getattr(line, name)) for name in names}
    equal = line.standing == "equal"
    return BoardRow(**columns, ranked=ranked, equal=equal, submitted="")


def _known(value: object) -> object:
    """JSON has no NaN and no infinity."""
    return None if isinstance(value, float) and not isfinite(value) else value


def _in_order(row: BoardRow) -> tuple[object, ...]:
    ratio = inf if row.ratio_to_floor is None else row.ratio_to_floor
    size = (row.dataset, row.scale, row.network, row.neunorm, row.width, row.mode, row.T)
    who = (row.framework != FLOOR, row.name, row.precision, row.device, row.machine)
    more = (row.batch_size, row.seed, row.run, row.submitted)
    return ratio, paper.paper_order(row.dataset, row.scale), *size, *who, *more


def parse(text: bytes) -> Board:
    """A board that somebody wrote. Raises UsageError that names the field and what it should be."""
    try:
        found = _adapter().validate_json(text, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where}: {first['msg']}" if where else first["msg"]) from error
    for number, row in enumerate(found.rows):
        wrong = _contradiction(row)
        if wrong:
            raise UsageError(f"rows.{number}: {wrong}")
    return found


def _contradiction(row: BoardRow) -> str:
    """What of a row contradicts the rest of it, in words; else nothing."""
    if row.equal != (row.standing == "equal"):
        return f"equal is {str(row.equal).lower()} where standing is {row.standing!r}"
    for name, (low, value, high) in {
        "ratio_to_floor": (row.ratio_low, row.ratio_to_floor, row.ratio_high),
        "ratio_to_fp32_floor": (
            row.ratio_to_fp32_floor_low,
            row.ratio_to_fp32_floor,
            row.ratio_to_fp32_floor_high,
        ),
        "speedup_vs_reference": (row.speedup_low, row.speedup_vs_reference, row.speedup_high),
    }.items():
        ends = [each for each in (low, value, high) if each is not None]
        if ends != sorted(ends):
            return f"{name} does not lie within its interval"
    return ""


def submissions(folder: Path) -> list[BoardRow]:
    """The rows that others handed in: of each `*.json` in a folder those of its own.

    Each is marked with the file's name and has no rank. Raises UsageError that names a file that is
    no board.
    """
    found: list[BoardRow] = []
    for path in sorted(folder.glob("*.json")):
        try:
            given = parse(path.read_bytes())
        except OSError as error:
            raise UsageError(f"cannot read {path} ({error.strerror or error})") from error
        except UsageError as error:
            raise UsageError(f"{path}: {error}: docs/leaderboard.md says what it needs") from error
        own = (row for row in given.rows if not row.submitted)
        found += [
            replace(row, submitted=path.stem, rank=None, ranked=0, reason=SUBMITTED) for row in own
        ]
    return found
