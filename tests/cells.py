"""Timed cells for tests: contenders that lack nothing for a rank, and changes that cost it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rows import audited, certified, changed, timed

from harness.records import AuditResult, CertificateResult, IterationResult, Row
from harness.spec import Budget

NOISE = (1.0, 1.02, 0.99, 1.01, 0.98)
JITTER = (1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.01, 0.99)


def rounds(
    name: str, seconds: float, shift: int = 0, count: int = Budget.rounds, **fields: Any
) -> list[Row]:
    """Some rounds with some noise, by default the fewest that rank."""
    noise = (JITTER[(n + shift) % len(JITTER)] for n in range(count))
    return timed(name, *(seconds * factor for factor in noise), **fields)


def contender(name: str, seconds: float, shift: int = 0, **fields: Any) -> list[Row]:
    """Certificate, audits and rounds of a contender that ranks."""
    measured = rounds(name, seconds, shift, **fields)
    return [*certified(name, **fields), *audited(name, **fields), *measured]


def run(**fields: Any) -> list[Row]:
    """A cell of three ranked contenders: `reference` and `snntorch` level, `fused` faster."""
    return [
        *rounds("floor", 1.0, **fields),
        *rounds("floor", 1.0, 3, twin=True, **fields),
        *contender("reference", 2.0, 1, **fields),
        *contender("snntorch", 2.01, 4, **fields),
        *contender("fused", 1.1, 2, **fields),
    ]


def seconds_of(rows: list[Row], change: Callable[[Row[IterationResult]], float]) -> list[Row]:
    return changed(rows, IterationResult, lambda row: {"seconds": change(row)})


LATE = "on weights as late in a training"
REFUSED = {"passed": False, "reason": "it computes two samples"}


def refused(rows: list[Row]) -> list[Row]:
    """The rows, with a failed audit of snntorch."""
    return changed(rows, AuditResult, REFUSED, contender="snntorch", when="late")


def slower_twin(rows: list[Row], factor: float) -> list[Row]:
    return seconds_of(rows, lambda row: row.result.seconds * (factor if row.result.twin else 1))


def run_in_bf16(**audit: Any) -> list[Row]:
    proofs = [*certified("fused bf16"), *audited("fused bf16", **audit)]
    return [*run(), *rounds("floor bf16", 0.5), *proofs, *rounds("fused bf16", 0.6, 2)]


def matlab(**times: float) -> list[Row]:
    """Five rounds of plain PyTorch and of Matlab forms, slower by the given factors."""
    rows = [*timed("floor", *[0.5] * 5), *timed("reference", *[1.0] * 5), *certified("reference")]
    for form, ratio in times.items():
        name = "octave" if form == "im2col" else f"octave:{form}"
        version = {"framework_version": "GNU Octave 9.4.0, BLAS OpenBLAS"}
        part = {"part": 0.01} if ratio > 150 else {}
        rows += timed(name, *(ratio * factor for factor in NOISE), **version, **part)
        rows += certified(name, **version)
    return rows


MATLAB_REFUSED = changed(
    matlab(conv2=200.0), CertificateResult, {"certified": False}, framework="octave"
)
