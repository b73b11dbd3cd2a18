"""The report's part on proofs: who was proved equal on which network, by how many spikes."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan

import pandas as pd
from markupsafe import Markup

from harness.analysis.groups import grouped
from harness.records import AuditRow, CertificateRow, Row, identity
from harness.report import grid
from harness.report.headline import in_order
from harness.report.parts import Section
from harness.spec import paper

MOST_FAILURES = 20
TEXT = (
    "Each contender against the reference on the very network that is measured, with the same "
    "weights and input: spikes of every layer at every step, gradients of every parameter. "
    "float64: none may differ, gradients within 1e-12; float32: one spike in a million, within "
    "1e-5 of the threshold, gradients within 1e-5. bf16 is never called equal: its bar are its "
    "audits, and a training on digits that ends within the spread of float32's seeds. In each cell "
    "of the matrix stands how many spikes were compared; harness check shows every layer."
)


def certificates(rows: list[Row]) -> Section | None:
    """What was proved of whom; None where nothing was."""
    latest: dict[tuple[object, ...], CertificateRow] = {}
    for row in rows:
        if isinstance(row, CertificateRow) and row.layer is None:
            of = (str(row.place), _network(row), _name(row), row.T, row.mode)
            latest[*of, row.certificate_precision] = row
    if not latest:
        return None
    exams = list(latest.values())
    refused = _failures(rows, exams)
    none = "" if len(refused) else " No exam and no audit failed."
    tables = [
        ("", grid.html(_matrix(exams), "Proved equal to the reference: network by contender")),
        ("", grid.html(_worst(exams), "The worst figures of each contender over its exams")),
    ]
    if len(refused):
        tables.append(("", grid.html(refused, "Exams and audits that failed")))
    return Section("certificates", "Proof of equality", TEXT + none, (), tuple(tables))


def _name(row: CertificateRow | AuditRow) -> str:
    return row.contender if row.precision == "fp32" else f"{row.contender} {row.precision}"


def _network(row: CertificateRow | AuditRow) -> str:
    parts = [f"{paper.settings(row.dataset).title} {row.scale}"]
    parts += [f"NeuNorm {row.neunorm}"] if row.neunorm else []
    parts += [f"width {row.width}"] if row.width != "1" else []
    return ", ".join(parts)


def _matrix(exams: Sequence[CertificateRow]) -> pd.DataFrame:
    names = in_order({_name(row) for row in exams})
    in_paper = sorted(
        exams, key=lambda row: (row.width != "1", *paper.paper_order(row.dataset, row.scale))
    )
    lines = []
    for network, here in grouped(in_paper, _network).items():
        of = grouped(here, _name)
        cells = {name: _outcome(of[name]) if name in of else None for name in names}
        lines.append({"network": network, **cells})
    return pd.DataFrame(lines)


def _outcome(exams: Sequence[CertificateRow]) -> Markup:
    """A contender's proof of a network over all machines, and the spikes that were compared."""
    compared = sum(row.spikes or 0 for row in exams) / 1e6
    count = Markup(' <span class="dim">{:,.1f} M</span>').format(compared) if compared else ""
    if not all(row.certified for row in exams):
        return Markup('<span class="contradicted">not equal</span>{}').format(count)
    newest = max(row.exam for row in exams)
    word = "exam passed" if exams[-1].precision == "bf16" else "equal"
    older = "" if newest == identity.EXAM else f" by exam {newest}"
    return Markup('<span class="reproduced">{}</span>{}{}').format(word, older, count)


def _worst(exams: Sequence[CertificateRow]) -> pd.DataFrame:
    groups = grouped(exams, _name)
    return pd.DataFrame([_worst_of(name, groups[name]) for name in in_order(groups)])


def _worst_of(name: str, exams: Sequence[CertificateRow]) -> dict[str, object]:
    by = grouped(exams, lambda row: row.certificate_precision)
    error = {
        precision: max((row.gradient_error for row in rows if row.gradient_error), default=nan)
        for precision, rows in by.items()
    }
    return {
        "contender": name,
        "networks": len({_network(row) for row in exams}),
        "machines": len({row.place for row in exams}),
        "spikes_compared": sum(row.spikes or 0 for row in exams),
        "that_differ": sum(row.mismatches or 0 for row in exams),
        "gradient_error_float64": error.get("fp64", nan),
        "gradient_error_float32": error.get("fp32", nan),
        "gradient_error_bf16": error.get("bf16", nan),
        "inputs_needed": max((row.attempts or 0 for row in exams), default=0),
    }


def _failures(rows: Sequence[Row], exams: Sequence[CertificateRow]) -> pd.DataFrame:
    """Each reason once, with the contender and the first network."""
    refused: list[CertificateRow | AuditRow] = [row for row in exams if not row.certified]
    refused += [row for row in rows if isinstance(row, AuditRow) and not row.passed]
    groups = grouped(refused, lambda row: (_name(row), row.reason or "no reason is said"))
    lines = [
        {"contender": name, "network": _network(of[0]), "cases": len(of), "reason": reason}
        for (name, reason), of in groups.items()
    ]
    return pd.DataFrame(lines[:MOST_FAILURES], columns=["contender", "network", "cases", "reason"])
