"""The weights that a training ended with, kept beside its rows and named in them by their hash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.formats import weights
from harness.records import EpochRow, Record, Row, TrainedRow, WarningRow
from harness.records.build import stamped
from harness.records.ledger import Ledger
from harness.spec import Case, UsageError
from harness.training import checkpoint


@dataclass(frozen=True)
class Ended:
    """A training that an earlier command had done, and its last checkpoint."""

    case: Case
    path: Path  # of the checkpoint
    identity: Mapping[str, str]


def keep_later(row: Record, ended: Ended, ledger: Ledger) -> None:
    """Keeps the weights of a training that was done without, from its last checkpoint.

    Where that is not there any more, a warning says what to do.
    """
    out = ledger.store.out
    there = [each for each in ledger.store.of_keys({str(row.key)}) if each.suite == row.suite]
    done = [each for each in there if isinstance(each, TrainedRow)]
    if any(_is_kept(each, out) for each in done):
        return
    try:
        kept = _of_checkpoint(ended, there)
    except UsageError as error:
        _warn(row, there, ledger, str(error))
        return
    if kept is None:
        _warn(row, there, ledger, f"its checkpoint {ended.path.name} is gone")
        return
    sha256 = weights.keep(out, kept)
    if all(each.kept_weights_sha256 != sha256 for each in done):  # else the file alone was gone
        ledger.keep(stamped(replace(done[-1], kept_weights_sha256=sha256)))


def _is_kept(row: TrainedRow, out: Path) -> bool:
    sha256 = row.kept_weights_sha256
    return sha256 is not None and weights.path_of(out, sha256).is_file()


def _of_checkpoint(ended: Ended, rows: list[Row]) -> bytes | None:
    """The weights as a file; None where there is no checkpoint of the last epoch."""
    epochs = [row for row in rows if isinstance(row, EpochRow)]
    last = ended.case.trained.epochs
    found = checkpoint.load(ended.path, ended.identity, last, epochs)
    if found is None or len(found.epochs) < last:
        return None
    try:
        return weights.content(ended.case.network, found.weights)
    except ValueError as error:
        raise UsageError(f"{ended.path} is of another network: {error}") from error


def _warn(row: Record, there: list[Row], ledger: Ledger, why: str) -> None:
    reason = f"its weights were not kept: {why}; train it anew with --fresh --keep-weights"
    if not any(isinstance(each, WarningRow) and each.reason == reason for each in there):
        ledger.keep(stamped(WarningRow(**vars(row), reason=reason)))
