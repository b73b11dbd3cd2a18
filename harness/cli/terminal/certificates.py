"""Certificates of an adapter, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from harness.cli.terminal.numbers import span

if TYPE_CHECKING:  # shown without torch
    from harness.proof.certificate import Certificate
    from harness.proof.check import Examined, OnNetwork

PRECISIONS = ("fp64", "fp32")
COMPARED = ("differ", "gradient")  # spikes, and the gradient's error


def examined(result: Examined) -> RenderableType:
    """An adapter's certificates, layer by layer, and what they come to.

    A layer's line holds the worst over the certificates of the same network, with and without
    NeuNorm: float64 and float32 side by side.
    """
    head = Text(result.name, "bold")
    if result.reason:
        return Text.assemble(head, f": {result.reason}")
    grids = [_grid(title, group) for title, group in _by_network(result.proofs).items()]
    return Group(head, *grids, _verdict(result))


def _grid(title: str, group: Sequence[Certificate]) -> Table:
    """A network's layers, in 80 columns."""
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=escape(title), title_justify="left")
    grid.title_style = ""
    grid.add_column("layer", no_wrap=True)
    for column in ("rate", "spikes", *(f"{p}\n{n}" for p in PRECISIONS for n in COMPARED)):
        grid.add_column(column, justify="right", no_wrap=True)
    for line in _layer_lines(group):
        grid.add_row(*map(escape, line))
    return grid


def _by_network(proofs: Sequence[OnNetwork]) -> dict[str, list[Certificate]]:
    groups: dict[str, list[Certificate]] = {}
    for proof in proofs:
        groups.setdefault(proof.title, []).append(proof.certificate)
    return groups


def _layer_lines(group: Sequence[Certificate]) -> list[tuple[str, ...]]:
    compared = [proof for proof in group if proof.layers]
    lines = []
    for n, layer in enumerate(compared[0].layers if compared else ()):
        rates = [proof.layers[n].rate for proof in compared]
        spikes = sum(proof.layers[n].spikes for proof in compared)
        line = [layer.layer, span(min(rates), max(rates)), f"{spikes:,}"]
        for precision in PRECISIONS:
            of = [proof.layers[n] for proof in compared if proof.precision == precision]
            line += [
                f"{sum(each.mismatches for each in of):,}",
                f"{max((each.gradient_error for each in of), default=0):.0e}",
            ]
        lines.append(tuple(line))
    return lines


def _verdict(result: Examined) -> Text:
    passed = sum(proof.certificate.passed for proof in result.proofs)
    count = f"{passed} of {len(result.proofs)} certificates passed"
    failures = [
        f"{proof.named} {proof.certificate.precision}: {failure}"
        for proof in result.proofs
        for failure in proof.certificate.failures
    ]
    if result.deviations:
        shown = failures[:2]
        said = "; ".join(result.deviations)
        return Text("\n".join([f"not the paper's function, as it says: {said}", *shown]) + "\n")
    if failures:
        return Text("\n".join([f"FAILED: {count}", *failures[:6]]) + "\n", "red")
    most = max((proof.certificate.attempts for proof in result.proofs), default=0)
    inputs = f"; float32 took up to {most} inputs" if most > 1 else ""
    return Text(f"equal: {count}{inputs}\n", "green")
