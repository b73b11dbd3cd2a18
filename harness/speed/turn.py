"""One turn of a contender: what it takes, and whether it came to what was audited."""

from __future__ import annotations

from math import isclose, isfinite
from typing import NamedTuple

import torch

from harness.records.build import Failed
from harness.reference import coding
from harness.speed.apart import Report
from harness.speed.contender import Contender

# Of all votes so many may differ from those audited: the batch is rolled, and where a kernel sums
# in another order a near-tie flips a few spikes. An answer from memory differs in nearly all.
OTHER_VOTES = 0.05
SAME_LOSS = 1e-3  # relative, of the loss that its votes give


class Came(NamedTuple):
    """What a turn came to."""

    seconds: float
    loss: float | None
    class_spikes: tuple[float, ...] | None
    changed: str  # what it changed in its process, said once; "" where nothing


def turn(contender: Contender, number: int) -> Came:
    """One timed iteration. Raises Failed where it comes to something else than was audited."""
    apart = contender.apart
    roll = 0 if contender.expected is None else number % max(1, len(contender.expected.labels))
    if contender.lean:  # its memory was given back: no page is to be taken in what is timed
        apart.ask("ready", roll)
        apart.ask("iterate")
    apart.ask("ready", roll)
    seconds = apart.seconds()
    report = apart.report()
    if contender.lean:
        apart.ask("release")
    _check(contender, report, roll)
    changed = _said(contender, report)
    spikes = None
    if report.votes is not None and report.loss is None:
        each = contender.case.T * contender.row.population  # a vote is the mean of so many
        spikes = tuple(round(each * share) for share in torch.tensor(report.votes).sum(0).tolist())
    return Came(seconds, report.loss, spikes, changed)


def _check(contender: Contender, report: Report, roll: int) -> None:
    if report.votes is None:  # the floor votes for nothing
        return
    votes = torch.tensor(report.votes, dtype=torch.float64)
    if not votes.isfinite().all() or not isfinite(report.loss or 0.0):
        raise Failed("a timed iteration came to what is not finite", "not comparable")
    expected = contender.expected
    if expected is None:  # a variant, which is marked
        return
    wanted = expected.votes.double().roll(roll, 0)
    if votes.shape != wanted.shape:
        raise Failed(
            f"a timed iteration gave votes of shape {tuple(votes.shape)}, "
            f"expected {tuple(wanted.shape)}",
            "not comparable",
        )
    other = float((votes - wanted).abs().sum() / wanted.abs().sum().clamp(min=1e-12))
    if other > OTHER_VOTES:
        raise Failed(
            f"a timed iteration is not what was audited: {100 * other:.1f} % of its votes are "
            "others, on the same weights and samples",
            "not comparable",
        )
    if report.loss is None:
        return
    loss = float(coding.loss(votes, expected.labels.roll(roll, 0)))
    if not isclose(loss, report.loss, rel_tol=SAME_LOSS):
        raise Failed(
            f"a timed iteration says that its loss is {report.loss:.4g}; its votes give {loss:.4g}",
            "not comparable",
        )


def _said(contender: Contender, report: Report) -> str:
    """What it changed in its process, where that was not said before."""
    new = [each for each in report.changed if each not in contender.said]
    contender.said.update(new)
    if not new:
        return ""
    return f"{contender.name} changes its process: {', '.join(new)}; the others have their own"
