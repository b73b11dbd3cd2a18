"""The paper's nine claims and one of ours as data, and what the rows answer.

A claim has parts, each with one answer: an `Effect` over seeds, or a `Range` of speeds.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pandas as pd

from harness.analysis.effect import Answer, Effect, Judgement, judgements
from harness.analysis.figure_claims import Range, bf16, conv, fig3, fig4, fig5, fig6
from harness.analysis.frame import Frame, Frames, frames, grouped
from harness.analysis.paired import Untested, is_full_size
from harness.analysis.table_claims import of_table
from harness.analysis.tables import PUBLISHED
from harness.analysis.trainings import TrainingLine
from harness.analysis.words import data_source, span
from harness.records import Row

OURS = "bf16"  # the claim that is not the paper's


@dataclass(frozen=True)
class Finding:
    """The answer to a part of a claim: a line of the table of claims."""

    claim: Claim
    title: str  # of the part, in ten words or fewer
    published: str
    figure: str  # ours, with its interval and n; "" where there is none
    answer: Answer
    why: str
    brief: str = ""  # what an open one lacks, in a few words
    place: str = ""  # the width of the networks, or the machine's kind; "" at the paper's size
    evidence: Effect | Range | None = None
    choice: str = ""  # the choice of ours that it rests on: "U = 1"
    doubts: str = ""  # what speaks against it, in sentences
    is_ours: bool = False  # a check of ours, and no part of a claim of the paper
    lacks: str = ""  # `brief` in a sentence

    @property
    def short(self) -> str:
        """The answer; where it is open, with what it lacks in brackets."""
        return f"{self.answer} ({self.brief})" if self.brief else self.answer

    @property
    def text(self) -> str:
        """The answer as in `short`, with the reduced width or the machine, and our choice."""
        choice = self.choice and f"given {self.choice}"
        return ", ".join(filter(None, (self.short, self.place, choice)))


@dataclass(frozen=True)
class Claim:
    """One claim of the paper."""

    id: str
    claim: str  # in our words, ten at most
    value: str  # as published
    suite: str  # its rows answer the claim
    options: str  # of `harness run`: the fixed schedule and seeds
    rule: str  # what decides it, in a few words
    test: str  # the same in full, with its bounds
    judge: Callable[[Frames], Sequence[Effect | Range]]  # raises Untested

    @property
    def command(self) -> str:
        """The command whose rows answer the claim."""
        return f"harness run --suite {self.suite} {self.options}"


def findings(rows: Frames | Iterable[Row]) -> list[Finding]:
    """Answer each part of each claim, in the order of claims.csv: the paper's, then ours (bf16).

    Holm's correction, either way, spans all parts of the paper's claims: give all rows.
    """
    of_rows = frames(rows)
    parts: list[tuple[Claim, Effect | Range | Untested]] = []
    for claim in CLAIMS:
        try:
            parts += [(claim, part) for part in claim.judge(of_rows)]
        except Untested as error:
            parts.append((claim, error))
    effects = [part for _, part in parts if isinstance(part, Effect)]
    families = [[effect for effect in effects if not effect.is_ours]]
    families += [[effect] for effect in effects if effect.is_ours]
    answers = {id(part): part.judgement for _, part in parts if isinstance(part, Range)}
    for family in families:
        answers |= zip(map(id, family), judgements(family), strict=True)
    return [
        _untested(claim, part)
        if isinstance(part, Untested)
        else _finding(claim, part, answers[id(part)])
        for claim, part in parts
    ]


def _untested(claim: Claim, error: Untested) -> Finding:
    why, is_ours = f"{error}: run `{claim.command}`", claim.id == OURS
    return Finding(claim, claim.claim, claim.value, "", "not tested", why, is_ours=is_ours)


def _finding(claim: Claim, part: Effect | Range, judgement: Judgement) -> Finding:
    """Return a part's judgement as a finding, with the width and the training behind its figure."""
    answer, why, brief = judgement
    front = claim, part.title, part.published, part.figure, answer
    if isinstance(part, Range):
        return Finding(*front, why, brief, part.place, part)
    reduced = [line for line in part.groups if not is_full_size(line)]
    widths = ", ".join(dict.fromkeys(f"width {line.width}" for line in reduced))
    return Finding(
        *front,
        why + (f"; {widths}, {_trained_on(reduced)}" if reduced else ""),
        *(brief, widths, part),
        choice=part.choice,
        doubts=part.doubts,
        is_ours=part.is_ours,
        lacks=why if brief else "",
    )


