"""What is measured, as the rows of records.py: the fields of a case, its data and its proofs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from math import isfinite
from secrets import token_hex
from typing import Any

import adapters
from harness.adapter import Adapter
from harness.proof.certificate import Certificate
from harness.records import Record, versions
from harness.spec import Case, Source, paper
from harness.system.facts import Machine


def now() -> str:
    """The time of a row."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def new_run() -> str:
    """A name that one command's rows share; names sort by time."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{token_hex(3)}"


def of_cell(cell: Case, run: str, machine: Machine, allocator: str) -> Record:
    """What every row of a cell says, before its framework and data are known."""
    settings = paper.settings(cell.dataset)
    return Record(
        run=run,
        time=now(),
        kind="case",
        suite=cell.suite,
        dataset=cell.dataset,
        scale=cell.scale,
        network=str(cell.network),
        neunorm=cell.network.neunorm.reading if cell.network.neunorm else None,
        width=str(cell.width),
        framework=cell.framework,
        T=cell.T,
        batch_size=cell.batch_size,
        precision=cell.precision,
        device=cell.device,
        seed=cell.seed,
        initialisation=cell.initialisation,
        mode=cell.mode,
        allocator=allocator,
        iterations_per_epoch=settings.iterations_per_epoch(cell.batch_size),
        **asdict(machine),
    )


def of_case(row: Record, case: Case, adapter: Adapter | None = None) -> Record:
    """A cell's row made one of its cases'."""
    framework, _, variant = case.framework.partition(":")
    row = replace(
        row,
        framework=framework,
        variant=variant or None,
        precision=case.precision,
        deviations="; ".join(adapter.DEVIATIONS) or None if adapter else None,
        framework_version=adapters.version(framework),
        code=_code(case, framework),
        implementation=adapters.implementation(framework, case.device) if adapter else None,
    )
    timed = case.training is None and row.data_sha256 is not None
    return replace(row, key=timing_key(row)) if timed else row


def _code(case: Case, framework: str) -> str | None:
    decisive = versions.TIMING if case.training is None else versions.TRAINING
    try:
        return versions.code_version(decisive, adapters.module_name(framework))
    except ModuleNotFoundError:  # an adapter whose package is gone
        return None


# What decides how long an iteration takes, of all that a row says.
_TIMED = (
    *("suite", "dataset", "scale", "network", "neunorm", "width", "framework", "variant", "T"),
    *("batch_size", "precision", "device", "seed", "initialisation", "mode", "code", "data_sha256"),
    *("framework_version", "torch", "python", "os", "cpu", "cores", "threads", "memory_mib"),
    *("gpu", "environment", "allocator"),
)

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")


def timing_key(row: Record) -> str:
    """The key of one contender in a cell, from a row that knows its data and its machine."""
    told = {name: str(getattr(row, name)) for name in _TIMED}
    # what these come to is in `threads`, and a cluster sets them to what they would have been
    variables = (row.environment or "").split()
    left = [each for each in variables if each.partition("=")[0] not in _THREADS]
    return key_of({**told, "environment": str(" ".join(left) or None)})


def key_of(identity: dict[str, str]) -> str:
    """Sixteen hex digits of all that decides a result."""
    told = json.dumps(identity, sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def of_data(row: Record, source: Source) -> Record:
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


def of_certificate(row: Record, proof: Certificate) -> Iterator[Record]:
    """A certificate as rows: the outcome, then one of each layer."""
    first = proof.divergence
    row = replace(
        row,
        kind="certificate",
        certificate_precision=proof.precision,
        certified=proof.passed,
    )
    outcome: dict[str, Any] = {
        "reason": "; ".join(proof.failures) or None,
        "spike_rate": proof.spike_rate,
        "spikes": proof.spikes,
        "mismatches": proof.mismatches,
        "gradient_error": _finite(proof.gradient_error),
        "first_step": first.step if first else None,
        "first_layer": first.layer if first else None,
        "threshold_distance": first.distance if first else None,
        "attempts": proof.attempts,
    }
    yield replace(row, **outcome)
    for layer in proof.layers:
        yield replace(
            row,
            layer=layer.layer,
            spike_rate=layer.rate,
            spikes=layer.spikes,
            mismatches=layer.mismatches,
            gradient_error=_finite(layer.gradient_error),
            gradient_cosine=_finite(layer.gradient_cosine),
        )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None  # JSON has no NaN
