"""What `harness list` and `harness doctor` say: tables of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import metadata

import adapters
from harness import suites
from harness.analysis import claims
from harness.spec import UsageError, paper

Listing = tuple[tuple[str, ...], list[tuple[str, ...]]]  # columns, lines


def listing(what: str) -> Listing:
    """The suites, frameworks, networks or data sets. Raises UsageError for another word."""
    if what not in LISTINGS:
        raise UsageError(f"unknown list {what!r}, choose from {', '.join(LISTINGS)}")
    return LISTINGS[what]()


def _suites() -> Listing:
    lines = [(name, suites.about(name)) for name in suites.SUITES]
    return ("suite", "what it measures"), lines


def _frameworks() -> Listing:
    lines: list[tuple[str, ...]] = []
    for name in adapters.names():
        reason = adapters.missing(name)
        if reason is not None:
            lines.append((name, "", reason))
            continue
        lines.append((name, adapters.version(name) or "", "the paper's function"))
        for variant, form in adapters.variants_of(name).items():
            lines.append((f"{name}:{variant}", "", "not it: " + "; ".join(form.DEVIATIONS)))
    return ("framework", "version", "what it computes"), lines


def _networks() -> Listing:
    lines = [
        (row.name, "static" if row.static else "events", str(row.table), row.notation)
        for row in paper.NETWORKS
    ]
    return ("network", "data", "table", "notation"), lines


def _datasets() -> Listing:
    lines = []
    for name, row in paper.SETTINGS.items():
        channels, height, width = row.input_shape
        kind = "images" if row.static else "events"
        lines.append((name, row.title, kind, f"{channels}x{height}x{width}", str(row.lif)))
    return ("data set", "title", "kind", "input", "neuron (Table 7)"), lines


def _claims() -> Listing:
    lines = [(claim.claim, claim.value, claim.test) for claim in claims.CLAIMS]
    return ("claim of the paper", "published", "how it is tested"), lines


LISTINGS: dict[str, Callable[[], Listing]] = {
    "suites": _suites,
    "frameworks": _frameworks,
    "networks": _networks,
    "datasets": _datasets,
    "claims": _claims,
}


def doctor(data_root: str | None) -> Iterator[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """Title, columns and lines of what is here: machine, versions, frameworks, data."""
    import torch

    from harness import datasets
    from harness.system import machine

    cuda = torch.cuda.is_available()
    here = machine.describe(torch.device("cuda" if cuda else "cpu"))
    yield (
        "Machine",
        ("", ""),
        [
            ("CPU", f"{here.cpu}, {here.cores} cores, torch uses {here.threads} threads"),
            ("memory", f"{here.memory_mib:,} MiB"),
            ("CUDA device", here.gpu or "none: --device cuda is refused"),
            ("system", f"{here.os}, Python {here.python}"),
            ("harness", here.harness + (f", commit {here.commit}" if here.commit else "")),
            ("speed variables", here.environment or "none set"),
        ],
    )
    packages = ("torch", "torchvision", "numpy", "scipy", "pandas", "tonic", "aedat")
    yield "Packages", ("package", "version"), [(name, _version(name)) for name in packages]
    columns, lines = _frameworks()
    yield "Frameworks", columns, lines
    root = datasets.data_root(data_root)
    found = [datasets.find(name, root) for name in paper.SETTINGS]
    yield (
        f"Data under {root}",
        ("data set", "train", "test", "problem"),
        [
            (each.title, *(_samples(about) for about in (each.train, each.test)), each.problem)
            for each in found
        ],
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return f"not installed: pip install 'snn-harness[all]' brings {package}"


def _samples(about: object) -> str:
    return "none" if about is None else str(about)
