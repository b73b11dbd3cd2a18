"""A line of a file as a row, or what is wrong with it."""

from __future__ import annotations

import json
from datetime import datetime
from functools import cache
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from harness.records.fields import SCHEMA
from harness.records.record import (
    KINDS,
    ConfusionRow,
    EpochRow,
    FittedRow,
    OperationsRow,
    Row,
    TestedRow,
    TrainedRow,
    TransferRow,
)
from harness.spec import Case, UsageError


@cache
def _adapter() -> TypeAdapter[Row]:
    return TypeAdapter(Annotated[Row, Field(discriminator="kind")])


_NOW = f'{{"schema": {SCHEMA}, '.encode()


def parse(line: bytes) -> Row | str:
    """The row of one line, or what is wrong with it."""
    if not line.startswith(_NOW):
        translated = _translated(line)
        if isinstance(translated, str):
            return translated
        line = translated
    try:
        row = _adapter().validate_json(line, strict=True, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"] if part not in KINDS)
        return _damage(f"{where + ': ' if where else ''}{first['msg']}")
    return _meaning(row)


def _damage(what: str) -> str:
    return f"damaged row: {what[:300]}"


def _translated(line: bytes) -> bytes | str:
    """A line that is written in another way, as we write it; or what is wrong with it."""
    try:
        content: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        return _damage(f"{type(error).__name__}: {error}")
    if not isinstance(content, dict):
        return _damage("a JSON object was expected")
    schema = content.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        return f"written by a newer harness (schema {schema}, this one reads {SCHEMA})"
    if content.get("kind") not in KINDS:
        return _damage(f"kind: one of {', '.join(KINDS)} was expected")
    if schema != SCHEMA:
        return _damage(f"of schema {schema!r}, this harness reads {SCHEMA}"[:100])
    try:
        return json.dumps(content, allow_nan=False).encode()
    except ValueError as error:
        return _damage(str(error))


_OF_TRAININGS = EpochRow | TestedRow | TransferRow | ConfusionRow | TrainedRow | FittedRow


def _is_moment(text: str) -> bool:
    """Whether a text is a date and time with its zone."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False


def _meaning(row: Row) -> Row | str:
    """The row, unless no harness can have written what it says."""
    try:
        Case.of(row)
    except UsageError as error:
        return _damage(str(error))
    if not _is_moment(row.time):
        return _damage("time: a date and time with a zone was expected")
    if isinstance(row, FittedRow) and row.effort is None:
        return _damage("effort: that of the other system was expected")
    if isinstance(row, _OF_TRAININGS) and row.epochs is None:
        return _damage("epochs: those of the training were expected")
    if isinstance(row, ConfusionRow):
        sizes = {len(row.votes), len(row.confusion), *map(len, row.votes), *map(len, row.confusion)}
        if sizes != {row.classes}:
            return _damage(f"votes, confusion: {row.classes} rows of {row.classes} were expected")
    if isinstance(row, OperationsRow):
        return _counted(row)
    return row


def _counted(row: OperationsRow) -> Row | str:
    """The row, where each count has an entry for each layer."""
    layers = len(Case.of(row).network.stages)
    counts = (row.spikes, row.events, row.operations, row.accumulates, row.multiplies)
    if {len(each) for each in counts} != {layers}:
        return _damage(f"operations: an entry for each of {layers} layers was expected")
    return row
