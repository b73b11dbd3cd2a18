"""`harness list`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from harness.cli.console import out
from harness.spec import UsageError, contender

Listing = tuple[tuple[str, ...], list[tuple[str, ...]]]  # columns, lines


def list_(
    what: Annotated[str, typer.Argument(metavar="suites|frameworks|networks|datasets|claims")],
) -> None:
    """List what can be chosen."""
    from harness.cli import terminal

    if what not in _LISTINGS:
        raise UsageError(f"unknown list {what!r}, choose from {', '.join(_LISTINGS)}")
    out.print(terminal.rows(*_LISTINGS[what]()))


def frameworks() -> Listing:
    """Every framework and variant, and how to get those that are missing."""
    import adapters

    lines: list[tuple[str, ...]] = []
    for name in adapters.names():
        reason = adapters.missing(name)
        if reason is not None:
            lines.append((name, "", reason))
            continue
        lines.append((name, adapters.version(name) or "", "the paper's function"))
        for variant, form in adapters.variants_of(name).items():
            lines.append((contender(name, variant), "", "not it: " + "; ".join(form.DEVIATIONS)))
    return ("framework", "version", "what it computes"), lines


def _suites() -> Listing:
    from harness import suites

    lines = [(name, suites.about(name)) for name in suites.SUITES]
    return ("suite", "what it measures"), lines


def _networks() -> Listing:
    from harness.spec import paper

    lines = [
        (row.name, "static" if row.static else "events", str(row.table), row.notation)
        for row in paper.NETWORKS
    ]
    return ("network", "data", "table", "notation"), lines


def _datasets() -> Listing:
    from harness.spec import paper

    lines = []
    for name, row in paper.SETTINGS.items():
        channels, height, width = row.input_shape
        kind = "images" if row.static else "events"
        lines.append((name, row.title, kind, f"{channels}x{height}x{width}", str(row.lif)))
    return ("data set", "title", "kind", "input", "neuron (Table 7)"), lines


def _claims() -> Listing:
    from harness.analysis import claims

    lines = [(claim.claim, claim.value, claim.test) for claim in claims.CLAIMS]
    return ("claim of the paper", "published", "how it is tested"), lines


_LISTINGS: dict[str, Callable[[], Listing]] = {
    "suites": _suites,
    "frameworks": frameworks,
    "networks": _networks,
    "datasets": _datasets,
    "claims": _claims,
}
