"""Timed cells for tests: contenders that lack nothing for a rank, and changes that cost it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rows import audited, certified, changed, timed

from harness.analysis.timings import FEWEST_RANKED
from harness.records import AuditRow, CertificateRow, IterationRow, Row

BF16: dict[str, Any] = {"precision": "bf16"}
NOISE = (1.0, 1.02, 0.99, 1.01, 0.98)
JITTER = (1.0, 1.02, 0.98, 1.01, 0.99, 1.0, 1.01, 0.99)


def rounds(
    framework: str, seconds: float, shift: int = 0, of: int = FEWEST_RANKED, **fields: Any
) -> list[Row]:
    """Some rounds with some noise, by default the fewest that rank."""
    drawn = (JITTER[(n + shift) % len(JITTER)] for n in range(of))
    return timed(framework, *(seconds * each for each in drawn), **fields)


def contender(framework: str, seconds: float, shift: int = 0, **fields: Any) -> list[Row]:
    """Certificate, audits and rounds of a contender that ranks."""
    measured = rounds(framework, seconds, shift, **fields)
    return [*certified(framework, **fields), *audited(framework, **fields), *measured]


def run(**fields: Any) -> list[Row]:
    """A cell of three ranked contenders: `reference` and `snntorch` level, `fused` faster."""
    return [
        *rounds("floor", 1.0, **fields),
        *rounds("floor", 1.0, 3, twin=True, **fields),
        *contender("reference", 2.0, 1, **fields),
        *contender("snntorch", 2.01, 4, **fields),
        *contender("fused", 1.1, 2, **fields),
    ]


def seconds_of(rows: list[Row], change: Callable[[IterationRow], float]) -> list[Row]:
    return changed(rows, IterationRow, lambda each: {"seconds": change(each)})


LATE = "on weights as late in a training"
REFUSED = {"passed": False, "reason": "it computes two samples"}


def refused(rows: list[Row]) -> list[Row]:
    """The rows, with a failed audit of snntorch."""
    return changed(rows, AuditRow, lambda _: REFUSED, framework="snntorch", when="late")


def slower_twin(rows: list[Row], factor: float) -> list[Row]:
    return seconds_of(rows, lambda each: each.seconds * (factor if each.twin else 1))


def run_in_bf16(**audit: Any) -> list[Row]:
    proofs = [*certified("fused", **BF16), *audited("fused", **BF16, spikes=1000, **audit)]
    return [*run(), *rounds("floor", 0.5, **BF16), *proofs, *rounds("fused", 0.6, 2, **BF16)]


def matlab(**times: float) -> list[Row]:
    """Five rounds of plain PyTorch and of Matlab forms, slower by the given factors."""
    rows = [*timed("floor", *[0.5] * 5), *timed("reference", *[1.0] * 5), *certified("reference")]
    for form, ratio in times.items():
        variant: dict[str, Any] = {} if form == "im2col" else {"variant": form}
        variant["framework_version"] = "GNU Octave 9.4.0, BLAS OpenBLAS"
        part = {"part": 0.01} if ratio > 150 else {}
        rows += timed("octave", *(ratio * n for n in NOISE), **variant, **part)
        rows += certified("octave", **variant)
    return rows


MATLAB_REFUSED = changed(
    matlab(conv2=200.0), CertificateRow, lambda _: {"certified": False}, framework="octave"
)