def _trained_on(groups: Sequence[TrainingLine]) -> str:
    """Return in words what trainings had: samples, data, dropout, precision, epochs and T."""
    samples = span((line.train_samples for line in groups), ",")
    data = " and ".join(dict.fromkeys(data_source(vars(line)) for line in groups))
    precisions = dict.fromkeys(line.precision for line in groups)
    dropout = span((line.dropout for line in groups), "g")
    epochs = span(n for line in groups for n in line.trained_epochs)
    steps = ", ".join(map(str, sorted({line.T for line in groups})))
    return (
        f"{samples} training samples of {data}, dropout {dropout}, {' and '.join(precisions)}, "
        f"{epochs} epochs, T = {steps}"
    )


class Verdicts(NamedTuple):
    """How many claims of the paper have which answer, by claim and not by part."""

    claims: Mapping[str, Answer]  # by id, all of the paper's
    holding: list[str]  # ids of those that hold in direction, in every part
    widths: list[str]  # of the trainings behind these: "width 1/8"
    at_full_size: list[str]  # ids of those that a training of the paper's size answers

    @property
    def text(self) -> str:
        """In a sentence: "3 of the paper's 9 claims hold in direction (fig3, fig4, fig5)..."."""
        named = f" ({', '.join(self.holding)})" if self.holding else ""
        where = f", trainings at {', '.join(self.widths)}" if self.widths else ""
        full = ", ".join(self.at_full_size) or "none"
        count = f"{len(self.holding)} of the paper's {len(self.claims)} claims"
        against = [name for name, answer in self.claims.items() if answer == "contradicted"]
        n_open = len(self.claims) - len(self.holding) - len(against)
        return (
            f"{count} hold in direction{named}{where}; {', '.join(against) or 'none'} "
            f"contradicted, {n_open} undecided or untested; {full} trained at the paper's size"
        )


def verdicts(findings: Sequence[Finding]) -> Verdicts:
    """Return the answers by claim: of several parts the least favourable one."""
    order: Sequence[Answer] = (
        *("contradicted", "open", "cannot be decided here", "not tested"),
        *("same direction, smaller", "reproduced"),
    )
    of_paper = [finding for finding in findings if not finding.is_ours]
    answers: dict[str, Answer] = {
        name: order[min(order.index(part.answer) for part in parts)]
        for name, parts in grouped(of_paper, lambda finding: finding.claim.id).items()
    }
    holding = [name for name, answer in answers.items() if answer in order[4:]]
    effects = [finding for finding in of_paper if isinstance(finding.evidence, Effect)]
    widths = dict.fromkeys(e.place for e in effects if e.place and e.claim.id in holding)
    full = dict.fromkeys(e.claim.id for e in effects if not e.place and e.answer != "open")
    return Verdicts(answers, holding, [*widths], [*full])


# Effects are in points and shares as fractions of 1, accuracies in [0, 1], votes as they are.
COLUMNS = (
    *("id", "claim", "part", "published", "answer", "where", "unit", "value", "low", "high", "n"),
    *("matters", "why", "given", "against", "is_ours"),
)


def table(findings: Iterable[Finding]) -> Frame:
    """Return findings as a table, a line for each part of a claim.

    `value` is the mean over `n` seeds, `low` and `high` its 95 % interval; for Fig. 3, a ratio,
    the geometric mean over `n` cells, the least and the largest. `matters` is the bound that was
    fixed beforehand.
    """
    lines: list[tuple[object, ...]] = []
    for part in findings:
        unit, numbers = (
            (part.evidence.unit, part.evidence.numbers) if part.evidence else ("", (None,) * 5)
        )
        front = part.claim.id, part.claim.claim, part.title, part.published
        reasons = part.why, part.choice, part.doubts, part.is_ours
        lines.append((*front, part.answer, part.place, unit, *numbers, *reasons))
    frame = pd.DataFrame(lines, columns=list(COLUMNS))
    numbers = dict.fromkeys(("value", "low", "high", "matters"), float)
    return frame.astype({**numbers, "n": "Int64"})


_JUDGES: dict[str, Callable[[Frames], Sequence[Effect | Range]]] = {
    **{"fig3": fig3, "fig4": fig4, "fig5": fig5, "fig6": fig6, "conv": conv, "bf16": bf16},
    **{f"tab{number}": partial(of_table, number) for number in (3, 4, 5, 6)},
}
_WORDS = csv.DictReader((PUBLISHED / "claims.csv").read_text("utf-8").splitlines())
CLAIMS = tuple(Claim(**line, judge=_JUDGES[line["id"]]) for line in _WORDS)
