"""`harness list`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.console import out
from harness.spec import UsageError, contender

if TYPE_CHECKING:  # torch's import takes seconds
    from adapters.facts import Facts

Listing = tuple[tuple[str, ...], list[tuple[str, ...]]]  # columns, lines


def list_(
    what: Annotated[
        str, typer.Argument(metavar="suites|frameworks|networks|datasets|claims|baselines")
    ],
) -> None:
    """List what can be chosen."""
    from harness.cli import terminal

    if what not in _LISTINGS:
        raise UsageError(f"unknown list {what!r}, choose from {', '.join(_LISTINGS)}")
    columns, lines = _LISTINGS[what]()
    if out.is_terminal:
        out.print(terminal.rows(columns, lines))
    else:  # whoever reads on wants each thing in a line, however long
        sys.stdout.write(terminal.unbroken(columns, lines))


def frameworks() -> Listing:
    """Every framework and variant, and how to get those that are missing."""
    import adapters
    from adapters import facts

    lines: list[tuple[str, ...]] = []
    facts.look(adapters.names())
    for name in adapters.names():
        known = facts.of(name)
        if known.missing:
            lines.append((name, "", known.missing))
            continue
        lines.append((name, known.version or "", _computes(known)))
        for form in known.variants:
            lines.append((contender(name, form.name), "", _function(form.deviations)))
    return ("framework", "version", "what it computes"), lines


def _computes(known: Facts) -> str:
    """What a framework's plain form computes, and what its import does beside."""
    return "; ".join(
        [_function(known.deviations), *(f"{each} at import" for each in known.changed)]
    )


def _function(deviations: Sequence[str]) -> str:
    """Whether it is the paper's function that is computed."""
    return "not it: " + "; ".join(deviations) if deviations else "the paper's function"


def _suites() -> Listing:
    from harness import suites

    lines = [(name, suites.about(name)) for name in suites.SUITES]
    return ("suite", "what it measures"), lines


def _networks() -> Listing:
    from harness.spec import paper

    # in 80 columns the longest notation leaves room for a name alone
    lines: list[tuple[str, ...]] = [("images:", "")]
    lines += [(row.name, row.notation) for row in paper.NETWORKS if row.static]
    lines += [("", ""), ("events:", "")]
    lines += [(row.name, row.notation) for row in paper.NETWORKS if not row.static]
    return (
        "network",
        "notation (OurModel, AlexNet, CIFARNet: Table 2; the others: Table 1)",
    ), lines


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


def _baselines() -> Listing:
    """Every other system of Tables 3 to 6, on what it runs, and whose parameters it has."""
    from harness import baselines

    lines: list[tuple[str, ...]] = []
    for name in baselines.names():
        try:
            system = baselines.load(name)
        except UsageError as error:  # it does not load here, or says too little
            lines.append((name, "", "", "", str(error)))
            continue
        given = " ".join((system.input, *system.windows))
        data = ", ".join(system.datasets)
        lines.append((name, f"{system.title} ({system.paper})", data, given, system.fidelity))
    return ("baseline", "system", "data sets", "input", "fidelity"), lines


_LISTINGS: dict[str, Callable[[], Listing]] = {
    "suites": _suites,
    "frameworks": frameworks,
    "networks": _networks,
    "datasets": _datasets,
    "claims": _claims,
    "baselines": _baselines,
}
